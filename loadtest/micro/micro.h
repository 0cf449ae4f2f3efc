/* What the programs of claims have in common: options, interleaved pairs, facts, one JSON object.
 *
 * A program calls micro_start, then micro_series and micro_fact as often as it likes, and ends with
 * micro_finish. An error ends it with status 1 and one line on standard error. Nothing that it
 * started outlives it. */
#ifndef TWINHTTPD_LOADTEST_MICRO_MICRO_H
#define TWINHTTPD_LOADTEST_MICRO_MICRO_H

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MICRO_METRICS_MAX = 2, MICRO_GAMES_MAX = 9, MICRO_DETAIL_BYTES = 256 };

/* Understands --quick, --repetitions N, --series KEY and --help, and ends the program when it
 * hangs. */
void micro_start(const char *name, int argc, char **argv);
bool micro_is_quick(void);
/* Pairs of each series; other work may scale with it. */
unsigned micro_pairs(void);
/* False: a single series was asked for. */
bool micro_wants_facts(void);
/* Prints the JSON object; the status for main to return. */
int micro_finish(void);

_Noreturn void micro_fail(const char *what);
/* Fails unless the condition holds, with errno's text. Inline: compilers and analysers see what
 * holds after it. */
static inline void micro_need(bool condition, const char *what)
{
    if (!condition) {
        micro_fail(what);
    }
}

/* As micro_need, for calls that return an error number. */
static inline void micro_need_zero(int error, const char *what)
{
    errno = error;
    micro_need(error == 0, what);
}

/* ---- Figures ---- */

struct micro_metric {
    const char *key, *unit;
};

/* One way to do what a series is about. */
struct micro_variant {
    const char *name;
    void (*measure)(const void *subject, double *values); /* > 0, one for each metric */
    const void *subject;
    const char *unavailable; /* why this machine lacks it; NULL: it does not */
};

/* From the next series on a value is the median of so many games, each a measurement of its share
 * of the time: an odd number, as many as MICRO_GAMES_MAX. The games take turns as the pairs do, so
 * that a disturbance that lasts less than half of a pair is in no value. 1 until told otherwise,
 * and always with --quick. */
void micro_games(unsigned games);

/* Measures all variants, and "control", which is the first of them again: forwards, then
 * backwards, and so on. The series of several metrics come from the same measurements. Takes over
 * parameters, which may be NULL. */
void micro_series(const struct micro_metric *metrics, size_t metric_count, json_t *parameters,
                  const struct micro_variant *variants, size_t variant_count);
void micro_series_unavailable(const struct micro_metric *metric, const char *why);

/* ---- Facts ---- */

__attribute__((format(printf, 5, 6))) void micro_fact(const char *key, const char *statement,
                                                      unsigned observed, unsigned of,
                                                      const char *detail, ...);
void micro_fact_unavailable(const char *key, const char *statement, const char *why);

/* ---- Time and place ---- */

/* How long one measurement should last, of a value that takes so long in all its games. */
uint64_t micro_budget_ns(unsigned quick_us, unsigned full_us);
/* Sorts the values. */
double micro_median(double *values, size_t count);
/* Nanoseconds of one call: the median of those that fit into the time. A call should take a
 * microsecond or more, or the clock is measured; where others want the CPU, too, most calls are
 * left alone all the same. */
double micro_call_ns(void (*call)(const void *), const void *argument, uint64_t budget_ns);
void micro_sleep_ms(unsigned duration_ms);
/* Asks every millisecond; false when it has not come true in time. */
bool micro_wait_for(bool (*is_true)(const void *), const void *argument, unsigned patience_ms);
unsigned micro_cpus(void);
/* Pins the calling thread, and what it starts from then on, to one of the CPUs that this program
 * may use, counted from 0. */
void micro_pin(unsigned nth);
void micro_unpin(void);

/* ---- Processes, threads, memory ---- */

/* fork; the child is killed when its parent ends. */
pid_t micro_fork(void);
/* Waits for its end; the status as of waitpid. */
int micro_reap(pid_t pid);
/* Kills and reaps. */
void micro_kill(pid_t pid);
/* Runs a function in a child; true when it returned true. */
bool micro_true_in_child(bool (*run)(void));
void micro_thread(pthread_t *thread, void *(*run)(void *), void *argument);
void micro_join(pthread_t thread);
/* Memory that children share; zeroed. */
void *micro_shared(size_t bytes);
/* Private memory, in pages of the usual size, each of them touched. */
char *micro_touched(size_t bytes);
void micro_unmap(void *memory, size_t bytes);

/* A lock that works between processes; robust: it survives the death of its owner. */
void micro_shared_mutex(pthread_mutex_t *mutex, bool robust);

/* ---- What the kernel shows ---- */

struct micro_process {
    char state; /* a letter of /proc/PID/stat; 0: there is no such process */
    pid_t parent;
    uint64_t cpu_ticks;
    uint64_t resident_pages;
};

struct micro_process micro_look(pid_t pid);
/* The same for one thread of a process. */
struct micro_process micro_look_at_thread(pid_t pid, pid_t tid);
/* Waits until the process is in this state; false when it is not in time. */
bool micro_wait_for_state(pid_t pid, char state, unsigned patience_ms);
/* Reads the beginning of a file as text; false when it cannot. */
bool micro_read_text(const char *path, char *text, size_t size_bytes);

#endif
