#include "server/observe/metrics.h"

#include "common/base/signal_name.h"
#include "common/http/weight.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- Which format ---- */

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* The weight of a media range, and whether it asks for a version that is not spoken here. */
static int read_parameters(struct span parameters, const char *version)
{
    int weight = WEIGHT_ONE;
    while (parameters.len > 0) {
        struct span value = weight_cut(&parameters, ';');
        struct span name = weight_cut(&value, '=');
        if (span_equal_nocase(name, SPAN("q"))) {
            weight = larger(weight_parse(value), 0); /* what is none is 0 */
        } else if (span_equal_nocase(name, SPAN("version")) &&
                   !span_equal(value, span_of(version))) {
            return 0;
        }
    }
    return weight;
}

static bool is_text(struct span type)
{
    return span_equal_nocase(type, SPAN("text/plain")) || span_equal_nocase(type, SPAN("text/*")) ||
           span_equal(type, SPAN("*/*"));
}

enum metrics_format metrics_choose(struct span accept)
{
    int text = 0;
    int openmetrics = 0;
    while (accept.len > 0) {
        struct span range = weight_cut(&accept, ',');
        struct span type = weight_cut(&range, ';');
        if (span_equal_nocase(type, SPAN("application/openmetrics-text"))) {
            openmetrics = larger(openmetrics, read_parameters(range, "1.0.0"));
        } else if (is_text(type)) {
            text = larger(text, read_parameters(range, "0.0.4"));
        }
    }
    return openmetrics > 0 && openmetrics >= text ? METRICS_OPENMETRICS : METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_format format)
{
    return format == METRICS_OPENMETRICS
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

/* ---- Writing ---- */

struct writer {
    struct buffer *out;
    enum metrics_format format;
    const char *name; /* of the family that is being written, without twinhttpd_ */
};

enum type { COUNTER, GAUGE, HISTOGRAM };

/* A counter's family has no suffix in OpenMetrics; its samples have it in both. */
static void begin_family(struct writer *writer, enum type type, const char *name, const char *help)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const char *total = type == COUNTER && writer->format == METRICS_TEXT ? "_total" : "";
    writer->name = name;
    buffer_printf(writer->out, "# HELP twinhttpd_%s%s %s\n# TYPE twinhttpd_%s%s %s\n", name, total,
                  help, name, total, types[type]);
}

/* "12.345678": millionths, without zeros at the end. */
static void append_millionths(struct buffer *out, uint64_t millionths)
{
    buffer_append_uint(out, millionths / 1000000);
    char digits[8];
    snprintf(digits, sizeof(digits), ".%06u", (unsigned)(millionths % 1000000));
    size_t len = strlen(digits);
    while (digits[len - 1] == '0') {
        len--;
    }
    buffer_append(out, digits, len > 1 ? len : 0);
}

static void put_sample(struct writer *writer, const char *suffix, const char *labels,
                       uint64_t value)
{
    buffer_printf(writer->out, "twinhttpd_%s%s%s ", writer->name, suffix, labels);
    buffer_append_uint(writer->out, value);
    buffer_append_span(writer->out, SPAN("\n"));
}

static void put_seconds(struct writer *writer, const char *suffix, const char *labels, uint64_t us)
{
    buffer_printf(writer->out, "twinhttpd_%s%s%s ", writer->name, suffix, labels);
    append_millionths(writer->out, us);
    buffer_append_span(writer->out, SPAN("\n"));
}

static void put_counter(struct writer *writer, const char *name, const char *help, uint64_t value)
{
    begin_family(writer, COUNTER, name, help);
    put_sample(writer, "_total", "", value);
}

static void put_gauge(struct writer *writer, const char *name, const char *help, uint64_t value)
{
    begin_family(writer, GAUGE, name, help);
    put_sample(writer, "", "", value);
}

enum { LABELS_BYTES = 48 };

static void put_labelled(struct writer *writer, const char *suffix, const char *label,
                         const char *value, uint64_t number)
{
    char labels[LABELS_BYTES];
    snprintf(labels, sizeof(labels), "{%s=\"%s\"}", label, value);
    put_sample(writer, suffix, labels, number);
}

/* A text that may hold anything, as the value of a label. */
static void append_label(struct buffer *out, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\n') {
            buffer_append_span(out, SPAN("\\n"));
            continue;
        }
        if (*c == '"' || *c == '\\') {
            buffer_append_span(out, SPAN("\\"));
        }
        buffer_append(out, c, 1);
    }
}

