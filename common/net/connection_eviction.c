#include "common/net/connection_internal.h"

#include "common/base/check.h"

enum {
    FAIR_CHANCE_MS = 1000, /* for a client to begin, before it has to make room */
    ASKING_SHARE = 4       /* one of so many may be about to ask before that is an attack */
};

/* The first for which it is not just now that something has come. */
static struct connection *first_silent(struct connection *c)
{
    while (c != NULL && connection_has_unread_input(c)) {
        c = connection_next(c);
    }
    return c;
}

static struct connection *first_at(const struct loop *loop, enum connection_place place)
{
    struct connection *first = TAILQ_FIRST(&loop->places[place]);
    CHECK(first == NULL || (first->place == place && first->loop == loop));
    return first;
}

static bool is_older(const struct connection *c, uint64_t age_ms)
{
    return c != NULL && loop_now_ms(c->loop) - c->waiting_since_ms >= age_ms;
}

/* Those who only connect may not push out those who come back. */
static bool is_crowded(const struct loop *loop)
{
    CHECK(loop->asking_count <= loop->connection_count);
    return loop->asking_count * ASKING_SHARE > loop->connection_count;
}

/* Who goes first. Of the first two lists, which are by age, only those count that have had their
 * time. */
static struct connection *victim(struct loop *loop)
{
    struct connection *c = first_at(loop, PLACE_ASKING);
    if (is_older(c, FAIR_CHANCE_MS)) { /* else nobody behind it is */
        c = first_silent(c);
    }
    if (is_older(c, FAIR_CHANCE_MS)) {
        return c;
    }
    c = first_at(loop, PLACE_LINGERING);
    if (is_older(c, loop->options.config->linger_timeout_ms)) {
        return c;
    }
    return is_crowded(loop) ? NULL : first_silent(first_at(loop, PLACE_PARKED));
}

bool connection_may_evict(struct loop *loop)
{
    return is_older(first_at(loop, PLACE_ASKING), FAIR_CHANCE_MS) ||
           is_older(first_at(loop, PLACE_LINGERING), loop->options.config->linger_timeout_ms) ||
           (!is_crowded(loop) && first_at(loop, PLACE_PARKED) != NULL);
}

bool connection_evict(struct loop *loop)
{
    struct connection *c = victim(loop);
    if (c != NULL) {
        CHECK(c->phase != PHASE_HANDLING); /* or its place would not be free */
        connection_destroy(c);
    }
    return c != NULL;
}
