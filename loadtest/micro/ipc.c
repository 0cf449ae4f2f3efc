/* What it costs to bring a message to another process, by every means that there is, and to another
 * thread; and facts about shared memory, pipes and mapped files. */
#include "loadtest/micro/ipc_channel.h"
#include "loadtest/micro/ipc_facts.h"
#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP_ROUNDS = 5, ANSWER_BYTES = 8, KINDS_MAX = 14, MIB = 1024 * 1024 };

/* What the receiver is to do with a message. */
enum order { GO_ON, ANSWER, STOP };

/* Each message begins with this; the rest repeats its seed. */
struct head {
    uint32_t order;
    uint32_t seed;
};

struct game {
    const struct channel_kind *kind;
    size_t bytes;
    bool two_cpus;
};

/* What the sides of one game share. */
struct table {
    struct channel channel;
    const struct game *game;
    uint64_t *partner_cpu_ns; /* as it was when the partner answered last */
    uint32_t seed;
    pid_t pid;
    pthread_t thread;
};

static uint64_t cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* ---- Messages: each byte is written by one side and read by the other ---- */

static void produce(char *place, size_t bytes, struct head head)
{
    memcpy(place, &head, sizeof(head));
    memset(place + sizeof(head), (int)(head.seed % 251), bytes - sizeof(head));
}

static struct head consume(const char *place, size_t bytes)
{
    struct head head;
    uint64_t sum = 0, expected = 0;
    memcpy(&head, place, sizeof(head));
    memset(&expected, (int)(head.seed % 251), sizeof(expected));
    for (size_t at = sizeof(head); at < bytes; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, place + at, sizeof(word));
        sum += word;
    }
    errno = EBADMSG;
    micro_need(sum == expected * ((bytes - sizeof(head)) / sizeof(uint64_t)),
               "a message arrived damaged");
    return head;
}

static void send_message(struct channel *channel, enum direction direction, size_t bytes,
                         struct head head)
{
    produce(channel->kind->place(channel, direction), bytes, head);
    channel->kind->send(channel, direction, bytes);
}

static struct head receive_message(struct channel *channel, enum direction direction, size_t bytes)
{
    struct head head = consume(channel->kind->receive(channel, direction, bytes), bytes);
    channel->kind->give_back(channel, direction);
    return head;
}

/* ---- The two sides ---- */

static void *play_along(void *argument)
{
    struct table *table = argument;
    struct channel *channel = &table->channel;
    uint32_t expected = 0;
    if (table->game->two_cpus) {
        micro_pin(1);
    }
    for (;;) {
        struct head head = receive_message(channel, THERE, table->game->bytes);
        errno = EBADMSG;
        micro_need(head.seed == expected++, "a message is missing");
        if (head.order == STOP) {
            return NULL;
        }
        if (head.order == ANSWER) {
            *table->partner_cpu_ns = cpu_ns();
            send_message(channel, BACK, ANSWER_BYTES, head);
        }
    }
}

static void start_partner(struct table *table, const struct game *game)
{
    table->game = game;
    table->seed = 0;
    channel_open(&table->channel, game->kind, game->bytes);
    micro_pin(0);
    if (game->kind->for_threads) {
        micro_thread(&table->thread, play_along, table);
        return;
    }
    table->pid = micro_fork();
    if (table->pid == 0) {
        table->channel.pids[BACK] = getpid();
        play_along(table);
        _exit(0);
    }
    table->channel.pids[BACK] = table->pid;
}

static void send_order(struct table *table, enum order order)
{
    struct head head = {order, table->seed++};
    send_message(&table->channel, THERE, table->game->bytes, head);
    if (order == ANSWER) {
        errno = EBADMSG;
        micro_need(receive_message(&table->channel, BACK, ANSWER_BYTES).seed == head.seed,
                   "an answer to another message arrived");
    }
}

static void stop_partner(struct table *table)
{
    send_order(table, STOP);
    if (table->game->kind->for_threads) {
        micro_join(table->thread);
    } else {
        micro_need(micro_reap(table->pid) == 0, "the other side failed");
    }
    channel_close(&table->channel);
    micro_unpin();
}

static struct table table;

