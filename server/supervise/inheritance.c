#include "server/supervise/inheritance.h"

#include "common/base/log.h"
#include "common/base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FD_TEXT_BYTES = 12 };

#define LISTENING_VARIABLE   "TWINHTTPD_LISTENING"
#define PREDECESSOR_VARIABLE "TWINHTTPD_PREDECESSOR_FD"
#define PASSED               " passed"

static bool keep_open(int fd)
{
    return fcntl(fd, F_SETFD, 0) == 0;
}

/* "127.0.0.1:8080 4 5 6": the address as configured, then the descriptors; PASSED behind them tells
 * that a service manager has passed them. */
static char *describe(const struct server *server)
{
    const struct listener *listener = &server->listener;
    size_t bytes = strlen(server->config.listen) + listener->count * FD_TEXT_BYTES + sizeof(PASSED);
    char *text = memory_alloc_zeroed(1, bytes);
    size_t used = (size_t)snprintf(text, bytes, "%s", server->config.listen);
    for (size_t i = 0; i < listener->count; i++) {
        used += (size_t)snprintf(text + used, bytes - used, " %d", listener->fds[i]);
    }
    snprintf(text + used, bytes - used, "%s", listener->is_passed ? PASSED : "");
    return text;
}

bool inheritance_offer(const struct server *server, int talk_fd)
{
    char talk[FD_TEXT_BYTES];
    bool kept = keep_open(talk_fd);
    for (size_t i = 0; i < server->listener.count; i++) {
        kept = kept && keep_open(server->listener.fds[i]);
    }
    char *listening = describe(server);
    snprintf(talk, sizeof(talk), "%d", talk_fd);
    kept = kept && setenv(LISTENING_VARIABLE, listening, 1) == 0 &&
           setenv(PREDECESSOR_VARIABLE, talk, 1) == 0;
    free(listening);
    return kept;
}

/* The next descriptor in the list; -1 at its end. Not for the programs that this one may start. */
static int next_fd(const char **text)
{
    char *end;
    long fd = strtol(*text, &end, 10);
    if (end == *text || fd < 0 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0) {
        return -1;
    }
    *text = end;
    return (int)fd;
}

static void read_fds(struct listener *listener, const char *text)
{
    size_t most = strlen(text) / 2 + 1;
    int fd;
    listener->fds = memory_alloc_zeroed(most, sizeof(listener->fds[0]));
    while ((fd = next_fd(&text)) >= 0) {
        listener->fds[listener->count++] = fd;
    }
    listener->is_passed = strcmp(text, PASSED) == 0;
}

bool inheritance_take(struct listener *listener, const char *address, size_t count)
{
    const char *text = getenv(LISTENING_VARIABLE);
    size_t address_bytes = strlen(address);
    *listener = (struct listener){0};
    if (text == NULL) {
        return false;
    }
    const char *fds = strchr(text, ' ');
    if (fds != NULL) {
        read_fds(listener, fds);
    }
    bool same = strncmp(text, address, address_bytes) == 0 && text[address_bytes] == ' ';
    bool taken = same && listener->count == count && listener_read_address(listener);
    if (!taken) {
        log_write(LOG_WARN, "the old program's sockets (%s) do not fit: opening others", text);
        listener_close(listener);
    }
    unsetenv(LISTENING_VARIABLE);
    return taken;
}

/* Where the old program listens; -1: there is none. */
static int predecessor_fd(void)
{
    const char *text = getenv(PREDECESSOR_VARIABLE);
    return text != NULL ? next_fd(&text) : -1;
}

bool inheritance_is_offered(void)
{
    return getenv(PREDECESSOR_VARIABLE) != NULL;
}

void inheritance_tell(enum inheritance_news news)
{
    int fd = predecessor_fd();
    if (fd >= 0) { /* should it have left, nobody needs to know */
        char byte = (char)news;
        ssize_t ignored = send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)ignored;
    }
}

bool inheritance_is_recalled(void)
{
    char byte;
    int fd = predecessor_fd();
    return fd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

void inheritance_close(void)
{
    int fd = predecessor_fd();
    if (fd >= 0) {
        close(fd);
        unsetenv(PREDECESSOR_VARIABLE);
    }
}