/* ---- Counters ---- */

static void put_traffic(struct writer *writer, const struct counter_sums *counters)
{
    put_counter(writer, "requests_started", "Requests whose headers were read.",
                counters->requests_started);
    put_counter(writer, "requests_finished",
                "Requests whose last byte of the answer the kernel has taken.",
                counters->requests_finished);
    put_counter(writer, "requests_aborted",
                "Requests that were started, and then the client left or was cut.",
                counters->requests_aborted);
    put_counter(writer, "requests_handled", "Handlers that were run.", counters->requests_handled);
    put_counter(writer, "sent_bytes", "Bytes of answers that the kernel has taken.",
                counters->bytes_sent);
    put_counter(writer, "connections_accepted", "Connections that were accepted.",
                counters->connections_accepted);
    put_counter(writer, "connections_moved", "Connections that one event loop handed to another.",
                counters->connections_adopted);
    put_counter(writer, "connections_refused", "Connections of clients that had too many.",
                counters->connections_refused);
    put_counter(writer, "faults_recovered", "Faults of handlers that were answered 500.",
                counters->faults_recovered);
}

/* All of them are there from the first scrape on: else the first death would be no increase. */
static void put_deaths(struct writer *writer, const struct facts_totals *totals)
{
    static const int named[] = {SIGABRT, SIGBUS, SIGKILL, SIGSEGV, SIGTERM};
    uint64_t others = totals->deaths - totals->deaths_by_signal[0];
    begin_family(writer, COUNTER, "deaths", "Processes that have died, by signal or exit.");
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        char name[SIGNAL_NAME_BYTES];
        signal_name(named[i], name);
        put_labelled(writer, "_total", "cause", name, totals->deaths_by_signal[named[i]]);
        others -= totals->deaths_by_signal[named[i]];
    }
    put_labelled(writer, "_total", "cause", "exit", totals->deaths_by_signal[0]);
    put_labelled(writer, "_total", "cause", "other", others);
}

static void put_losses(struct writer *writer, const struct facts_totals *totals)
{
    const uint64_t *adoption = totals->counters.adoption.of;
    begin_family(writer, COUNTER, "requests_lost",
                 "Requests that deaths have cost: read and not answered, or awaited.");
    put_labelled(writer, "_total", "kind", "in_progress", totals->in_progress_lost);
    put_labelled(writer, "_total", "kind", "awaited",
                 totals->requests_lost - totals->in_progress_lost);
    put_counter(writer, "adopted_connections", "Connections that successors took over.",
                adoption[ADOPTION_CONNECTIONS]);
    put_counter(writer, "adoption_lost_connections",
                "Connections that successors could not go on with.", adoption[ADOPTION_LOST]);
    begin_family(writer, COUNTER, "adoption_requests",
                 "What became of requests that the dead left to successors.");
    put_labelled(writer, "_total", "outcome", "repeated", adoption[ADOPTION_REPEATED]);
    put_labelled(writer, "_total", "outcome", "resumed", adoption[ADOPTION_RESUMED]);
    put_labelled(writer, "_total", "outcome", "skipped", adoption[ADOPTION_SKIPPED]);
    put_labelled(writer, "_total", "outcome", "refused_500", adoption[ADOPTION_REFUSED_500]);
    put_labelled(writer, "_total", "outcome", "refused_502", adoption[ADOPTION_REFUSED_502]);
}

static void put_incidents(struct writer *writer, const struct facts *facts)
{
    put_deaths(writer, &facts->totals);
    put_losses(writer, &facts->totals);
    put_counter(writer, "stuck_incidents", "Threads that the watchdog has found stuck.",
                facts->totals.stuck_incidents);
    put_counter(writer, "observer_deaths", "Observers that ended without being told to.",
                facts->observer_deaths);
}

/* ---- Histograms ---- */

enum { NS_EACH_S = 1000000000 };

static void put_bucket(struct writer *writer, uint64_t bound_ns, uint64_t count)
{
    char labels[LABELS_BYTES], fraction[16];
    snprintf(fraction, sizeof(fraction), "%09u", (unsigned)(bound_ns % NS_EACH_S));
    size_t len = strlen(fraction);
    while (len > 1 && fraction[len - 1] == '0') {
        len--;
    }
    snprintf(labels, sizeof(labels), "{le=\"%" PRIu64 ".%.*s\"}", bound_ns / NS_EACH_S, (int)len,
             fraction);
    put_sample(writer, "_bucket", labels, count);
}

