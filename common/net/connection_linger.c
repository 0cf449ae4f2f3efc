#include "common/net/connection_internal.h"

#include "common/base/check.h"

#include <errno.h>
#include <sys/socket.h>

enum { DISCARD_BYTES = 65536 /* at a time */ };

void connection_linger_begin(struct connection *c)
{
    const struct config *config = connection_config(c);
    uint64_t now_ms = loop_now_ms(c->loop);
    CHECK(output_is_empty(&c->output) && !c->sending);
    connection_give_back_input(c);
    connection_set_phase(c, PHASE_LINGERING);
    c->waiting_since_ms = now_ms;
    c->deadline_ms = now_ms + config->linger_timeout_ms;
    c->read_bytes = 0;
    reader_pace_begin(&c->pace, c->fd, config, now_ms);
    connection_move(c, PLACE_LINGERING);
    connection_watch_read(c);
}

/* For as long as bytes come, but not for ever, and not when the server is to end. */
static void extend(struct connection *c)
{
    if (c->loop->hurrying) {
        return;
    }
    const struct config *config = connection_config(c);
    uint64_t deadline_ms = loop_now_ms(c->loop) + config->linger_timeout_ms;
    uint64_t last_ms = c->waiting_since_ms + config->max_linger_ms;
    c->deadline_ms = deadline_ms < last_ms ? deadline_ms : last_ms;
}

void connection_linger_read(struct connection *c)
{
    char discarded[DISCARD_BYTES];
    CHECK(c->phase == PHASE_LINGERING && c->place == PLACE_LINGERING);
    ssize_t n = recv(c->fd, discarded, sizeof(discarded), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    c->read_bytes += n > 0 ? (uint64_t)n : 0;
    if (n <= 0 || c->read_bytes > connection_config(c)->max_linger_bytes) {
        connection_destroy(c);
        return;
    }
    extend(c);
}

/* A close may destroy what the client has not taken yet. */
void connection_linger_expire(struct connection *c, uint64_t now_ms)
{
    const struct config *config = connection_config(c);
    CHECK(c->phase == PHASE_LINGERING && c->place == PLACE_LINGERING);
    if (reader_pace_extend(&c->pace, c->fd, config, now_ms, 0, 0) > now_ms) {
        c->deadline_ms = now_ms + config->linger_timeout_ms;
    } else {
        connection_destroy(c);
    }
}
