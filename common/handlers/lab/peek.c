/* GET /lab/peek?address=A[&pid=P] and /lab/poke?address=A&value=V[&pid=P]: reads or writes a word
 * of memory, in this process or in another one. By default the kernel does it (process_vm_readv),
 * so that a bad address is an answer and no crash; how=pointer follows the pointer, come what may.
 */
#include "common/handlers/handlers.h"
#include "common/http/response_json.h"
#include "common/http/uri.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define DELIBERATE __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

struct target {
    uint64_t address;
    uint64_t pid;
    bool by_pointer;
};

/* Does its work on *value; 0 or an error number. */
typedef int (*access_fn)(const struct target *target, uint64_t *value);

static void *to_pointer(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

DELIBERATE static int peek_pointer(const struct target *target, uint64_t *value)
{
    const volatile uint64_t *word = to_pointer(target->address);
    *value = *word;
    return 0;
}

DELIBERATE static int poke_pointer(const struct target *target, uint64_t *value)
{
    volatile uint64_t *word = to_pointer(target->address);
    *word = *value;
    return 0;
}

static int peek_call(const struct target *target, uint64_t *value)
{
    struct iovec here = {value, sizeof(*value)};
    struct iovec there = {to_pointer(target->address), sizeof(*value)};
    return process_vm_readv((pid_t)target->pid, &here, 1, &there, 1, 0) < 0 ? errno : 0;
}

static int poke_call(const struct target *target, uint64_t *value)
{
    struct iovec here = {value, sizeof(*value)};
    struct iovec there = {to_pointer(target->address), sizeof(*value)};
    return process_vm_writev((pid_t)target->pid, &here, 1, &there, 1, 0) < 0 ? errno : 0;
}

static bool read_target(struct span query, struct target *target)
{
    struct span how = SPAN("call"), ignored;
    uri_query_param(query, "how", &how);
    target->by_pointer = span_equal(how, SPAN("pointer"));
    return (target->by_pointer || span_equal(how, SPAN("call"))) &&
           uri_query_param(query, "address", &ignored) &&
           uri_query_uint(query, "address", 0, UINT64_MAX, &target->address) &&
           uri_query_uint(query, "pid", (uint64_t)getpid(), INT_MAX, &target->pid) &&
           !(target->by_pointer && uri_query_param(query, "pid", &ignored));
}

static void answer(struct http_response *response, const struct target *target, uint64_t value,
                   int error)
{
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "answered_by", getpid());
    json_put_uint(&json, "pid", target->pid);
    json_put_uint(&json, "address", target->address);
    if (error == 0) {
        json_put_uint(&json, "value", value);
        json_put_null(&json, "error");
    } else {
        json_put_null(&json, "value");
        json_put_text(&json, "error", strerror(error));
    }
    response_json_end(&json);
}

static void refuse(struct http_response *response)
{
    http_response_text(response, 400,
                       "address, pid and value must be decimal numbers, how call or pointer; a "
                       "pointer reaches no other pid");
}

static void peek(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)context, (void)data;
    struct target target;
    uint64_t value = 0;
    if (!read_target(request->query, &target)) {
        refuse(response);
        return;
    }
    access_fn access = target.by_pointer ? peek_pointer : peek_call;
    int error = access(&target, &value);
    answer(response, &target, value, error);
}

static void poke(const struct http_request *request, struct http_response *response,
                 struct handler_context *context, void *data)
{
    (void)context, (void)data;
    struct target target;
    uint64_t value;
    if (!read_target(request->query, &target) ||
        !uri_query_uint(request->query, "value", 0, UINT64_MAX, &value)) {
        refuse(response);
        return;
    }
    access_fn access = target.by_pointer ? poke_pointer : poke_call;
    int error = access(&target, &value);
    answer(response, &target, value, error);
}

void lab_peek_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    router_add(
        router,
        &(struct route){.path = "/lab/peek", .methods = METHOD_BIT(METHOD_GET), .handler = peek});
    router_add(
        router,
        &(struct route){.path = "/lab/poke", .methods = METHOD_BIT(METHOD_GET), .handler = poke});
}
