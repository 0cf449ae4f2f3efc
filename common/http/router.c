#include "common/http/router.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <stdlib.h>

enum { ROUTER_BUCKETS = 64 }; /* a power of two, several times the number of routes */

struct router_entry {
    struct router_entry *next;
    struct span path;
    struct route route;
};

struct router {
    struct router_entry *buckets[ROUTER_BUCKETS];
    struct router_entry *fallback;
};

struct router *router_create(void)
{
    return memory_alloc_zeroed(1, sizeof(struct router));
}

void router_destroy(struct router *router)
{
    for (size_t i = 0; i < ROUTER_BUCKETS; i++) {
        while (router->buckets[i] != NULL) {
            struct router_entry *entry = router->buckets[i];
            router->buckets[i] = entry->next;
            free(entry);
        }
    }
    free(router->fallback);
    free(router);
}

/* Length and two bytes tell the few paths apart. */
static size_t bucket_of(struct span path)
{
    if (path.len < 2) {
        return path.len;
    }
    unsigned char second = (unsigned char)path.ptr[1];
    unsigned char last = (unsigned char)path.ptr[path.len - 1];
    return (path.len * 7 + second * 3u + last) & (ROUTER_BUCKETS - 1);
}

static struct router_entry *find(const struct router *router, struct span path)
{
    struct router_entry *entry = router->buckets[bucket_of(path)];
    while (entry != NULL && !span_equal(entry->path, path)) {
        entry = entry->next;
    }
    return entry;
}

void router_add(struct router *router, const struct route *route)
{
    struct router_entry *entry = memory_alloc_zeroed(1, sizeof(*entry));
    entry->route = *route;
    if (route->path == NULL) {
        CHECK(router->fallback == NULL);
        router->fallback = entry;
        return;
    }
    entry->path = span_of(route->path);
    CHECK(find(router, entry->path) == NULL);
    struct router_entry **bucket = &router->buckets[bucket_of(entry->path)];
    entry->next = *bucket;
    *bucket = entry;
}

const struct route *router_find(const struct router *router, struct span path)
{
    const struct router_entry *entry = find(router, path);
    return entry != NULL ? &entry->route : NULL;
}

const struct route *router_match(const struct router *router, struct span path)
{
    const struct route *route = router_find(router, path);
    return route != NULL ? route : &router->fallback->route;
}

bool route_allows(const struct route *route, enum http_method method)
{
    unsigned methods = route->methods;
    if (methods & METHOD_BIT(METHOD_GET)) {
        methods |= METHOD_BIT(METHOD_HEAD);
    }
    return (methods & METHOD_BIT(method)) != 0;
}

void route_answer_methods(const struct route *route, enum http_method method,
                          struct http_response *response)
{
    buffer_printf(&response->headers, "Allow: ");
    for (int m = 0; m < METHOD_UNKNOWN; m++) {
        if (route_allows(route, (enum http_method)m)) {
            buffer_printf(&response->headers, "%s, ", http_method_name((enum http_method)m));
        }
    }
    buffer_printf(&response->headers, "OPTIONS\r\n");
    if (method == METHOD_OPTIONS) {
        response->status = 204;
    } else {
        http_response_error(response, 405);
    }
}
