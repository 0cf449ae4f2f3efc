#include "server/twinctl/arguments.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_DIGITS_MAX = 9 };

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

/* ---- The options ---- */

static bool read_options(struct arguments *arguments, int argc, char *const *argv,
                         struct error *error)
{
    static const struct option options[] = {{"control", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int found;
    opterr = 0;
    optind = 0; /* starts anew */
    while ((found = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (found) {
        case 'c':
            arguments->control = optarg;
            break;
        case 'j':
            arguments->json = true;
            break;
        case 'h':
            arguments->help = true;
            return true;
        case ':':
            return error_set(error, "%.40s needs a value; see --help", argv[optind - 1]);
        default:
            return error_set(error, "unknown option %.40s; see --help", argv[optind - 1]);
        }
    }
    return true;
}

bool arguments_read(struct arguments *arguments, int argc, char *const *argv, struct error *error)
{
    *arguments = (struct arguments){0};
    if (!read_options(arguments, argc, argv, error)) {
        return false;
    }
    if (arguments->help) {
        return true;
    }
    if (arguments->control == NULL) {
        return error_set(error, "no socket; name the server's with --control PATH");
    }
    return read_request(arguments, argc - optind, argv + optind, error);
}
