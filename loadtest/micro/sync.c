/* What locks cost, that they make a counter exact between threads and between processes, and what
 * becomes of them when their owner dies. */
#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 4, MOST_WORKERS = 8, CACHE_LINE_BYTES = 64, HANG_PATIENCE_MS = 100, GAMES = 5 };

/* In memory that processes share. */
static struct board {
    pthread_mutex_t mutex, shared_mutex, robust_mutex;
    sem_t semaphore;
    pthread_barrier_t start;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t counter;
    _Alignas(CACHE_LINE_BYTES) uint64_t plain_counter; /* under one of the locks */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t iterations;
    _Atomic uint64_t first_start_ns, last_end_ns;
    _Atomic bool stop;
    _Atomic uint32_t futex;
    _Atomic unsigned seated; /* workers that have a CPU */
} *board;

/* ---- One increment ---- */

static void add_plainly(void)
{
    /* Read and written each time, as a compiler may not fold it. */
    *(volatile uint64_t *)&board->plain_counter += 1;
}

static void add_atomically(void)
{
    atomic_fetch_add(&board->counter, 1);
}

static void add_under(pthread_mutex_t *mutex)
{
    micro_need_zero(pthread_mutex_lock(mutex), "cannot lock a mutex");
    add_plainly();
    pthread_mutex_unlock(mutex);
}

static void add_under_mutex(void)
{
    add_under(&board->mutex);
}

static void add_under_shared_mutex(void)
{
    add_under(&board->shared_mutex);
}

static void add_under_robust_mutex(void)
{
    add_under(&board->robust_mutex);
}

static void add_under_semaphore(void)
{
    while (sem_wait(&board->semaphore) != 0) {
        micro_need(errno == EINTR, "cannot wait on a semaphore");
    }
    add_plainly();
    sem_post(&board->semaphore);
}

struct adder {
    void (*add)(void);
};

static void measure_alone(const void *subject, double *values)
{
    enum { BATCH = 1000 };
    const struct adder *adder = subject;
    uint64_t budget_ns = micro_budget_ns(5000, 20000), rounds = 0, elapsed_ns;
    uint64_t start_ns = clock_monotonic_ns();
    do {
        for (int i = 0; i < BATCH; i++) {
            adder->add();
        }
        rounds += BATCH;
        elapsed_ns = clock_monotonic_ns() - start_ns;
    } while (elapsed_ns < budget_ns);
    values[0] = (double)elapsed_ns / (double)rounds;
}

static void run_alone(void)
{
    static const struct adder adders[] = {
        {add_plainly},         {add_atomically},         {add_under_mutex},
        {add_under_semaphore}, {add_under_shared_mutex}, {add_under_robust_mutex}};
    static const struct micro_variant variants[] = {
        {"none", measure_alone, &adders[0], NULL},
        {"atomic", measure_alone, &adders[1], NULL},
        {"mutex", measure_alone, &adders[2], NULL},
        {"semaphore", measure_alone, &adders[3], NULL},
        {"process-shared-mutex", measure_alone, &adders[4], NULL},
        {"robust-mutex", measure_alone, &adders[5], NULL}};
    micro_series(&(struct micro_metric){"uncontended", "ns"}, 1, NULL, variants, 6);
}

/* ---- Workers ---- */

/* What each of several threads or processes runs after they have met at the barrier. */
struct crew {
    bool processes;
    unsigned workers;
    void (*work)(const struct crew *crew);
    const void *subject;
    unsigned rounds;
};

/* The workers take the time themselves: on few CPUs their caller may sleep while they work. */
static void note_start(void)
{
    uint64_t now_ns = clock_monotonic_ns(), seen_ns = atomic_load(&board->first_start_ns);
    while (now_ns < seen_ns &&
           !atomic_compare_exchange_weak(&board->first_start_ns, &seen_ns, now_ns)) {
    }
}

static void note_end(void)
{
    uint64_t now_ns = clock_monotonic_ns(), seen_ns = atomic_load(&board->last_end_ns);
    while (now_ns > seen_ns &&
           !atomic_compare_exchange_weak(&board->last_end_ns, &seen_ns, now_ns)) {
    }
}

