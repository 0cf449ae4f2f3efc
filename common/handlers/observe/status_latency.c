#include "common/handlers/observe/status_latency.h"

enum { NS_IN_US = 1000 };

/* Of so many. */
static void put_us(struct json_writer *json, const char *key, uint64_t count, uint64_t ns)
{
    if (count > 0) {
        json_put_uint(json, key, ns / NS_IN_US);
    } else {
        json_put_null(json, key);
    }
}

static void put_durations(struct json_writer *json, const char *key,
                          const struct histogram_copy *durations)
{
    static const struct {
        const char *key;
        uint64_t part, of;
    } percentiles[] = {{"p50_us", 50, 100},
                       {"p90_us", 90, 100},
                       {"p99_us", 99, 100},
                       {"p999_us", 999, 1000},
                       {"max_us", 1, 1}};
    const uint64_t count = durations->count;
    json_key(json, key);
    json_object_begin(json);
    json_put_uint(json, "count", count);
    put_us(json, "mean_us", count, count > 0 ? durations->sum_ns / count : 0);
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        put_us(json, percentiles[i].key, count,
               histogram_percentile_ns(durations, percentiles[i].part, percentiles[i].of));
    }
    json_object_end(json);
}

void status_put_latency(struct json_writer *json, const struct latency_copy *latency)
{
    put_durations(json, "latency", &latency->requests);
    put_durations(json, "stalls", &latency->turns);
}
