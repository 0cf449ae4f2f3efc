#include "server/control/control.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 64,
    PAUSE_MS = 1000, /* when a connection cannot be accepted */
    LISTENER = CONTROL_CLIENTS,
    SOCKETS = CONTROL_CLIENTS + 1
};

struct client {
    int fd;     /* -1: none */
    bool waits; /* its answer comes later */
    uint64_t cut_at_ms;
    struct ucred peer;
    size_t received;
    char line[CONTROL_LINE_BYTES];
    struct buffer answer; /* what is left of it */
};

struct control {
    control_answer_fn answer;
    void *data;
    char *path;
    char *path_before; /* until it is published; NULL then */
    dev_t device;      /* of the socket's file */
    ino_t inode;
    int epoll_fd;
    int listen_fd;
    bool is_accepting;
    uint64_t paused_until_ms; /* 0: not paused */
    uint32_t client_count;
    struct client clients[CONTROL_CLIENTS];
};

/* ---- The path ---- */

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return address;
}

static bool connect_to(int fd, const char *path)
{
    struct sockaddr_un address = address_of(path);
    return connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

/* Who listens there: 0 is nobody, -1 is somebody whose pid is not known. */
static pid_t find_listener(const char *path)
{
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    pid_t listener = -1;
    if (!connect_to(fd, path)) {
        listener = errno == ECONNREFUSED || errno == ENOENT ? 0 : -1;
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0) {
        listener = peer.pid > 0 ? peer.pid : -1; /* 0: of another namespace */
    }
    close(fd);
    return listener;
}

/* A file that nobody listens at may be replaced, and so may the socket of the program that has
 * started this one for an upgrade. */
static bool may_take(const char *path, struct error *error)
{
    struct stat status;
    if (strlen(path) > CONTROL_PATH_BYTES_MAX) {
        return error_set(error, "control: %.40s... is too long; name a path of at most %d bytes",
                         path, CONTROL_PATH_BYTES_MAX);
    }
    if (lstat(path, &status) != 0) {
        return true; /* if it cannot be made either, bind says why */
    }
    if (!S_ISSOCK(status.st_mode)) {
        return error_set(error, "control: %s is no socket and stays; name another path", path);
    }
    pid_t listener = find_listener(path);
    if (listener == 0 || listener == getppid()) {
        return true;
    }
    return error_set(error, "control: another process listens at %s; stop it or name another path",
                     path);
}

/* The mask of the process is what gives a socket its mode: there is no moment with another. */
static bool bind_privately(int fd, const char *path)
{
    struct sockaddr_un address = address_of(path);
    mode_t mask = umask(0177);
    int result = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    umask(mask);
    return result == 0;
}

static bool note_identity(struct control *control)
{
    struct stat status;
    if (lstat(control->path_before, &status) != 0) {
        return false;
    }
    control->device = status.st_dev;
    control->inode = status.st_ino;
    return true;
}

bool control_is_at_its_path(const struct control *control)
{
    struct stat status;
    return control != NULL && lstat(control->path, &status) == 0 &&
           status.st_dev == control->device && status.st_ino == control->inode;
}

void control_publish(struct control *control)
{
    if (control == NULL || control->path_before == NULL) {
        return;
    }
    if (rename(control->path_before, control->path) != 0) {
        log_write(LOG_ERROR, "control: cannot move the socket to %s: %m; check its folder",
                  control->path);
        return;
    }
    free(control->path_before);
    control->path_before = NULL;
}

/* ---- Life ---- */

static bool watch(struct control *control, int fd, uint32_t events, uint32_t number)
{
    struct epoll_event event = {.events = events, .data.u32 = number};
    return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void watch_for(struct control *control, int fd, uint32_t events, uint32_t number)
{
    struct epoll_event event = {.events = events, .data.u32 = number};
    if (epoll_ctl(control->epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0) {
        log_write(LOG_ERROR, "control: epoll_ctl: %m");
    }
}

static bool open_socket(struct control *control, struct error *error)
{
    control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (control->epoll_fd < 0 || control->listen_fd < 0) {
        return error_set(error, "control: no socket: %s; raise the limit of open files",
                         strerror(errno));
    }
    unlink(control->path_before); /* of a process that had this pid once, and was killed early */
    if (!bind_privately(control->listen_fd, control->path_before) || !note_identity(control) ||
        listen(control->listen_fd, BACKLOG) != 0 ||
        !watch(control, control->listen_fd, EPOLLIN, LISTENER)) {
        return error_set(error, "control: cannot make the socket %s: %s; name another path",
                         control->path, strerror(errno));
    }
    control->is_accepting = true;
    return true;
}

struct control *control_create(const char *path, control_answer_fn answer, void *data,
                               struct error *error)
{
    char path_before[CONTROL_PATH_BYTES_MAX + 16];
    if (!may_take(path, error)) {
        return NULL;
    }
    struct control *control = memory_alloc_zeroed(1, sizeof(*control));
    snprintf(path_before, sizeof(path_before), "%s.%d", path, (int)getpid());
    control->path = memory_copy_string(path);
    control->path_before = memory_copy_string(path_before);
    control->answer = answer;
    control->data = data;
    control->epoll_fd = -1;
    control->listen_fd = -1;
    for (uint32_t i = 0; i < CONTROL_CLIENTS; i++) {
        control->clients[i].fd = -1;
    }
    if (!open_socket(control, error)) {
        control_destroy(control);
        return NULL;
    }
    return control;
}

void control_forget(struct control *control)
{
    if (control == NULL) {
        return;
    }
    for (uint32_t i = 0; i < CONTROL_CLIENTS; i++) {
        if (control->clients[i].fd >= 0) {
            close(control->clients[i].fd);
        }
        buffer_free(&control->clients[i].answer);
    }
    if (control->listen_fd >= 0) {
        close(control->listen_fd);
    }
    if (control->epoll_fd >= 0) {
        close(control->epoll_fd);
    }
    free(control->path);
    free(control->path_before);
    free(control);
}

void control_destroy(struct control *control)
{
    if (control == NULL) {
        return;
    }
    if (control->path_before != NULL) {
        unlink(control->path_before);
    } else if (control_is_at_its_path(control)) {
        unlink(control->path);
    }
    control_forget(control);
}

const char *control_path(const struct control *control)
{
    return control == NULL ? NULL : control->path;
}

int control_fd(const struct control *control)
{
    return control == NULL ? -1 : control->epoll_fd;
}

/* ---- Clients ---- */

static void close_client(struct control *control, struct client *client)
{
    close(client->fd);
    buffer_free(&client->answer);
    client->fd = -1;
    control->client_count--;
}

/* Sends what the kernel takes, and closes when that was all. */
static void send_answer(struct control *control, struct client *client)
{
    ssize_t n =
        send(client->fd, client->answer.data, client->answer.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        close_client(control, client);
        return;
    }
    if (n > 0) {
        buffer_consume(&client->answer, (size_t)n);
    }
    if (client->answer.len == 0) {
        close_client(control, client);
    }
}

static void begin_answer(struct control *control, struct client *client)
{
    buffer_append(&client->answer, "\n", 1);
    watch_for(control, client->fd, EPOLLOUT, (uint32_t)(client - control->clients));
    send_answer(control, client);
}

/* The text needs no escapes. */
static void refuse(struct control *control, struct client *client, const char *text)
{
    buffer_printf(&client->answer, "{\"ok\":false,\"error\":\"%s\"}", text);
    begin_answer(control, client);
}

static void begin_or_wait(struct control *control, struct client *client)
{
    if (client->answer.len > 0) {
        begin_answer(control, client);
        return;
    }
    client->waits = true;
    client->cut_at_ms = clock_monotonic_ms() + CONTROL_WAITING_MS;
    watch_for(control, client->fd, 0, (uint32_t)(client - control->clients)); /* but for its end */
}

static void receive_request(struct control *control, struct client *client)
{
    ssize_t n = recv(client->fd, client->line + client->received,
                     sizeof(client->line) - client->received, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        close_client(control, client);
        return;
    }
    client->received += (size_t)n;
    const char *end = memchr(client->line, '\n', client->received);
    if (end != NULL) {
        struct span request = {client->line, (size_t)(end - client->line)};
        control->answer(control->data, &client->peer, request, &client->answer);
        begin_or_wait(control, client);
    } else if (client->received == sizeof(client->line)) {
        refuse(control, client, "the request is too long; send one short line");
    }
}

static void serve_client(struct control *control, struct client *client)
{
    if (client->fd < 0) {
        return;
    }
    if (client->answer.len > 0) {
        send_answer(control, client);
    } else if (client->waits) {
        close_client(control, client); /* as it has done itself */
    } else {
        receive_request(control, client);
    }
}

static bool is_allowed(const struct client *client)
{
    return client->peer.uid == 0 || client->peer.uid == geteuid();
}

static void add_client(struct control *control, struct client *client, int fd)
{
    socklen_t bytes = sizeof(client->peer);
    *client = (struct client){.fd = fd, .cut_at_ms = clock_monotonic_ms() + CONTROL_PATIENCE_MS};
    control->client_count++;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &client->peer, &bytes) != 0 ||
        !watch(control, fd, EPOLLIN, (uint32_t)(client - control->clients))) {
        log_write(LOG_WARN, "control: cannot serve a client: %m");
        close_client(control, client);
    } else if (!is_allowed(client)) {
        log_write(LOG_WARN, "control: refused process %d of user %u", (int)client->peer.pid,
                  (unsigned)client->peer.uid);
        refuse(control, client, "this user may not control the server; ask as its user or as root");
    }
}

/* ---- Accepting ---- */

static struct client *find_free(struct control *control)
{
    for (uint32_t i = 0; i < CONTROL_CLIENTS; i++) {
        if (control->clients[i].fd < 0) {
            return &control->clients[i];
        }
    }
    return NULL;
}

static void pause_accepting(struct control *control)
{
    log_write(LOG_WARN, "control: cannot accept a client: %m; trying again in %d ms", PAUSE_MS);
    control->paused_until_ms = clock_monotonic_ms() + PAUSE_MS;
}

static void accept_clients(struct control *control)
{
    struct client *place;
    while ((place = find_free(control)) != NULL) {
        int fd = accept4(control->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_client(control, place, fd);
            continue;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            pause_accepting(control);
        }
        return;
    }
}

/* Who cannot be accepted now must not wake the master again and again. */
static void watch_listener(struct control *control)
{
    bool accepting = control->client_count < CONTROL_CLIENTS && control->paused_until_ms == 0;
    if (accepting != control->is_accepting) {
        watch_for(control, control->listen_fd, accepting ? EPOLLIN : 0, LISTENER);
        control->is_accepting = accepting;
    }
}

/* ---- Serving ---- */

void control_answer_waiting(struct control *control, struct span answer)
{
    for (uint32_t i = 0; control != NULL && i < CONTROL_CLIENTS; i++) {
        struct client *client = &control->clients[i];
        if (client->fd >= 0 && client->waits) {
            client->waits = false;
            client->cut_at_ms = clock_monotonic_ms() + CONTROL_PATIENCE_MS;
            buffer_append_span(&client->answer, answer);
            begin_answer(control, client);
        }
    }
}

static void cut(struct control *control, struct client *client)
{
    if (!client->waits) {
        close_client(control, client);
        return;
    }
    client->waits = false;
    client->cut_at_ms += CONTROL_PATIENCE_MS;
    refuse(control, client,
           "it is put off: something else is still going on; it will be done then, see the log");
}

static void cut_late(struct control *control, uint64_t now_ms)
{
    for (uint32_t i = 0; i < CONTROL_CLIENTS; i++) {
        struct client *client = &control->clients[i];
        if (client->fd >= 0 && now_ms >= client->cut_at_ms) {
            cut(control, client);
        }
    }
    if (now_ms >= control->paused_until_ms) {
        control->paused_until_ms = 0;
    }
}

uint64_t control_due_ms(const struct control *control)
{
    if (control == NULL) {
        return 0;
    }
    uint64_t due_ms = control->paused_until_ms;
    for (uint32_t i = 0; i < CONTROL_CLIENTS; i++) {
        const struct client *client = &control->clients[i];
        if (client->fd >= 0 && (due_ms == 0 || client->cut_at_ms < due_ms)) {
            due_ms = client->cut_at_ms;
        }
    }
    return due_ms;
}

void control_serve(struct control *control)
{
    struct epoll_event events[SOCKETS];
    if (control == NULL) {
        return;
    }
    int count = epoll_wait(control->epoll_fd, events, SOCKETS, 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 == LISTENER) {
            accept_clients(control);
        } else {
            serve_client(control, &control->clients[events[i].data.u32]);
        }
    }
    cut_late(control, clock_monotonic_ms());
    watch_listener(control);
}
