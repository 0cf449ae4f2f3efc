#include "server/twinctl/top_client.h"

#include "common/base/buffer.h"
#include "common/base/clock.h"
#include "common/base/decimal.h"
#include "server/twinctl/top_format.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    API_VERSION = 1,
    STATUS_OK = 200,
    PORT_MAX = 65535,
    CHUNK_BYTES = 65536,
    ANSWER_BYTES_MAX = 64 << 20 /* 512 threads and 64 long stories need less than a MiB */
};

/* ---- The address ---- */

/* The numbers of an address, with or without the brackets of IPv6. */
static bool read_numbers(const char *host, uint16_t port, struct top_address *address)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&address->socket;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->socket;
    size_t len = strlen(host);
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        address->socket_bytes = sizeof(*in);
        return true;
    }
    if (len < 2 || host[0] != '[' || host[len - 1] != ']') {
        return false;
    }
    char inner[TOP_HOST_BYTES];
    snprintf(inner, sizeof(inner), "%.*s", (int)len - 2, host + 1);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    address->socket_bytes = sizeof(*in6);
    return inet_pton(AF_INET6, inner, &in6->sin6_addr) == 1;
}

/* What is left of a URL without its scheme, path and fragment. */
static struct span without_url(const char *text)
{
    static const char scheme[] = "http://";
    if (strncmp(text, scheme, sizeof(scheme) - 1) == 0) {
        text += sizeof(scheme) - 1;
    }
    return (struct span){text, strcspn(text, "/#?")};
}

bool top_address_parse(const char *text, struct top_address *address, struct error *error)
{
    struct span named = without_url(text);
    uint64_t port;
    *address = (struct top_address){0};
    if (named.len < sizeof(address->host)) {
        snprintf(address->host, sizeof(address->host), "%.*s", (int)named.len, named.ptr);
    }
    char host[TOP_HOST_BYTES];
    snprintf(host, sizeof(host), "%s", address->host);
    char *colon = strrchr(host, ':');
    if (colon == NULL || !decimal_parse(colon + 1, 1, PORT_MAX, &port)) {
        return error_set(error, "%.60s is no HOST:PORT; the banner of the server names it", text);
    }
    *colon = '\0';
    const char *numbers = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    return read_numbers(numbers, (uint16_t)port, address) ||
           error_set(error, "%.60s is no address; write its numbers, or localhost", host);
}

/* ---- The conversation ---- */

struct call {
    int fd;
    uint64_t deadline_ms;
};

/* Until the socket can be used. False with errno set. */
static bool wait_for(const struct call *call, short events)
{
    for (;;) {
        uint64_t now_ms = clock_monotonic_ms();
        struct pollfd poller = {.fd = call->fd, .events = events};
        int left_ms = now_ms < call->deadline_ms ? (int)(call->deadline_ms - now_ms) : 0;
        int ready = poll(&poller, 1, left_ms);
        if (ready > 0) {
            return true;
        }
        if (ready == 0) {
            errno = ETIMEDOUT;
            return false;
        }
        if (errno != EINTR) {
            return false;
        }
    }
}

static bool open_call(struct call *call, const struct top_address *address)
{
    int error = 0;
    socklen_t bytes = sizeof(error);
    call->fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (call->fd < 0) {
        return false;
    }
    if (connect(call->fd, (const struct sockaddr *)&address->socket, address->socket_bytes) == 0) {
        return true;
    }
    if (errno != EINPROGRESS || !wait_for(call, POLLOUT) ||
        getsockopt(call->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) {
        return false;
    }
    errno = error;
    return error == 0;
}

static bool send_all(const struct call *call, const struct buffer *request)
{
    size_t sent = 0;
    while (sent < request->len) {
        ssize_t n = send(call->fd, request->data + sent, request->len - sent, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += (size_t)n;
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for(call, POLLOUT))) {
            return false;
        }
    }
    return true;
}

