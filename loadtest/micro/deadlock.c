/* Two workers take two locks in opposite order and meet: both stop for ever, be they threads or
 * processes. What shows it is that they sleep in the kernel and use no CPU time any more. */
#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { A, B, LOCKS };
enum { WORKERS = 2, START_PATIENCE_MS = 5000, LOCK_PATIENCE_MS = 50, ROUNDS = 200 };

/* In memory that processes share. */
static struct board {
    pthread_mutex_t locks[LOCKS];
    pthread_barrier_t both_hold_one;
    _Atomic int tids[WORKERS];
    _Atomic unsigned beyond_barrier; /* nothing but a lock can make them sleep from there on */
    _Atomic unsigned finished;
} *board;

static void prepare(bool robust)
{
    pthread_barrierattr_t attributes;
    memset(board, 0, sizeof(*board));
    micro_shared_mutex(&board->locks[A], robust);
    micro_shared_mutex(&board->locks[B], robust);
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    micro_need_zero(pthread_barrier_init(&board->both_hold_one, &attributes, WORKERS),
                    "cannot make a barrier");
    pthread_barrierattr_destroy(&attributes);
}

static void lock(int which)
{
    int error = pthread_mutex_lock(&board->locks[which]);
    if (error == EOWNERDEAD) {
        error = pthread_mutex_consistent(&board->locks[which]);
    }
    micro_need_zero(error, "cannot lock a mutex");
}

/* ---- Workers: the first takes A, then B, the second B, then A ---- */

static void announce(int worker)
{
    atomic_store(&board->tids[worker], (int)syscall(SYS_gettid));
}

static void take_both(int worker)
{
    int first = worker == 0 ? A : B;
    announce(worker);
    lock(first);
    pthread_barrier_wait(&board->both_hold_one);
    atomic_fetch_add(&board->beyond_barrier, 1);
    lock(first == A ? B : A);
    pthread_mutex_unlock(&board->locks[A]);
    pthread_mutex_unlock(&board->locks[B]);
    atomic_fetch_add(&board->finished, 1);
}

/* The way out: whoever does not get the second lock in time gives the first one back. */
static bool try_both(int first)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    /* The second worker is patient for longer: were both alike, both might give up for ever. */
    until.tv_nsec += (long)(first == A ? 1 : 3) * LOCK_PATIENCE_MS * 1000000L / 3;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    lock(first);
    if (pthread_mutex_timedlock(&board->locks[first == A ? B : A], &until) != 0) {
        pthread_mutex_unlock(&board->locks[first]);
        return false;
    }
    pthread_mutex_unlock(&board->locks[A]);
    pthread_mutex_unlock(&board->locks[B]);
    return true;
}

static void take_both_with_patience(int worker)
{
    int first = worker == 0 ? A : B;
    announce(worker);
    lock(first);
    pthread_barrier_wait(&board->both_hold_one);
    pthread_mutex_unlock(&board->locks[first]);
    while (!try_both(first)) {
        micro_sleep_ms((unsigned)worker + 1);
    }
    atomic_fetch_add(&board->finished, 1);
}

static void take_both_in_same_order(int worker)
{
    announce(worker);
    pthread_barrier_wait(&board->both_hold_one);
    for (int i = 0; i < ROUNDS; i++) {
        lock(A);
        lock(B);
        pthread_mutex_unlock(&board->locks[B]);
        pthread_mutex_unlock(&board->locks[A]);
    }
    atomic_fetch_add(&board->finished, 1);
}

/* ---- Two of them, as threads of one child or as two children ---- */

static void (*work)(int worker);

static void *run_thread(void *argument)
{
    work((int)(intptr_t)argument);
    return NULL;
}

struct workers {
    bool are_processes;
    pid_t pids[WORKERS]; /* the same one twice for threads */
};

static pid_t start_process(int worker)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        work(worker);
        _exit(0);
    }
    return pid;
}

static pid_t start_threads(void)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        pthread_t threads[WORKERS];
        for (int i = 0; i < WORKERS; i++) {
            micro_thread(&threads[i], run_thread, (void *)(intptr_t)i);
        }
        for (int i = 0; i < WORKERS; i++) {
            micro_join(threads[i]);
        }
        _exit(0);
    }
    return pid;
}

static struct workers start(void (*what)(int worker), bool processes, bool robust)
{
    struct workers workers = {.are_processes = processes};
    prepare(robust);
    work = what;
    if (processes) {
        workers.pids[0] = start_process(0);
        workers.pids[1] = start_process(1);
    } else {
        workers.pids[0] = workers.pids[1] = start_threads();
    }
    return workers;
}

static void end(const struct workers *workers)
{
    micro_kill(workers->pids[0]);
    if (workers->are_processes) {
        micro_kill(workers->pids[1]);
    }
}

/* ---- What the kernel shows of them ---- */

struct sight {
    bool asleep, in_futex;
    uint64_t cpu_ns;
};

static uint64_t cpu_ns_of(pid_t pid, pid_t tid)
{
    char path[80], text[128];
    unsigned long long used = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", pid, tid);
    if (micro_read_text(path, text, sizeof(text)) &&
        sscanf(text, "%llu", &used) == 1) { /* NOLINT */
        return used;
    }
    return micro_look_at_thread(pid, tid).cpu_ticks; /* coarser, and standing still just as well */
}

