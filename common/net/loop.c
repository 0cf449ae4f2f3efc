#include "common/net/loop.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/wake.h"
#include "common/http/file_cache.h"
#include "common/http/http_date.h"
#include "common/net/durable_lines.h"

#include <event2/event.h>
#include <stdio.h>
#include <unistd.h>

/* ---- Life ---- */

/* What was collected outlives this process; what a predecessor collected has outlived that one. */
static void keep_lines(struct loop *loop)
{
    struct durable_lines *lines = loop->options.durable_lines;
    if (lines != NULL && loop->access_log != NULL) {
        access_log_keep(loop->access_log, lines, loop->options.access_log_turn);
    } else if (lines != NULL) {
        durable_lines_drop(lines);
    }
}

void loop_open(struct loop *loop, const struct worker_options *options, struct event_base *base,
               int wake_fd)
{
    const struct config *config = options->config;
    CHECK(options->listen_count <= ENDPOINTS_MOST);
    CHECK(options->max_connections > 0);
    *loop = (struct loop){.options = *options, .base = base, .wake_fd = wake_fd};
    loop->cut_files.warns = true;
    loop->given_up = (struct log_budget){.warns = true, .verb = "gave up"};
    loop->limits = (struct http_limits){
        .request_line_bytes = config->max_request_line_bytes,
        .header_bytes = config->max_header_bytes,
        .headers = config->max_headers,
        .body_bytes = config->max_body_bytes,
    };
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        TAILQ_INIT(&loop->places[place]);
    }
    pthread_mutex_init(&loop->completed_lock, NULL);
    if (options->access_log_fd >= 0) {
        loop->access_log = access_log_create(options->access_log_fd, config->access_log_format,
                                             atomic_load(&loop_slot(loop)->process));
    }
    keep_lines(loop);
    handler_context_next_turn(options->context); /* so that the first look at the clock reads it */
    loop_render_date(loop);
}

void loop_close(struct loop *loop)
{
    CHECK(loop->connection_count == 0 && loop->asking_count == 0);
    CHECK(loop->text_bytes == 0); /* every text has been sent or dropped */
    lending_free(&loop->lending);
    http_exchange_pool_free(&loop->exchanges);
    if (loop->access_log != NULL) {
        access_log_destroy(loop->access_log);
    }
    event_base_free(loop->base);
    close(loop->wake_fd);
    pthread_mutex_destroy(&loop->completed_lock);
}

/* ---- Time ---- */

/* A turn of the thread may be a part of the loop's: handler_context_next_turn. */
void loop_look_at_clock(struct loop *loop)
{
    struct handler_context *context = loop->options.context;
    loop->now_turn = context->turn;
    context->now_ms = loop_read_moment_ns(loop) / 1000000;
    if (loop->turn_began_ns == 0) {
        loop->turn_began_ns = loop->moment_ns;
    }
}

void loop_begin_turn(struct loop *loop)
{
    handler_context_next_turn(loop->options.context);
    loop->turn_began_ns = 0;
}

void loop_end_turn(struct loop *loop)
{
    if (loop->turn_began_ns != 0) {
        histogram_add(&loop_slot(loop)->latency.turns,
                      loop_read_moment_ns(loop) - loop->turn_began_ns, 1);
    }
}

size_t loop_format_date(int64_t second, char line[DATE_LINE_BYTES])
{
    char date[HTTP_DATE_BYTES];
    http_date_format(second, date);
    int bytes = snprintf(line, DATE_LINE_BYTES, "Date: %s\r\n", date);
    CHECK(bytes > 0 && bytes < DATE_LINE_BYTES);
    return (size_t)bytes;
}

void loop_render_date(struct loop *loop)
{
    int64_t second = (int64_t)(clock_realtime_ms() / 1000);
    if (second != loop->date_second) {
        loop->date_line_bytes = loop_format_date(second, loop->date_line);
        loop->date_second = second;
    }
}

struct span loop_date_line(struct loop *loop, const struct file_entry *file)
{
    if (file != NULL && file->last_modified > loop->date_second) {
        loop_render_date(loop);
    }
    return (struct span){loop->date_line, loop->date_line_bytes};
}

/* ---- What other threads have finished ---- */

void loop_wake(struct loop *loop)
{
    wake(loop->wake_fd);
}

void loop_complete(struct http_exchange *exchange)
{
    struct loop *loop = exchange->owner;
    pthread_mutex_lock(&loop->completed_lock);
    bool was_empty = loop->completed == NULL;
    exchange->next = loop->completed;
    loop->completed = exchange;
    pthread_mutex_unlock(&loop->completed_lock);
    if (was_empty) {
        loop_wake(loop);
    }
}

struct http_exchange *loop_take_completed(struct loop *loop)
{
    pthread_mutex_lock(&loop->completed_lock);
    struct http_exchange *newest = loop->completed;
    loop->completed = NULL;
    pthread_mutex_unlock(&loop->completed_lock);
    struct http_exchange *oldest = NULL; /* turn the list round: first finished, first answered */
    while (newest != NULL) {
        struct http_exchange *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}
