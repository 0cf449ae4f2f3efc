#include "loadtest/prober/results.h"

#include "common/base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool results_create(struct results **results, const char *outcomes_path)
{
    FILE *file = NULL;
    if (outcomes_path != NULL) {
        file = fopen(outcomes_path, "we");
        if (file == NULL) {
            return false;
        }
        fputs("time_us,intended_us,latency_us,outcome,status,generation,connection,pid\n", file);
    }
    *results = memory_alloc_zeroed(1, sizeof(**results));
    (*results)->outcomes_file = file;
    return true;
}

bool results_flush(struct results *results)
{
    FILE *file = results->outcomes_file;
    if (file == NULL) {
        return true;
    }
    /* Errors of earlier writes stay with the stream, but not their number. */
    errno = EIO;
    return fflush(file) == 0 && ferror(file) == 0;
}

void results_destroy(struct results *results)
{
    if (results->outcomes_file != NULL) {
        fclose(results->outcomes_file);
    }
    timeline_free(&results->timeline);
    free(results);
}

void results_start(struct results *results, uint64_t now_ns, unsigned warm_up_ms)
{
    results->start_ns = now_ns;
    results->measured_ns = now_ns + (uint64_t)warm_up_ms * 1000000;
}

void results_add_lateness(struct results *results, uint64_t intended_ns, uint64_t now_ns)
{
    if (intended_ns >= results->measured_ns) {
        fine_histogram_add(&results->lateness, (now_ns - intended_ns) / 1000);
    }
}

static uint64_t since_start_us(const struct results *results, uint64_t time_ns)
{
    return (time_ns - results->start_ns) / 1000;
}

void results_add_start(struct results *results, uint64_t now_ns)
{
    timeline_at(&results->timeline, since_start_us(results, now_ns))->started++;
}

static void write_if_known(FILE *file, const uint64_t *number)
{
    fputc(',', file);
    if (number != NULL) {
        fprintf(file, "%" PRIu64, *number);
    }
}

static void write_line(struct results *results, const struct ended_request *request,
                       uint64_t latency_us)
{
    FILE *file = results->outcomes_file;
    fprintf(
        file, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%s,", since_start_us(results, request->ended_ns),
        since_start_us(results, request->intended_ns), latency_us, outcome_name(request->outcome));
    if (request->status != 0) {
        fprintf(file, "%u", request->status);
    }
    write_if_known(file, request->generation);
    fputc(',', file);
    if (request->connection != NULL) {
        fprintf(file, "%u", *request->connection);
    }
    write_if_known(file, request->pid);
    fputc('\n', file);
}

static void add_to_timeline(struct results *results, const struct ended_request *request,
                            uint64_t latency_us)
{
    struct timeline_bin *bin =
        timeline_at(&results->timeline, since_start_us(results, request->ended_ns));
    if (request->outcome == OUTCOME_OK) {
        bin->ok++;
    } else {
        bin->failed++;
    }
    if (latency_us > bin->slowest_us) {
        bin->slowest_us = latency_us;
    }
}

void results_add_end(struct results *results, const struct ended_request *request)
{
    uint64_t latency_us = (request->ended_ns - request->intended_ns) / 1000;
    add_to_timeline(results, request, latency_us);
    if (results->outcomes_file != NULL) {
        write_line(results, request, latency_us);
    }
    if (request->intended_ns < results->measured_ns) {
        results->warm_up_outcomes[request->outcome]++;
        return;
    }
    results->outcomes[request->outcome]++;
    fine_histogram_add(&results->all, latency_us);
    if (request->outcome == OUTCOME_OK) {
        fine_histogram_add(&results->latency, latency_us);
        fine_histogram_add(&results->service, (request->ended_ns - request->started_ns) / 1000);
    }
}

void results_note_error(struct results *results, const char *what, int error)
{
    if (results->first_error[0] == '\0') {
        snprintf(results->first_error, sizeof(results->first_error), "%s: %s", what,
                 strerror(error));
    }
}
