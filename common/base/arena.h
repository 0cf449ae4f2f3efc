/* Memory that dies in one call: what a handler needs while it makes one response. */
#ifndef TWINHTTPD_COMMON_BASE_ARENA_H
#define TWINHTTPD_COMMON_BASE_ARENA_H

#include <stddef.h>

struct arena_block;

/* Zero-initialised is empty. */
struct arena {
    struct arena_block *newest;
};

/* Uninitialised memory, aligned for any type, valid until arena_reset or arena_free. */
void *arena_alloc(struct arena *arena, size_t bytes) __attribute__((returns_nonnull));

/* Ends the life of everything allocated; one block is kept for the next use. */
void arena_reset(struct arena *arena);

/* As arena_reset, and gives all memory back. */
void arena_free(struct arena *arena);

#endif
