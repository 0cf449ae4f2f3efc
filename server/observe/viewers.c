#include "server/observe/viewers.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/memory.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SEND_BUFFER_BYTES = 65536, /* in the kernel, for one who does not read */
    DISCARD_BYTES = 4096
};

struct viewer {
    TAILQ_ENTRY(viewer) link;
    struct viewers *viewers;
    int fd;
    struct event *readable;     /* always: it may go away */
    struct event *writable;     /* while it is waited for */
    struct event_text *current; /* being sent; NULL: nothing is */
    size_t sent;                /* of it */
    uint64_t next;              /* number of the event behind it */
    uint64_t progress_ms;       /* when the kernel took a byte, or had taken all */
    bool waits;                 /* until it can be written to */
    bool missed;                /* it was too slow for what comes next */
};

struct viewers {
    struct viewers_options options;
    uint32_t count;
    uint32_t reserved; /* places that nobody has yet */
    TAILQ_HEAD(viewer_list, viewer) list;
};

struct viewers *viewers_create(const struct viewers_options *options)
{
    struct viewers *viewers = memory_alloc_zeroed(1, sizeof(*viewers));
    viewers->options = *options;
    TAILQ_INIT(&viewers->list);
    return viewers;
}

static void free_event(struct event *event)
{
    if (event != NULL) {
        event_free(event);
    }
}

static void cut(struct viewer *viewer)
{
    struct viewers *viewers = viewer->viewers;
    TAILQ_REMOVE(&viewers->list, viewer, link);
    viewers->count--;
    free_event(viewer->readable);
    free_event(viewer->writable);
    if (viewer->current != NULL) {
        event_text_release(viewer->current);
    }
    close(viewer->fd);
    free(viewer);
    viewers->options.changed(viewers->options.data);
}

void viewers_destroy(struct viewers *viewers)
{
    struct viewer *next;
    for (struct viewer *viewer = TAILQ_FIRST(&viewers->list); viewer != NULL; viewer = next) {
        next = TAILQ_NEXT(viewer, link);
        cut(viewer);
    }
    free(viewers);
}

uint32_t viewers_count(const struct viewers *viewers)
{
    return viewers->count;
}

/* ---- Sending ---- */

/* What it has not been given yet of what is remembered is more than it may be. */
static bool is_too_slow(const struct viewer *viewer)
{
    const struct events *events = viewer->viewers->options.events;
    if (viewer->next > events_newest(events)) {
        return false;
    }
    const struct event_text *next = events_find(events, viewer->next);
    return next == NULL || events_end(events) - next->begin > VIEWERS_QUEUE_BYTES;
}

/* A tick has the number of the newest event, and so goes on behind it. */
static void skip_to_tick(struct viewer *viewer)
{
    const struct viewers_options *options = &viewer->viewers->options;
    viewer->missed = false;
    viewer->current = options->make_tick(options->data);
    viewer->next = viewer->current->number + 1;
}

/* The next event becomes the current one; false: there is none. */
static bool begin_next(struct viewer *viewer)
{
    viewer->sent = 0;
    viewer->missed = viewer->missed || is_too_slow(viewer);
    if (viewer->missed) {
        skip_to_tick(viewer);
        return true;
    }
    viewer->current = events_find(viewer->viewers->options.events, viewer->next);
    if (viewer->current == NULL) {
        return false;
    }
    event_text_hold(viewer->current);
    viewer->next++;
    return true;
}

/* Of the current event. False: it is gone. */
static bool send_some(struct viewer *viewer, uint64_t now_ms)
{
    struct event_text *current = viewer->current;
    ssize_t bytes = send(viewer->fd, current->text + viewer->sent, current->bytes - viewer->sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
    if (bytes < 0) {
        viewer->waits = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        return viewer->waits;
    }
    viewer->progress_ms = now_ms;
    viewer->sent += (size_t)bytes;
    if (viewer->sent == current->bytes) {
        viewer->current = NULL;
        event_text_release(current);
    }
    return true;
}

/* False: it is gone, and cut. */
static bool send_all(struct viewer *viewer, uint64_t now_ms)
{
    viewer->waits = false;
    while (viewer->current != NULL || begin_next(viewer)) {
        if (!send_some(viewer, now_ms)) {
            cut(viewer);
            return false;
        }
        if (viewer->waits) {
            event_add(viewer->writable, NULL);
            return true;
        }
    }
    viewer->progress_ms = now_ms; /* it has read all there was */
    return true;
}

static void on_writable(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    send_all(data, clock_monotonic_ms());
}

/* Nothing that a viewer says matters but that it goes. */
static void on_readable(evutil_socket_t fd, short what, void *data)
{
    char discarded[DISCARD_BYTES];
    ssize_t bytes = recv(fd, discarded, sizeof(discarded), MSG_DONTWAIT);
    (void)what;
    if (bytes == 0 || (bytes < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        cut(data);
    }
}

void viewers_publish(struct viewers *viewers, uint64_t now_ms)
{
    struct viewer *next;
    for (struct viewer *viewer = TAILQ_FIRST(&viewers->list); viewer != NULL; viewer = next) {
        next = TAILQ_NEXT(viewer, link);
        if (!viewer->waits) {
            send_all(viewer, now_ms);
        } else if (now_ms - viewer->progress_ms > VIEWERS_PATIENCE_MS) {
            cut(viewer);
        } else {
            viewer->missed = viewer->missed || is_too_slow(viewer);
        }
    }
}

/* ---- Coming ---- */

bool viewers_reserve(struct viewers *viewers)
{
    if (viewers->count + viewers->reserved >= VIEWERS_MOST) {
        return false;
    }
    viewers->reserved++;
    return true;
}

static void begin(struct viewer *viewer, struct span last_id)
{
    const struct viewers_options *options = &viewer->viewers->options;
    if (!events_resume(options->events, last_id, &viewer->next)) {
        viewer->current = options->make_hello(options->data);
        viewer->next = viewer->current->number + 1;
    }
}

static struct viewer *create(struct viewers *viewers, int fd)
{
    struct viewer *viewer = memory_alloc_zeroed(1, sizeof(*viewer));
    struct event_base *base = viewers->options.base;
    const int bytes = SEND_BUFFER_BYTES;
    viewer->viewers = viewers;
    viewer->fd = fd;
    viewer->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, viewer);
    viewer->writable = event_new(base, fd, EV_WRITE, on_writable, viewer);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)); /* else it is larger */
    TAILQ_INSERT_TAIL(&viewers->list, viewer, link);
    viewers->count++;
    return viewer;
}

void viewers_take(struct viewers *viewers, int fd, struct span last_id)
{
    CHECK(viewers->reserved > 0);
    viewers->reserved--;
    if (fd < 0) {
        return;
    }
    struct viewer *viewer = create(viewers, fd);
    if (viewer->readable == NULL || viewer->writable == NULL ||
        event_add(viewer->readable, NULL) != 0) {
        cut(viewer);
        return;
    }
    viewers->options.changed(viewers->options.data);
    begin(viewer, last_id);
    send_all(viewer, clock_monotonic_ms());
}
