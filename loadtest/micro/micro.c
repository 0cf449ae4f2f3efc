#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    QUICK_PAIRS = 5,
    FULL_PAIRS = 20,
    PAIRS_MAX = 1000,
    VARIANTS_MAX = 16,
    PATIENCE_S = 60, /* and so much again for each pair: far more than a measurement takes */
    PAIR_PATIENCE_S = 15,
    CALLS_MAX = 8192,
    TOUCH_STEP_BYTES = 4096
};

static struct {
    char name[32];
    bool quick;
    unsigned pairs;
    unsigned games;   /* of each value */
    const char *only; /* the key of the one series that is wanted; NULL: all, and the facts */
    cpu_set_t cpus;
    json_t *series, *facts;
} micro;

/* ---- Start and end ---- */

void micro_fail(const char *what)
{
    fprintf(stderr, "micro-%s: %s: %s\n", micro.name, what, strerror(errno));
    _exit(1); /* also in children: what the parent has not yet printed is not theirs */
}

_Noreturn static void fail_usage(const char *what)
{
    fprintf(stderr, "micro-%s: %s; see --help\n", micro.name, what);
    exit(2);
}

static void on_alarm(int signum)
{
    static const char line[] = "micro: a measurement hangs; the machine may be far too busy\n";
    (void)signum;
    (void)!write(STDERR_FILENO, line, sizeof(line) - 1);
    _exit(1);
}

static unsigned pairs_of(const char *text)
{
    char *end;
    unsigned long pairs = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || pairs < 1 || pairs > PAIRS_MAX) {
        fail_usage("--repetitions must be from 1 to 1000");
    }
    return (unsigned)pairs;
}

static void parse_options(int argc, char **argv)
{
    static const struct option names[] = {{"quick", no_argument, NULL, 'q'},
                                          {"repetitions", required_argument, NULL, 'r'},
                                          {"series", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    unsigned pairs = 0;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'q':
            micro.quick = true;
            break;
        case 'r':
            pairs = pairs_of(optarg);
            break;
        case 's':
            micro.only = optarg;
            break;
        case 'h':
            printf("Usage: micro-%s [--option value]...\n"
                   "  --quick          5 pairs of short measurements, under 5 s\n"
                   "  --repetitions N  pairs of each series, 1 to 1000; default 20\n"
                   "  --series KEY     this series only, and no facts\n"
                   "Prints one JSON object; loadtest/micro/README.md says what is in it.\n",
                   micro.name);
            exit(0);
        default:
            fail_usage("unknown option, or one without its value");
        }
    }
    if (optind < argc) {
        fail_usage("only options are understood");
    }
    micro.pairs = pairs > 0 ? pairs : micro.quick ? QUICK_PAIRS : FULL_PAIRS;
}

void micro_start(const char *name, int argc, char **argv)
{
    snprintf(micro.name, sizeof(micro.name), "%s", name);
    micro.games = 1;
    parse_options(argc, argv);
    micro.series = json_array();
    micro.facts = json_array();
    const struct rlimit no_core = {0, 0}; /* of children that end by a signal on purpose */
    micro_need(setrlimit(RLIMIT_CORE, &no_core) == 0, "cannot forbid core files");
    micro_need(sched_getaffinity(0, sizeof(micro.cpus), &micro.cpus) == 0, "cannot learn the CPUs");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, on_alarm);
    alarm(PATIENCE_S + micro.pairs * PAIR_PATIENCE_S);
}

bool micro_is_quick(void)
{
    return micro.quick;
}

unsigned micro_pairs(void)
{
    return micro.pairs;
}

bool micro_wants_facts(void)
{
    return micro.only == NULL;
}