/* Nanoseconds of a message there and an answer of eight bytes back. */
static void measure_latency(const void *subject, double *values)
{
    start_partner(&table, subject);
    for (int i = 0; i < WARM_UP_ROUNDS; i++) {
        send_order(&table, ANSWER);
    }
    uint64_t budget_ns = micro_budget_ns(4000, 15000), rounds = 0, elapsed_ns;
    uint64_t start_ns = clock_monotonic_ns();
    do {
        send_order(&table, ANSWER);
        rounds++;
        elapsed_ns = clock_monotonic_ns() - start_ns;
    } while (elapsed_ns < budget_ns);
    stop_partner(&table);
    values[0] = (double)elapsed_ns / (double)rounds;
}

/* A reading is taken when all that was sent has been read. */
static uint64_t cpu_of_both_ns(void)
{
    return cpu_ns() + (table.game->kind->for_threads ? 0 : *table.partner_cpu_ns);
}

/* Megabytes in a second of messages sent one after the other, and microseconds of CPU time that
 * both sides spend on each of them. */
static void measure_stream(const void *subject, double *values)
{
    const struct game *game = subject;
    start_partner(&table, game);
    send_order(&table, GO_ON);
    send_order(&table, ANSWER);
    uint64_t budget_ns = micro_budget_ns(4000, 15000), messages = 0;
    uint64_t cpu_before_ns = cpu_of_both_ns(), start_ns = clock_monotonic_ns();
    do {
        send_order(&table, GO_ON);
        messages++;
    } while (clock_monotonic_ns() - start_ns < budget_ns);
    send_order(&table, ANSWER);
    messages++;
    uint64_t elapsed_ns = clock_monotonic_ns() - start_ns;
    double used_us = (double)(cpu_of_both_ns() - cpu_before_ns) / 1000;
    stop_partner(&table);
    double megabytes = (double)messages * (double)game->bytes / 1e6;
    values[0] = megabytes / ((double)elapsed_ns / 1e9);
    values[1] = used_us / megabytes;
}

/* ---- Series ---- */

static bool fits(const struct channel_kind *kind, size_t bytes)
{
    return kind->message_bytes == 0 || bytes <= kind->message_bytes;
}

static size_t make_variants(void (*measure)(const void *, double *), size_t bytes, bool two_cpus,
                            struct game *games, struct micro_variant *variants)
{
    size_t count = 0;
    for (size_t i = 0; i < channel_kind_count; i++) {
        const struct channel_kind *kind = &channel_kinds[i];
        if (fits(kind, bytes) && (kind->streams || measure == measure_latency)) {
            games[count] = (struct game){kind, bytes, two_cpus};
            variants[count] = (struct micro_variant){kind->name, measure, &games[count],
                                                     channel_kind_unavailable(kind)};
            count++;
        }
    }
    return count;
}

static json_t *parameters(size_t bytes, int cpus)
{
    return json_pack("{s:i, s:i, s:i, s:s}", "message_bytes", (int)bytes, "answer_bytes",
                     ANSWER_BYTES, "cpus", cpus, "directory", channel_directory());
}

static void run_latency(const char *key, size_t bytes, bool two_cpus)
{
    const struct micro_metric metric = {key, "ns"};
    struct game games[KINDS_MAX];
    struct micro_variant variants[KINDS_MAX];
    if (two_cpus && micro_cpus() < 2) {
        micro_series_unavailable(&metric, "this program may use one CPU only");
        return;
    }
    size_t count = make_variants(measure_latency, bytes, two_cpus, games, variants);
    micro_series(&metric, 1, parameters(bytes, two_cpus ? 2 : 1), variants, count);
}

static void run_stream(const char *throughput_key, const char *cpu_key, size_t bytes)
{
    const struct micro_metric metrics[] = {{throughput_key, "MB/s"}, {cpu_key, "us/MB"}};
    struct game games[KINDS_MAX];
    struct micro_variant variants[KINDS_MAX];
    size_t count = make_variants(measure_stream, bytes, false, games, variants);
    micro_series(metrics, 2, parameters(bytes, 1), variants, count);
}

int main(int argc, char **argv)
{
    micro_start("ipc", argc, argv);
    table.partner_cpu_ns = micro_shared(sizeof(*table.partner_cpu_ns));
    run_latency("latency-8-b", 8, false);
    run_latency("latency-1-kib", 1024, false);
    run_latency("latency-64-kib", 65536, false);
    run_latency("latency-1-mib", MIB, false);
    run_latency("latency-8-b-two-cpus", 8, true);
    run_stream("throughput-64-kib", "cpu-64-kib", 65536);
    run_stream("throughput-1-mib", "cpu-1-mib", MIB);
    if (micro_wants_facts()) {
        ipc_tell_facts();
    }
    return micro_finish();
}
