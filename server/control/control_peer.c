#include "server/control/control_peer.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECOND_MS = 1000, NUMBER_DIGITS = 20 };

/* A request whose answer comes later. */
struct waiting {
    bool is_used;
    uint64_t number;
    uint64_t until_ms;
};

struct control_peer {
    int fd;
    control_answer_fn answer;
    void *data;
    uint64_t second_ms; /* when the present one began; 0: none has */
    uint32_t taken;     /* requests within it */
    size_t received;
    char line[CONTROL_LINE_BYTES + NUMBER_DIGITS + 1];
    struct buffer unread; /* what it has not taken yet */
    struct waiting waiting[CONTROL_PEER_WAITING];
};

struct control_peer *control_peer_create(int fd, control_answer_fn answer, void *data)
{
    struct control_peer *peer = memory_alloc_zeroed(1, sizeof(*peer));
    CHECK(fd >= 0);
    peer->fd = fd;
    peer->answer = answer;
    peer->data = data;
    return peer;
}

void control_peer_destroy(struct control_peer *peer)
{
    if (peer != NULL) {
        close(peer->fd);
        buffer_free(&peer->unread);
        free(peer);
    }
}

/* ---- Waiting ---- */

static bool has_had_enough(const struct control_peer *peer)
{
    return peer->taken >= CONTROL_PEER_PER_SECOND;
}

struct pollfd control_peer_poll(const struct control_peer *peer)
{
    struct pollfd poll = {.fd = -1};
    if (peer != NULL) {
        poll.events =
            (short)((has_had_enough(peer) ? 0 : POLLIN) | (peer->unread.len > 0 ? POLLOUT : 0));
        poll.fd = poll.events != 0 ? peer->fd : -1; /* its end would wake the master for ever */
    }
    return poll;
}

uint64_t control_peer_due_ms(const struct control_peer *peer)
{
    if (peer == NULL) {
        return 0;
    }
    uint64_t due_ms = has_had_enough(peer) ? peer->second_ms + SECOND_MS : 0;
    for (size_t i = 0; i < CONTROL_PEER_WAITING; i++) {
        const struct waiting *waiting = &peer->waiting[i];
        if (waiting->is_used && (due_ms == 0 || waiting->until_ms < due_ms)) {
            due_ms = waiting->until_ms;
        }
    }
    return due_ms;
}

/* ---- Answers ---- */

static void put_answer(struct control_peer *peer, uint64_t number, struct span answer)
{
    buffer_append_uint(&peer->unread, number);
    buffer_append_span(&peer->unread, SPAN(" "));
    buffer_append_span(&peer->unread, answer);
    buffer_append_span(&peer->unread, SPAN("\n"));
}

static void put_off(struct control_peer *peer, uint64_t number)
{
    for (size_t i = 0; i < CONTROL_PEER_WAITING; i++) {
        struct waiting *waiting = &peer->waiting[i];
        if (!waiting->is_used) {
            *waiting = (struct waiting){true, number, clock_monotonic_ms() + CONTROL_WAITING_MS};
            return;
        }
    }
    put_answer(peer, number,
               SPAN("{\"ok\":false,\"error\":\"it is put off, as others are; see the log\"}"));
}

void control_peer_answer_waiting(struct control_peer *peer, struct span answer)
{
    for (size_t i = 0; peer != NULL && i < CONTROL_PEER_WAITING; i++) {
        if (peer->waiting[i].is_used) {
            peer->waiting[i].is_used = false;
            put_answer(peer, peer->waiting[i].number, answer);
        }
    }
}

static void answer_late(struct control_peer *peer, uint64_t now_ms)
{
    for (size_t i = 0; i < CONTROL_PEER_WAITING; i++) {
        struct waiting *waiting = &peer->waiting[i];
        if (waiting->is_used && now_ms >= waiting->until_ms) {
            waiting->is_used = false;
            put_answer(
                peer, waiting->number,
                SPAN("{\"ok\":false,\"error\":\"it is put off: something else is still going "
                     "on; it will be done then, see the log\"}"));
        }
    }
}

/* False: it is gone, or has not read for long. */
static bool send_answers(struct control_peer *peer)
{
    if (peer->unread.len == 0) {
        return true;
    }
    ssize_t n = send(peer->fd, peer->unread.data, peer->unread.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        return false;
    }
    if (n > 0) {
        buffer_consume(&peer->unread, (size_t)n);
    }
    return peer->unread.len <= CONTROL_PEER_UNREAD_BYTES;
}

/* ---- Requests ---- */

/* False: it is no request. */
static bool answer_line(struct control_peer *peer, const char *line, size_t bytes)
{
    struct buffer answer = {0};
    char *end;
    if (*line < '0' || *line > '9') {
        return false;
    }
    const uint64_t number = strtoull(line, &end, 10);
    if (*end != ' ') {
        return false;
    }
    const struct span request = {end + 1, bytes - (size_t)(end + 1 - line)};
    peer->answer(peer->data, NULL, request, &answer);
    if (answer.len > 0) {
        put_answer(peer, number, (struct span){answer.data, answer.len});
    } else {
        put_off(peer, number);
    }
    buffer_free(&answer);
    return true;
}

static void count_request(struct control_peer *peer, uint64_t now_ms)
{
    if (peer->second_ms == 0 || now_ms - peer->second_ms >= SECOND_MS) {
        peer->second_ms = now_ms;
        peer->taken = 0;
    }
    peer->taken++;
}

/* The line ends where its end was; strtoull stops there. */
static bool answer_lines(struct control_peer *peer, uint64_t now_ms)
{
    char *end;
    while (!has_had_enough(peer) && (end = memchr(peer->line, '\n', peer->received)) != NULL) {
        const size_t bytes = (size_t)(end - peer->line);
        count_request(peer, now_ms);
        if (!answer_line(peer, peer->line, bytes)) {
            return false;
        }
        peer->received -= bytes + 1;
        memmove(peer->line, end + 1, peer->received);
    }
    return true;
}

/* False: nothing more will come. */
static bool receive(struct control_peer *peer)
{
    const size_t room = sizeof(peer->line) - peer->received;
    if (room == 0) {
        return memchr(peer->line, '\n', peer->received) != NULL; /* else its line is too long */
    }
    ssize_t n = recv(peer->fd, peer->line + peer->received, room, MSG_DONTWAIT);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    peer->received += (size_t)n;
    return n > 0;
}

bool control_peer_serve(struct control_peer *peer)
{
    if (peer == NULL) {
        return true;
    }
    const uint64_t now_ms = clock_monotonic_ms();
    if (peer->second_ms != 0 && now_ms - peer->second_ms >= SECOND_MS) {
        peer->taken = 0;
        peer->second_ms = 0;
    }
    if (has_had_enough(peer)) {
        answer_late(peer, now_ms);
        return send_answers(peer);
    }
    const bool goes_on = receive(peer);
    const bool is_good = answer_lines(peer, now_ms);
    answer_late(peer, now_ms);
    return send_answers(peer) && goes_on && is_good;
}
