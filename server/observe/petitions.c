#include "server/observe/petitions.h"

#include "common/base/buffer.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 65536 };

struct petition {
    uint64_t number;
    petition_answer_fn answer; /* NULL: it is a free place */
    void *data;
    struct event patience;
};

struct petitions {
    int fd;
    uint64_t last_number;
    struct event event;
    void (*over)(void *data);
    void *over_data;
    struct buffer input;
    struct petition places[PETITIONS_MOST];
};

/* ---- Answers ---- */

static void settle(struct petition *petition, struct span answer)
{
    const petition_answer_fn fn = petition->answer;
    event_del(&petition->patience);
    petition->answer = NULL;
    fn(petition->data, answer);
}

static void on_patience(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    settle(argument, (struct span){NULL, 0});
}

/* "12 {...}": whoever asked may have lost patience. */
static void on_line(struct petitions *petitions, char *line)
{
    char *text;
    const uint64_t number = strtoull(line, &text, 10);
    for (size_t i = 0; i < PETITIONS_MOST && *text == ' '; i++) {
        struct petition *petition = &petitions->places[i];
        if (petition->answer != NULL && petition->number == number) {
            settle(petition, span_of(text + 1));
            return;
        }
    }
}

static void take_lines(struct petitions *petitions)
{
    struct buffer *input = &petitions->input;
    char *end;
    while (input->len > 0 && (end = memchr(input->data, '\n', input->len)) != NULL) {
        *end = '\0';
        on_line(petitions, input->data);
        buffer_consume(input, (size_t)(end - input->data) + 1);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    (void)what;
    struct petitions *petitions = argument;
    buffer_reserve(&petitions->input, READ_BYTES);
    ssize_t bytes =
        recv(fd, petitions->input.data + petitions->input.len, READ_BYTES, MSG_DONTWAIT);
    if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (bytes <= 0) {
        event_del(&petitions->event);
        petitions->over(petitions->over_data);
        return;
    }
    petitions->input.len += (size_t)bytes;
    take_lines(petitions);
}

/* ---- Requests ---- */

static struct petition *find_free(struct petitions *petitions)
{
    for (size_t i = 0; i < PETITIONS_MOST; i++) {
        if (petitions->places[i].answer == NULL) {
            return &petitions->places[i];
        }
    }
    return NULL;
}

/* The socket takes more than so many lines; a part of one would spoil what follows. */
static bool send_line(const struct petitions *petitions, uint64_t number, struct span line)
{
    struct buffer text = {0};
    buffer_printf(&text, "%llu %.*s\n", (unsigned long long)number, (int)line.len, line.ptr);
    ssize_t sent = send(petitions->fd, text.data, text.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    const bool whole = sent == (ssize_t)text.len;
    if (sent > 0 && !whole) {
        log_write(LOG_ERROR, "the master has not taken all of a command");
        shutdown(petitions->fd, SHUT_WR);
    }
    buffer_free(&text);
    return whole;
}

bool petitions_send(struct petitions *petitions, struct span line, petition_answer_fn answer,
                    void *data)
{
    const struct timeval patience = {.tv_sec = PETITIONS_PATIENCE_MS / 1000};
    struct petition *petition = find_free(petitions);
    CHECK(answer != NULL);
    if (petition == NULL || !send_line(petitions, petitions->last_number + 1, line)) {
        return false;
    }
    petition->number = ++petitions->last_number;
    petition->answer = answer;
    petition->data = data;
    event_add(&petition->patience, &patience);
    return true;
}

/* ---- Life ---- */

struct petitions *petitions_create(int fd, struct event_base *base, void (*over)(void *data),
                                   void *data)
{
    struct petitions *petitions = memory_alloc_zeroed(1, sizeof(*petitions));
    petitions->fd = fd;
    petitions->over = over;
    petitions->over_data = data;
    for (size_t i = 0; i < PETITIONS_MOST; i++) {
        event_assign(&petitions->places[i].patience, base, -1, 0, on_patience,
                     &petitions->places[i]);
    }
    event_assign(&petitions->event, base, fd, EV_READ | EV_PERSIST, on_readable, petitions);
    event_add(&petitions->event, NULL);
    return petitions;
}

void petitions_destroy(struct petitions *petitions)
{
    if (petitions == NULL) {
        return;
    }
    for (size_t i = 0; i < PETITIONS_MOST; i++) {
        event_del(&petitions->places[i].patience);
    }
    event_del(&petitions->event);
    close(petitions->fd);
    buffer_free(&petitions->input);
    free(petitions);
}
