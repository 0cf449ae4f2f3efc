/* The settings: command line and YAML file.
 *
 * The first line holds arguments, separated by spaces; '~' in front: threadpool-server. They follow
 * --config with a file that holds the rest of the input; with '!' in front they stand alone. */
#include "tests/fuzz/fuzz.h"

#include "common/config/config.h"

#include <sys/mman.h>
#include <unistd.h>

enum { ARGUMENTS = 16, PATH_BYTES = 40, FIRST_FREE = 3 };

struct command_line {
    char *argv[FIRST_FREE + ARGUMENTS + 1];
    int argc;
    char *text; /* what the arguments point into */
};

/* The path of a file with this content. */
static const char *make_file(struct span content)
{
    static char path[PATH_BYTES];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("config", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    FUZZ_CHECK(ftruncate(fd, 0) == 0);
    FUZZ_CHECK(content.len == 0 || pwrite(fd, content.ptr, content.len, 0) == (ssize_t)content.len);
    return path;
}

static void take_arguments(struct command_line *line, struct span steering)
{
    line->text = malloc(steering.len + 1);
    FUZZ_CHECK(line->text != NULL);
    memcpy(line->text, steering.ptr, steering.len);
    line->text[steering.len] = '\0';
    char *rest = line->text, *word = NULL;
    while ((word = strsep(&rest, " ")) != NULL && line->argc < FIRST_FREE + ARGUMENTS) {
        /* No other file than ours: it could be a terminal or a pipe. */
        if (*word != '\0' && strncmp(word, "--c", 3) != 0) {
            line->argv[line->argc++] = word;
        }
    }
    line->argv[line->argc] = NULL;
}

static void check_error(const char *error)
{
    size_t len = strnlen(error, ERROR_TEXT_BYTES);
    FUZZ_CHECK(len > 0 && len < ERROR_TEXT_BYTES);
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)error[i];
        FUZZ_CHECK(byte >= 0x20 && byte != 0x7f);
    }
}

static void check_config(const struct config *config)
{
    FUZZ_CHECK(config->listen != NULL && config->listen[0] != '\0');
    FUZZ_CHECK(config->max_request_line_bytes <= config->max_header_bytes);
    FUZZ_CHECK(config->max_headers > 0 && config->queue_length > 0);
    FUZZ_CHECK(config->header_timeout_ms > 0 && config->send_timeout_ms > 0);
    FUZZ_CHECK(config->accept <= CONFIG_ACCEPT_REUSEPORT);
    FUZZ_CHECK(config->dispatch <= CONFIG_DISPATCH_REQUEST);
    FUZZ_CHECK(config->offload <= CONFIG_OFFLOAD_ALL && config->log_level <= LOG_ERROR);
}

static enum config_action load(const struct command_line *line, enum config_server server,
                               struct error *error)
{
    struct config config;
    memset(error, 'x', sizeof(*error));
    enum config_action action = config_load(&config, server, line->argc, line->argv, error);
    if (action == CONFIG_INVALID) {
        check_error(error->text);
        FUZZ_CHECK(config.listen == NULL && config.root == NULL && config.access_log == NULL &&
                   config.error_log == NULL);
    } else {
        FUZZ_CHECK(error->text[0] == '\0');
        check_config(&config);
        config_free(&config);
    }
    return action;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span steering, text;
    char server_name[] = "server", config_option[] = "--config", path[PATH_BYTES];
    struct error first, second;
    enum config_server server = CONFIG_SERVER_PREFORK;
    struct command_line line = {.argv = {server_name}, .argc = 1};
    fuzz_split(data, size, &steering, &text);
    if (steering.len > 0 && steering.ptr[0] == '~') {
        server = CONFIG_SERVER_THREADPOOL;
        steering = (struct span){steering.ptr + 1, steering.len - 1};
    }
    if (steering.len > 0 && steering.ptr[0] == '!') {
        steering = (struct span){steering.ptr + 1, steering.len - 1};
    } else {
        snprintf(path, sizeof(path), "%s", make_file(text));
        line.argv[line.argc++] = config_option;
        line.argv[line.argc++] = path;
    }
    take_arguments(&line, steering);
    /* A second time, for what the first one may have left behind. */
    enum config_action action = load(&line, server, &first);
    FUZZ_CHECK(load(&line, server, &second) == action);
    FUZZ_CHECK(action != CONFIG_INVALID || strcmp(first.text, second.text) == 0);
    free(line.text);
    return 0;
}
