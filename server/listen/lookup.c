#include "server/listen/lookup.h"

#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ITEM_BYTES = 272, HOST_BYTES = 256 };

/* What the process that asks sends back, in one piece: less than what a pipe takes at once. */
struct answer {
    struct endpoints endpoints;
    struct error error; /* "": found */
};

/* ---- The list ---- */

/* Copies the next address of the list, and moves behind it. False: there is none. */
static bool next_item(const char **list, char item[ITEM_BYTES])
{
    size_t bytes = strcspn(*list, ",");
    if (bytes == 0) {
        return false;
    }
    snprintf(item, ITEM_BYTES, "%.*s", (int)bytes, *list);
    *list += bytes + ((*list)[bytes] == ',');
    return true;
}

bool lookup_is_needed(const char *listen)
{
    char item[ITEM_BYTES];
    struct endpoint endpoint;
    while (next_item(&listen, item)) {
        if (!endpoint_parse(&endpoint, item)) {
            return true;
        }
    }
    return false;
}

static bool add(struct endpoints *endpoints, struct endpoint *endpoint, unsigned number,
                struct error *error)
{
    endpoint->item = (uint8_t)number;
    return endpoints_add(endpoints, endpoint) ||
           error_set(error, "\"listen\" stands for more than %d addresses; list fewer",
                     ENDPOINTS_MOST);
}

/* ---- A name ---- */

static bool add_found(struct endpoints *endpoints, const struct addrinfo *found, unsigned number,
                      struct error *error)
{
    bool several = found->ai_next != NULL;
    for (; found != NULL; found = found->ai_next) {
        struct endpoint endpoint;
        if (!endpoint_from(&endpoint, found->ai_addr)) {
            continue;
        }
        endpoint.may_lack = several;
        if (!add(endpoints, &endpoint, number, error)) {
            return false;
        }
    }
    return true;
}

/* Checked with the settings: a host, a colon and a port. */
static bool ask(const char *item, unsigned number, struct endpoints *endpoints, struct error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    char host[HOST_BYTES];
    const char *colon = strrchr(item, ':');
    snprintf(host, sizeof(host), "%.*s", (int)(colon - item), item);
    int result = getaddrinfo(host, colon + 1, &hints, &found);
    if (result != 0) {
        return error_set(error, "cannot listen on \"%s\": %s; give an address of this machine",
                         item, result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
    }
    bool added = add_found(endpoints, found, number, error);
    freeaddrinfo(found);
    return added;
}

static bool find_all(const char *listen, bool with_names, struct endpoints *endpoints,
                     struct error *error)
{
    char item[ITEM_BYTES];
    struct endpoint endpoint;
    *endpoints = (struct endpoints){0};
    for (unsigned number = 0; next_item(&listen, item); number++) {
        bool added = endpoint_parse(&endpoint, item)
                         ? add(endpoints, &endpoint, number, error)
                         : with_names && ask(item, number, endpoints, error);
        if (!added) {
            return false;
        }
    }
    endpoints_settle(endpoints);
    return true;
}

bool lookup_read(const char *listen, struct endpoints *endpoints, struct error *error)
{
    return find_all(listen, false, endpoints, error);
}

/* ---- The process that asks ---- */

/* What the master has open is not to stay open here: a peer of the master's waits until the last
 * descriptor is closed. */
static int keep_only(int fd)
{
    const int first = STDERR_FILENO + 1;
    int kept = dup2(fd, first);
    closefrom(first + 1);
    return kept;
}

static _Noreturn void run_asker(const char *listen, int answer_fd, pid_t parent)
{
    struct answer answer;
    memset(&answer, 0, sizeof(answer));
    int fd = keep_only(answer_fd);
    if (fd < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(1);
    }
    find_all(listen, true, &answer.endpoints, &answer.error);
    ssize_t ignored = write(fd, &answer, sizeof(answer));
    (void)ignored;
    _exit(0);
}

bool lookup_begin(struct lookup *lookup, const char *listen, struct error *error)
{
    int ends[2];
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return error_set(error, "cannot look up \"%s\": %s; raise the limit of open files", listen,
                         strerror(errno));
    }
    fflush(NULL); /* or buffered output would be written twice */
    pid_t pid = fork();
    if (pid == 0) {
        run_asker(listen, ends[1], parent);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error_set(error, "cannot look up \"%s\": %s; raise the limit of processes", listen,
                         strerror(errno));
    }
    *lookup = (struct lookup){pid, ends[0], clock_monotonic_ms() + LOOKUP_PATIENCE_MS};
    return true;
}

