#include "loadtest/prober/report.h"

#include "common/base/json_writer.h"

static void put_options(struct json_writer *json, const struct prober_options *options)
{
    json_put_text(json, "address", options->address_text);
    json_put_text(json, "path", options->path);
    json_put_text(json, "mode", options->closed_loop ? "closed" : "open");
    if (options->closed_loop) {
        json_put_null(json, "rate_per_s");
    } else {
        json_put_uint(json, "rate_per_s", options->rate_per_s);
    }
    json_put_uint(json, "connections", options->connections);
    json_put_bool(json, "connect_per_request", options->connect_per_request);
    json_put_uint(json, "timeout_ms", options->timeout_ms);
    json_put_uint(json, "warm_up_ms", options->warm_up_ms);
    json_put_uint(json, "duration_ms", options->duration_ms);
}

static uint64_t sum(const uint64_t outcomes[OUTCOMES])
{
    uint64_t all = 0;
    for (int i = 0; i < OUTCOMES; i++) {
        all += outcomes[i];
    }
    return all;
}

static void put_outcomes(struct json_writer *json, const char *key,
                         const uint64_t outcomes[OUTCOMES])
{
    json_key(json, key);
    json_object_begin(json);
    for (int i = 0; i < OUTCOMES; i++) {
        json_put_uint(json, outcome_name((enum outcome)i), outcomes[i]);
    }
    json_object_end(json);
}

static void put_percentile(struct json_writer *json, const char *key,
                           const struct fine_histogram *histogram, unsigned part, unsigned of)
{
    if (histogram->count > 0) {
        json_put_uint(json, key, fine_histogram_percentile(histogram, part, of));
    } else {
        json_put_null(json, key);
    }
}

static void put_histogram(struct json_writer *json, const char *key,
                          const struct fine_histogram *histogram)
{
    json_key(json, key);
    json_object_begin(json);
    json_put_uint(json, "count", histogram->count);
    put_percentile(json, "p50", histogram, 50, 100);
    put_percentile(json, "p90", histogram, 90, 100);
    put_percentile(json, "p99", histogram, 99, 100);
    put_percentile(json, "p99_9", histogram, 999, 1000);
    put_percentile(json, "max", histogram, 1, 1);
    json_object_end(json);
}

static void put_column(struct json_writer *json, const char *key, const struct timeline *timeline,
                       size_t member)
{
    json_key(json, key);
    json_array_begin(json);
    for (size_t i = 0; i < timeline->count; i++) {
        json_uint(json, *(const uint64_t *)((const char *)&timeline->bins[i] + member));
    }
    json_array_end(json);
}

static void put_timeline(struct json_writer *json, const struct timeline *timeline)
{
    json_key(json, "timeline");
    json_object_begin(json);
    json_put_uint(json, "bin_ms", TIMELINE_BIN_US / 1000);
    put_column(json, "started", timeline, offsetof(struct timeline_bin, started));
    put_column(json, "ok", timeline, offsetof(struct timeline_bin, ok));
    put_column(json, "failed", timeline, offsetof(struct timeline_bin, failed));
    put_column(json, "slowest_us", timeline, offsetof(struct timeline_bin, slowest_us));
    json_object_end(json);
}

static void put_figures(struct json_writer *json, const struct results *results)
{
    put_histogram(json, "latency_us", &results->latency);
    put_histogram(json, "latency_with_failures_us", &results->all);
    put_histogram(json, "service_us", &results->service);
    put_histogram(json, "lateness_us", &results->lateness);
    json_put_bool(json, "late",
                  fine_histogram_percentile(&results->lateness, 99, 100) > REPORT_LATE_US);
}

static void put_counts(struct json_writer *json, const struct results *results)
{
    uint64_t requests = sum(results->outcomes);
    json_put_uint(json, "requests", requests);
    json_put_uint(json, "failed", requests - results->outcomes[OUTCOME_OK]);
    put_outcomes(json, "outcomes", results->outcomes);
    put_outcomes(json, "warm_up_outcomes", results->warm_up_outcomes);
    json_put_uint(json, "queue_max", results->queue_max);
    json_put_uint(json, "connections_opened", results->connections_opened);
    json_put_uint(json, "connects_failed", results->connects_failed);
    json_put_uint(json, "idle_closes", results->idle_closes);
    json_put_uint(json, "announced_closes", results->announced_closes);
    json_put_text(json, "first_error",
                  results->first_error[0] != '\0' ? results->first_error : NULL);
}

static uint64_t measured_us(const struct results *results)
{
    return results->end_ns > results->measured_ns ? (results->end_ns - results->measured_ns) / 1000
                                                  : 0;
}

void report_write(struct buffer *out, const struct prober_options *options,
                  const struct results *results)
{
    struct json_writer json;
    json_init(&json, out);
    json_object_begin(&json);
    put_options(&json, options);
    json_put_uint(&json, "started_monotonic_us", results->start_ns / 1000);
    json_put_uint(&json, "measured_us", measured_us(results));
    json_put_bool(&json, "interrupted", results->interrupted);
    put_counts(&json, results);
    put_figures(&json, results);
    put_timeline(&json, &results->timeline);
    json_object_end(&json);
    buffer_append(out, "\n", 1);
}
