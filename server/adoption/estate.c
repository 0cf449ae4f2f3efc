#include "server/adoption/estate.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/net/durable.h"
#include "common/net/durable_lines.h"
#include "server/adoption/estate_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Deaths in a row that no request can be blamed for. What the loop itself dies of, such as bytes
 * that it cannot parse, would come up again for ever. */
enum { UNEXPLAINED_MOST = 4 };

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
    size_t loop_bytes = durable_area_bytes(connections) + durable_lines_area_bytes();
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

bool estate_is_of_use(const struct estate *estate, bool served)
{
    return (served || estate->keeper_count > 1) && estate->keeper_count < ESTATE_KEEPERS &&
           estate->unexplained < UNEXPLAINED_MOST;
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

void estate_bereaved(struct estate *estate, const struct worker_end *end)
{
    estate->end = *end;
    estate->unexplained = end->by_itself && !end->suspects_known ? estate->unexplained + 1 : 0;
}

/* ---- The process's ---- */

static void open_loops(struct estate *estate)
{
    uint32_t generation = estate->keepers[estate->keeper_count - 1].generation;
    estate->open = (struct durable **)memory_alloc_zeroed(estate->loops, sizeof(estate->open[0]));
    estate->found = memory_alloc_zeroed(estate->loops, sizeof(estate->found[0]));
    estate->open_lines =
        (struct durable_lines **)memory_alloc_zeroed(estate->loops, sizeof(estate->open_lines[0]));
    for (uint32_t i = 0; i < estate->loops; i++) {
        char *area = estate->memory + i * estate->loop_bytes;
        estate->open[i] = durable_open(area, estate->connections, generation);
        area += durable_area_bytes(estate->connections);
        estate->open_lines[i] = durable_lines_open(area, generation);
        estate->found[i].fd = -1;
    }
}

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
    estate->keeper_pid = keeper_start(&own->pair, error);
    if (estate->keeper_pid < 0) {
        munmap(memory, estate->loops * estate->loop_bytes);
        return false;
    }
    estate->memory = memory;
    pthread_mutex_init(&estate->lock, NULL);
    pthread_mutex_init(&estate->log_turn, NULL);
    open_loops(estate);
    estate_scan(estate);
    return true;
}

pid_t estate_keeper_pid(const struct estate *estate)
{
    CHECK(estate->memory != NULL && estate->keeper_pid > 0);
    return estate->keeper_pid;
}

struct durable *estate_open_loop(struct estate *estate, uint32_t loop)
{
    if (estate->memory == NULL) {
        return NULL;
    }
    CHECK(loop < estate->loops);
    return estate->open[loop];
}

struct durable_lines *estate_open_lines(struct estate *estate, uint32_t loop)
{
    if (estate->memory == NULL) {
        return NULL;
    }
    CHECK(loop < estate->loops);
    return estate->open_lines[loop];
}

pthread_mutex_t *estate_log_turn(struct estate *estate)
{
    return &estate->log_turn;
}

void estate_leave(struct estate *estate)
{
    if (estate->memory == NULL) {
        return;
    }
    for (uint32_t i = 0; i < estate->loops; i++) {
        durable_close(estate->open[i]);
        durable_lines_close(estate->open_lines[i]);
    }
    free((void *)estate->open);
    free((void *)estate->open_lines);
    free(estate->found);
    munmap(estate->memory, estate->loops * estate->loop_bytes);
    estate->memory = NULL;
}
