#include "loadtest/prober/options.h"

#include <errno.h>
#include <event2/util.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DAY_S = 86400, PATH_BYTES_MAX = 4096 };

const char prober_usage[] =
    "Usage: lab-prober --address HOST:PORT (--rate N | --closed) [--option value]...\n"
    "\n"
    "Sends GET requests to an HTTP/1.1 server at a fixed rate, whether or not the server keeps "
    "up,\n"
    "and prints one JSON object at the end. Latency counts from the moment at which a request was\n"
    "due: a server that stands still makes every request slow that comes due meanwhile.\n"
    "\n"
    "  --address HOST:PORT    numeric: 127.0.0.1:8080 or [::1]:8080\n"
    "  --path PATH            what to ask for (/plaintext); answers to /whoami tell who answers\n"
    "  --rate N               requests a second, at equal distances\n"
    "  --closed               instead: each connection asks again as soon as it has its answer\n"
    "  --connections N        kept open (64); a request that finds none free waits, and the time "
    "counts\n"
    "  --connect-per-request  a fresh connection for each request; at most --connections at one "
    "time\n"
    "  --duration SECONDS     of the measurement (10); a fraction is allowed\n"
    "  --warm-up SECONDS      before it (0): the same load, in the timeline but not in the "
    "figures\n"
    "  --timeout-ms N         a request without a whole answer this long after it was sent is\n"
    "                         given up as hung (2000)\n"
    "  --outcomes FILE        writes every request as a line of CSV: time_us and intended_us since "
    "the\n"
    "                         start, latency_us, outcome, status, generation, connection (its\n"
    "                         number), pid\n"
    "  --help                 this text\n"
    "\n"
    "SIGINT and SIGTERM end the run early and in order: what is under way is awaited, and the "
    "JSON\n"
    "object printed. A second one ends it at once.\n"
    "Exit status: 0 measured, 1 nothing could be measured (one line says why), 2 bad usage.\n";

static bool read_number(const char *text, const char *name, unsigned low, unsigned high,
                        unsigned *value, struct error *error)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || number < low ||
        number > high) {
        return error_set(error, "%s must be a number from %u to %u; see --help", name, low, high);
    }
    *value = (unsigned)number;
    return true;
}

static bool read_seconds(const char *text, const char *name, double low, unsigned *value_ms,
                         struct error *error)
{
    char *end;
    errno = 0;
    double seconds = strtod(text, &end);
    /* Negated, so that NaN is refused as well. */
    if (errno != 0 || end == text || *end != '\0' || !(seconds >= low && seconds <= DAY_S)) {
        return error_set(error, "%s must be from %g to %d seconds; see --help", name, low, DAY_S);
    }
    *value_ms = (unsigned)(seconds * 1000 + 0.5);
    return true;
}

static unsigned port_of(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6) {
        return ((const struct sockaddr_in6 *)address)->sin6_port;
    }
    return ((const struct sockaddr_in *)address)->sin_port;
}

static bool read_address(struct prober_options *options, const char *text, struct error *error)
{
    options->address_text = text;
    options->address_bytes = sizeof(options->address);
    if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&options->address,
                                   &options->address_bytes) != 0 ||
        port_of(&options->address) == 0) {
        return error_set(
            error, "--address %.80s is not a numeric host and a port, as 127.0.0.1:8080", text);
    }
    return true;
}

static bool read_path(struct prober_options *options, const char *text, struct error *error)
{
    if (text[0] != '/' || strlen(text) > PATH_BYTES_MAX) {
        return error_set(error, "--path must begin with / and have at most %d bytes",
                         PATH_BYTES_MAX);
    }
    for (const char *byte = text; *byte != '\0'; byte++) {
        if (*byte <= ' ' || *byte > '~') {
            return error_set(error,
                             "--path may have neither spaces nor control characters nor bytes "
                             "above 126: encode them as %%XX");
        }
    }
    options->path = text;
    return true;
}

static bool read_option(struct prober_options *options, int option, struct error *error)
{
    switch (option) {
    case 'a':
        return read_address(options, optarg, error);
    case 'p':
        return read_path(options, optarg, error);
    case 'r':
        return read_number(optarg, "--rate", 1, 1000000, &options->rate_per_s, error);
    case 'c':
        return read_number(optarg, "--connections", 1, 1000000, &options->connections, error);
    case 'd':
        return read_seconds(optarg, "--duration", 0.01, &options->duration_ms, error);
    case 'w':
        return read_seconds(optarg, "--warm-up", 0, &options->warm_up_ms, error);
    case 't':
        return read_number(optarg, "--timeout-ms", 1, DAY_S * 1000, &options->timeout_ms, error);
    case 'o':
        options->outcomes_path = optarg;
        return true;
    case 'C':
        options->closed_loop = true;
        return true;
    case 'n':
        options->connect_per_request = true;
        return true;
    default:
        options->help = true;
        return true;
    }
}

static bool check(const struct prober_options *options, struct error *error)
{
    if (options->address_text == NULL) {
        return error_set(error, "no server; name it with --address HOST:PORT");
    }
    if (options->closed_loop == (options->rate_per_s > 0)) {
        return error_set(error, "give either --rate N or --closed; see --help");
    }
    return true;
}

bool prober_options_read(struct prober_options *options, int argc, char *const *argv,
                         struct error *error)
{
    static const struct option names[] = {{"address", required_argument, NULL, 'a'},
                                          {"path", required_argument, NULL, 'p'},
                                          {"rate", required_argument, NULL, 'r'},
                                          {"closed", no_argument, NULL, 'C'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"connect-per-request", no_argument, NULL, 'n'},
                                          {"duration", required_argument, NULL, 'd'},
                                          {"warm-up", required_argument, NULL, 'w'},
                                          {"timeout-ms", required_argument, NULL, 't'},
                                          {"outcomes", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    *options = (struct prober_options){
        .path = "/plaintext", .connections = 64, .duration_ms = 10000, .timeout_ms = 2000};
    int option;
    opterr = 0;
    optind = 0; /* starts anew */
    while ((option = getopt_long(argc, argv, ":h", names, NULL)) != -1) {
        if (option == ':') {
            return error_set(error, "%.40s needs a value; see --help", argv[optind - 1]);
        }
        if (option == '?') {
            return error_set(error, "unknown option %.40s; see --help", argv[optind - 1]);
        }
        if (!read_option(options, option, error)) {
            return false;
        }
        if (options->help) {
            return true;
        }
    }
    if (optind < argc) {
        return error_set(error, "only options are understood, not %.40s; see --help", argv[optind]);
    }
    return check(options, error);
}
