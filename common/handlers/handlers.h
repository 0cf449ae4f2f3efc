/* All handlers: each file below registers its own routes. The order of the arguments of a handler
 * and what it may touch: common/http/handler.h. */
#ifndef TWINHTTPD_COMMON_HANDLERS_HANDLERS_H
#define TWINHTTPD_COMMON_HANDLERS_HANDLERS_H

#include "common/base/shared_cell.h"
#include "common/http/file_cache.h"
#include "common/http/handler.h"
#include "common/http/router.h"
#include "common/scoreboard/scoreboard.h"

/* What the handlers of one process share. Filled in by the process model, which also says what lies
 * where; outlives the router. */
struct handler_environment {
    const struct scoreboard *scoreboard;
    struct shared_cell *process_cell; /* of this process alone */
    struct shared_cell *shared_cell;  /* of all processes of the server */
    bool bench;                       /* register what loads a server on demand: /sleep, /cpu... */
    bool faults;                      /* register /fault/... and /lab/... */
};

/* Registers every route that the environment asks for; the static files and /status in any case. */
void handlers_register(struct router *router, struct handler_environment *environment);

void static_files_register(struct router *router);                             /* the rest */
void plaintext_register(struct router *router);                                /* /plaintext */
void json_register(struct router *router);                                     /* /json */
void cpu_register(struct router *router);                                      /* /cpu?us= */
void sleep_register(struct router *router);                                    /* /sleep?ms= */
void echo_register(struct router *router);                                     /* POST /echo */
void counter_register(struct router *router, struct handler_environment *env); /* /counter?mode= */
void whoami_register(struct router *router, struct handler_environment *env);  /* /whoami */
void status_register(struct router *router, struct handler_environment *env);  /* /status */
void fault_register(struct router *router, struct handler_environment *env);   /* /fault/... */
void lab_layout_register(struct router *router);                               /* /lab/layout */
void lab_peek_register(struct router *router);                                 /* /lab/peek, poke */
void lab_park_register(struct router *router);    /* /lab/park, parked */
void lab_tls_register(struct router *router);     /* /lab/tls */
void lab_recurse_register(struct router *router); /* /lab/recurse */
void lab_heap_register(struct router *router);    /* /lab/heap */
void lab_cache_register(struct router *router);   /* /lab/cache */
void lab_fdleak_register(struct router *router);  /* /lab/fdleak */

/* /fault/scribble?ms= */
void scribble_register(struct router *router, struct handler_environment *env);

#endif
