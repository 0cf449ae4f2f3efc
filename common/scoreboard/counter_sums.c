#include "common/scoreboard/counter_sums.h"

#include "common/base/check.h"
#include "common/base/json_writer.h"

static void add(uint64_t *sum, const _Atomic uint64_t *counter)
{
    *sum += counter_plausible(atomic_load(counter));
}

void counter_sums_add(struct counter_sums *sum, const struct slot_counters *counters)
{
    add(&sum->requests_started, &counters->requests_started);
    add(&sum->requests_finished, &counters->requests_finished);
    add(&sum->requests_aborted, &counters->requests_aborted);
    add(&sum->requests_handled, &counters->requests_handled);
    add(&sum->bytes_sent, &counters->bytes_sent);
    add(&sum->connections_accepted, &counters->connections_accepted);
    add(&sum->connections_adopted, &counters->connections_adopted);
    add(&sum->connections_refused, &counters->connections_refused);
    add(&sum->faults_recovered, &counters->faults_recovered);
    adoption_add(&sum->adoption, &counters->adoption);
}

void counter_sums_add_numbers(void *sum, const void *numbers, size_t bytes)
{
    uint64_t *to = sum;
    const uint64_t *from = numbers;
    CHECK(bytes % sizeof(*to) == 0);
    for (size_t i = 0; i < bytes / sizeof(*to); i++) {
        to[i] += from[i];
    }
}

void counter_sums_put_json(struct json_writer *json, const struct counter_sums *sums)
{
    json_put_uint(json, "requests_started", sums->requests_started);
    json_put_uint(json, "requests_finished", sums->requests_finished);
    json_put_uint(json, "requests_aborted", sums->requests_aborted);
    json_put_uint(json, "requests_handled", sums->requests_handled);
    json_put_uint(json, "bytes_sent", sums->bytes_sent);
    json_put_uint(json, "connections_accepted", sums->connections_accepted);
    json_put_uint(json, "connections_adopted", sums->connections_adopted);
    json_put_uint(json, "connections_refused", sums->connections_refused);
    json_put_uint(json, "faults_recovered", sums->faults_recovered);
}
