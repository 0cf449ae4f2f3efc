#include "server/adoption/estate.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/net/durable.h"
#include "server/adoption/estate_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- The memory ---- */

/* The kernel would kill whoever makes it, not just refuse. */
static bool may_be_so_large(size_t bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
           limit.rlim_cur >= bytes;
}

/* Sealed: whoever has it cannot take pages away from under the others. */
static int make_memory(size_t bytes, struct error *error)
{
    if (!may_be_so_large(bytes)) {
        error_set(error, "the limit of file sizes (ulimit -f) is below %zu bytes", bytes);
        return -1;
    }
    int fd = memfd_create("connections", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        error_set(error, "cannot make memory that outlives a process: %s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* ---- The master's ---- */

struct estate *estate_create(uint32_t loops, size_t connections, struct error *error)
{
    CHECK(loops > 0 && connections > 0);
    if (!keeper_is_supported(error)) {
        return NULL;
    }
    size_t loop_bytes = durable_area_bytes(connections);
    int memory_fd = make_memory(loops * loop_bytes, error);
    if (memory_fd < 0) {
        return NULL;
    }
    struct estate *estate = memory_alloc_zeroed(1, sizeof(*estate));
    estate->loops = loops;
    estate->connections = connections;
    estate->loop_bytes = loop_bytes;
    estate->memory_fd = memory_fd;
    return estate;
}

static void close_keepers(struct estate *estate, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        keeper_pair_close(&estate->keepers[i].pair);
    }
    memmove(estate->keepers, estate->keepers + count,
            (estate->keeper_count - count) * sizeof(estate->keepers[0]));
    estate->keeper_count -= count;
}

void estate_forget(struct estate *estate)
{
    close_keepers(estate, estate->keeper_count);
    close(estate->memory_fd);
    estate->memory_fd = -1;
}

void estate_destroy(struct estate *estate)
{
    if (estate != NULL) {
        estate_forget(estate);
        free(estate);
    }
}

bool estate_fits(const struct estate *estate, uint32_t loops, size_t connections)
{
    return estate->loops == loops && estate->connections == connections &&
           estate->keeper_count < ESTATE_KEEPERS;
}

bool estate_expect(struct estate *estate, uint32_t generation, struct error *error)
{
    CHECK(estate->keeper_count < ESTATE_KEEPERS);
    struct estate_keeper *keeper = &estate->keepers[estate->keeper_count];
    keeper->generation = generation;
    if (!keeper_pair_open(&keeper->pair, error)) {
        return false;
    }
    estate->keeper_count++;
    return true;
}

void estate_forked(struct estate *estate, bool forked)
{
    CHECK(estate->keeper_count > 0);
    struct estate_keeper *keeper = &estate->keepers[estate->keeper_count - 1];
    if (!forked) {
        keeper_pair_close(&keeper->pair);
        estate->keeper_count--;
        return;
    }
    close(keeper->pair.keeping);
    keeper->pair.keeping = -1;
}

void estate_settled(struct estate *estate)
{
    CHECK(estate->keeper_count > 0);
    close_keepers(estate, estate->keeper_count - 1);
}

void estate_bereaved(struct estate *estate, bool crashed)
{
    estate->crashed = crashed;
}

/* ---- The process's ---- */

bool estate_enter(struct estate *estate, struct error *error)
{
    CHECK(estate->keeper_count > 0 && estate->memory == NULL);
    struct estate_keeper *own = &estate->keepers[estate->keeper_count - 1];
    char *memory = mmap(NULL, estate->loops * estate->loop_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, estate->memory_fd, 0);
    if (memory == MAP_FAILED) {
        return error_set(error, "cannot use memory that outlives a process: %s", strerror(errno));
    }
    madvise(memory, estate->loops * estate->loop_bytes, MADV_DONTDUMP);
    close(estate->memory_fd);
    estate->memory_fd = -1;
    if (keeper_start(&own->pair, error) < 0) {
        munmap(memory, estate->loops * estate->loop_bytes);
        return false;
    }
    estate->memory = memory;
    estate->open = (struct durable **)memory_alloc_zeroed(estate->loops, sizeof(estate->open[0]));
    pthread_mutex_init(&estate->lock, NULL);
    return true;
}

struct durable *estate_open_loop(struct estate *estate, uint32_t loop)
{
    if (estate->memory == NULL) {
        return NULL;
    }
    CHECK(loop < estate->loops && estate->open[loop] == NULL);
    uint32_t generation = estate->keepers[estate->keeper_count - 1].generation;
    estate->open[loop] =
        durable_open(estate->memory + loop * estate->loop_bytes, estate->connections, generation);
    return estate->open[loop];
}

void estate_leave(struct estate *estate)
{
    if (estate->memory == NULL) {
        return;
    }
    for (uint32_t i = 0; i < estate->loops; i++) {
        if (estate->open[i] != NULL) {
            durable_close(estate->open[i]);
        }
    }
    free((void *)estate->open);
    munmap(estate->memory, estate->loops * estate->loop_bytes);
    estate->memory = NULL;
}
