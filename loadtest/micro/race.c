/* Whether workers that share a counter without a lock lose increments: started together, started
 * one after the other, and with the counter owned by one of them. */
#include "loadtest/micro/micro.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    WORKERS = 4,
    RACE_INCREMENTS = 10000000, /* each: some turns of the CPU long, on a busy machine, too */
    NAIVE_WORKERS = 5,
    NAIVE_INCREMENTS = 100000,
    NAIVE_STARTS = 50,
    MESSAGE_BYTES = 1
};

/* In memory that processes share, too. */
static struct board {
    _Atomic unsigned not_yet_there; /* of the workers that start together */
    _Atomic uint64_t counter;
    _Atomic unsigned exact; /* workers whose own counters came out exact */
} *board;

/* A read, an addition and a write, as a plain `counter++` is; atomic each, so that the language
 * defines what happens between them, and relaxed, so that they are plain moves. */
static void increment(_Atomic uint64_t *counter)
{
    uint64_t seen = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, seen + 1, memory_order_relaxed);
}

struct crew {
    bool processes;
    unsigned workers;
    uint64_t increments; /* of each worker */
    void (*work)(const struct crew *crew);
    const int *pipe_ends; /* of the owner's mailbox */
};

static void *run_worker(void *argument)
{
    const struct crew *crew = argument;
    crew->work(crew);
    return NULL;
}