int micro_finish(void)
{
    if (micro.only != NULL && json_array_size(micro.series) == 0) {
        fail_usage("there is no series of this key");
    }
    json_t *all = json_pack("{s:s}", "micro", micro.name);
    if (json_array_size(micro.series) > 0) {
        json_object_set(all, "series", micro.series);
    }
    if (json_array_size(micro.facts) > 0) {
        json_object_set(all, "facts", micro.facts);
    }
    bool printed = json_dumpf(all, stdout, JSON_REAL_PRECISION(6)) == 0 && putchar('\n') == '\n' &&
                   fflush(stdout) == 0;
    micro_need(printed, "cannot print the results");
    json_decref(all);
    json_decref(micro.series);
    json_decref(micro.facts);
    return 0;
}

/* ---- Figures ---- */

void micro_games(unsigned games)
{
    errno = EINVAL;
    micro_need(games % 2 == 1 && games <= MICRO_GAMES_MAX, "no number of games");
    micro.games = micro.quick ? 1 : games;
}

static void measure(const struct micro_variant *variant, double *values, size_t metric_count)
{
    memset(values, 0, MICRO_METRICS_MAX * sizeof(*values));
    variant->measure(variant->subject, values);
    for (size_t i = 0; i < metric_count; i++) {
        errno = ERANGE;
        micro_need(values[i] > 0, variant->name);
    }
}

static double median_of_games(double (*games)[MICRO_METRICS_MAX], size_t metric)
{
    double values[MICRO_GAMES_MAX] = {0};
    for (unsigned game = 0; game < micro.games; game++) {
        values[game] = games[game][metric];
    }
    return micro_median(values, micro.games);
}

/* One value of each variant and metric. */
static void measure_pair(unsigned pair, const struct micro_variant *variants, size_t count,
                         json_t *const *runs, size_t metric_count)
{
    double values[VARIANTS_MAX][MICRO_GAMES_MAX][MICRO_METRICS_MAX];
    for (unsigned game = 0; game < micro.games; game++) {
        for (size_t turn = 0; turn < count; turn++) {
            /* An odd number of games: the next pair begins the other way round. */
            size_t j = (pair + game) % 2 == 0 ? turn : count - 1 - turn;
            measure(&variants[j], values[j][game], metric_count);
        }
    }
    for (size_t j = 0; j < count; j++) {
        for (size_t i = 0; i < metric_count; i++) {
            json_array_append_new(json_object_get(runs[i], variants[j].name),
                                  json_real(median_of_games(values[j], i)));
        }
    }
}

/* Those that can be measured, and the control; returns how many. */
static size_t available(const struct micro_variant *from, size_t count, struct micro_variant *to,
                        json_t *unavailable)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (from[i].unavailable == NULL) {
            to[found++] = from[i];
        } else {
            json_object_set_new(unavailable, from[i].name, json_string(from[i].unavailable));
        }
    }
    errno = EINVAL;
    micro_need(found > 0 && found < VARIANTS_MAX, "a series without variants, or with too many");
    to[found] = to[0];
    to[found].name = "control";
    return found + 1;
}

static bool is_wanted(const struct micro_metric *metrics, size_t metric_count)
{
    for (size_t i = 0; i < metric_count; i++) {
        if (micro.only == NULL || strcmp(micro.only, metrics[i].key) == 0) {
            return true;
        }
    }
    return false;
}

void micro_series(const struct micro_metric *metrics, size_t metric_count, json_t *parameters,
                  const struct micro_variant *variants, size_t variant_count)
{
    struct micro_variant chosen[VARIANTS_MAX];
    json_t *runs[MICRO_METRICS_MAX];
    if (!is_wanted(metrics, metric_count)) {
        json_decref(parameters);
        return;
    }
    json_t *unavailable = json_object();
    size_t count = available(variants, variant_count, chosen, unavailable);
    for (size_t i = 0; i < metric_count; i++) {
        runs[i] = json_object();
        for (size_t j = 0; j < count; j++) {
            json_object_set_new(runs[i], chosen[j].name, json_array());
        }
    }
    for (size_t j = 0; j < count; j++) {
        double unrecorded[MICRO_METRICS_MAX];
        measure(&chosen[j], unrecorded, metric_count); /* caches, lazy binding, the allocator */
    }
    for (unsigned pair = 0; pair < micro.pairs; pair++) {
        measure_pair(pair, chosen, count, runs, metric_count);
    }
    for (size_t i = 0; i < metric_count; i++) {
        json_t *series = json_pack("{s:s, s:s, s:o}", "key", metrics[i].key, "unit",
                                   metrics[i].unit, "runs", runs[i]);
        if (parameters != NULL) {
            json_object_set(series, "parameters", parameters);
        }
        if (json_object_size(unavailable) > 0) {
            json_object_set(series, "unavailable_variants", unavailable);
        }
        json_array_append_new(micro.series, series);
    }
    json_decref(unavailable);
    json_decref(parameters);
}

