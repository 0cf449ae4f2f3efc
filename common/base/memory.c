#include "common/base/memory.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

static void *checked(void *memory, size_t bytes)
{
    if (memory == NULL) {
        log_write(LOG_ERROR, "out of memory: %zu bytes could not be had", bytes);
        abort();
    }
    return memory;
}

void *memory_alloc(size_t bytes)
{
    return checked(malloc(bytes), bytes);
}

void *memory_alloc_zeroed(size_t count, size_t bytes)
{
    return checked(calloc(count, bytes), count * bytes);
}

void *memory_resize(void *old, size_t bytes)
{
    return checked(realloc(old, bytes), bytes);
}

char *memory_copy_string(const char *text)
{
    return checked(strdup(text), strlen(text) + 1);
}
