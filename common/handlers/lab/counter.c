/* GET /counter?mode=none|mutex|fragile|atomic&cell=process|shared|both&n=N: adds N to two counters,
 * one of this process and one that all processes share, or to one of them, and shows both. Where
 * every worker is a process the first one differs from worker to worker: that is the lesson. With
 * mode=none increments get lost under load. With both cells, two locks are taken, one after the
 * other; to see what a single lock does, ask for one cell. */
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/response_json.h"
#include "common/http/uri.h"

#include <unistd.h>

enum { COUNTER_MAX_N = 1000000 };

/* Adds n one by one and returns the value after; false if the lock cannot be had. */
typedef bool (*add_fn)(struct shared_cell *cell, uint64_t n, uint64_t *after);

/* What "count++" is to the machine: load, add, store, with room for somebody else in between. */
static uint64_t increment_unlocked(struct shared_cell *cell, uint64_t n)
{
    uint64_t value = 0;
    for (uint64_t i = 0; i < n; i++) {
        value = atomic_load_explicit(&cell->value, memory_order_relaxed) + 1;
        atomic_store_explicit(&cell->value, value, memory_order_relaxed);
    }
    return n > 0 ? value : atomic_load(&cell->value);
}

static bool add_none(struct shared_cell *cell, uint64_t n, uint64_t *after)
{
    *after = increment_unlocked(cell, n);
    return true;
}

static bool add_mutex(struct shared_cell *cell, uint64_t n, uint64_t *after)
{
    if (shared_cell_lock(cell) != 0) {
        return false;
    }
    *after = increment_unlocked(cell, n);
    shared_cell_unlock(cell);
    return true;
}

static bool add_fragile(struct shared_cell *cell, uint64_t n, uint64_t *after)
{
    if (shared_cell_lock_fragile(cell) != 0) {
        return false;
    }
    *after = increment_unlocked(cell, n);
    shared_cell_unlock_fragile(cell);
    return true;
}

static bool add_atomic(struct shared_cell *cell, uint64_t n, uint64_t *after)
{
    *after = atomic_load(&cell->value);
    for (uint64_t i = 0; i < n; i++) {
        *after = atomic_fetch_add_explicit(&cell->value, 1, memory_order_relaxed) + 1;
    }
    return true;
}

static const struct counter_mode {
    struct span name;
    add_fn add;
} modes[] = {
    {{"none", 4}, add_none},
    {{"mutex", 5}, add_mutex},
    {{"fragile", 7}, add_fragile},
    {{"atomic", 6}, add_atomic},
};

static const struct counter_mode *find_mode(struct span query)
{
    struct span name = SPAN("atomic");
    uri_query_param(query, "mode", &name);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (span_equal(name, modes[i].name)) {
            return &modes[i];
        }
    }
    return NULL;
}

static const struct counter_cells {
    struct span name;
    bool process, shared;
} cell_choices[] = {
    {{"process", 7}, true, false},
    {{"shared", 6}, false, true},
    {{"both", 4}, true, true},
};

static const struct counter_cells *find_cells(struct span query)
{
    struct span name = SPAN("both");
    uri_query_param(query, "cell", &name);
    for (size_t i = 0; i < sizeof(cell_choices) / sizeof(cell_choices[0]); i++) {
        if (span_equal(name, cell_choices[i].name)) {
            return &cell_choices[i];
        }
    }
    return NULL;
}

/* Adds if the cell was asked for; else only looks, without its lock. */
static bool count(const struct counter_mode *mode, struct shared_cell *cell, bool is_asked_for,
                  uint64_t n, uint64_t *after)
{
    if (is_asked_for) {
        return mode->add(cell, n, after);
    }
    *after = atomic_load(&cell->value);
    return true;
}

static void counter(const struct http_request *request, struct http_response *response,
                    struct handler_context *context, void *data)
{
    struct handler_environment *env = data;
    const struct counter_mode *mode = find_mode(request->query);
    const struct counter_cells *cells = find_cells(request->query);
    uint64_t n, process_value, shared_value;
    if (mode == NULL || cells == NULL) {
        http_response_text(response, 400,
                           "mode must be none, mutex, fragile or atomic; cell process, shared or "
                           "both");
        return;
    }
    if (!query_uint(request, response, "n", 1, COUNTER_MAX_N, &n)) {
        return;
    }
    if (!count(mode, env->process_cell, cells->process, n, &process_value) ||
        !count(mode, env->shared_cell, cells->shared, n, &shared_value)) {
        http_response_error(response, 500);
        return;
    }
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_string(&json, "mode", mode->name);
    json_put_string(&json, "cell", cells->name);
    json_put_uint(&json, "process", process_value);
    json_put_uint(&json, "shared", shared_value);
    json_put_uint(&json, "recoveries", atomic_load(&env->shared_cell->recoveries));
    json_put_int(&json, "pid", getpid());
    json_put_uint(&json, "slot", context->slot_index);
    json_put_uint(&json, "worker",
                  context->slot_index); /* its name until now, for one release more */
    response_json_end(&json);
}

void counter_register(struct router *router, struct handler_environment *env)
{
    router_add(router, &(struct route){.path = "/counter",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = counter,
                                       .data = env});
}
