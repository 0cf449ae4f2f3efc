/* The whole way of a request, with sockets: a client on this thread asks a worker, over a
 * connection that it keeps, and the loop has a turn for each request. Run under callgrind it tells
 * how many instructions a request costs from the read to the send, libevent's among them;
 * tests/steps/instructions does that. What the client does itself is counted, too: a send and a
 * recv, which in user space is next to nothing.
 *
 * Usage: worker_path CASE COUNT   (CASE: plaintext, or logged: with an access log; COUNT requests)
 */
#include "common/handlers/handlers.h"
#include "common/net/worker.h"
#include "common/scoreboard/scoreboard.h"

#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"

static void die(const char *what)
{
    fprintf(stderr, "worker_path: %s\n", what);
    exit(2);
}

/* Where clients find it is filled in. */
static int listen_somewhere(struct sockaddr_in *address)
{
    socklen_t bytes = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_in){.sin_family = AF_INET};
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)address, bytes) != 0 || listen(fd, 1) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &bytes) != 0) {
        die("cannot listen");
    }
    return fd;
}

static int connect_to(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        die("cannot connect");
    }
    return fd;
}

/* Asks, and gives the loop turns until it has answered: one, but for the tick and the accept. */
static void ask(int client, struct event_base *base, struct handler_context *context)
{
    char answer[4096];
    ssize_t bytes;
    if (send(client, REQUEST, sizeof(REQUEST) - 1, 0) < 0) {
        die("cannot send");
    }
    do {
        handler_context_next_turn(context);
        event_base_loop(base, EVLOOP_ONCE);
        bytes = recv(client, answer, sizeof(answer), MSG_DONTWAIT);
    } while (bytes < 0);
    if (bytes < 12 || memcmp(answer, "HTTP/1.1 200", 12) != 0) {
        die("a request was not answered");
    }
}

static int open_log(const char *name)
{
    if (strcmp(name, "logged") == 0) {
        return open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    if (strcmp(name, "plaintext") != 0) {
        die("unknown case");
    }
    return -1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        die("usage: worker_path CASE COUNT");
    }
    unsigned long count = strtoul(argv[2], NULL, 10);
    struct sockaddr_in address;
    int listen_fd = listen_somewhere(&address);
    struct config config;
    struct error error;
    if (config_load(&config, CONFIG_SERVER_PREFORK, 1, argv, &error) != CONFIG_RUN) {
        die(error.text);
    }
    struct scoreboard *scoreboard = scoreboard_create(1);
    struct handler_environment environment = {.scoreboard = scoreboard, .bench = true};
    struct router *router = router_create();
    handlers_register(router, &environment);
    struct handler_context context = {.slot = &scoreboard->slots[0]};
    struct worker_options options = {.config = &config,
                                     .router = router,
                                     .context = &context,
                                     .listen_fds = {listen_fd},
                                     .listen_count = 1,
                                     .access_log_fd = open_log(argv[1]),
                                     .max_connections = 10};
    struct worker *worker = worker_create(&options);
    if (worker == NULL) {
        die("cannot make a worker");
    }
    int client = connect_to(&address);
    for (unsigned long i = 0; i < count; i++) {
        ask(client, worker_event_base(worker), &context);
    }
    close(client);
    worker_destroy(worker);
    close(options.access_log_fd);
    close(listen_fd);
    router_destroy(router);
    scoreboard_destroy(scoreboard);
    config_free(&config);
    return 0;
}
