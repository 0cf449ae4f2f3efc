#include "server/setup/inheritance.h"

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
#define OBSERVING_VARIABLE   "TWINHTTPD_OBSERVING"
#define COUNTED_VARIABLE     "TWINHTTPD_COUNTED_FD"
#define COUNTING_VARIABLE    "TWINHTTPD_COUNTING_FD"
#define PREDECESSOR_VARIABLE "TWINHTTPD_PREDECESSOR_FD"
#define PASSED               " passed"

static bool keep_open(int fd)
{
    return fcntl(fd, F_SETFD, 0) == 0;
}

/* "127.0.0.1:8080 4 5 6 [::1]:8080 7 8 9": each address as wanted, then its descriptors; PASSED
 * behind all of them tells that a service manager has passed them. */
static char *describe(const struct listeners *listeners)
{
    size_t used = 0;
    bool passed = false;
    size_t bytes = sizeof(PASSED);
    for (size_t i = 0; i < listeners->count; i++) {
        bytes += ENDPOINT_TEXT_BYTES + 1 + listeners->list[i].count * FD_TEXT_BYTES;
    }
    char *text = memory_alloc_zeroed(1, bytes);
    for (size_t i = 0; i < listeners->count; i++) {
        const struct listener *listener = &listeners->list[i];
        char address[ENDPOINT_TEXT_BYTES];
        endpoint_format(&listener->wanted, address);
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i == 0 ? "" : " ", address);
        for (size_t k = 0; k < listener->count; k++) {
            used += (size_t)snprintf(text + used, bytes - used, " %d", listener->fds[k]);
        }
        passed = passed || listener->is_passed;
    }
    snprintf(text + used, bytes - used, "%s", passed ? PASSED : "");
    return text;
}

static bool keep_all_open(const struct listeners *listeners)
{
    bool kept = true;
    for (size_t i = 0; i < listeners->count; i++) {
        for (size_t k = 0; k < listeners->list[i].count; k++) {
            kept = kept && keep_open(listeners->list[i].fds[k]);
        }
    }
    return kept;
}

static bool offer(const struct listeners *listeners, const char *variable)
{
    char *text = describe(listeners);
    bool offered = keep_all_open(listeners) && setenv(variable, text, 1) == 0;
    free(text);
    return offered;
}

static bool offer_fd(int fd, const char *variable)
{
    char text[FD_TEXT_BYTES];
    snprintf(text, sizeof(text), "%d", fd);
    return keep_open(fd) && setenv(variable, text, 1) == 0;
}

bool inheritance_offer(const struct server *server, int talk_fd,
                       const struct inheritance_pages *pages)
{
    return offer(&server->listeners, LISTENING_VARIABLE) &&
           (server->observing.count == 0 || offer(&server->observing, OBSERVING_VARIABLE)) &&
           (pages->counted_fd < 0 || offer_fd(pages->counted_fd, COUNTED_VARIABLE)) &&
           (pages->counting_fd < 0 || offer_fd(pages->counting_fd, COUNTING_VARIABLE)) &&
           offer_fd(talk_fd, PREDECESSOR_VARIABLE);
}

/* The next descriptor in the list; -1: something else comes. Not for the programs that this one may
 * start. */
static int next_fd(const char **text)
{
    char *end;
    long fd = strtol(*text, &end, 10);
    bool is_number = end != *text && (*end == ' ' || *end == '\0');
    if (!is_number || fd < 0 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0) {
        return -1;
    }
    *text = end;
    return (int)fd;
}

/* An address, then descriptors. */
static void skip_word(const char **text)
{
    *text += strspn(*text, " ");
    *text += strcspn(*text, " ");
}

static size_t read_fds(const char *text, int *fds)
{
    size_t count = 0;
    while (*text != '\0') {
        int fd = next_fd(&text);
        if (fd >= 0) {
            fds[count++] = fd;
        } else {
            skip_word(&text);
        }
    }
    return count;
}

/* Notes the address that the settings ask for: port 0 stays 0, though the kernel has chosen one.
 * For a name that is the address that is bound. */
static void set_wanted(struct listener *listener, const char *text)
{
    char word[ENDPOINT_TEXT_BYTES];
    size_t bytes = strcspn(text, " ");
    if (bytes >= sizeof(word)) {
        return;
    }
    memcpy(word, text, bytes);
    word[bytes] = '\0';
    struct endpoint wanted;
    if (endpoint_parse(&wanted, word)) {
        listener->wanted = wanted;
    } else if (bytes >= 2 && strcmp(word + bytes - 2, ":0") == 0) {
        endpoint_set_port(&listener->wanted, 0);
    }
}

static struct listener *find_by_fd(struct listeners *listeners, int fd)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (listeners->list[i].fds[0] == fd) {
            return &listeners->list[i];
        }
    }
    return NULL;
}

static void read_wanted(struct listeners *listeners, const char *text)
{
    const char *address = text;
    while (*text != '\0') {
        int fd = next_fd(&text);
        struct listener *listener = fd >= 0 ? find_by_fd(listeners, fd) : NULL;
        if (listener != NULL) {
            set_wanted(listener, address);
        } else if (fd < 0) {
            address = text + strspn(text, " ");
            skip_word(&text);
        }
    }
}

static bool ends_with(const char *text, const char *end)
{
    size_t bytes = strlen(text);
    size_t end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

static void take(struct listeners *listeners, const char *variable)
{
    struct error error;
    const char *text = getenv(variable);
    *listeners = (struct listeners){0};
    if (text == NULL) {
        return;
    }
    int *fds = memory_alloc_zeroed(strlen(text) / 2 + 1, sizeof(*fds));
    size_t count = read_fds(text, fds);
    if (listeners_adopt(listeners, fds, count, &error)) {
        read_wanted(listeners, text);
    } else {
        log_write(LOG_WARN, "the old program's sockets (%s) are of no use: %s", text, error.text);
    }
    for (size_t i = 0; i < listeners->count; i++) {
        listeners->list[i].is_passed = ends_with(text, PASSED);
    }
    free(fds);
    unsetenv(variable);
}

void inheritance_take(struct listeners *listeners)
{
    take(listeners, LISTENING_VARIABLE);
}

void inheritance_take_observing(struct listeners *observing)
{
    take(observing, OBSERVING_VARIABLE);
}

/* -1: there is none. */
static int fd_in(const char *variable)
{
    const char *text = getenv(variable);
    return text != NULL ? next_fd(&text) : -1;
}

static int take_fd(const char *variable)
{
    const int fd = fd_in(variable);
    unsetenv(variable);
    return fd;
}

int inheritance_take_counted(void)
{
    return take_fd(COUNTED_VARIABLE);
}

int inheritance_take_counting(void)
{
    return take_fd(COUNTING_VARIABLE);
}

/* Where the old program listens; -1: there is none. */
static int predecessor_fd(void)
{
    return fd_in(PREDECESSOR_VARIABLE);
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

/* As recv: 1: there is a word; 0: the old program has ended; -1: it is silent, or there is none. */
static ssize_t peek(void)
{
    char byte;
    int fd = predecessor_fd();
    return fd >= 0 ? recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : -1;
}

bool inheritance_is_recalled(void)
{
    return peek() == 1;
}

bool inheritance_is_heard(void)
{
    return predecessor_fd() >= 0 && peek() != 0;
}

void inheritance_close(void)
{
    int fd = predecessor_fd();
    if (fd >= 0) {
        close(fd);
        unsetenv(PREDECESSOR_VARIABLE);
    }
}