static void *run_worker(void *argument)
{
    const struct crew *crew = argument;
    pthread_barrier_wait(&board->start);
    note_start();
    crew->work(crew);
    note_end();
    return NULL;
}

struct started {
    pthread_t threads[MOST_WORKERS];
    pid_t pids[MOST_WORKERS];
};

/* They wait at the barrier for one more: the caller. */
static void start_crew(const struct crew *crew, struct started *started)
{
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    micro_need_zero(pthread_barrier_init(&board->start, &attributes, crew->workers + 1),
                    "cannot make a barrier");
    pthread_barrierattr_destroy(&attributes);
    atomic_store(&board->first_start_ns, UINT64_MAX);
    atomic_store(&board->last_end_ns, 0);
    for (unsigned i = 0; i < crew->workers; i++) {
        if (!crew->processes) {
            micro_thread(&started->threads[i], run_worker, (void *)(uintptr_t)crew);
            continue;
        }
        started->pids[i] = micro_fork();
        if (started->pids[i] == 0) {
            run_worker((void *)(uintptr_t)crew);
            _exit(0);
        }
    }
}

/* From the first worker's start to the last one's end. */
static uint64_t join_crew(const struct crew *crew, const struct started *started)
{
    for (unsigned i = 0; i < crew->workers; i++) {
        if (crew->processes) {
            micro_need(micro_reap(started->pids[i]) == 0, "a worker failed");
        } else {
            micro_join(started->threads[i]);
        }
    }
    pthread_barrier_destroy(&board->start);
    return atomic_load(&board->last_end_ns) - atomic_load(&board->first_start_ns);
}

static uint64_t time_crew(const struct crew *crew)
{
    struct started started;
    start_crew(crew, &started);
    pthread_barrier_wait(&board->start);
    return join_crew(crew, &started);
}

static void add_many(const struct crew *crew)
{
    const struct adder *adder = crew->subject;
    for (unsigned i = 0; i < crew->rounds; i++) {
        adder->add();
    }
}

/* ---- The counter of four workers: cost and exactness ---- */

static unsigned increments(void)
{
    return micro_is_quick() ? 10000 : 50000;
}

static void measure_contended(const void *subject, double *values)
{
    const struct crew *crew = subject;
    values[0] = (double)time_crew(crew) / ((double)crew->rounds * crew->workers);
}

static void run_contended(const char *key, const struct adder *adder)
{
    const struct crew crews[] = {{false, WORKERS, add_many, adder, increments()},
                                 {true, WORKERS, add_many, adder, increments()}};
    const struct micro_variant variants[] = {{"thread", measure_contended, &crews[0], NULL},
                                             {"process", measure_contended, &crews[1], NULL}};
    micro_series(&(struct micro_metric){key, "ns"}, 1,
                 json_pack("{s:i, s:i, s:i}", "workers", WORKERS, "increments_each",
                           (int)increments(), "cpus", (int)micro_cpus()),
                 variants, 2);
}

static void tell_exactness(const char *lock, const struct adder *adder, bool processes)
{
    const struct crew crew = {processes, WORKERS, add_many, adder, increments()};
    char key[64], statement[160];
    unsigned exact = 0;
    for (unsigned run = 0; run < micro_pairs(); run++) {
        atomic_store(&board->counter, 0);
        board->plain_counter = 0;
        time_crew(&crew);
        exact += atomic_load(&board->counter) + board->plain_counter ==
                 (uint64_t)crew.rounds * crew.workers;
    }
    snprintf(key, sizeof(key), "%s-exact-%s", lock, processes ? "processes" : "threads");
    snprintf(statement, sizeof(statement),
             "%d %s, %u increments each of one counter, with %s: the sum is exact", WORKERS,
             processes ? "processes" : "threads", crew.rounds, lock);
    micro_fact(key, statement, exact, micro_pairs(), "%u of %u sums exact", exact, micro_pairs());
}

static const struct adder by_atomic = {add_atomically}, by_mutex = {add_under_shared_mutex},
                          by_semaphore = {add_under_semaphore};

