/* GET /lab/heap?kib=N&keep_every=M: frees what its last call has kept, allocates N blocks of a
 * kilobyte, frees all but every M-th of them (M = 0: all), and says how much memory the process had
 * before, with all blocks, and after. What is kept lies scattered: fragmentation. */
#include "common/base/small_file.h"
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/response_json.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAP_DEFAULT_KIB = 1024, HEAP_MAX_KIB = 1 << 20, BLOCK_BYTES = 1024 };

struct block {
    struct block *next;
    char rest[BLOCK_BYTES - sizeof(struct block *)];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *kept;

/* What the process has in memory; 0 if the kernel does not tell. */
static uint64_t resident_kib(void)
{
    char text[64];
    unsigned long pages;
    if (!small_file_read("/proc/self/statm", text, sizeof(text)) ||
        sscanf(text, "%*u %lu", &pages) != 1) {
        return 0;
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void free_blocks(struct block **list)
{
    while (*list != NULL) {
        struct block *block = *list;
        *list = block->next;
        free(block);
    }
}

/* A list of as many blocks as memory allows, at most count, all touched. In the order of their
 * allocation: freed the other way round, the few that malloc keeps for the next caller would lie on
 * top of the heap, and nothing below them could be returned. */
static struct block *allocate_blocks(uint64_t count)
{
    struct block *list = NULL, **end = &list;
    for (uint64_t i = 0; i < count; i++) {
        struct block *block = malloc(sizeof(*block));
        if (block == NULL) {
            break;
        }
        memset(block, 0x5a, sizeof(*block));
        block->next = NULL;
        *end = block;
        end = &block->next;
    }
    return list;
}

/* Frees a list, except for every n-th of it (0: all). Returns those. */
static struct block *thin_out(struct block *list, uint64_t n)
{
    struct block *rest = NULL;
    for (uint64_t i = 1; list != NULL; i++) {
        struct block *block = list;
        list = block->next;
        if (n > 0 && i % n == 0) {
            block->next = rest;
            rest = block;
        } else {
            free(block);
        }
    }
    return rest;
}

static void heap(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)data;
    uint64_t kib, keep_every;
    if (!query_uint(request, response, "kib", HEAP_DEFAULT_KIB, HEAP_MAX_KIB, &kib) ||
        !query_uint(request, response, "keep_every", 0, HEAP_MAX_KIB, &keep_every)) {
        return;
    }
    pthread_mutex_lock(&lock);
    uint64_t before_kib = resident_kib();
    free_blocks(&kept);
    struct block *blocks = allocate_blocks(kib);
    uint64_t full_kib = resident_kib();
    kept = thin_out(blocks, keep_every);
    uint64_t after_kib = resident_kib();
    pthread_mutex_unlock(&lock);
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "before_kib", before_kib);
    json_put_uint(&json, "full_kib", full_kib);
    json_put_uint(&json, "after_kib", after_kib);
    json_put_uint(&json, "kept_kib", keep_every == 0 ? 0 : kib / keep_every);
    response_json_end(&json);
}

void lab_heap_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/lab/heap",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .blocks = true,
                                       .handler = heap});
}
