/* Which handler takes a path. Knows no handler by name: the server registers them. */
#ifndef TWINHTTPD_COMMON_HTTP_ROUTER_H
#define TWINHTTPD_COMMON_HTTP_ROUTER_H

#include "common/http/handler.h"
#include "common/http/request.h"
#include "common/http/response.h"

struct route {
    const char *path; /* exact; NULL for the fallback */
    unsigned methods; /* METHOD_BIT of each; HEAD comes with GET, OPTIONS with all */
    bool blocks;      /* may keep its thread for long: worth handing to another one */
    bool wants_body;  /* keep the request's body */
    bool repeatable; /* may run once more for a request for which it has run, whatever its method */
    bool cacheable;  /* what it answers may be kept by caches; else it says no-store */
    handler_fn handler;
    void *data; /* owned by whoever registers */
};

struct router;

struct router *router_create(void);
void router_destroy(struct router *router);

/* Registers a copy; path must outlive the router and not be registered yet. */
void router_add(struct router *router, const struct route *route);

/* The route that is registered for exactly this path; NULL: none. */
const struct route *router_find(const struct router *router, struct span path);

/* The route of the path, or the fallback (which must exist). */
const struct route *router_match(const struct router *router, struct span path);

/* Whether the route takes the method. If not, or for OPTIONS, answer with
 * route_answer_methods. */
bool route_allows(const struct route *route, enum http_method method);

/* Answers OPTIONS, or refuses with 405; both name the methods in Allow. */
void route_answer_methods(const struct route *route, enum http_method method,
                          struct http_response *response);

#endif
