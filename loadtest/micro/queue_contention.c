/* What the hand-over of a request to a pool thread and back costs, without a server around it.
 *
 * Producers stand for event loops: each owns WINDOW requests, hands them over as threadpool.c does,
 * and sleeps until some are back. Consumers stand for pool threads whose handlers do nothing. Every
 * queue is measured in turn within each repetition, so that they meet the same noise.
 *
 * Exit status: 0 good, 1 a request was lost or handed out twice, 2 wrong usage or no threads.
 */
#include "common/base/clock.h"
#include "server/threadpool/queue.h"
#ifdef TWINHTTPD_CK
#include "loadtest/micro/ck_queue.h"
#endif

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
    WINDOW = 64, /* requests in flight of each producer */
    MAX_PRODUCERS = 2,
    MAX_THREADS = 512,
    MAX_REPETITIONS = 99,
    LENGTH = 1024,      /* of the queue: never full */
    HEARTBEAT_MS = 500, /* as in threadpool.c */
    PATIENCE_MS = 5000, /* with a request that does not come back */
    CACHE_LINE_BYTES = 64
};

static const char usage_text[] =
    "Usage: queue_contention [--option value]...\n"
    "  --json            a JSON line for each queue and configuration; default: a table\n"
    "  --repetitions N   1 to 99; default 5\n"
    "  --duration-ms N   of one measurement, after a tenth of it to warm up; default 300\n";

static const struct queue_kind {
    const char *name;
    struct queue *(*create)(size_t length);
    void (*destroy)(struct queue *queue);
    bool (*reserve)(struct queue *queue);
    void (*push)(struct queue *queue, struct queue_chain *chain);
    struct http_exchange *(*pop)(struct queue *queue, unsigned timeout_ms, bool *closed);
    void (*close)(struct queue *queue);
} kinds[] = {
    {"mutex", queue_create, queue_destroy, queue_reserve, queue_push, queue_pop, queue_close},
#ifdef TWINHTTPD_CK
    {"ck", ck_queue_create, ck_queue_destroy, ck_queue_reserve, ck_queue_push, ck_queue_pop,
     ck_queue_close},
#endif
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static const size_t producer_counts[] = {1, 2};
static const size_t chain_lengths[] = {1, 8};
static const size_t thread_counts[] = {1, 2, 8, 64, MAX_THREADS};

enum { CONFIGURATIONS = 2 * 2 * 5 };

struct configuration {
    size_t producers, chain, threads;
};

struct sample {
    double wall_ns, cpu_ns, switches; /* per request */
    double fairness;                  /* requests of the idlest thread by those of the busiest */
};

struct options {
    bool json;
    unsigned repetitions, duration_ms;
};

struct request {
    struct http_exchange exchange; /* first: the queues hand this out */
    _Atomic bool queued;
};

struct producer {
    alignas(CACHE_LINE_BYTES) pthread_t thread;
    struct request requests[WINDOW];
    size_t lost;
    alignas(CACHE_LINE_BYTES) _Atomic(struct http_exchange *) completed; /* linked by next */
    sem_t back; /* one each time that completed was empty and no longer is */
};

struct consumer {
    alignas(CACHE_LINE_BYTES) pthread_t thread;
    _Atomic uint64_t handled;
    uint64_t handled_before; /* the measurement; the main thread's */
    size_t twice;            /* requests that nobody had queued */
};

static struct producer producers[MAX_PRODUCERS];
static struct consumer consumers[MAX_THREADS];
static struct sample samples[CONFIGURATIONS][KINDS][MAX_REPETITIONS];

/* Of the measurement that runs. */
static const struct queue_kind *kind;
static struct queue *queue;
static struct configuration configuration;
static _Atomic bool stop;

static const struct route quick = {.blocks = false};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "queue_contention: %s: %s\n", what, why);
    exit(2);
}

/* ---- The way back: as a loop's list of completed requests with its eventfd. A producer stands
 * where the connection does in a server; nobody else looks inside ---- */

static void complete(struct http_exchange *exchange)
{
    struct producer *producer = (struct producer *)exchange->connection;
    struct http_exchange *first = atomic_load(&producer->completed);
    do {
        exchange->next = first;
    } while (!atomic_compare_exchange_weak(&producer->completed, &first, exchange));
    if (first == NULL) {
        sem_post(&producer->back);
    }
}

/* NULL: none came back in time. */
static struct http_exchange *await_completed(struct producer *producer)
{
    struct timespec until;
    int failed;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    do {
        failed = sem_clockwait(&producer->back, CLOCK_MONOTONIC, &until);
    } while (failed != 0 && errno == EINTR);
    return failed != 0 ? NULL : atomic_exchange(&producer->completed, NULL);
}

/* ---- Threads ---- */