static void end(struct lookup *lookup)
{
    if (lookup->pid != 0) {
        kill(lookup->pid, SIGKILL);
    }
    close(lookup->fd);
    lookup->deadline_ms = 0;
}

void lookup_abandon(struct lookup *lookup)
{
    if (lookup->deadline_ms != 0) {
        end(lookup);
    }
}

int lookup_fd(const struct lookup *lookup)
{
    return lookup->deadline_ms != 0 ? lookup->fd : -1;
}

uint64_t lookup_due_ms(const struct lookup *lookup)
{
    return lookup->deadline_ms;
}

bool lookup_is_over(struct lookup *lookup, pid_t pid)
{
    if (pid == 0 || pid != lookup->pid) {
        return false;
    }
    lookup->pid = 0;
    return true;
}

/* The libraries that ask may be anybody's. */
static bool is_sound(const struct answer *answer, ssize_t bytes)
{
    if (bytes != sizeof(*answer) || answer->endpoints.count > ENDPOINTS_MOST ||
        memchr(answer->error.text, 0, sizeof(answer->error.text)) == NULL) {
        return false;
    }
    return answer->endpoints.count > 0 || answer->error.text[0] != '\0';
}

enum lookup_result lookup_proceed(struct lookup *lookup, const char *listen,
                                  struct endpoints *endpoints, struct error *error)
{
    struct answer answer;
    ssize_t bytes = read(lookup->fd, &answer, sizeof(answer));
    bool waits = bytes < 0 && (errno == EAGAIN || errno == EINTR);
    if (waits && clock_monotonic_ms() < lookup->deadline_ms) {
        return LOOKUP_WAITS;
    }
    end(lookup);
    if (waits) {
        error_set(error,
                  "cannot look up \"%s\": no answer within %d s; check the name servers "
                  "(/etc/resolv.conf), or give numbers",
                  listen, LOOKUP_PATIENCE_MS / 1000);
        return LOOKUP_FAILED;
    }
    if (!is_sound(&answer, bytes)) {
        error_set(error, "cannot look up \"%s\": the process that asks has died; give numbers",
                  listen);
        return LOOKUP_FAILED;
    }
    *error = answer.error;
    *endpoints = answer.endpoints;
    return error->text[0] == '\0' ? LOOKUP_FOUND : LOOKUP_FAILED;
}

/* ---- Waiting ---- */

static int time_left_ms(const struct lookup *lookup)
{
    uint64_t now_ms = clock_monotonic_ms();
    return lookup->deadline_ms > now_ms ? (int)(lookup->deadline_ms - now_ms) : 0;
}

static bool wait_for_answer(struct lookup *lookup, const char *listen, struct endpoints *endpoints,
                            int stop_fd, bool *interrupted, struct error *error)
{
    struct pollfd watched[] = {{.fd = lookup->fd, .events = POLLIN},
                               {.fd = stop_fd, .events = POLLIN}};
    enum lookup_result result = LOOKUP_WAITS;
    while (result == LOOKUP_WAITS) {
        poll(watched, 2, time_left_ms(lookup));
        if (watched[1].revents != 0) {
            *interrupted = true;
            lookup_abandon(lookup);
            return error_set(error, "told to stop while looking up \"%s\"; start again", listen);
        }
        result = lookup_proceed(lookup, listen, endpoints, error);
    }
    return result == LOOKUP_FOUND;
}

bool lookup_wait(const char *listen, struct endpoints *endpoints, int stop_fd, bool *interrupted,
                 struct error *error)
{
    struct lookup lookup = {0};
    *interrupted = false;
    if (!lookup_is_needed(listen)) {
        return lookup_read(listen, endpoints, error);
    }
    if (!lookup_begin(&lookup, listen, error)) {
        return false;
    }
    pid_t pid = lookup.pid;
    bool found = wait_for_answer(&lookup, listen, endpoints, stop_fd, interrupted, error);
    waitpid(pid, NULL, 0);
    return found;
}
