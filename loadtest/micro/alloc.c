/* Memory from the stack against memory from the heap: what it costs, where its limits are, and what
 * goes back to the system. */
#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SMALL_BYTES = 64,
    LARGE_BYTES = 1024 * 1024,
    PAGE_BYTES = 4096,
    BLOCK_BYTES = 1024,
    CACHED_BYTES = 1000,
    BLOCKS = 32 * 1024, /* 32 MiB */
    MIB = 1024 * 1024,
    SMALL_BATCH = 1000,
    LARGE_BATCH = 10,
    GAMES = 5
};

/* The compiler must believe that the memory is used. */
static void use(char *memory, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += PAGE_BYTES) {
        *(volatile char *)(memory + at) = 1;
    }
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* Writes each byte; a compiler may leave out what it sees freed unread. */
static void fill(char *memory, size_t bytes)
{
    memset(memory, 1, bytes);
    __asm__ volatile("" : : "r"(memory) : "memory");
}

static void *need_memory(void *memory)
{
    micro_need(memory != NULL, "out of memory");
    return memory;
}

/* ---- Cost ---- */

struct taker {
    void (*take)(void);
    unsigned batch; /* taken at a time, so that the clock costs little beside them */
};

static void take_batch(const void *argument)
{
    const struct taker *taker = argument;
    for (unsigned i = 0; i < taker->batch; i++) {
        taker->take();
    }
}

static void measure_taker(const void *subject, double *values)
{
    const struct taker *taker = subject;
    values[0] = micro_call_ns(take_batch, taker, micro_budget_ns(6000, 40000)) / taker->batch;
}

__attribute__((noinline)) static void take_small_from_stack(void)
{
    char memory[SMALL_BYTES];
    use(memory, sizeof(memory));
}

static void take_from_heap(size_t bytes)
{
    char *memory = need_memory(malloc(bytes));
    use(memory, bytes);
    free(memory);
}

__attribute__((noinline)) static void take_small_from_heap(void)
{
    take_from_heap(SMALL_BYTES);
}

__attribute__((noinline)) static void take_large_from_stack(void)
{
    char memory[LARGE_BYTES];
    use(memory, sizeof(memory));
}

__attribute__((noinline)) static void take_large_from_heap(void)
{
    take_from_heap(LARGE_BYTES);
}

