/* All handlers: each file below this folder registers its own routes. The order of the arguments of
 * a handler and what it may touch: common/http/router.h. How to add one: README.md beside this. */
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

/* Registers every route that the environment asks for. The environment outlives the router. */
void handlers_register(struct router *router, struct handler_environment *environment);

/* Every handler, a line each. NAME stands for the function NAME_register, which its file has. */

/* Served in any case. */
#define SITE_HANDLERS(HANDLER) HANDLER(static_files) /* whatever no other one has */

/* What benchmarks and comparisons ask for. A few requests to /sleep or /cpu take all workers away,
 * so strangers are not to have them. */
#define BENCH_HANDLERS(HANDLER)                                                                    \
    HANDLER(plaintext) /* /plaintext */                                                            \
    HANDLER(json)      /* /json */                                                                 \
    HANDLER(cpu)       /* /cpu?us= */                                                              \
    HANDLER(sleep)     /* /sleep?ms= */                                                            \
    HANDLER(echo)      /* POST /echo */                                                            \
    HANDLER(counter)   /* /counter?mode= */                                                        \
    HANDLER(whoami)    /* /whoami */

/* What demonstrations need, and nobody else should have. */
#define LAB_HANDLERS(HANDLER)                                                                      \
    HANDLER(fault)       /* /fault/... */                                                          \
    HANDLER(scribble)    /* /fault/scribble?ms= */                                                 \
    HANDLER(lab_layout)  /* /lab/layout */                                                         \
    HANDLER(lab_peek)    /* /lab/peek, poke */                                                     \
    HANDLER(lab_park)    /* /lab/park, parked */                                                   \
    HANDLER(lab_tls)     /* /lab/tls */                                                            \
    HANDLER(lab_recurse) /* /lab/recurse */                                                        \
    HANDLER(lab_heap)    /* /lab/heap */                                                           \
    HANDLER(lab_cache)   /* /lab/cache */                                                          \
    HANDLER(lab_fdleak)  /* /lab/fdleak */

#define HANDLER_DECLARATION(name)                                                                  \
    void name##_register(struct router *router, struct handler_environment *environment);
SITE_HANDLERS(HANDLER_DECLARATION)
BENCH_HANDLERS(HANDLER_DECLARATION)
LAB_HANDLERS(HANDLER_DECLARATION)

#endif
