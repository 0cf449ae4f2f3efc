/* What a switch between two processes costs, and between two threads: a byte goes to and fro
 * through pipes on one CPU, so that each turn must switch. At each turn a side touches memory of
 * its own. */
#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    PAGE_BYTES = 4096,
    LINE_BYTES = 64,
    STRIDE_LINES = 97,
    WARM_UP_ROUNDS = 20,
    REREAD_BYTES = 256 * 1024,
    READINGS_MAX = 4096,
    FACT_RUNS = 5,
    GAMES = 5,
    LEAST_NS = 1, /* what a switch costs that cannot be told from none */
    END_OF_GAME = 0,
    GO_ON = 1
};

/* Who has the other end of the pipes. */
enum partner { PROCESS, THREAD, NOBODY /* the same calls and touches by one thread */ };

struct game {
    enum partner partner;
    size_t own_bytes, partner_bytes; /* touched at each turn */
    size_t step_bytes;               /* between two touches */
    bool flush;                      /* the caches, before the memory is read again */
};

/* One table for all games; the partner's count lies in memory that both see. */
static struct {
    int there[2], back[2];
    const struct game *game;
    char *memory;         /* ours */
    char *partner_memory; /* ours too where there is no partner */
    uint64_t *partner_switches;
} table;

/* One access in each page: lines of different sets, or the pages would fight for one. */
static size_t place_in_page(size_t at)
{
    return (at / PAGE_BYTES * LINE_BYTES) % PAGE_BYTES;
}

static void touch(char *memory, size_t bytes, size_t step_bytes)
{
    if (step_bytes == PAGE_BYTES) {
        for (size_t at = 0; at < bytes; at += PAGE_BYTES) {
            ++*(volatile char *)(memory + at + place_in_page(at));
        }
    } else {
        /* All lines, in an order that no prefetcher guesses: an odd stride over a power of two. */
        size_t lines = bytes / step_bytes;
        for (size_t i = 0; i < lines; i++) {
            (void)*(volatile char *)(memory + i * STRIDE_LINES % lines * step_bytes);
        }
    }
}

static void give(const int *pipe_ends, char what)
{
    micro_need(write(pipe_ends[1], &what, 1) == 1, "cannot write to a pipe");
}

static char take(const int *pipe_ends)
{
    char what;
    ssize_t got;
    do {
        got = read(pipe_ends[0], &what, 1);
    } while (got < 0 && errno == EINTR);
    micro_need(got == 1, "cannot read from a pipe");
    return what;
}

static uint64_t own_switches(void)
{
    struct rusage usage;
    micro_need(getrusage(RUSAGE_THREAD, &usage) == 0, "cannot count switches");
    return (uint64_t)(usage.ru_nvcsw + usage.ru_nivcsw);
}

static char *memory_of(size_t bytes)
{
    return bytes > 0 ? micro_touched(bytes) : NULL;
}

static void free_memory(char *memory, size_t bytes)
{
    if (bytes > 0) {
        micro_unmap(memory, bytes);
    }
}

static void *play_along(void *argument)
{
    const struct game *game = table.game;
    char *memory = memory_of(game->partner_bytes);
    while (take(table.there) == GO_ON) {
        touch(memory, game->partner_bytes, game->step_bytes);
        give(table.back, GO_ON);
    }
    *table.partner_switches = own_switches();
    free_memory(memory, game->partner_bytes);
    return argument;
}

static void play_alone(void)
{
    give(table.there, GO_ON);
    take(table.there);
    touch(table.partner_memory, table.game->partner_bytes, table.game->step_bytes);
    give(table.back, GO_ON);
    take(table.back);
}

/* To the partner and back. */
static void round_trip(void)
{
    if (table.game->partner == NOBODY) {
        play_alone();
    } else {
        give(table.there, GO_ON);
        take(table.back);
    }
}

static void play_round(const void *argument)
{
    const struct game *game = argument;
    round_trip();
    touch(table.memory, game->own_bytes, game->step_bytes);
}

struct seat {
    pid_t pid;
    pthread_t thread;
};

