#include "common/base/arena.h"

#include "common/base/memory.h"

#include <stdalign.h>
#include <stdlib.h>

enum { ARENA_BLOCK_BYTES = 4096 };

struct arena_block {
    struct arena_block *older;
    size_t used;
    size_t capacity;
    alignas(max_align_t) char data[];
};

static struct arena_block *add_block(struct arena *arena, size_t bytes)
{
    size_t capacity = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
    struct arena_block *block = memory_alloc(sizeof(*block) + capacity);
    *block = (struct arena_block){.older = arena->newest, .capacity = capacity};
    arena->newest = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    const size_t align = alignof(max_align_t);
    bytes = (bytes + align - 1) / align * align;
    struct arena_block *block = arena->newest;
    if (block == NULL || block->capacity - block->used < bytes) {
        block = add_block(arena, bytes);
    }
    void *memory = block->data + block->used;
    block->used += bytes;
    return memory;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->newest;
    if (block == NULL) {
        return;
    }
    while (block->older != NULL) {
        struct arena_block *older = block->older;
        free(block);
        block = older;
    }
    arena->newest = block;
    block->used = 0;
    if (block->capacity > ARENA_BLOCK_BYTES) { /* an odd large first block is not kept */
        free(block);
        arena->newest = NULL;
    }
}

void arena_free(struct arena *arena)
{
    arena_reset(arena);
    free(arena->newest);
    arena->newest = NULL;
}
