/* lab-prober: an open-loop HTTP/1.1 client that keeps every outcome. See --help. */
#include "common/base/streams.h"
#include "loadtest/prober/load.h"
#include "loadtest/prober/options.h"
#include "loadtest/prober/report.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

enum { EXIT_MEASURED = 0, EXIT_NOT_MEASURED = 1, EXIT_USAGE = 2 };

/* Connections are not the only descriptors. */
enum { SPARE_DESCRIPTORS = 32 };

static int fail(int status, const char *what)
{
    fprintf(stderr, "lab-prober: %s\n", what);
    return status;
}

static int fail_on_file(const char *path)
{
    fprintf(stderr, "lab-prober: cannot write the outcomes to %s: %s; name another file\n", path,
            strerror(errno));
    return EXIT_NOT_MEASURED;
}

/* False after one line. */
static bool raise_descriptor_limit(unsigned connections)
{
    const rlim_t needed = (rlim_t)connections + SPARE_DESCRIPTORS;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail(EXIT_NOT_MEASURED, strerror(errno));
        return false;
    }
    if (needed > limit.rlim_max) {
        fprintf(stderr,
                "lab-prober: %u connections need more descriptors than the hard limit of %llu; "
                "raise it (ulimit -Hn) or use --connections %llu\n",
                connections, (unsigned long long)limit.rlim_max,
                (unsigned long long)(limit.rlim_max - SPARE_DESCRIPTORS));
        return false;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail(EXIT_NOT_MEASURED, strerror(errno));
        return false;
    }
    return true;
}

static bool has_any_answer(const struct results *results)
{
    return results->outcomes[OUTCOME_OK] + results->outcomes[OUTCOME_BAD_STATUS] +
               results->warm_up_outcomes[OUTCOME_OK] +
               results->warm_up_outcomes[OUTCOME_BAD_STATUS] >
           0;
}

static int print(const struct prober_options *options, struct results *results)
{
    if (!results_flush(results)) {
        return fail_on_file(options->outcomes_path);
    }
    struct buffer out = {0};
    report_write(&out, options, results);
    bool is_printed = fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buffer_free(&out);
    if (!is_printed) {
        return fail(EXIT_NOT_MEASURED, "cannot write to stdout");
    }
    if (!has_any_answer(results) && !results->interrupted) {
        return fail(EXIT_NOT_MEASURED,
                    "not a single answer came; the outcomes in the JSON object say why");
    }
    return EXIT_MEASURED;
}

static int measure(const struct prober_options *options)
{
    struct error error;
    struct results *results;
    if (!results_create(&results, options->outcomes_path)) {
        return fail_on_file(options->outcomes_path);
    }
    int status = load_run(options, results, &error) ? print(options, results)
                                                    : fail(EXIT_NOT_MEASURED, error.text);
    results_destroy(results);
    return status;
}

int main(int argc, char **argv)
{
    struct error error;
    struct prober_options options;
    if (!streams_fill()) {
        return EXIT_NOT_MEASURED;
    }
    if (!prober_options_read(&options, argc, argv, &error)) {
        return fail(EXIT_USAGE, error.text);
    }
    if (options.help) {
        fputs(prober_usage, stdout);
        return EXIT_MEASURED;
    }
    return raise_descriptor_limit(options.connections) ? measure(&options) : EXIT_NOT_MEASURED;
}
