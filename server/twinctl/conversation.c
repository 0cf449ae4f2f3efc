#include "server/twinctl/conversation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CHUNK_BYTES = 65536, ANSWER_BYTES_MAX = 256 << 20 };

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

static bool open_connection(const char *path, unsigned patience_s, int *fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = (time_t)patience_s};
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

bool conversation_ask(const char *path, const json_t *request, unsigned patience_s,
                      struct buffer *answer, struct error *error)
{
    int fd = -1;
    bool answered = open_connection(path, patience_s, &fd) && send_request(fd, request) &&
                    receive_answer(fd, answer);
    int cause = errno;
    if (!answered) {
        error_set(error, "%s; %s",
                  cause == ENODATA ? "it closed without an answer" : strerror(cause),
                  fix_of(cause));
    }
    if (fd >= 0) {
        close(fd);
    }
    return answered;
}