static struct seat sit_down(const struct game *game)
{
    struct seat seat = {0};
    table.game = game;
    micro_need(pipe(table.there) == 0 && pipe(table.back) == 0, "cannot make pipes");
    if (game->partner == PROCESS) {
        seat.pid = micro_fork();
        if (seat.pid == 0) {
            play_along(NULL);
            _exit(0);
        }
    }
    if (game->partner == THREAD) {
        micro_thread(&seat.thread, play_along, NULL);
    }
    table.memory = memory_of(game->own_bytes);
    if (game->partner == NOBODY) {
        table.partner_memory = memory_of(game->partner_bytes);
    }
    for (int i = 0; i < WARM_UP_ROUNDS; i++) {
        play_round(game);
    }
    return seat;
}

static void stand_up(const struct seat *seat)
{
    const struct game *game = table.game;
    if (game->partner == NOBODY) {
        free_memory(table.partner_memory, game->partner_bytes);
    } else {
        give(table.there, END_OF_GAME);
    }
    if (game->partner == PROCESS) {
        micro_reap(seat->pid);
    } else if (game->partner == THREAD) {
        micro_join(seat->thread);
    }
    free_memory(table.memory, game->own_bytes);
    for (int i = 0; i < 2; i++) {
        close(table.there[i]);
        close(table.back[i]);
    }
}

/* Nanoseconds per turn: a switch, a write, a read, and the touches. */
static double turn_ns(const struct game *game, uint64_t budget_ns)
{
    struct seat seat = sit_down(game);
    double round_ns = micro_call_ns(play_round, game, budget_ns);
    stand_up(&seat);
    return round_ns / 2;
}

static void measure_turn(const void *subject, double *values)
{
    values[0] = turn_ns(subject, micro_budget_ns(12000, 40000));
}

static unsigned games_at_least_ns;

/* What the switch adds to a turn: the same turn in one thread, without a switch, directly beside.
 */
static void measure_switch(const void *subject, double *values)
{
    const struct game *game = subject;
    struct game alone = *game;
    alone.partner = NOBODY;
    uint64_t budget_ns = micro_budget_ns(8000, 45000);
    double difference_ns = turn_ns(game, budget_ns) - turn_ns(&alone, budget_ns);
    games_at_least_ns += difference_ns < LEAST_NS;
    values[0] = difference_ns < LEAST_NS ? LEAST_NS : difference_ns;
}

static void flush_caches(const char *memory, size_t bytes)
{
#ifdef __x86_64__
    for (size_t at = 0; at < bytes; at += LINE_BYTES) {
        __builtin_ia32_clflush(memory + at);
    }
    __builtin_ia32_mfence();
#else
    (void)memory;
    (void)bytes;
#endif
}

/* Nanoseconds per cache line that is read again after each round trip: the median of the readings,
 * as one that somebody else interrupts is long, which without a switch happens far more often. */
static void measure_reread(const void *subject, double *values)
{
    const struct game *game = subject;
    struct seat seat = sit_down(game);
    double readings_ns[READINGS_MAX];
    size_t readings = 0;
    uint64_t budget_ns = micro_budget_ns(12000, 40000);
    uint64_t start_ns = clock_monotonic_ns(), now_ns;
    do {
        round_trip();
        if (game->flush) {
            flush_caches(table.memory, game->own_bytes);
        }
        uint64_t before_ns = clock_monotonic_ns();
        touch(table.memory, game->own_bytes, game->step_bytes);
        now_ns = clock_monotonic_ns();
        readings_ns[readings++] = (double)(now_ns - before_ns);
    } while (now_ns - start_ns < budget_ns && readings < READINGS_MAX);
    stand_up(&seat);
    values[0] = micro_median(readings_ns, readings) / ((double)game->own_bytes / LINE_BYTES);
}

/* ---- Series ---- */

static void run_pages(size_t pages)
{
    size_t bytes = pages * PAGE_BYTES;
    const struct game games[] = {{PROCESS, bytes, bytes, PAGE_BYTES, false},
                                 {THREAD, bytes, bytes, PAGE_BYTES, false},
                                 {NOBODY, bytes, bytes, PAGE_BYTES, false}};
    const struct micro_variant variants[] = {{"process", measure_turn, &games[0], NULL},
                                             {"thread", measure_turn, &games[1], NULL},
                                             {"self", measure_turn, &games[2], NULL}};
    char key[32];
    snprintf(key, sizeof(key), "pages-%zu", pages);
    micro_series(&(struct micro_metric){key, "ns"}, 1,
                 json_pack("{s:i, s:i}", "pages_of_each_side", (int)pages, "cpus", 1), variants, 3);
}