static void end_histogram(struct writer *writer, uint64_t sum_us, uint64_t count)
{
    put_sample(writer, "_bucket", "{le=\"+Inf\"}", count);
    put_seconds(writer, "_sum", "", sum_us);
    put_sample(writer, "_count", "", count);
}

/* Bounds are powers of two in nanoseconds, where buckets end, too: so each count is exact. */
static void put_durations(struct writer *writer, const struct histogram_copy *histogram,
                          unsigned first_bit, unsigned last_bit, unsigned step)
{
    for (unsigned bit = first_bit; bit <= last_bit; bit += step) {
        uint64_t bound_ns = UINT64_C(1) << bit;
        put_bucket(writer, bound_ns, histogram_count_up_to(histogram, bound_ns));
    }
    end_histogram(writer, histogram->sum_ns / 1000, histogram->count);
}

/* From 1 ms on, each four times the one before. */
static void put_recoveries(struct writer *writer, const struct recovery_totals *recoveries)
{
    enum { FIRST = 3, LAST = 17, STEP = 2 };
    uint64_t count = 0;
    begin_family(writer, HISTOGRAM, "recovery_seconds",
                 "From a death until its successor was ready.");
    for (int i = 0; i < LEDGER_RECOVERY_BOUNDS; i++) {
        count += recoveries->of[i];
        if (i >= FIRST && i <= LAST && (i - FIRST) % STEP == 0) {
            put_bucket(writer, ((uint64_t)LEDGER_RECOVERY_FIRST_US << i) * 1000, count);
        }
    }
    end_histogram(writer, recoveries->sum_us, count + recoveries->of[LEDGER_RECOVERY_BOUNDS]);
}

static void put_histograms(struct writer *writer, const struct facts *facts,
                           const struct latency_copy *latency)
{
    begin_family(writer, HISTOGRAM, "request_duration_seconds",
                 "From a request's first byte read to the last byte of its answer that the kernel "
                 "has taken.");
    put_durations(writer, &latency->requests, 17, 35, 1); /* 131 us, and each doubled: 34 s */
    begin_family(writer, HISTOGRAM, "loop_turn_seconds",
                 "How long event loops looked at no other connection.");
    put_durations(writer, &latency->turns, 20, 35, 3); /* 1 ms, and each eight times that: 34 s */
    put_recoveries(writer, &facts->totals.recoveries);
}

/* ---- Gauges ---- */

static void put_info(struct writer *writer, const struct state_identity *identity)
{
    struct buffer *out = writer->out;
    begin_family(writer, GAUGE, "info", "What runs.");
    buffer_append_span(out, SPAN("twinhttpd_info{version=\""));
    append_label(out, identity->version);
    buffer_append_span(out, SPAN("\",model=\""));
    append_label(out, identity->model);
    buffer_append_span(out, SPAN("\",dispatch=\""));
    append_label(out, identity->dispatch);
    buffer_append_span(out, SPAN("\"} 1\n"));
}

static void put_process_states(struct writer *writer, const struct facts *facts)
{
    static const enum bulletin_state states[] = {BULLETIN_CHILD_STARTING, BULLETIN_CHILD_READY,
                                                 BULLETIN_CHILD_RETIRING};
    begin_family(writer, GAUGE, "processes", "Serving processes.");
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        uint64_t count = 0;
        for (uint32_t j = 0; j < facts->process_count; j++) {
            count += facts->processes[j].state == states[i];
        }
        put_labelled(writer, "", "state", facts_process_state_name(states[i]), count);
    }
    put_gauge(writer, "processes_wanted", "Serving processes that there should be.", facts->wanted);
}

static void put_connections(struct writer *writer, const struct facts_totals *totals)
{
    begin_family(
        writer, GAUGE, "connections",
        "Open connections; of these, those with a request, and those silent for a second.");
    put_labelled(writer, "", "state", "open", totals->connections_open);
    put_labelled(writer, "", "state", "busy", totals->connections_busy);
    put_labelled(writer, "", "state", "idle", totals->connections_idle);
}

static uint64_t count_stuck(const struct facts *facts)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < facts->slot_count; i++) {
        count += slot_verdict_is_stuck(facts->slots[i].verdict);
    }
    return count;
}