/* Up to the end: the request has asked for a connection that closes. */
static bool receive_all(const struct call *call, struct buffer *answer)
{
    for (;;) {
        buffer_reserve(answer, CHUNK_BYTES);
        ssize_t n = recv(call->fd, answer->data + answer->len, CHUNK_BYTES, 0);
        if (n == 0) {
            return true;
        }
        if (n > 0) {
            answer->len += (size_t)n;
        } else if (errno != EINTR && (errno != EAGAIN || !wait_for(call, POLLIN))) {
            return false;
        }
        if (answer->len > ANSWER_BYTES_MAX || clock_monotonic_ms() > call->deadline_ms) {
            errno = answer->len > ANSWER_BYTES_MAX ? EMSGSIZE : ETIMEDOUT;
            return false;
        }
    }
}

static bool converse(struct call *call, const struct top_address *address, struct buffer *answer)
{
    struct buffer request = {0};
    buffer_printf(&request,
                  "GET /api/v1/state HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n"
                  "Connection: close\r\n\r\n",
                  address->host);
    bool done = open_call(call, address) && send_all(call, &request) && receive_all(call, answer);
    buffer_free(&request);
    return done;
}

/* ---- The answer ---- */

struct answer {
    uint64_t status;
    struct span body;
};

static bool split(const struct buffer *text, struct answer *answer)
{
    static const char version[] = "HTTP/1.1 ";
    char number[4] = "";
    const char *end = text->len == 0 ? NULL : memmem(text->data, text->len, "\r\n\r\n", 4);
    if (end == NULL || text->len < sizeof(version) + 3 ||
        memcmp(text->data, version, sizeof(version) - 1) != 0) {
        return false;
    }
    memcpy(number, text->data + sizeof(version) - 1, 3);
    answer->body = (struct span){end + 4, text->len - (size_t)(end + 4 - text->data)};
    return decimal_parse(number, 100, 999, &answer->status);
}

/* The line with which an observer refuses says what to do. */
static void tell_refusal(const struct answer *answer, struct error *error)
{
    enum { SHOWN_BYTES = 200 };
    char raw[SHOWN_BYTES], shown[SHOWN_BYTES];
    snprintf(raw, sizeof(raw), "%.*s", (int)answer->body.len, answer->body.ptr);
    raw[strcspn(raw, "\r\n")] = '\0';
    top_format_harmless(raw, shown, sizeof(shown));
    error_set(error, "it answers %u: %s", (unsigned)answer->status, shown);
}

static json_t *read_state(struct span body, struct error *error)
{
    json_t *state = json_loadb(body.ptr, body.len, 0, NULL);
    json_int_t version = json_integer_value(json_object_get(state, "api"));
    if (version != API_VERSION) {
        json_decref(state);
        error_set(error, version == 0
                             ? "it sent no whole state; check that this is a server's observer"
                             : "it speaks another version; take the twinctl of the server");
        return NULL;
    }
    return state;
}

static json_t *read_answer(const struct buffer *text, struct error *error)
{
    struct answer answer;
    if (!split(text, &answer)) {
        error_set(error, "it does not speak HTTP; check that this is a server's observer");
        return NULL;
    }
    if (answer.status != STATUS_OK) {
        tell_refusal(&answer, error);
        return NULL;
    }
    return read_state(answer.body, error);
}

static const char *fix_of(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "start the server with --observe and this address";
    case ETIMEDOUT:
        return "it is busy, stopped, or not reachable from here";
    default:
        return "check the address";
    }
}

json_t *top_client_fetch(const struct top_address *address, uint64_t patience_ms,
                         struct error *error)
{
    struct call call = {.fd = -1, .deadline_ms = clock_monotonic_ms() + patience_ms};
    struct buffer text = {0};
    json_t *state = NULL;
    if (converse(&call, address, &text)) {
        state = read_answer(&text, error);
    } else {
        int cause = errno;
        error_set(error, "%s; %s", strerror(cause), fix_of(cause));
    }
    if (call.fd >= 0) {
        close(call.fd);
    }
    buffer_free(&text);
    return state;
}