/* Where it sleeps: by the kernel's name of the place, or by the number of the system call. */
static bool is_in_futex(pid_t pid, pid_t tid)
{
    char path[80], text[128];
    int number = -1;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/wchan", pid, tid);
    if (micro_read_text(path, text, sizeof(text)) && strstr(text, "futex") != NULL) {
        return true;
    }
    snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", pid, tid);
    return micro_read_text(path, text, sizeof(text)) && sscanf(text, "%d", &number) == 1 &&
           number == SYS_futex; /* NOLINT */
}

static struct sight look_at(const struct workers *workers)
{
    struct sight sight = {true, true, 0};
    for (int i = 0; i < WORKERS; i++) {
        pid_t pid = workers->pids[i], tid = atomic_load(&board->tids[i]);
        sight.asleep = sight.asleep && micro_look_at_thread(pid, tid).state == 'S';
        sight.in_futex = sight.in_futex && is_in_futex(pid, tid);
        sight.cpu_ns += cpu_ns_of(pid, tid);
    }
    return sight;
}

static bool both_sleep(const void *argument)
{
    const struct workers *workers = argument;
    return atomic_load(&board->beyond_barrier) == WORKERS && look_at(workers).asleep;
}

/* Also gives them time to leave the CPU: they show S a moment before. */
static void wait_until_stuck(const struct workers *workers)
{
    micro_wait_for(both_sleep, workers, START_PATIENCE_MS);
    micro_sleep_ms(20);
}

static bool both_finished(const void *argument)
{
    (void)argument;
    return atomic_load(&board->finished) == WORKERS;
}

/* ---- Facts ---- */

static unsigned runs(void)
{
    return micro_is_quick() ? 3 : 10;
}

static unsigned watch_ms(void)
{
    return micro_is_quick() ? 200 : 1000;
}

struct stops {
    unsigned stopped, stood_still, in_futex;
};

static void watch_one(bool processes, struct stops *stops)
{
    struct workers workers = start(take_both, processes, false);
    wait_until_stuck(&workers);
    struct sight before = look_at(&workers);
    bool finished = micro_wait_for(both_finished, NULL, watch_ms());
    struct sight after = look_at(&workers);
    stops->stopped += !finished && after.asleep && atomic_load(&board->finished) == 0;
    stops->stood_still += !finished && before.cpu_ns == after.cpu_ns;
    stops->in_futex += after.in_futex;
    end(&workers);
}

static void tell_stops(bool processes)
{
    struct stops stops = {0};
    for (unsigned run = 0; run < runs(); run++) {
        watch_one(processes, &stops);
    }
    micro_fact(processes ? "processes-stop" : "threads-stop",
               processes
                   ? "two processes that take two shared locks in opposite order stop for ever"
                   : "two threads that take two locks in opposite order stop for ever",
               stops.stopped, runs(), "watched for %u ms each; both asleep (S), none finished",
               watch_ms());
    micro_fact(processes ? "processes-cpu-stands-still" : "threads-cpu-stands-still",
               "meanwhile neither uses any CPU time", stops.stood_still, runs(),
               "to the nanosecond, where the kernel counts them");
    micro_fact(processes ? "processes-wait-in-futex" : "threads-wait-in-futex",
               "the kernel shows both of them waiting for a lock", stops.in_futex, runs(),
               "/proc/PID/task/TID/wchan or syscall");
}

static void tell_ways_out(const char *key, const char *statement, void (*what)(int worker))
{
    unsigned finished = 0;
    for (unsigned run = 0; run < 2 * runs(); run++) {
        struct workers workers = start(what, run % 2 == 1, false);
        finished += micro_wait_for(both_finished, NULL, START_PATIENCE_MS);
        end(&workers);
    }
    micro_fact(key, statement, finished, 2 * runs(), "threads and processes in turn");
}

static bool other_finished(const void *argument)
{
    (void)argument;
    return atomic_load(&board->finished) == 1;
}

static unsigned count_freed(bool robust)
{
    unsigned freed = 0;
    for (unsigned run = 0; run < runs(); run++) {
        struct workers workers = start(take_both, true, robust);
        wait_until_stuck(&workers);
        bool stuck = atomic_load(&board->finished) == 0;
        micro_kill(workers.pids[0]);
        freed += stuck && micro_wait_for(other_finished, NULL, robust ? START_PATIENCE_MS : 200);
        micro_kill(workers.pids[1]);
    }
    return freed;
}

static void tell_all(void)
{
    tell_stops(false);
    tell_stops(true);
    tell_ways_out("same-order-never-stops",
                  "two workers that take both locks in the same order finish",
                  take_both_in_same_order);
    tell_ways_out("timeout-gets-out",
                  "two workers that give the first lock back when the second one does not come in "
                  "time finish",
                  take_both_with_patience);
    unsigned freed = count_freed(true), plain_freed = count_freed(false);
    micro_fact("killing-one-frees-the-other-if-robust",
               "of two processes that block each other with robust locks, one goes on when the "
               "other is killed",
               freed, runs(), "with locks that are not robust: %u of %u", plain_freed, runs());
}

int main(int argc, char **argv)
{
    micro_start("deadlock", argc, argv);
    board = micro_shared(sizeof(*board));
    if (micro_wants_facts()) {
        tell_all();
    }
    return micro_finish();
}