/* One turn of a loop. Returns how many it handed over. */
static size_t hand_over(struct http_exchange *list)
{
    struct queue_chain pending = {0};
    size_t count = 0;
    while (list != NULL) {
        struct http_exchange *exchange = list;
        list = exchange->next;
        if (!kind->reserve(queue)) {
            fprintf(stderr, "queue_contention: %s: more requests handed out than went in\n",
                    kind->name);
            exit(1); /* its count has gone below zero: there are fewer requests than places */
        }
        atomic_store(&((struct request *)exchange)->queued, true);
        queue_chain_add(&pending, exchange);
        count++;
        if (pending.count == configuration.chain) {
            kind->push(queue, &pending);
        }
    }
    kind->push(queue, &pending);
    return count;
}

static size_t length_of(const struct http_exchange *list)
{
    size_t length = 0;
    for (; list != NULL; list = list->next) {
        length++;
    }
    return length;
}

static void *run_producer(void *argument)
{
    struct producer *producer = argument;
    struct http_exchange *home = NULL;
    size_t out = 0;
    for (size_t i = 0; i < WINDOW; i++) {
        struct http_exchange *exchange = &producer->requests[i].exchange;
        *exchange = (struct http_exchange){
            .route = &quick, .connection = (struct connection *)producer, .next = home};
        home = exchange;
    }
    do {
        out += hand_over(home);
        home = await_completed(producer);
        out -= length_of(home);
    } while (home != NULL && !atomic_load(&stop));
    while (out > 0 && (home = await_completed(producer)) != NULL) {
        out -= length_of(home);
    }
    producer->lost = out;
    return NULL;
}

static void *run_consumer(void *argument)
{
    struct consumer *consumer = argument;
    bool closed = false;
    uint64_t handled = 0;
    while (!closed) {
        struct http_exchange *batch = kind->pop(queue, HEARTBEAT_MS, &closed);
        while (batch != NULL) {
            struct http_exchange *exchange = batch;
            batch = exchange->next;
            handled++;
            if (atomic_exchange(&((struct request *)exchange)->queued, false)) {
                complete(exchange);
            } else {
                consumer->twice++;
            }
        }
        atomic_store_explicit(&consumer->handled, handled, memory_order_relaxed);
    }
    return NULL;
}

static void start_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
    int error = pthread_create(thread, NULL, run, argument);
    if (error != 0) {
        die("cannot start a thread; raise ulimit -u", strerror(error));
    }
}

static void start_threads(void)
{
    atomic_store(&stop, false);
    for (size_t i = 0; i < configuration.threads; i++) {
        consumers[i] = (struct consumer){0};
        start_thread(&consumers[i].thread, run_consumer, &consumers[i]);
    }
    for (size_t i = 0; i < configuration.producers; i++) {
        atomic_store(&producers[i].completed, NULL);
        sem_init(&producers[i].back, 0, 0);
        start_thread(&producers[i].thread, run_producer, &producers[i]);
    }
}

/* False: not every request was handed out once, and says so. */
static bool end_threads(void)
{
    size_t lost = 0, twice = 0;
    atomic_store(&stop, true);
    for (size_t i = 0; i < configuration.producers; i++) {
        pthread_join(producers[i].thread, NULL);
        lost += producers[i].lost;
    }
    kind->close(queue);
    for (size_t i = 0; i < configuration.threads; i++) {
        pthread_join(consumers[i].thread, NULL);
        twice += consumers[i].twice;
    }
    for (size_t i = 0; i < configuration.producers; i++) {
        sem_destroy(&producers[i].back);
    }
    if (lost + twice > 0) {
        fprintf(stderr, "queue_contention: %s: %zu requests lost, %zu handed out twice\n",
                kind->name, lost, twice);
    }
    return lost + twice == 0;
}

/* ---- Measuring ---- */

struct reading {
    uint64_t wall_ns, cpu_ns, switches;
};

static struct reading read_process(void)
{
    struct timespec cpu;
    struct rusage usage;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    getrusage(RUSAGE_SELF, &usage);
    return (struct reading){.wall_ns = clock_monotonic_ns(),
                            .cpu_ns = (uint64_t)cpu.tv_sec * 1000000000 + (uint64_t)cpu.tv_nsec,
                            .switches = (uint64_t)usage.ru_nvcsw};
}

static void sleep_ms(unsigned duration_ms)
{
    struct timespec duration = {duration_ms / 1000, (long)(duration_ms % 1000) * 1000000};
    while (nanosleep(&duration, &duration) != 0) {
    }
}

static void note_handled(void)
{
    for (size_t i = 0; i < configuration.threads; i++) {
        consumers[i].handled_before =
            atomic_load_explicit(&consumers[i].handled, memory_order_relaxed);
    }
}

static struct sample sample_since(const struct reading *before)
{
    struct reading now = read_process();
    uint64_t total = 0, least = UINT64_MAX, most = 0;
    for (size_t i = 0; i < configuration.threads; i++) {
        uint64_t handled = atomic_load_explicit(&consumers[i].handled, memory_order_relaxed) -
                           consumers[i].handled_before;
        total += handled;
        least = handled < least ? handled : least;
        most = handled > most ? handled : most;
    }
    double requests = total > 0 ? (double)total : 1;
    return (struct sample){.wall_ns = (double)(now.wall_ns - before->wall_ns) / requests,
                           .cpu_ns = (double)(now.cpu_ns - before->cpu_ns) / requests,
                           .switches = (double)(now.switches - before->switches) / requests,
                           .fairness = most > 0 ? (double)least / (double)most : 0};
}

