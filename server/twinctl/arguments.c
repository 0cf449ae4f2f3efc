#include "server/twinctl/arguments.h"

#include "common/base/decimal.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NUMBER_DIGITS_MAX = 9,
    TABLES_MAX = 1000000000,
    INTERVAL_MS = 1000,
    INTERVAL_MS_MIN = 100,
    INTERVAL_MS_MAX = 3600000
};

/* What the options say of the command top; NULL: nothing. */
struct options_of_top {
    const char *observe;
    const char *tables;
    const char *interval_ms;
};

/* ---- The commands ---- */

/* Adds what the words say to the request. False: they do not do. */
typedef bool (*words_fn)(json_t *request, int count, char *const *words);

static bool add_number(json_t *request, const char *key, const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= NUMBER_DIGITS_MAX && text[digits] == '\0' &&
           json_object_set_new(request, key, json_integer(atol(text))) == 0;
}

static bool read_none(json_t *request, int count, char *const *words)
{
    (void)request;
    (void)words;
    return count == 0;
}

static bool read_count(json_t *request, int count, char *const *words)
{
    return count == 0 || (count == 1 && add_number(request, "count", words[0]));
}

static bool read_kill(json_t *request, int count, char *const *words)
{
    return count == 2 && add_number(request, "pid", words[0]) &&
           json_object_set_new(request, "signal", json_string(words[1])) == 0;
}

static bool read_recycle(json_t *request, int count, char *const *words)
{
    if (count == 1 && strcmp(words[0], "all") == 0) {
        return json_object_set_new(request, "number", json_string("all")) == 0;
    }
    return count == 1 && add_number(request, "number", words[0]);
}

static bool read_fault(json_t *request, int count, char *const *words)
{
    return count == 1 && json_object_set_new(request, "path", json_string(words[0])) == 0;
}

static const struct command {
    const char *name;
    const char *usage;
    words_fn read;
} commands[] = {
    {"list", "list", read_none},
    {"add", "add [N]", read_count},
    {"remove", "remove [N]", read_count},
    {"kill", "kill PID SIGNAL", read_kill},
    {"recycle", "recycle NUMBER|all", read_recycle},
    {"drain", "drain", read_none},
    {"stop", "stop", read_none},
    {"reload", "reload", read_none},
    {"reopen-logs", "reopen-logs", read_none},
    {"upgrade", "upgrade", read_none},
    {"fault", "fault PATH", read_fault},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static bool read_request(struct arguments *arguments, int count, char *const *words,
                         struct error *error)
{
    if (count == 0) {
        return error_set(error, "no command; see --help");
    }
    const struct command *command = find_command(words[0]);
    if (command == NULL) {
        return error_set(error, "unknown command %.40s; see --help", words[0]);
    }
    arguments->request = json_pack("{s:s}", "command", command->name);
    if (arguments->request == NULL || !command->read(arguments->request, count - 1, words + 1)) {
        json_decref(arguments->request);
        arguments->request = NULL;
        return error_set(error, "bad arguments; the command is: %s", command->usage);
    }
    return true;
}

/* ---- The command top ---- */

static bool is_top(int count, char *const *words)
{
    return count > 0 && strcmp(words[0], "top") == 0;
}

static bool read_number(const char *text, const char *name, uint64_t min, uint64_t max,
                        uint64_t *number, struct error *error)
{
    return text == NULL || decimal_parse(text, min, max, number) ||
           error_set(error, "%s takes a number from %llu to %llu", name, (unsigned long long)min,
                     (unsigned long long)max);
}

static bool read_top(struct arguments *arguments, const struct options_of_top *options, int count,
                     struct error *error)
{
    struct top_options *top = &arguments->top;
    top->control = arguments->control;
    top->tables = 1;
    top->interval_ms = INTERVAL_MS;
    if (count > 1 || arguments->json) {
        return error_set(error, "bad arguments; the command is: top --observe HOST:PORT "
                                "[--control PATH] [--interval-ms MS] [--batch [-n N]]");
    }
    if (options->observe == NULL) {
        return error_set(error, "no observer; name the server's with --observe HOST:PORT");
    }
    if (options->tables != NULL && !top->batch) {
        return error_set(error, "-n counts tables; it goes with --batch");
    }
    return read_number(options->tables, "-n", 0, TABLES_MAX, &top->tables, error) &&
           read_number(options->interval_ms, "--interval-ms", INTERVAL_MS_MIN, INTERVAL_MS_MAX,
                       &top->interval_ms, error) &&
           top_address_parse(options->observe, &top->observer, error);
}

/* ---- The options ---- */

/* Takes one option. False: there is no such option, or its value is missing. */
static bool take_option(struct arguments *arguments, struct options_of_top *top, int option)
{
    switch (option) {
    case 'c':
        arguments->control = optarg;
        return true;
    case 'j':
        arguments->json = true;
        return true;
    case 'h':
        arguments->help = true;
        return true;
    case 'o':
        top->observe = optarg;
        return true;
    case 'b':
        arguments->top.batch = true;
        return true;
    case 'n':
        top->tables = optarg;
        return true;
    case 'i':
        top->interval_ms = optarg;
        return true;
    default:
        return false;
    }
}

static bool read_options(struct arguments *arguments, struct options_of_top *top, int argc,
                         char *const *argv, struct error *error)
{
    static const struct option options[] = {{"control", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"observe", required_argument, NULL, 'o'},
                                            {"batch", no_argument, NULL, 'b'},
                                            {"interval-ms", required_argument, NULL, 'i'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int found;
    opterr = 0;
    optind = 0; /* starts anew */
    while (!arguments->help && (found = getopt_long(argc, argv, ":c:hn:", options, NULL)) != -1) {
        if (!take_option(arguments, top, found)) {
            return error_set(error,
                             found == ':' ? "%.40s needs a value; see --help"
                                          : "unknown option %.40s; see --help",
                             argv[optind - 1]);
        }
    }
    return true;
}

bool arguments_read(struct arguments *arguments, int argc, char *const *argv, struct error *error)
{
    struct options_of_top top = {0};
    *arguments = (struct arguments){0};
    if (!read_options(arguments, &top, argc, argv, error)) {
        return false;
    }
    if (arguments->help) {
        return true;
    }
    int count = argc - optind;
    char *const *words = argv + optind;
    if (is_top(count, words)) {
        return read_top(arguments, &top, count, error);
    }
    if (top.observe != NULL || top.tables != NULL || top.interval_ms != NULL ||
        arguments->top.batch) {
        return error_set(error, "--observe, --interval-ms, --batch and -n are of the command top");
    }
    if (arguments->control == NULL) {
        return error_set(error, "no socket; name the server's with --control PATH");
    }
    return read_request(arguments, count, words, error);
}