/* Starts all and waits for their end. */
static void run_crew(const struct crew *crew)
{
    pthread_t threads[NAIVE_WORKERS];
    pid_t pids[NAIVE_WORKERS];
    for (unsigned i = 0; i < crew->workers; i++) {
        if (!crew->processes) {
            micro_thread(&threads[i], run_worker, (void *)(uintptr_t)crew);
            continue;
        }
        pids[i] = micro_fork();
        if (pids[i] == 0) {
            run_worker((void *)(uintptr_t)crew);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < crew->workers; i++) {
        if (crew->processes) {
            errno = ECHILD;
            micro_need(micro_reap(pids[i]) == 0, "a worker failed");
        } else {
            micro_join(threads[i]);
        }
    }
}

/* ---- Without a lock ---- */

/* Not a barrier that sleeps: whoever is woken first would be done before the last one runs. */
static void start_together(void)
{
    atomic_fetch_sub(&board->not_yet_there, 1);
    while (atomic_load(&board->not_yet_there) > 0) {
        sched_yield();
    }
}

static void increment_together(const struct crew *crew)
{
    start_together();
    for (uint64_t i = 0; i < crew->increments; i++) {
        increment(&board->counter);
    }
}

static void increment_at_once(const struct crew *crew)
{
    for (uint64_t i = 0; i < crew->increments; i++) {
        increment(&board->counter);
    }
}

/* What an optimising compiler makes of the loop. */
static void increment_folded(const struct crew *crew)
{
    uint64_t seen = atomic_load_explicit(&board->counter, memory_order_relaxed);
    atomic_store_explicit(&board->counter, seen + crew->increments, memory_order_relaxed);
}

static _Atomic uint64_t private_counter; /* each process has its own */

static void increment_private(const struct crew *crew)
{
    for (uint64_t i = 0; i < crew->increments; i++) {
        increment(&private_counter);
    }
}

struct losses {
    unsigned runs, exact;
    double least, most, sum; /* percent lost */
};

static void count_losses(const struct crew *crew, unsigned runs, struct losses *losses)
{
    for (unsigned run = 0; run < runs; run++) {
        atomic_store(&board->not_yet_there, crew->workers);
        atomic_store(&board->counter, 0);
        run_crew(crew);
        uint64_t expected = crew->workers * crew->increments;
        double lost = 100.0 * (double)(expected - atomic_load(&board->counter)) / (double)expected;
        losses->exact += atomic_load(&board->counter) == expected;
        losses->least = losses->runs == 0 || lost < losses->least ? lost : losses->least;
        losses->most = lost > losses->most ? lost : losses->most;
        losses->sum += lost;
        losses->runs++;
    }
}

static void tell_losses(const char *key, const char *statement, const struct losses *losses,
                        bool count_exact)
{
    micro_fact(key, statement, count_exact ? losses->exact : losses->runs - losses->exact,
               losses->runs, "lost %.2f %% on average (%.2f-%.2f); %u sums exact; %u CPUs",
               losses->sum / losses->runs, losses->least, losses->most, losses->exact,
               micro_cpus());
}

static void tell(const char *key, const char *statement, const struct crew *crew, bool count_exact)
{
    struct losses losses = {0};
    count_losses(crew, micro_pairs(), &losses);
    tell_losses(key, statement, &losses, count_exact);
}

static void tell_of_losses(void)
{
    char statement[160];
    for (int processes = 0; processes < 2; processes++) {
        const struct crew crew = {processes == 1, WORKERS, RACE_INCREMENTS, increment_together,
                                  NULL};
        snprintf(statement, sizeof(statement),
                 "%d %s, started together, %d increments each without a lock: the sum is too small",
                 WORKERS, processes ? "processes on shared memory" : "threads", RACE_INCREMENTS);
        tell(processes ? "unlocked-processes-lose" : "unlocked-threads-lose", statement, &crew,
             false);
    }
}

/* As tutorials have it: how often its sum is exact is the machine's affair, and whether anybody who
 * tries it some times sees an exact one. */
static void tell_of_naive_starts(void)
{
    static const struct crew naive = {false, NAIVE_WORKERS, NAIVE_INCREMENTS, increment_at_once,
                                      NULL};
    struct losses losses = {0};
    unsigned deceived = 0;
    for (unsigned round = 0; round < micro_pairs(); round++) {
        unsigned exact_before = losses.exact;
        count_losses(&naive, NAIVE_STARTS, &losses);
        deceived += losses.exact > exact_before;
    }
    tell_losses("naive-start-exact",
                "5 threads, started one after the other, 100000 increments each without a lock: "
                "the sum is exact all the same",
                &losses, true);
    micro_fact("naive-start-hides-the-race",
               "of 50 such starts in a row at least one has an exact sum", deceived, micro_pairs(),
               "%u of %u sums exact; %u CPUs", losses.exact, losses.runs, micro_cpus());
}

static void tell_of_folded_loop(void)
{
    static const struct crew folded = {false, NAIVE_WORKERS, NAIVE_INCREMENTS, increment_folded,
                                       NULL};
    tell("naive-start-folded-exact",
         "the same 5 threads with the loop folded into one read, one addition and one write, as an "
         "optimising compiler folds a plain one: the sum is exact",
         &folded, true);
}

static void tell_of_private_counter(void)
{
    static const struct crew crew = {true, WORKERS, NAIVE_INCREMENTS, increment_private, NULL};
    unsigned unchanged = 0;
    for (unsigned run = 0; run < micro_pairs(); run++) {
        run_crew(&crew);
        unchanged += atomic_load(&private_counter) == 0;
    }
    micro_fact("private-counter-unchanged",
               "4 processes increment a global variable: their parent's copy stays 0", unchanged,
               micro_pairs(), "each process has a copy of its own");
}

static _Thread_local _Atomic uint64_t own_counter_of_thread; /* of its only thread in a process */

static void increment_own(const struct crew *crew)
{
    start_together();
    for (uint64_t i = 0; i < crew->increments; i++) {
        increment(&own_counter_of_thread);
    }
    atomic_fetch_add(&board->exact, atomic_load(&own_counter_of_thread) == crew->increments);
}

/* A forked worker would inherit what its parent's thread had counted: that one never counts. */
static void tell_of_own_counters(void)
{
    for (int processes = 0; processes < 2; processes++) {
        const struct crew crew = {processes == 1, WORKERS, NAIVE_INCREMENTS, increment_own, NULL};
        unsigned exact = 0;
        for (unsigned run = 0; run < micro_pairs(); run++) {
            atomic_store(&board->not_yet_there, crew.workers);
            atomic_store(&board->exact, 0);
            run_crew(&crew);
            exact += atomic_load(&board->exact) == crew.workers;
        }
        micro_fact(processes ? "unlocked-private-counter-exact-processes"
                             : "unlocked-private-counter-exact-threads",
                   processes ? "4 processes, started together, each with a counter of its own: all "
                               "are exact without a lock"
                             : "4 threads, started together, each with a counter of its own: all "
                               "are exact without a lock",
                   exact, micro_pairs(), "%d increments each", NAIVE_INCREMENTS);
    }
}

/* ---- One owner ---- */

/* Asks the owner, by one byte in its mailbox, for each increment. */
static void ask_owner(const struct crew *crew)
{
    const char message = 1;
    for (uint64_t i = 0; i < crew->increments; i++) {
        micro_need(write(crew->pipe_ends[1], &message, MESSAGE_BYTES) == MESSAGE_BYTES,
                   "cannot write to a pipe");
    }
}

/* The only one to touch the counter; needs no lock. */
static void *own_counter(void *argument)
{
    const struct crew *crew = argument;
    char messages[4096];
    uint64_t counter = 0, expected = crew->workers * crew->increments;
    while (counter < expected) {
        ssize_t got = read(crew->pipe_ends[0], messages, sizeof(messages));
        micro_need(got > 0, "cannot read from a pipe");
        counter += (uint64_t)got;
    }
    atomic_store(&board->counter, counter);
    return NULL;
}

static bool owner_counts_exactly(bool processes)
{
    int pipe_ends[2];
    const struct crew crew = {processes, WORKERS, micro_is_quick() ? 5000 : 50000, ask_owner,
                              pipe_ends};
    pthread_t owner;
    micro_need(pipe(pipe_ends) == 0, "cannot make a pipe");
    atomic_store(&board->counter, 0);
    micro_thread(&owner, own_counter, (void *)(uintptr_t)&crew);
    run_crew(&crew);
    micro_join(owner);
    close(pipe_ends[1]);
    char rest;
    bool nothing_left = read(pipe_ends[0], &rest, 1) == 0;
    close(pipe_ends[0]);
    return nothing_left && atomic_load(&board->counter) == crew.workers * crew.increments;
}

static void tell_of_owner(void)
{
    for (int processes = 0; processes < 2; processes++) {
        unsigned exact = 0;
        for (unsigned run = 0; run < micro_pairs(); run++) {
            exact += owner_counts_exactly(processes == 1);
        }
        micro_fact(processes ? "single-owner-exact-processes" : "single-owner-exact-threads",
                   processes ? "4 processes send each increment to the one owner of the counter: "
                               "the sum is exact without a lock"
                             : "4 threads send each increment to the one owner of the counter: the "
                               "sum is exact without a lock",
                   exact, micro_pairs(), "the queue is a pipe");
    }
}

static void tell_all(void)
{
    tell_of_losses();
    tell_of_naive_starts();
    tell_of_folded_loop();
    tell_of_private_counter();
    tell_of_own_counters();
    tell_of_owner();
}

int main(int argc, char **argv)
{
    micro_start("race", argc, argv);
    board = micro_shared(sizeof(*board));
    if (micro_wants_facts()) {
        tell_all();
    }
    return micro_finish();
}
