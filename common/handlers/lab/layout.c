/* GET /lab/layout: where code, data, heap, stack and thread-local storage of this process and
 * thread lie, and what three words in them hold now. */
#include "common/handlers/handlers.h"
#include "common/http/response_json.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { LARGE_BYTES = 1 << 20, FRAMES = 4 };

/* Volatile, for they are changed behind the compiler's back (/lab/poke). */
static volatile uint64_t data_word = 0x7477696e64617461; /* "twindata": can be found in the file */
static volatile uint64_t bss_word;
static const char rodata_text[] = "/lab/layout points here";
static _Thread_local volatile char tls_byte;
static volatile uint64_t *heap_word;
static void *large_block;

struct frame {
    uintptr_t local;
    uintptr_t return_address;
};

/* Notes the frames of nested calls. What follows the call keeps it from becoming a jump. */
__attribute__((noinline, no_sanitize("address", "undefined"))) static void
note_frames(struct frame *frames, unsigned count) /* NOLINT(misc-no-recursion) */
{
    volatile unsigned left = count;
    frames->local = (uintptr_t)&left;
    frames->return_address = (uintptr_t)__builtin_return_address(0);
    if (left > 1) {
        note_frames(frames + 1, left - 1);
    }
    left = 0;
}

static void put_frames(struct json_writer *json)
{
    struct frame frames[FRAMES];
    note_frames(frames, FRAMES);
    json_key(json, "frames");
    json_array_begin(json);
    for (size_t i = 0; i < FRAMES; i++) {
        json_object_begin(json);
        json_put_uint(json, "local", frames[i].local);
        json_put_uint(json, "return", frames[i].return_address);
        json_object_end(json);
    }
    json_array_end(json);
}

/* Nothing if the C library cannot tell. */
static void put_stack_bounds(struct json_writer *json)
{
    pthread_attr_t attributes;
    void *low = NULL;
    size_t bytes = 0, guard_bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &low, &bytes);
        pthread_attr_getguardsize(&attributes, &guard_bytes);
        pthread_attr_destroy(&attributes);
    }
    json_put_uint(json, "stack_low", (uintptr_t)low);
    json_put_uint(json, "stack_bytes", bytes);
    json_put_uint(json, "guard_bytes", guard_bytes);
}

static void layout(const struct http_request *request, struct http_response *response,
                   struct handler_context *context, void *data)
{
    (void)request, (void)data;
    struct json_writer json;
    response_json_begin(response, &json);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "tid", atomic_load(&context->slot->tid));
    json_put_uint(&json, "code", (uintptr_t)layout);
    json_put_uint(&json, "rodata", (uintptr_t)rodata_text);
    json_put_uint(&json, "data", (uintptr_t)&data_word);
    json_put_uint(&json, "bss", (uintptr_t)&bss_word);
    json_put_uint(&json, "heap", (uintptr_t)heap_word);
    json_put_uint(&json, "large", (uintptr_t)large_block);
    /* Not the address of a variable: AddressSanitizer may keep those in a stack of its own. */
    json_put_uint(&json, "stack", (uintptr_t)__builtin_frame_address(0));
    json_put_uint(&json, "tls", (uintptr_t)&tls_byte);
    json_put_uint(&json, "vdso", getauxval(AT_SYSINFO_EHDR));
    put_stack_bounds(&json);
    json_put_uint(&json, "data_value", data_word);
    json_put_uint(&json, "bss_value", bss_word);
    json_put_uint(&json, "heap_value", heap_word == NULL ? 0 : *heap_word);
    put_frames(&json);
    response_json_end(&json);
}

/* Without memory the addresses are 0. */
static void allocate_once(void)
{
    if (heap_word == NULL) {
        heap_word = calloc(1, sizeof(*heap_word));
        large_block = malloc(LARGE_BYTES);
    }
}

void lab_layout_register(struct router *router, struct handler_environment *environment)
{
    (void)environment;
    allocate_once();
    router_add(router, &(struct route){.path = "/lab/layout",
                                       .methods = METHOD_BIT(METHOD_GET),
                                       .handler = layout});
}