static void run_counters(void)
{
    run_contended("atomic-4-workers", &by_atomic);
    run_contended("mutex-4-workers", &by_mutex);
    run_contended("semaphore-4-workers", &by_semaphore);
}

static void tell_all_exactness(void)
{
    for (int processes = 0; processes < 2; processes++) {
        tell_exactness("atomic", &by_atomic, processes == 1);
        tell_exactness("mutex", &by_mutex, processes == 1);
        tell_exactness("semaphore", &by_semaphore, processes == 1);
    }
}

/* ---- How far a lock lets workers scale ---- */

enum { WORK_STEPS = 20000 }; /* of one iteration: microseconds, beside which a lock costs little */

struct occupancy {
    unsigned percent; /* of an iteration's steps that are made inside the lock */
};

/* The same code inside the lock and outside: two copies of the loop differ in speed, by how they
 * lie in memory. */
__attribute__((noinline)) static void work(unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        __asm__ volatile("" : : "r"(i));
    }
}

static void work_with_lock(const struct crew *crew)
{
    const struct occupancy *occupancy = crew->subject;
    unsigned inside = WORK_STEPS * occupancy->percent / 100;
    uint64_t iterations = 0;
    /* In turn, or two workers share a CPU until the kernel has seen them for some milliseconds. */
    micro_pin(atomic_fetch_add(&board->seated, 1) % micro_cpus());
    do { /* once at least: on a busy machine the stop may come before the start */
        work(WORK_STEPS - inside);
        if (inside > 0) {
            micro_need_zero(pthread_mutex_lock(&board->shared_mutex), "cannot lock a mutex");
            work(inside);
            pthread_mutex_unlock(&board->shared_mutex);
        }
        iterations++;
    } while (!atomic_load_explicit(&board->stop, memory_order_relaxed));
    atomic_fetch_add(&board->iterations, iterations);
}

/* Iterations of all workers in a millisecond. */
static void measure_scaling(const void *subject, double *values)
{
    const struct crew *crew = subject;
    struct started started;
    atomic_store(&board->stop, false);
    atomic_store(&board->iterations, 0);
    atomic_store(&board->seated, 0);
    start_crew(crew, &started);
    pthread_barrier_wait(&board->start);
    micro_sleep_ms((unsigned)(micro_budget_ns(8000, 50000) / 1000000));
    atomic_store(&board->stop, true);
    uint64_t elapsed_ns = join_crew(crew, &started);
    values[0] = (double)atomic_load(&board->iterations) / ((double)elapsed_ns / 1e6);
}

static void run_scaling(unsigned percent)
{
    const struct occupancy occupancy = {percent};
    const struct crew crews[] = {{false, 1, work_with_lock, &occupancy, 0},
                                 {false, 2, work_with_lock, &occupancy, 0},
                                 {false, 4, work_with_lock, &occupancy, 0},
                                 {false, 8, work_with_lock, &occupancy, 0},
                                 {true, 2, work_with_lock, &occupancy, 0}};
    const struct micro_variant variants[] = {{"threads-1", measure_scaling, &crews[0], NULL},
                                             {"threads-2", measure_scaling, &crews[1], NULL},
                                             {"threads-4", measure_scaling, &crews[2], NULL},
                                             {"threads-8", measure_scaling, &crews[3], NULL},
                                             {"processes-2", measure_scaling, &crews[4], NULL}};
    char key[32];
    snprintf(key, sizeof(key), "lock-occupancy-%u", percent);
    micro_series(
        &(struct micro_metric){key, "1/ms"}, 1,
        json_pack("{s:i, s:i}", "percent_inside_lock", (int)percent, "cpus", (int)micro_cpus()),
        variants, 5);
}

/* ---- Owners that die ---- */

static struct timespec soon(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += HANG_PATIENCE_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

/* A child takes the lock and is killed with it. */
static void die_with_lock(void (*lock)(void))
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        lock();
        raise(SIGKILL);
    }
    micro_reap(pid);
}

static void lock_robust(void)
{
    pthread_mutex_lock(&board->robust_mutex);
}