static void run_growth(void)
{
    enum { MOST_BYTES = 1024 * PAGE_BYTES };
    static const struct game games[] = {{PROCESS, 0, 0, PAGE_BYTES, false},
                                        {PROCESS, MOST_BYTES, MOST_BYTES, PAGE_BYTES, false},
                                        {THREAD, 0, 0, PAGE_BYTES, false},
                                        {THREAD, MOST_BYTES, MOST_BYTES, PAGE_BYTES, false}};
    static const struct micro_variant variants[] = {
        {"process-0-pages", measure_switch, &games[0], NULL},
        {"process-1024-pages", measure_switch, &games[1], NULL},
        {"thread-0-pages", measure_switch, &games[2], NULL},
        {"thread-1024-pages", measure_switch, &games[3], NULL}};
    json_t *parameters = json_pack("{s:i, s:i}", "least_ns", LEAST_NS, "cpus", 1);
    games_at_least_ns = 0;
    micro_series(&(struct micro_metric){"growth", "ns"}, 1, json_incref(parameters), variants, 4);
    json_object_set_new(parameters, "games_at_least_ns", json_integer(games_at_least_ns));
    json_decref(parameters);
}

static void run_reread(const char *key, size_t partner_bytes)
{
#ifdef __x86_64__
    static const char *const no_flush = NULL;
#else
    static const char *const no_flush = "no instruction that empties the caches is known here";
#endif
    const struct game games[] = {{PROCESS, REREAD_BYTES, partner_bytes, LINE_BYTES, false},
                                 {THREAD, REREAD_BYTES, partner_bytes, LINE_BYTES, false},
                                 {NOBODY, REREAD_BYTES, 0, LINE_BYTES, false},
                                 {PROCESS, REREAD_BYTES, partner_bytes, LINE_BYTES, true}};
    const struct micro_variant variants[] = {
        {"after-process-switch", measure_reread, &games[0], NULL},
        {"after-thread-switch", measure_reread, &games[1], NULL},
        {"without-switch", measure_reread, &games[2], NULL},
        {"after-flush", measure_reread, &games[3], no_flush}};
    micro_series(&(struct micro_metric){key, "ns"}, 1,
                 json_pack("{s:i, s:i}", "working_set_kib", REREAD_BYTES / 1024,
                           "partner_reads_kib", (int)partner_bytes / 1024),
                 variants, 4);
}

/* ---- That each turn really switches ---- */

static double switches_per_round_trip(enum partner partner)
{
    enum { ROUNDS = 2000 };
    const struct game game = {partner, 0, 0, PAGE_BYTES, false};
    struct seat seat = sit_down(&game);
    uint64_t before = own_switches();
    for (int i = 0; i < ROUNDS; i++) {
        round_trip();
    }
    uint64_t own = own_switches() - before;
    stand_up(&seat);
    /* The partner's count has the rounds of the warm-up too, and one or two for its start. */
    return (double)own / ROUNDS + (double)*table.partner_switches / (ROUNDS + WARM_UP_ROUNDS);
}

static void tell_switches(void)
{
    unsigned good = 0;
    double least = 1e9, most = 0;
    for (int i = 0; i < 2 * FACT_RUNS; i++) {
        double switches = switches_per_round_trip(i % 2 == 0 ? PROCESS : THREAD);
        good += switches > 1.9;
        least = switches < least ? switches : least;
        most = switches > most ? switches : most;
    }
    micro_fact("two-switches-per-round-trip",
               "on one CPU each round trip through pipes switches twice, whether the partner is a "
               "process or a thread",
               good, 2 * FACT_RUNS, "%.2f to %.2f switches per round trip", least, most);
}

int main(int argc, char **argv)
{
    static const size_t pages[] = {0, 4, 64, 256, 1024};
    micro_start("switch", argc, argv);
    table.partner_switches = micro_shared(sizeof(*table.partner_switches));
    micro_pin(micro_cpus() - 1);
    micro_games(GAMES);
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        run_pages(pages[i]);
    }
    run_growth();
    run_reread("reread-256-kib", 0);
    run_reread("reread-256-kib-busy-partner", REREAD_BYTES);
    if (micro_wants_facts()) {
        tell_switches();
    }
    return micro_finish();
}