/* False: a request was lost or handed out twice. */
static bool measure(unsigned duration_ms, struct sample *sample)
{
    queue = kind->create(LENGTH);
    start_threads();
    sleep_ms(duration_ms / 10 + 1);
    note_handled();
    struct reading before = read_process();
    sleep_ms(duration_ms);
    *sample = sample_since(&before);
    bool good = end_threads();
    kind->destroy(queue);
    return good;
}

static struct configuration configuration_of(size_t index)
{
    return (struct configuration){.producers = producer_counts[index / 10],
                                  .chain = chain_lengths[index / 5 % 2],
                                  .threads = thread_counts[index % 5]};
}

static bool measure_all(const struct options *options)
{
    for (unsigned repetition = 0; repetition < options->repetitions; repetition++) {
        for (size_t index = 0; index < CONFIGURATIONS; index++) {
            configuration = configuration_of(index);
            for (size_t turn = 0; turn < KINDS; turn++) { /* who is first changes */
                size_t chosen = (turn + repetition) % KINDS;
                kind = &kinds[chosen];
                if (!measure(options->duration_ms, &samples[index][chosen][repetition])) {
                    return false;
                }
            }
        }
    }
    return true;
}

/* ---- Reporting ---- */

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

struct summary {
    double median, least, most;
};

static struct summary summarise(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare);
    return (struct summary){.median = (values[(count - 1) / 2] + values[count / 2]) / 2,
                            .least = values[0],
                            .most = values[count - 1]};
}

/* Of the member at this offset of a sample. */
static struct summary summary_of(const struct sample *of, size_t count, size_t offset)
{
    double values[MAX_REPETITIONS];
    for (size_t i = 0; i < count; i++) {
        memcpy(&values[i], (const char *)&of[i] + offset, sizeof(values[i]));
    }
    return summarise(values, count);
}

/* Wall time against that of the first queue, repetition by repetition. */
static struct summary ratio_of(size_t index, size_t chosen, size_t count)
{
    double values[MAX_REPETITIONS];
    for (size_t i = 0; i < count; i++) {
        values[i] = samples[index][chosen][i].wall_ns / samples[index][0][i].wall_ns;
    }
    return summarise(values, count);
}

static void report(const struct options *options, size_t index, size_t chosen)
{
    static const char table[] =
        "%9zu %5zu %7zu  %-5s %8.0f %8.0f %8.3f %8.2f  %.2f (%.2f to %.2f)\n";
    static const char json[] =
        "{\"producers\": %zu, \"chain\": %zu, \"threads\": %zu, \"queue\": \"%s\", "
        "\"wall_ns\": %.1f, \"cpu_ns\": %.1f, \"voluntary_switches\": %.4f, \"fairness\": %.3f, "
        "\"wall_ratio\": %.3f, \"wall_ratio_least\": %.3f, \"wall_ratio_most\": %.3f}\n";
    const struct sample *of = samples[index][chosen];
    size_t count = options->repetitions;
    struct configuration at = configuration_of(index);
    struct summary ratio = ratio_of(index, chosen, count);
    printf(options->json ? json : table, at.producers, at.chain, at.threads, kinds[chosen].name,
           summary_of(of, count, offsetof(struct sample, wall_ns)).median,
           summary_of(of, count, offsetof(struct sample, cpu_ns)).median,
           summary_of(of, count, offsetof(struct sample, switches)).median,
           summary_of(of, count, offsetof(struct sample, fairness)).median, ratio.median,
           ratio.least, ratio.most);
}

static void report_all(const struct options *options)
{
    if (!options->json) {
        puts("producers chain threads  queue  wall ns   cpu ns switches min/max   wall by mutex's");
    }
    for (size_t index = 0; index < CONFIGURATIONS; index++) {
        for (size_t chosen = 0; chosen < KINDS; chosen++) {
            report(options, index, chosen);
        }
    }
}

static unsigned number_of(const char *text, unsigned most)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (*end != '\0' || number < 1 || number > most) {
        die(text, "not a number within its limits; see --help");
    }
    return (unsigned)number;
}

static struct options parse_options(int argc, char **argv)
{
    static const struct option known[] = {{"json", no_argument, NULL, 'j'},
                                          {"repetitions", required_argument, NULL, 'r'},
                                          {"duration-ms", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    struct options options = {.repetitions = 5, .duration_ms = 300};
    int option;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'j':
            options.json = true;
            break;
        case 'r':
            options.repetitions = number_of(optarg, MAX_REPETITIONS);
            break;
        case 'd':
            options.duration_ms = number_of(optarg, 10000);
            break;
        default:
            fputs(usage_text, option == 'h' ? stdout : stderr);
            exit(option == 'h' ? 0 : 2);
        }
    }
    return options;
}

int main(int argc, char **argv)
{
    struct options options = parse_options(argc, argv);
    if (!measure_all(&options)) {
        return 1;
    }
    report_all(&options);
    return 0;
}
