/* GET /lab/cache?mode=none|lru&key=K&count=N: asks the cache of this process for the keys K to
 * K + N - 1; what is missing is made and kept. mode=none keeps everything for ever, mode=lru the
 * 500 that were used last. */
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/response_json.h"
#include "common/http/uri.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

enum {
    CACHE_BUCKETS = 4096,
    CACHE_VALUE_BYTES = 16 * 1024,
    CACHE_LRU_ENTRIES = 500,
    CACHE_MAX_KEY = 1 << 30,
    CACHE_MAX_COUNT = 100000
};

struct entry {
    LIST_ENTRY(entry) in_bucket;
    TAILQ_ENTRY(entry) in_order;
    uint64_t key;
    char value[CACHE_VALUE_BYTES];
};

LIST_HEAD(bucket, entry);
TAILQ_HEAD(order, entry);

static struct cache {
    pthread_mutex_t lock;
    struct bucket buckets[CACHE_BUCKETS];
    struct order by_use; /* the longest unused first */
    uint64_t entries, hits, misses;
} cache = {.lock = PTHREAD_MUTEX_INITIALIZER, .by_use = TAILQ_HEAD_INITIALIZER(cache.by_use)};

static struct bucket *bucket_of(uint64_t key)
{
    return &cache.buckets[key % CACHE_BUCKETS];
}

static struct entry *find(uint64_t key)
{
    struct entry *entry;
    LIST_FOREACH(entry, bucket_of(key), in_bucket)
    {
        if (entry->key == key) {
            return entry;
        }
    }
    return NULL;
}

static void remove_oldest(void)
{
    struct entry *oldest = TAILQ_FIRST(&cache.by_use);
    TAILQ_REMOVE(&cache.by_use, oldest, in_order);
    LIST_REMOVE(oldest, in_bucket);
    cache.entries--;
    free(oldest);
}

/* False: no memory. */
static bool insert(uint64_t key)
{
    struct entry *entry = malloc(sizeof(*entry));
    if (entry == NULL) {
        return false;
    }
    entry->key = key;
    memset(entry->value, 0x5a, sizeof(entry->value)); /* touched, so that it counts */
    LIST_INSERT_HEAD(bucket_of(key), entry, in_bucket);
    TAILQ_INSERT_TAIL(&cache.by_use, entry, in_order);
    cache.entries++;
    return true;
}

static bool look_up(uint64_t key, bool lru)
{
    struct entry *entry = find(key);
    if (entry != NULL) {
        cache.hits++;
        TAILQ_REMOVE(&cache.by_use, entry, in_order);
        TAILQ_INSERT_TAIL(&cache.by_use, entry, in_order);
        return true;
    }
    cache.misses++;
    while (lru && cache.entries >= CACHE_LRU_ENTRIES) {
        remove_oldest();
    }
    return insert(key);
}

static bool look_up_all(uint64_t key, uint64_t count, bool lru)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!look_up(key + i, lru)) {
            return false;
        }
    }
    return true;
}

static void answer(struct http_response *response, const struct handler_context *context)
{
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "entries", cache.entries);
    json_put_uint(&json, "hits", cache.hits);
    json_put_uint(&json, "misses", cache.misses);
    response_json_end(&json);
}

static void cache_handler(const struct http_request *request, struct http_response *response,
                          struct handler_context *context, void *data)
{
    (void)data;
    struct span mode = SPAN("lru");
    uint64_t key, count;
    uri_query_param(request->query, "mode", &mode);
    bool lru = span_equal(mode, SPAN("lru"));
    if (!lru && !span_equal(mode, SPAN("none"))) {
        http_response_text(response, 400, "mode must be none or lru");
        return;
    }
    if (!query_uint(request, response, "key", 0, CACHE_MAX_KEY, &key) ||
        !query_uint(request, response, "count", 1, CACHE_MAX_COUNT, &count)) {
        return;
    }
    pthread_mutex_lock(&cache.lock);
    if (look_up_all(key, count, lru)) {
        answer(response, context);
    } else {
        http_response_error(response, 503);
    }
    pthread_mutex_unlock(&cache.lock);
}

void lab_cache_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/lab/cache",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .blocks = true,
                                       .handler = cache_handler});
}
