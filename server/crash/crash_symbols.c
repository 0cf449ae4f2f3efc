/* Addresses are looked up by another process than the one that crashed: all are forked from the
 * master (or from the process itself, where there is none), so that program and libraries lie at
 * the same addresses. libbacktrace, as gcc builds it for Linux (BACKTRACE_USES_MALLOC is 0), takes
 * its memory from mmap alone, with a lock that it only tries: it does not care whether the thread
 * that forked was inside malloc. */
#include "server/crash/crash_symbols.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

#if TWINHTTPD_BACKTRACE
#include <backtrace-supported.h>
#include <backtrace.h>
_Static_assert(BACKTRACE_SUPPORTED && !BACKTRACE_USES_MALLOC && BACKTRACE_SUPPORTS_THREADS,
               "libbacktrace must not need malloc");
#endif

/* A stack while its frames get their names. */
struct naming {
    struct stack_story named;
    uint64_t address;
};

static void copy_text(char *out, size_t bytes, const char *text)
{
    snprintf(out, bytes, "%s", text == NULL ? "" : text);
}

/* Of a path too long for the room its last components, since they name the file. */
static void copy_path(char *out, size_t bytes, const char *path)
{
    size_t length = path == NULL ? 0 : strlen(path);
    if (length >= bytes) {
        path += length - (bytes - 1);
        const char *slash = strchr(path, '/');
        path = slash == NULL ? path : slash + 1;
    }
    copy_text(out, bytes, path);
}

/* Room for one more frame, or NULL. */
static struct crash_frame *add_frame(struct naming *naming)
{
    struct stack_story *named = &naming->named;
    if (named->frame_count == CRASH_STORY_FRAMES) {
        return NULL;
    }
    struct crash_frame *frame = &named->frames[named->frame_count++];
    memset(frame, 0, sizeof(*frame));
    frame->address = naming->address;
    return frame;
}

#if TWINHTTPD_BACKTRACE
static struct backtrace_state *symbols;

static void on_error(void *data, const char *message, int number)
{
    (void)data, (void)message, (void)number; /* then the frame stays without a name */
}

static int on_line(void *data, uintptr_t pc, const char *file, int line, const char *function)
{
    (void)pc;
    struct crash_frame *frame = file == NULL && function == NULL ? NULL : add_frame(data);
    if (frame != NULL) {
        copy_path(frame->file, sizeof(frame->file), file);
        copy_text(frame->function, sizeof(frame->function), function);
        frame->line = line > 0 ? (uint32_t)line : 0;
    }
    return 0;
}

static void on_symbol(void *data, uintptr_t pc, const char *name, uintptr_t value, uintptr_t bytes)
{
    (void)pc, (void)value, (void)bytes;
    struct crash_frame *frame = data;
    copy_text(frame->function, sizeof(frame->function), name);
}

static void find_lines(struct naming *naming)
{
    backtrace_pcinfo(symbols, (uintptr_t)naming->address, on_line, on_error, naming);
}

static void find_symbol(struct crash_frame *frame)
{
    backtrace_syminfo(symbols, (uintptr_t)frame->address, on_symbol, on_error, frame);
}

static void load(void)
{
    symbols = symbols != NULL ? symbols : backtrace_create_state(NULL, 1, on_error, NULL);
}
#else
/* Without libbacktrace there are modules and offsets, for addr2line. */
static void find_lines(struct naming *naming)
{
    (void)naming;
}

static void find_symbol(struct crash_frame *frame)
{
    (void)frame;
}

static void load(void)
{
}
#endif

/* dladdr would take the dynamic linker's lock. */
static void find_module(struct crash_frame *frame)
{
    struct dl_find_object object;
    if (_dl_find_object((void *)(uintptr_t)frame->address, &object) != 0) {
        return;
    }
    const struct link_map *map = object.dlfo_link_map;
    const char *slash = strrchr(map->l_name, '/');
    const char *name = map->l_name[0] == '\0' ? program_invocation_short_name
                       : slash != NULL        ? slash + 1
                                              : map->l_name;
    copy_text(frame->module, sizeof(frame->module), name);
    frame->offset = frame->address - map->l_addr;
}

static void name_address(struct naming *naming)
{
    uint32_t first = naming->named.frame_count;
    find_lines(naming);
    if (naming->named.frame_count == first) {
        struct crash_frame *frame = add_frame(naming);
        if (frame != NULL) {
            find_symbol(frame);
        }
    }
    for (uint32_t i = first; i < naming->named.frame_count; i++) {
        find_module(&naming->named.frames[i]);
    }
}

void crash_symbols_resolve(struct stack_story *stack)
{
    struct naming naming = {.named = *stack};
    load();
    naming.named.frame_count = 0;
    for (uint32_t i = 0; i < stack->frame_count; i++) {
        if (i == stack->left_out_at) {
            naming.named.left_out_at = naming.named.frame_count;
        }
        naming.address = stack->frames[i].address;
        name_address(&naming);
    }
    *stack = naming.named;
}