static void put_gauges(struct writer *writer, const struct state_view *view)
{
    const struct facts *facts = view->facts;
    put_info(writer, view->identity);
    begin_family(writer, GAUGE, "up_seconds", "Since the start of the server.");
    put_seconds(writer, "", "", facts->uptime_ms * 1000);
    put_process_states(writer, facts);
    put_connections(writer, &facts->totals);
    put_gauge(writer, "stuck_threads", "Threads that are stuck just now.", count_stuck(facts));
    begin_family(writer, GAUGE, "master_heard_seconds",
                 "For how long nothing has been heard of the master.");
    put_seconds(writer, "", "", facts->heard_ms * 1000);
}

/* ---- Workers ---- */

/* A number has one series, whoever has it: the newest process with it that is no heir. */
static bool is_shown(const struct facts *facts, uint32_t index)
{
    for (uint32_t i = index + 1; i < facts->process_count; i++) {
        if (facts->processes[i].number == facts->processes[index].number) {
            return false;
        }
    }
    return true;
}

typedef bool (*process_value_fn)(const struct state_view *view, const struct facts_process *process,
                                 uint64_t *value);

static bool resident_bytes(const struct state_view *view, const struct facts_process *process,
                           uint64_t *value)
{
    const struct procfs_process read = procfs_of(view->procfs, process);
    *value = read.rss_kib * 1024;
    return read.rss_kib != PROCFS_UNKNOWN;
}

static bool open_connections(const struct state_view *view, const struct facts_process *process,
                             uint64_t *value)
{
    *value = 0;
    for (uint32_t i = process->first; i < process->first + process->count; i++) {
        *value += view->facts->slots[i].connections_open;
    }
    return true;
}

static bool busy_threads(const struct state_view *view, const struct facts_process *process,
                         uint64_t *value)
{
    *value = 0;
    for (uint32_t i = process->first; i < process->first + process->count; i++) {
        *value += view->facts->slots[i].has_current;
    }
    return true;
}

static void put_each_process(struct writer *writer, const struct state_view *view, const char *name,
                             const char *help, process_value_fn value_of)
{
    const struct facts *facts = view->facts;
    begin_family(writer, GAUGE, name, help);
    for (uint32_t i = 0; i < facts->process_count; i++) {
        uint64_t value;
        if (is_shown(facts, i) && value_of(view, &facts->processes[i], &value)) {
            char number[16];
            snprintf(number, sizeof(number), "%" PRIu32, facts->processes[i].number);
            put_labelled(writer, "", "worker", number, value);
        }
    }
}

static void put_each_sum(struct writer *writer, const struct procfs *procfs, const char *name,
                         const char *help, size_t member)
{
    begin_family(writer, COUNTER, name, help);
    for (uint32_t i = 0; i < procfs_sums_count(procfs); i++) {
        const struct procfs_sums *sums = procfs_sums_at(procfs, i);
        char labels[LABELS_BYTES];
        uint64_t us;
        memcpy(&us, (const char *)sums + member, sizeof(us));
        snprintf(labels, sizeof(labels), "{worker=\"%" PRIu32 "\"}", sums->number);
        put_seconds(writer, "_total", labels, us);
    }
}

static void put_workers(struct writer *writer, const struct state_view *view)
{
    put_each_process(writer, view, "worker_resident_bytes", "Memory of a process.", resident_bytes);
    put_each_sum(writer, view->procfs, "worker_cpu_seconds", "CPU time of a process's threads.",
                 offsetof(struct procfs_sums, cpu_us));
    put_each_sum(writer, view->procfs, "worker_waiting_seconds",
                 "How long a process's threads were ready to run and no CPU was free.",
                 offsetof(struct procfs_sums, waiting_us));
    put_each_process(writer, view, "worker_connections", "Open connections of a process.",
                     open_connections);
    put_each_process(writer, view, "worker_busy", "Threads of a process with a request at work.",
                     busy_threads);
}

void metrics_put(struct buffer *out, enum metrics_format format, const struct state_view *view,
                 const struct latency_copy *latency)
{
    struct writer writer = {.out = out, .format = format};
    put_traffic(&writer, &view->facts->totals.counters);
    put_incidents(&writer, view->facts);
    put_histograms(&writer, view->facts, latency);
    put_gauges(&writer, view);
    put_workers(&writer, view);
    if (format == METRICS_OPENMETRICS) {
        buffer_append_span(out, SPAN("# EOF\n"));
    }
}
