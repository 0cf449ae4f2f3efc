/* twinctl: asks a running server's master (server/control/control.h). */
#include "server/twinctl/arguments.h"
#include "server/twinctl/table.h"

#include "common/base/buffer.h"
#include "common/base/streams.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

enum {
    PATIENCE_S =
        10, /* the master cuts silent clients earlier, so that it finds time for this one */
    CHUNK_BYTES = 65536,
    ANSWER_BYTES_MAX = 256 << 20
};

static void print_help(void)
{
    puts("Usage: twinctl --control PATH [--json] COMMAND\n\n"
         "Asks the master of a running prefork-server or threadpool-server that was started with\n"
         "--control PATH.\n\n"
         "  list                 processes and threads, and what they are doing\n"
         "  add [N]              N more processes        (1), until the next reload\n"
         "  remove [N]           N fewer; they answer who is connected first\n"
         "  kill PID SIGNAL      sends a signal to a process, as name or number\n"
         "  recycle NUMBER|all   replaces a process, or all, without a gap\n"
         "  drain                refuses new connections, answers what is under way, ends\n"
         "  stop                 ends the server now\n"
         "  reload               reads the configuration again\n"
         "  reopen-logs          after the log files have been renamed\n"
         "  upgrade              hands over to the program that is in the file now\n\n"
         "  --control PATH       the server's control socket\n"
         "  --json               print the answer as the master gives it\n"
         "  --help               this text\n\n"
         "Exit status: 0 done, 1 refused, 2 bad usage, 3 the master cannot be reached.");
}

/* ---- The conversation ---- */

static int unreachable(const char *path, const char *cause, const char *fix)
{
    fprintf(stderr, "twinctl: cannot reach the master at %s: %s; %s\n", path, cause, fix);
    return EXIT_UNREACHABLE;
}

static const char *fix_of(int error)
{
    switch (error) {
    case ENOENT:
        return "start the server with --control and this path";
    case ECONNREFUSED:
        return "the server has ended: start it again";
    case EACCES:
    case EPERM:
        return "run twinctl as the server's user or as root";
    case EAGAIN:
        return "the master is busy or hangs: try again, or look at its log";
    default:
        return "check the path";
    }
}

static bool open_connection(const char *path, int *fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return *fd >= 0 && setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
           setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
           connect(*fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

/* A master that refuses closes early, and has answered before. */
static bool send_request(int fd, const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    if (text == NULL) {
        errno = ENOMEM;
        return false;
    }
    struct buffer line = {0};
    buffer_printf(&line, "%s\n", text);
    ssize_t n = send(fd, line.data, line.len, MSG_NOSIGNAL);
    bool sent = n == (ssize_t)line.len || (n < 0 && errno == EPIPE);
    buffer_free(&line);
    free(text);
    return sent;
}

/* Up to the end of the line. False with errno set; ENODATA: the master closed before. */
static bool receive_answer(int fd, struct buffer *answer)
{
    while (answer->len == 0 || answer->data[answer->len - 1] != '\n') {
        buffer_reserve(answer, CHUNK_BYTES);
        ssize_t n = recv(fd, answer->data + answer->len, CHUNK_BYTES, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0 || answer->len + (size_t)n > ANSWER_BYTES_MAX) {
            errno = n == 0 ? ENODATA : n < 0 ? errno : EMSGSIZE;
            return false;
        }
        answer->len += (size_t)n;
    }
    return true;
}

/* ---- The answer ---- */

static int show_answer(const struct arguments *arguments, const struct buffer *answer)
{
    json_t *root = json_loadb(answer->data, answer->len, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return unreachable(arguments->control, "the answer is no JSON object",
                           "check that the socket is that of a twinhttpd server");
    }
    bool ok = json_is_true(json_object_get(root, "ok"));
    const char *error = json_string_value(json_object_get(root, "error"));
    if (arguments->json) {
        fwrite(answer->data, 1, answer->len, stdout);
    } else if (ok) {
        table_print(stdout, root);
    } else {
        fprintf(stderr, "twinctl: refused: %s\n", error != NULL ? error : "no reason was given");
    }
    json_decref(root);
    return ok ? EXIT_OK : EXIT_REFUSED;
}

static int ask(const struct arguments *arguments)
{
    int fd = -1;
    int status;
    struct buffer answer = {0};
    if (open_connection(arguments->control, &fd) && send_request(fd, arguments->request) &&
        receive_answer(fd, &answer)) {
        status = show_answer(arguments, &answer);
    } else {
        status = unreachable(arguments->control,
                             errno == ENODATA ? "it closed without an answer" : strerror(errno),
                             fix_of(errno));
    }
    buffer_free(&answer);
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    struct error error;
    if (!streams_fill()) {
        return EXIT_UNREACHABLE;
    }
    if (!arguments_read(&arguments, argc, argv, &error)) {
        fprintf(stderr, "twinctl: %s\n", error.text);
        return EXIT_USAGE;
    }
    if (arguments.help) {
        print_help();
        return EXIT_OK;
    }
    int status = ask(&arguments);
    json_decref(arguments.request);
    return fflush(stdout) == 0 ? status : EXIT_UNREACHABLE;
}
