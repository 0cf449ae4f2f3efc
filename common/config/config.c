/* The command line, the order in which settings are laid over each other, and --help. */
#include "common/config/config.h"

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/config/config_internal.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* Options that are no settings. */
struct command {
    const char *name;
    enum config_action action;
    const char *help;
};

static const struct command commands[] = {
    {"test-config", CONFIG_TEST,
     "Check the settings, and whether a server could start with them; say so, and stop."},
    {"health-check", CONFIG_HEALTH_CHECK,
     "Ask the server that listens there; exit status 0: it answers, 1: it does not."},
    {"help", CONFIG_HELP, "Print this."},
    {"version", CONFIG_VERSION, "Print the version."},
};

/* What getopt_long returns for each option: FIRST_VALUE + its index, beyond every character. */
enum {
    COMMANDS = sizeof(commands) / sizeof(commands[0]),
    FIRST_VALUE = 256,
    CONFIG_OPTION = COMMANDS,
    FIRST_SETTING = CONFIG_OPTION + 1,
    OPTIONS_MOST = FIRST_SETTING + CONFIG_SETTINGS_MOST,
    POSITIONAL = 1 /* getopt's value for an argument that is no option */
};

static const char config_option_allowed[] = "the path of a YAML file";

/* What has been found on the command line; the strings are argv's. */
struct command_line {
    enum config_action action;
    const char *config_path;
    const char *values[CONFIG_SETTINGS_MOST]; /* NULL: not given; the last one given counts */
    char *listen; /* made of several, which all count; NULL: of one at most */
};

static const char *server_name(enum config_server server)
{
    return server == CONFIG_SERVER_PREFORK ? "prefork-server" : "threadpool-server";
}

/* The commands, --config, the settings, and an empty one at the end. */
static void make_options(struct option options[OPTIONS_MOST + 1])
{
    memset(options, 0, (OPTIONS_MOST + 1) * sizeof(options[0]));
    for (int i = 0; i < OPTIONS_MOST; i++) {
        options[i].val = FIRST_VALUE + i;
    }
    for (int i = 0; i < COMMANDS; i++) {
        options[i].name = commands[i].name;
    }
    options[CONFIG_OPTION].name = "config";
    options[CONFIG_OPTION].has_arg = required_argument;
    struct option *of_settings = &options[FIRST_SETTING];
    for (size_t i = 0; i < config_setting_count; i++) {
        of_settings[i].name = config_settings[i].option;
        of_settings[i].has_arg =
            config_settings[i].kind == CONFIG_KIND_FLAG ? no_argument : required_argument;
    }
}

static bool fail_missing_value(int index, const char *name, enum config_server server,
                               struct error *error)
{
    char allowed[CONFIG_ALLOWED_BYTES];
    if (index == CONFIG_OPTION) {
        return error_set(error, "--%s needs a value; use %s", name, config_option_allowed);
    }
    config_setting_allowed(&config_settings[index - FIRST_SETTING], server, allowed);
    return error_set(error, "--%s needs a value; use %s", name, allowed);
}

/* getopt's '?': an unknown option, or a value for one that takes none. */
static bool fail_option(const struct option *options, const char *argument, struct error *error)
{
    if (optopt >= FIRST_VALUE) {
        return error_set(error, "--%s takes no value; give it alone",
                         options[optopt - FIRST_VALUE].name);
    }
    if (optopt != 0) {
        return error_set(error, "unknown option \"-%c\"; see --help", optopt);
    }
    return error_set(error, "unknown option \"%.*s\"; see --help", (int)strcspn(argument, "="),
                     argument);
}

static bool fail_positional(const char *argument, struct error *error)
{
    return error_set(
        error, "unexpected argument \"%.80s\"; every setting is an --option, see --help", argument);
}

static bool take_command(struct command_line *line, const struct command *command,
                         struct error *error)
{
    if (line->action != CONFIG_RUN && line->action != command->action) {
        return error_set(error, "--test-config and --health-check exclude each other; give one");
    }
    line->action = command->action;
    return true;
}

/* "--listen A --listen B" is "--listen A,B". */
static const char *join_listen(struct command_line *line, const char *before, const char *text)
{
    size_t bytes = strlen(before) + strlen(text) + sizeof(",");
    char *joined = memory_alloc_zeroed(1, bytes);
    snprintf(joined, bytes, "%s,%s", before, text);
    free(line->listen);
    line->listen = joined;
    return joined;
}

static bool take_setting(struct command_line *line, int index, enum config_server server,
                         struct error *error)
{
    const struct config_setting *setting = &config_settings[index];
    if ((setting->servers & server) == 0) {
        return error_set(error, "%s does not have --%s; %s", server_name(server), setting->option,
                         setting->elsewhere);
    }
    const char *before = line->values[index];
    if (setting->kind == CONFIG_KIND_LISTEN && before != NULL) {
        line->values[index] = join_listen(line, before, optarg);
    } else {
        line->values[index] = setting->kind == CONFIG_KIND_FLAG ? "on" : optarg;
    }
    return true;
}