void micro_series_unavailable(const struct micro_metric *metric, const char *why)
{
    if (!is_wanted(metric, 1)) {
        return;
    }
    json_array_append_new(micro.series, json_pack("{s:s, s:s, s:s}", "key", metric->key, "unit",
                                                  metric->unit, "unavailable", why));
}

/* ---- Facts ---- */

void micro_fact(const char *key, const char *statement, unsigned observed, unsigned of,
                const char *detail, ...)
{
    char text[MICRO_DETAIL_BYTES];
    va_list arguments;
    va_start(arguments, detail);
    vsnprintf(text, sizeof(text), detail, arguments);
    va_end(arguments);
    json_array_append_new(micro.facts,
                          json_pack("{s:s, s:s, s:i, s:i, s:s}", "key", key, "statement", statement,
                                    "observed", (int)observed, "of", (int)of, "detail", text));
}

void micro_fact_unavailable(const char *key, const char *statement, const char *why)
{
    json_array_append_new(micro.facts, json_pack("{s:s, s:s, s:s}", "key", key, "statement",
                                                 statement, "unavailable", why));
}

/* ---- Time and place ---- */

uint64_t micro_budget_ns(unsigned quick_us, unsigned full_us)
{
    return (uint64_t)(micro.quick ? quick_us : full_us) * 1000 / micro.games;
}

static int by_size(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

double micro_median(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), by_size);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double micro_call_ns(void (*call)(const void *), const void *argument, uint64_t budget_ns)
{
    static double calls_ns[CALLS_MAX];
    size_t calls = 0;
    uint64_t start_ns = clock_monotonic_ns(), now_ns = start_ns;
    do {
        uint64_t before_ns = now_ns;
        call(argument);
        now_ns = clock_monotonic_ns();
        calls_ns[calls++] = (double)(now_ns - before_ns);
    } while (now_ns - start_ns < budget_ns && calls < CALLS_MAX);
    return micro_median(calls_ns, calls);
}

void micro_sleep_ms(unsigned duration_ms)
{
    struct timespec left = {duration_ms / 1000, (long)(duration_ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

bool micro_wait_for(bool (*is_true)(const void *), const void *argument, unsigned patience_ms)
{
    uint64_t deadline_ms = clock_monotonic_ms() + patience_ms;
    while (!is_true(argument)) {
        if (clock_monotonic_ms() >= deadline_ms) {
            return false;
        }
        micro_sleep_ms(1);
    }
    return true;
}

unsigned micro_cpus(void)
{
    return (unsigned)CPU_COUNT(&micro.cpus);
}

void micro_pin(unsigned nth)
{
    unsigned seen = 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &micro.cpus) && seen++ == nth) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            micro_need(sched_setaffinity(0, sizeof(one), &one) == 0, "cannot pin to a CPU");
            return;
        }
    }
    errno = EINVAL;
    micro_fail("there is no such CPU");
}

void micro_unpin(void)
{
    micro_need(sched_setaffinity(0, sizeof(micro.cpus), &micro.cpus) == 0, "cannot unpin");
}

/* ---- Processes, threads, memory ---- */

pid_t micro_fork(void)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    micro_need(pid >= 0, "cannot fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(1);
        }
    }
    return pid;
}