/* As every allocation above the threshold is until glibc has seen the first of them freed. */
static void take_large_by_mmap(void)
{
    char *memory =
        mmap(NULL, LARGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    micro_need(memory != MAP_FAILED, "cannot map memory");
    use(memory, LARGE_BYTES);
    micro_unmap(memory, LARGE_BYTES);
}

/* Sizes around 2 KiB that differ each time: no list of free blocks of just this size has one, so
 * that the allocator has to look through its bins, and to split and join what it finds. */
static char *holes[4096];

static size_t next_size(void)
{
    static uint32_t state = 1;
    state = state * 1664525 + 1013904223;
    return 1024 + (state >> 16) % 2048;
}

static void take_searched(void)
{
    static size_t next;
    size_t index = next++ * 2654435761U % (sizeof(holes) / sizeof(holes[0]));
    free(holes[index]);
    holes[index] = need_memory(malloc(next_size()));
    use(holes[index], 1);
}

/* Blocks of up to 1032 bytes are kept in the thread's cache, whatever the heap looks like. */
static void take_same_size(void)
{
    char *memory = need_memory(malloc(CACHED_BYTES));
    use(memory, 1);
    free(memory);
    (void)next_size(); /* as much work beside the allocator as in the other variant */
}

static void grow_by_realloc(void)
{
    char *memory = NULL;
    for (size_t bytes = 1024; bytes <= LARGE_BYTES; bytes *= 2) {
        memory = need_memory(realloc(memory, bytes));
        use(memory, bytes);
    }
    free(memory);
}

static void run_pair(const char *key, const struct micro_variant *variants, size_t count,
                     size_t bytes)
{
    micro_series(&(struct micro_metric){key, "ns"}, 1, json_pack("{s:i}", "bytes", (int)bytes),
                 variants, count);
}

static void fill_holes(void)
{
    for (size_t i = 0; i < sizeof(holes) / sizeof(holes[0]); i++) {
        holes[i] = need_memory(malloc(next_size()));
    }
}

static void free_holes(void)
{
    for (size_t i = 0; i < sizeof(holes) / sizeof(holes[0]); i++) {
        free(holes[i]);
    }
}

static void run_costs(void)
{
    static const struct taker takers[] = {
        {take_small_from_stack, SMALL_BATCH}, {take_small_from_heap, SMALL_BATCH},
        {take_large_from_stack, LARGE_BATCH}, {take_large_from_heap, LARGE_BATCH},
        {take_large_by_mmap, LARGE_BATCH},    {take_same_size, SMALL_BATCH},
        {take_searched, SMALL_BATCH},         {grow_by_realloc, LARGE_BATCH}};
    const struct micro_variant small[] = {{"stack", measure_taker, &takers[0], NULL},
                                          {"heap", measure_taker, &takers[1], NULL}};
    const struct micro_variant large[] = {{"stack", measure_taker, &takers[2], NULL},
                                          {"heap", measure_taker, &takers[3], NULL},
                                          {"heap-mmap", measure_taker, &takers[4], NULL}};
    const struct micro_variant searched[] = {{"tcache", measure_taker, &takers[5], NULL},
                                             {"bins", measure_taker, &takers[6], NULL}};
    const struct micro_variant grown[] = {{"once", measure_taker, &takers[3], NULL},
                                          {"realloc", measure_taker, &takers[7], NULL}};
    run_pair("small-64-b", small, 2, SMALL_BYTES);
    run_pair("large-1-mib", large, 3, LARGE_BYTES);
    fill_holes();
    micro_series(&(struct micro_metric){"searched-2-kib", "ns"}, 1,
                 json_pack("{s:i, s:i}", "bytes", 2048, "cached_bytes", CACHED_BYTES), searched, 2);
    free_holes();
    run_pair("grow-to-1-mib", grown, 2, LARGE_BYTES);
}

/* ---- Limits ---- */

/* Returns a sum so that no call can be left out. */
static unsigned recurse(unsigned depth) /* NOLINT: to overflow the stack is the question */
{
    char frame[PAGE_BYTES];
    use(frame, sizeof(frame));
    return depth == 0 ? 0 : recurse(depth - 1) + (unsigned)frame[0];
}

static bool dies_by_overflow(void)
{
    const struct rlimit limit = {MIB, MIB};
    pid_t pid = micro_fork();
    if (pid == 0) {
        /* The limit of a running main thread counts from its next growth on. */
        micro_need(setrlimit(RLIMIT_STACK, &limit) == 0, "cannot limit the stack");
        recurse(4 * MIB / PAGE_BYTES);
        _exit(0);
    }
    int status = micro_reap(pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static uint64_t ram_bytes(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* In pieces: one block larger than all memory is refused even where the sum is not. */
static bool malloc_passes_ram(void)
{
    void *pieces[16];
    uint64_t piece_bytes = ram_bytes() / 4;
    size_t got = 0;
    while (got < 16 && (pieces[got] = malloc(piece_bytes)) != NULL) {
        got++;
    }
    for (size_t i = 0; i < got; i++) {
        free(pieces[i]);
    }
    return got == 16;
}

static void tell_limits(void)
{
    static const char beyond[] = "malloc hands out four times the machine's memory";
    unsigned runs = micro_is_quick() ? 3 : 10, died = 0, passed = 0;
    char mode[16] = "";
    struct rlimit space;
    for (unsigned run = 0; run < runs; run++) {
        died += dies_by_overflow();
        passed += malloc_passes_ram();
    }
    micro_fact("stack-overflow-kills",
               "4 MiB of frames on a stack limited to 1 MiB end the process by SIGSEGV", died, runs,
               "RLIMIT_STACK");
    micro_read_text("/proc/sys/vm/overcommit_memory", mode, sizeof(mode));
    micro_need(getrlimit(RLIMIT_AS, &space) == 0, "cannot read a limit");
    if (mode[0] == '2' || space.rlim_cur != RLIM_INFINITY) {
        micro_fact_unavailable("malloc-beyond-ram-succeeds", beyond,
                               "vm.overcommit_memory is 2, or RLIMIT_AS is set");
        return;
    }
    micro_fact("malloc-beyond-ram-succeeds", beyond, passed, runs,
               "16 blocks of a quarter of %llu MiB; none touched; vm.overcommit_memory %c",
               (unsigned long long)ram_bytes() / MIB, mode[0]);
}

/* ---- What goes back to the system; each in a process with a heap of its own ---- */

static char *blocks[BLOCKS];

/* Not from /proc/PID/stat, which is off by what each CPU has not yet added. */
static double resident_mib(void)
{
    char text[512];
    const char *found;
    unsigned long kib = 0;
    micro_need(micro_read_text("/proc/self/smaps_rollup", text, sizeof(text)) &&
                   (found = strstr(text, "Rss:")) != NULL &&
                   sscanf(found, "Rss: %lu kB", &kib) == 1, /* NOLINT: the kernel's own number */
               "cannot read /proc/self/smaps_rollup");
    return (double)kib * 1024 / MIB;
}

static void take_blocks(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = need_memory(malloc(BLOCK_BYTES));
        fill(blocks[i], BLOCK_BYTES);
    }
}

static bool heap_grows(void)
{
    double before = resident_mib();
    take_blocks();
    return resident_mib() - before > 30;
}

static bool large_block_returns(void)
{
    double before = resident_mib();
    char *memory = need_memory(malloc(32 * MIB));
    fill(memory, 32 * MIB);
    bool was_there = resident_mib() - before > 30;
    free(memory);
    return was_there && resident_mib() - before < 2;
}

/* Frees all but the last, which keeps the top of the heap where it is. */
static double mib_after_freeing_small_blocks(double before)
{
    take_blocks();
    for (size_t i = 0; i + 1 < BLOCKS; i++) {
        free(blocks[i]);
    }
    return resident_mib() - before;
}

static bool small_blocks_are_kept(void)
{
    return mib_after_freeing_small_blocks(resident_mib()) > 30;
}

static bool trim_returns(void)
{
    double before = resident_mib();
    bool kept = mib_after_freeing_small_blocks(before) > 30;
    malloc_trim(0);
    return kept && resident_mib() - before < 4;
}

/* Every second block stays, so that no page is free as a whole. */
static bool fragments_keep_memory(void)
{
    double before = resident_mib();
    take_blocks();
    for (size_t i = 0; i < BLOCKS; i += 2) {
        free(blocks[i]);
    }
    malloc_trim(0);
    return resident_mib() - before > 30;
}

static double mib_grown_by_rounds(unsigned rounds, bool free_each)
{
    double before = resident_mib();
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t i = 0; i < 1024; i++) {
            char *memory = need_memory(malloc(BLOCK_BYTES));
            fill(memory, BLOCK_BYTES);
            if (free_each) {
                free(memory);
            }
        }
    }
    return resident_mib() - before;
}

static bool leak_grows(void)
{
    double first = mib_grown_by_rounds(8, false), second = mib_grown_by_rounds(8, false);
    return first > 7 && second > 7;
}

static bool freeing_does_not_grow(void)
{
    return mib_grown_by_rounds(16, true) < 1;
}

static void tell_returns(void)
{
    static const struct {
        const char *key, *statement, *detail;
        bool (*is_so)(void);
    } facts[] = {
        {"heap-grows-at-run-time", "32 MiB taken in blocks of 1 KiB make the process 32 MiB larger",
         "resident memory", heap_grows},
        {"large-block-returns-to-system", "a freed block of 32 MiB goes back to the system at once",
         "it is a mapping of its own", large_block_returns},
        {"small-blocks-are-kept",
         "32 MiB in blocks of 1 KiB, all freed but the last: the process stays as large",
         "glibc gives back only the top of its heap", small_blocks_are_kept},
        {"trim-returns-memory", "malloc_trim gives these back to the system", "malloc_trim(0)",
         trim_returns},
        {"fragments-keep-memory",
         "with every second block of 1 KiB freed, half of the memory is free and none of it can go "
         "back",
         "even malloc_trim(0) cannot", fragments_keep_memory},
        {"leak-grows", "a process that does not free grows by as much as it takes",
         "twice 8 MiB, each measured", leak_grows},
        {"freeing-does-not-grow", "a process that frees does not grow",
         "16 MiB, freed block by block", freeing_does_not_grow},
    };
    unsigned runs = micro_is_quick() ? 3 : 10;
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        unsigned observed = 0;
        for (unsigned run = 0; run < runs; run++) {
            observed += micro_true_in_child(facts[i].is_so);
        }
        micro_fact(facts[i].key, facts[i].statement, observed, runs, "%s", facts[i].detail);
    }
}

int main(int argc, char **argv)
{
    micro_start("alloc", argc, argv);
    /* First: the mmap threshold and the top of the heap are still as at the start of a program. */
    if (micro_wants_facts()) {
        tell_returns();
        tell_limits();
    }
    micro_games(GAMES);
    micro_pin(micro_cpus() - 1);
    run_costs();
    return micro_finish();
}
