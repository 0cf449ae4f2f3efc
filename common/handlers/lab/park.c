/* GET /lab/park?ms=N: holds its thread for at most N milliseconds, with a word on its stack that it
 * never changes itself, and says what the word held at the end; ends early when somebody has
 * changed it. GET /lab/parked: where that word lies, for whoever wants to try. */
#include "common/base/clock.h"
#include "common/handlers/handlers.h"
#include "common/http/query.h"
#include "common/http/response_json.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PARK_DEFAULT_MS = 1000, PARK_MAX_MS = 60000, PARK_LOOK_NS = 1000000, PARK_VALUE = 42 };

/* Of this process; the latest one counts, 0: nobody is parked. */
static _Atomic uintptr_t parked_word;

/* Waits at a place of its own: from glibc 2.41 on, all calls that can be cancelled (nanosleep,
 * epoll_wait) wait at the same instruction, and a program counter would not tell them apart. */
static void wait_a_moment(void)
{
    const uint32_t word = 0;
    const struct timespec pause = {.tv_nsec = PARK_LOOK_NS};
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, word, &pause, NULL, 0);
}

/* Others write to the word without its owner's knowledge, which is the point. */
__attribute__((noinline, no_sanitize("address", "thread"))) static uint64_t
wait_for_change(uint64_t max_ms)
{
    volatile uint64_t word = PARK_VALUE;
    uint64_t end_ms = clock_monotonic_ms() + max_ms;
    atomic_store(&parked_word, (uintptr_t)&word);
    while (word == PARK_VALUE && clock_monotonic_ms() < end_ms) {
        wait_a_moment();
    }
    uintptr_t own = (uintptr_t)&word;
    atomic_compare_exchange_strong(&parked_word, &own, 0);
    return word;
}

static void park(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)data;
    uint64_t ms;
    if (!query_uint(request, response, "ms", PARK_DEFAULT_MS, PARK_MAX_MS, &ms)) {
        return;
    }
    uint64_t after = wait_for_change(ms);
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "before", PARK_VALUE);
    json_put_uint(&json, "after", after);
    response_json_end(&json);
}

static void parked(const struct http_request *request, struct http_response *response,
                   struct handler_context *context, void *data)
{
    (void)request, (void)context, (void)data;
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_uint(&json, "address", atomic_load(&parked_word));
    response_json_end(&json);
}

void lab_park_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(router, &(struct route){.path = "/lab/park",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .blocks = true,
                                       .handler = park});
    router_add(router, &(struct route){.path = "/lab/parked",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = parked});
}
