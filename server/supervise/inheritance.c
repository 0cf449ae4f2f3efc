#include "server/supervise/inheritance.h"

#include "common/base/log.h"
#include "common/base/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FD_TEXT_BYTES = 12 };

#define LISTENING_VARIABLE "TWINHTTPD_LISTENING"
#define READY_VARIABLE     "TWINHTTPD_READY_FD"
#define PARENT_VARIABLE    "TWINHTTPD_PREDECESSOR" /* pid of the old program */

static bool keep_open(int fd)
{
    return fcntl(fd, F_SETFD, 0) == 0;
}

/* "127.0.0.1:8080 4 5 6": the address as configured, then the descriptors. */
static char *describe(const struct server *server)
{
    const struct listener *listener = &server->listener;
    size_t bytes = strlen(server->config.listen) + listener->count * FD_TEXT_BYTES + 1;
    char *text = memory_alloc_zeroed(1, bytes);
    size_t used = (size_t)snprintf(text, bytes, "%s", server->config.listen);
    for (size_t i = 0; i < listener->count; i++) {
        used += (size_t)snprintf(text + used, bytes - used, " %d", listener->fds[i]);
    }
    return text;
}

bool inheritance_offer(const struct server *server, int ready_fd)
{
    char ready[FD_TEXT_BYTES], parent[FD_TEXT_BYTES];
    bool kept = keep_open(ready_fd);
    for (size_t i = 0; i < server->listener.count; i++) {
        kept = kept && keep_open(server->listener.fds[i]);
    }
    char *listening = describe(server);
    snprintf(ready, sizeof(ready), "%d", ready_fd);
    snprintf(parent, sizeof(parent), "%d", (int)getppid());
    kept = kept && setenv(LISTENING_VARIABLE, listening, 1) == 0 &&
           setenv(READY_VARIABLE, ready, 1) == 0 && setenv(PARENT_VARIABLE, parent, 1) == 0;
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

bool inheritance_is_offered(void)
{
    return getenv(READY_VARIABLE) != NULL;
}

/* It leaves only when its trial has been passed, and then this one gets another parent. */
bool inheritance_may_go_back(void)
{
    const char *parent = getenv(PARENT_VARIABLE);
    return parent != NULL && strtol(parent, NULL, 10) == getppid();
}

/* Where to tell it; -1: nobody waits. Known once. */
static int take_ready_fd(void)
{
    const char *text = getenv(READY_VARIABLE);
    int fd = text != NULL ? next_fd(&text) : -1;
    unsetenv(READY_VARIABLE);
    return fd;
}

void inheritance_tell_ready(void)
{
    int fd = take_ready_fd();
    if (fd >= 0) {
        ssize_t ignored = write(fd, "1", 1);
        (void)ignored;
        close(fd);
    }
}

void inheritance_close(void)
{
    int fd = take_ready_fd();
    if (fd >= 0) {
        close(fd);
    }
}