int micro_reap(pid_t pid)
{
    int status;
    pid_t reaped;
    do {
        reaped = waitpid(pid, &status, 0);
    } while (reaped < 0 && errno == EINTR);
    micro_need(reaped == pid, "cannot wait for a child");
    return status;
}

void micro_kill(pid_t pid)
{
    micro_need(kill(pid, SIGKILL) == 0, "cannot kill a child");
    micro_reap(pid);
}

bool micro_true_in_child(bool (*run)(void))
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        _exit(run() ? 0 : 3);
    }
    int status = micro_reap(pid);
    errno = ECHILD;
    micro_need(WIFEXITED(status) && WEXITSTATUS(status) != 1, "a child failed");
    return WEXITSTATUS(status) == 0;
}

void micro_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
    micro_need_zero(pthread_create(thread, NULL, run, argument), "cannot start a thread");
}

void micro_join(pthread_t thread)
{
    micro_need_zero(pthread_join(thread, NULL), "cannot join a thread");
}

static void *map(size_t bytes, int flags)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    micro_need(memory != MAP_FAILED, "cannot map memory");
    return memory;
}

void *micro_shared(size_t bytes)
{
    return map(bytes, MAP_SHARED);
}

char *micro_touched(size_t bytes)
{
    char *memory = map(bytes, MAP_PRIVATE);
    /* Huge pages would make the figures depend on a setting; refused where the kernel has none. */
    (void)madvise(memory, bytes, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < bytes; at += TOUCH_STEP_BYTES) {
        memory[at] = 1;
    }
    return memory;
}

void micro_unmap(void *memory, size_t bytes)
{
    micro_need(munmap(memory, bytes) == 0, "cannot unmap memory");
}

void micro_shared_mutex(pthread_mutex_t *mutex, bool robust)
{
    pthread_mutexattr_t attributes;
    micro_need_zero(pthread_mutexattr_init(&attributes), "cannot make a mutex");
    micro_need_zero(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED),
                    "cannot share a mutex");
    micro_need_zero(pthread_mutexattr_setrobust(&attributes, robust ? PTHREAD_MUTEX_ROBUST
                                                                    : PTHREAD_MUTEX_STALLED),
                    "cannot make a mutex robust");
    micro_need_zero(pthread_mutex_init(mutex, &attributes), "cannot make a mutex");
    pthread_mutexattr_destroy(&attributes);
}

/* ---- What the kernel shows ---- */

bool micro_read_text(const char *path, char *text, size_t size_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, text, size_bytes - 1);
    close(fd);
    if (got < 0) {
        return false;
    }
    text[got] = '\0';
    return true;
}

static struct micro_process look_at(const char *path)
{
    char text[1024];
    struct micro_process process = {0};
    unsigned long user_ticks, system_ticks;
    long resident_pages;
    if (!micro_read_text(path, text, sizeof(text))) {
        return process;
    }
    const char *fields = strrchr(text, ')');
    if (fields == NULL) {
        return process;
    }
    /* Fields 3, 4, 14, 15 and 24 of proc_pid_stat(5). */
    if (sscanf(fields, /* NOLINT: the kernel's own numbers */
               ") %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u "
               "%*u %ld",
               &process.state, &process.parent, &user_ticks, &system_ticks, &resident_pages) != 5) {
        return (struct micro_process){0};
    }
    process.cpu_ticks = user_ticks + system_ticks;
    process.resident_pages = (uint64_t)resident_pages;
    return process;
}

struct micro_process micro_look(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    return look_at(path);
}

struct micro_process micro_look_at_thread(pid_t pid, pid_t tid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
    return look_at(path);
}

bool micro_wait_for_state(pid_t pid, char state, unsigned patience_ms)
{
    uint64_t deadline_ms = clock_monotonic_ms() + patience_ms;
    while (micro_look(pid).state != state) {
        if (clock_monotonic_ms() >= deadline_ms) {
            return false;
        }
        micro_sleep_ms(1);
    }
    return true;
}