static bool take_option(struct command_line *line, int index, enum config_server server,
                        struct error *error)
{
    if (index >= FIRST_SETTING) {
        return take_setting(line, index - FIRST_SETTING, server, error);
    }
    if (index < CONFIG_OPTION) {
        return take_command(line, &commands[index], error);
    }
    if (line->config_path != NULL) {
        return error_set(error, "--config is given twice; put all settings in one file");
    }
    line->config_path = optarg;
    return true;
}

static bool asks_for_text(enum config_action action)
{
    return action == CONFIG_HELP || action == CONFIG_VERSION;
}

/* --help and --version take effect where they stand: what follows does not matter any more. */
static bool read_command_line(struct command_line *line, enum config_server server, int argc,
                              char *const *argv, struct error *error)
{
    struct option options[OPTIONS_MOST + 1];
    make_options(options);
    optind = 0; /* glibc: start afresh, even after an earlier call that stopped half way */
    opterr = 0;
    /* '-': arguments stay in their order; ':': a missing value is told from an unknown option */
    int found = 0;
    while ((found = getopt_long(argc, argv, "-:", options, NULL)) != -1) {
        bool good = true;
        if (found == POSITIONAL) {
            return fail_positional(optarg, error);
        }
        if (found == '?') {
            return fail_option(options, argv[optind - 1], error);
        }
        if (found == ':') {
            int index = optopt - FIRST_VALUE;
            return fail_missing_value(index, options[index].name, server, error);
        }
        good = take_option(line, found - FIRST_VALUE, server, error);
        if (!good || asks_for_text(line->action)) {
            return good;
        }
    }
    return optind >= argc || fail_positional(argv[optind], error);
}

static void apply_defaults(struct config *config, enum config_server server)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct config_setting *setting = &config_settings[i];
        bool good = config_setting_apply(setting, server, setting->default_value, config);
        CHECK(good);
        (void)good;
    }
}

static bool apply_options(struct config *config, enum config_server server,
                          const struct command_line *line, struct error *error)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct config_setting *setting = &config_settings[i];
        const char *text = line->values[i];
        if (text != NULL && !config_setting_apply(setting, server, text, config)) {
            char where[64];
            snprintf(where, sizeof(where), "--%s", setting->option);
            return config_fail_value(error, where, setting, server, text);
        }
    }
    return true;
}

/* A request line is part of the headers: a lower limit for the headers limits the line as well. */
static void fit_together(struct config *config)
{
    if (config->max_request_line_bytes > config->max_header_bytes) {
        config->max_request_line_bytes = config->max_header_bytes;
    }
}

/* Lays the file and the options over the defaults. */
static enum config_action apply_all(struct config *config, enum config_server server,
                                    const struct command_line *line, struct error *error)
{
    apply_defaults(config, server);
    if (asks_for_text(line->action)) {
        return line->action;
    }
    bool good =
        line->config_path == NULL || config_file_apply(line->config_path, server, config, error);
    if (!good || !apply_options(config, server, line, error)) {
        config_free(config);
        return CONFIG_INVALID;
    }
    fit_together(config);
    return line->action;
}

enum config_action config_load(struct config *config, enum config_server server, int argc,
                               char *const *argv, struct error *error)
{
    struct command_line line = {.action = CONFIG_RUN};
    *config = (struct config){0};
    error->text[0] = '\0';
    enum config_action action = CONFIG_INVALID;
    if (read_command_line(&line, server, argc, argv, error)) {
        action = apply_all(config, server, &line, error);
    }
    free(line.listen);
    return action;
}

void config_free(struct config *config)
{
    free(config->listen);
    free(config->root);
    free(config->access_log);
    free(config->error_log);
    free(config->user);
    free(config->pid_file);
    free(config->control);
    free(config->observe);
    free(config->observe_names);
    *config = (struct config){0};
}

static void print_setting(FILE *out, const struct config_setting *setting,
                          enum config_server server)
{
    char allowed[CONFIG_ALLOWED_BYTES];
    if (setting->kind == CONFIG_KIND_FLAG) {
        fprintf(out, "  --%s\n      %s\n", setting->option, setting->help);
        return;
    }
    config_setting_allowed(setting, server, allowed);
    fprintf(out, "  --%s VALUE\n      %s\n      VALUE: %s; default: %s\n", setting->option,
            setting->help, allowed, setting->default_value);
}

void config_print_help(FILE *out, enum config_server server)
{
    const char *name = server_name(server);
    fprintf(out,
            "Usage: %s [--option value]...\n\n"
            "An HTTP/1.1 server: %s. Without options it serves the sample site on\n"
            "http://127.0.0.1:8080; stop it with Ctrl-C.\n\n"
            "  --config FILE\n"
            "      Read settings from a YAML file. Its keys are the options below with \"_\" for\n"
            "      \"-\"; what the command line says wins over the file.\n",
            name,
            server == CONFIG_SERVER_PREFORK ? "a master and worker processes"
                                            : "a master and one process with a pool of threads");
    for (size_t i = 0; i < COMMANDS; i++) {
        fprintf(out, "  --%s\n      %s\n", commands[i].name, commands[i].help);
    }
    fputs("\nSettings:\n", out);
    for (size_t i = 0; i < config_setting_count; i++) {
        if ((config_settings[i].servers & server) != 0) {
            print_setting(out, &config_settings[i], server);
        }
    }
}
