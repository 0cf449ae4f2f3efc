/* A worker from inside: for worker.c, and for tests. */
#ifndef TWINHTTPD_COMMON_NET_WORKER_INTERNAL_H
#define TWINHTTPD_COMMON_NET_WORKER_INTERNAL_H

#include "common/net/acceptor.h"
#include "common/net/loop.h"
#include "common/net/worker.h"

#include <event2/event_struct.h>

struct worker {
    struct loop loop; /* what its connections see of it */
    struct acceptor acceptor;
    struct event tick_event;
    struct event wake_event;
    struct event inbox_event; /* only with rebalance */
    _Atomic int command;      /* enum worker_command, the latest wins */
    uint64_t drain_until_ms;
    uint64_t swept_ms;
    uint64_t trimmed_ms; /* the durable area, if there is one */
};

#endif
