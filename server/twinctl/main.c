/* twinctl: asks a running server's master (server/control/control.h), or shows what its observer
 * sees. */
#include "server/twinctl/arguments.h"
#include "server/twinctl/conversation.h"
#include "server/twinctl/exit_status.h"
#include "server/twinctl/table.h"

#include "common/base/streams.h"

#include <stdio.h>

enum { PATIENCE_S = 10 }; /* the master cuts silent clients earlier, and finds time for this one */

static void print_help(void)
{
    puts(
        "Usage: twinctl --control PATH [--json] COMMAND\n"
        "       twinctl top --observe HOST:PORT [--control PATH] [--batch [-n N]]\n\n"
        "Asks the master of a running prefork-server or threadpool-server that was started with\n"
        "--control PATH, or shows what the observer sees of one that was started with "
        "--observe.\n\n"
        "  list                 processes and threads, and what they are doing\n"
        "  add [N]              N more processes        (1), until the next reload\n"
        "  remove [N]           N fewer; they answer who is connected first\n"
        "  kill PID SIGNAL      sends a signal to a process, as name or number\n"
        "  recycle NUMBER|all   replaces a process, or all, without a gap\n"
        "  fault PATH           has the server asked for /fault/..., with --faults on\n"
        "  drain                refuses new connections, answers what is under way, ends\n"
        "  stop                 ends the server now\n"
        "  reload               reads the configuration again\n"
        "  reopen-logs          after the log files have been renamed\n"
        "  upgrade              hands over to the program that is in the file now\n"
        "  top                  all of it live in the terminal; press ? there\n\n"
        "  --control PATH       the server's control socket\n"
        "  --json               print the answer as the master gives it\n"
        "  --observe HOST:PORT  top: where the server's observer listens\n"
        "  --interval-ms MS     top: how often it is asked, 100 to 3600000 (1000)\n"
        "  --batch              top: print plain tables, for pipes and files\n"
        "  -n N                 top --batch: so many tables (1); 0: without end\n"
        "  --help               this text\n\n"
        "Exit status: 0 done, 1 refused, 2 bad usage, 3 the master or observer cannot be reached.");
}

static int unreachable(const char *path, const char *reason)
{
    fprintf(stderr, "twinctl: cannot reach the master at %s: %s\n", path, reason);
    return EXIT_UNREACHABLE;
}

static int show_answer(const struct arguments *arguments, const struct buffer *answer)
{
    json_t *root = json_loadb(answer->data, answer->len, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return unreachable(arguments->control,
                           "the answer is no JSON object; check that the socket is that of a "
                           "twinhttpd server");
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
    struct buffer answer = {0};
    struct error error;
    int status;
    if (conversation_ask(arguments->control, arguments->request, PATIENCE_S, &answer, &error)) {
        status = show_answer(arguments, &answer);
    } else {
        status = unreachable(arguments->control, error.text);
    }
    buffer_free(&answer);
    json_decref(arguments->request);
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
    int status = arguments.request != NULL ? ask(&arguments) : top_run(&arguments.top);
    return fflush(stdout) == 0 ? status : EXIT_UNREACHABLE;
}
