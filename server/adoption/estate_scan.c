/* Sockets that a dead process was just being given: the kernel had put them into its table of
 * descriptors, and no record tells of them yet. Looked for before there are threads. */
#include "common/base/bitmap.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/net/connection.h"
#include "common/net/tcp_account.h"
#include "server/adoption/estate_internal.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    WINDOW = 256, /* numbers that are looked at together */
    LIMIT_MOST = 1 << 22,
    SCAN_PATIENCE_MS = 5000
};

/* The table of one dead process. */
struct scan {
    struct estate *estate;
    const struct estate_keeper *keeper;
    int limit;          /* no number is so high */
    uint64_t *recorded; /* a bit for each number that a record tells of */
    int highest;        /* of these; -1: none */
};

static bool is_awaited(const struct estate *estate, uint32_t loop, uint32_t generation,
                       struct durable_expected *expected)
{
    return estate->found[loop].fd < 0 && durable_expected(estate->open[loop], expected) &&
           expected->generation == generation;
}

static bool is_anything_awaited(const struct estate *estate, uint32_t generation)
{
    struct durable_expected expected;
    for (uint32_t loop = 0; loop < estate->loops; loop++) {
        if (is_awaited(estate, loop, generation, &expected)) {
            return true;
        }
    }
    return false;
}

/* Accepted from one of the listening sockets, as nothing else has its options, and untouched. */
static bool is_new(int fd)
{
    struct tcp_account account;
    return tcp_account_ask(fd, &account) && account.read_bytes == 0 && account.written_bytes == 0;
}

/* Gives the socket to the loop that waited for it. */
static void sort_in(const struct scan *scan, int fd)
{
    struct estate *estate = scan->estate;
    for (uint32_t loop = 0; loop < estate->loops; loop++) {
        struct durable_expected expected;
        if (is_awaited(estate, loop, scan->keeper->generation, &expected) &&
            (expected.cookie != 0 ? connection_cookie(fd) == expected.cookie : is_new(fd))) {
            estate->found[loop] = (struct estate_found){.fd = fd, .expected = expected};
            return;
        }
    }
    close(fd);
}

/* The process had the limit that its successor has. */
static int descriptor_limit(void)
{
    struct rlimit limit;
    bool is_known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < LIMIT_MOST;
    return is_known ? (int)limit.rlim_cur : LIMIT_MOST;
}

static void note_recorded(struct scan *scan)
{
    int *fds = memory_alloc_zeroed(scan->estate->connections, sizeof(*fds));
    for (uint32_t loop = 0; loop < scan->estate->loops; loop++) {
        size_t count = durable_descriptors(scan->estate->open[loop], scan->keeper->generation, fds);
        for (size_t i = 0; i < count; i++) {
            if (fds[i] >= 0 && fds[i] < scan->limit) {
                bitmap_set(scan->recorded, (size_t)fds[i], 1);
                scan->highest = fds[i] > scan->highest ? fds[i] : scan->highest;
            }
        }
    }
    free(fds);
}

/* How many of these numbers are open, whatever is behind them; -1: nobody answers. */
static int look_at_window(const struct scan *scan, int first)
{
    int numbers[WINDOW], wanted[WINDOW], taken[WINDOW];
    size_t open, count = 0;
    struct error error;
    int end = scan->limit - first < WINDOW ? scan->limit : first + WINDOW;
    if (!keeper_list(scan->keeper->pair.asking, first, end, numbers, &open, SCAN_PATIENCE_MS,
                     &error)) {
        log_write(LOG_WARN, "a connection that was just being accepted may be cut: %s", error.text);
        return -1;
    }
    for (size_t i = 0; i < open; i++) {
        size_t number = (size_t)numbers[i];
        if (bitmap_next_set(scan->recorded, number, number + 1) != number) {
            wanted[count++] = numbers[i];
        }
    }
    keeper_take(scan->keeper->pair.asking, wanted, taken, count, SCAN_PATIENCE_MS, &error);
    for (size_t i = 0; i < count; i++) {
        if (taken[i] >= 0) {
            sort_in(scan, taken[i]);
        }
    }
    return (int)open;
}

/* A new descriptor has the lowest number that is free: so there is nothing behind a gap. */
static void look_at_table(struct scan *scan)
{
    for (int first = 0; first < scan->limit; first += WINDOW) {
        int open = look_at_window(scan, first);
        if (open < 0 || (open == 0 && first > scan->highest) ||
            !is_anything_awaited(scan->estate, scan->keeper->generation)) {
            return;
        }
    }
}

static void scan_table(struct estate *estate, const struct estate_keeper *keeper)
{
    struct scan scan = {
        .estate = estate, .keeper = keeper, .limit = descriptor_limit(), .highest = -1};
    scan.recorded = memory_alloc_zeroed(bitmap_words((size_t)scan.limit), sizeof(uint64_t));
    note_recorded(&scan);
    look_at_table(&scan);
    free(scan.recorded);
}

/* What is not found has a record by now, which somebody goes on with: nobody is to find it in that
 * table later, when the record tells of another one. */
static void end_search(const struct estate *estate)
{
    for (uint32_t loop = 0; loop < estate->loops; loop++) {
        if (estate->found[loop].fd < 0) {
            durable_expect_nothing(estate->open[loop]);
        }
    }
}

void estate_scan(struct estate *estate)
{
    for (size_t i = 0; i + 1 < estate->keeper_count; i++) {
        if (is_anything_awaited(estate, estate->keepers[i].generation)) {
            scan_table(estate, &estate->keepers[i]);
        }
    }
    end_search(estate);
}
