/* A listening socket for a test, by the text of its address. */
#ifndef TWINHTTPD_TESTS_UNIT_LISTEN_AT_H
#define TWINHTTPD_TESTS_UNIT_LISTEN_AT_H

#include "common/base/error.h"
#include "server/listen/listener.h"

static inline bool listen_at(struct listener *listener, const char *text, bool reuseport,
                             size_t count, struct error *error)
{
    const struct listener_plan plan = {.reuseport = reuseport, .count = count};
    struct endpoint endpoint;
    return endpoint_parse(&endpoint, text) && listener_open(listener, &endpoint, &plan, error);
}

/* worker_options.may_shut_down: nobody else serves there. */
static inline bool may_always_shut_down(const void *data, size_t listen_index)
{
    (void)data;
    (void)listen_index;
    return true;
}

#endif