static void lock_plain(void)
{
    pthread_mutex_lock(&board->shared_mutex);
}

static void lock_semaphore(void)
{
    sem_wait(&board->semaphore);
}

/* True: told of the death, made consistent, and from then on a mutex like any other. */
static bool robust_names_dead_owner(void)
{
    die_with_lock(lock_robust);
    struct timespec until = soon();
    bool told = pthread_mutex_timedlock(&board->robust_mutex, &until) == EOWNERDEAD;
    if (told) {
        pthread_mutex_consistent(&board->robust_mutex);
        pthread_mutex_unlock(&board->robust_mutex);
        told = pthread_mutex_lock(&board->robust_mutex) == 0;
        pthread_mutex_unlock(&board->robust_mutex);
    }
    return told;
}

static bool plain_hangs_after_dead_owner(void)
{
    die_with_lock(lock_plain);
    struct timespec until = soon();
    bool hangs = pthread_mutex_timedlock(&board->shared_mutex, &until) == ETIMEDOUT;
    micro_shared_mutex(&board->shared_mutex, false); /* nobody else uses it now: a new one */
    return hangs;
}

static bool semaphore_hangs_after_dead_owner(void)
{
    die_with_lock(lock_semaphore);
    struct timespec until = soon();
    bool hangs = sem_timedwait(&board->semaphore, &until) != 0 && errno == ETIMEDOUT;
    sem_post(&board->semaphore);
    return hangs;
}

static long futex(int operation, uint32_t value)
{
    struct timespec patience = {5, 0};
    return syscall(SYS_futex, &board->futex, operation, value,
                   operation == FUTEX_WAIT ? &patience : NULL, NULL, 0);
}

/* A child sleeps in the kernel on a word of shared memory until we have changed it. */
static bool futex_wakes_other_process(void)
{
    atomic_store(&board->futex, 0);
    pid_t pid = micro_fork();
    if (pid == 0) {
        while (atomic_load(&board->futex) == 0) {
            if (futex(FUTEX_WAIT, 0) != 0 && errno == ETIMEDOUT) {
                _exit(3);
            }
        }
        _exit(0);
    }
    bool slept = micro_wait_for_state(pid, 'S', 2000);
    atomic_store(&board->futex, 1);
    futex(FUTEX_WAKE, 1);
    return micro_reap(pid) == 0 && slept;
}

static void tell(const char *key, const char *statement, bool (*is_so)(void))
{
    unsigned runs = micro_is_quick() ? 3 : 10, observed = 0;
    for (unsigned run = 0; run < runs; run++) {
        observed += is_so();
    }
    micro_fact(key, statement, observed, runs, "waited up to %d ms", HANG_PATIENCE_MS);
}

static void tell_of_deaths(void)
{
    tell("robust-mutex-names-dead-owner",
         "after its owner was killed a robust mutex goes to the next process, with EOWNERDEAD",
         robust_names_dead_owner);
    tell("plain-mutex-hangs-after-dead-owner",
         "after its owner was killed a process-shared mutex that is not robust stays locked",
         plain_hangs_after_dead_owner);
    tell("semaphore-hangs-after-dead-owner",
         "after its holder was killed a semaphore in shared memory stays taken",
         semaphore_hangs_after_dead_owner);
    tell("futex-wakes-other-process",
         "a process that sleeps on a word of shared memory is woken by another process",
         futex_wakes_other_process);
}

int main(int argc, char **argv)
{
    micro_start("sync", argc, argv);
    board = micro_shared(sizeof(*board));
    micro_need_zero(pthread_mutex_init(&board->mutex, NULL), "cannot make a mutex");
    micro_shared_mutex(&board->shared_mutex, false);
    micro_shared_mutex(&board->robust_mutex, true);
    micro_need(sem_init(&board->semaphore, 1, 1) == 0, "cannot make a semaphore");
    run_alone();
    run_counters();
    micro_games(GAMES);
    run_scaling(0);
    run_scaling(10);
    run_scaling(50);
    run_scaling(90);
    if (micro_wants_facts()) {
        tell_all_exactness();
        tell_of_deaths();
    }
    return micro_finish();
}
