/* Allocation that cannot fail: a process that is out of memory reports it and aborts, since its
 * master replaces it. Callers therefore never check the result. */
#ifndef TWINHTTPD_COMMON_BASE_MEMORY_H
#define TWINHTTPD_COMMON_BASE_MEMORY_H

#include <stddef.h>

/* The memory belongs to the caller, who gives it back with free(). */
void *memory_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
/* As memory_alloc, filled with zeros. */
void *memory_alloc_zeroed(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull));
/* As realloc(); the old pointer is gone. */
void *memory_resize(void *old, size_t bytes) __attribute__((returns_nonnull));
/* A copy of a string. */
char *memory_copy_string(const char *text) __attribute__((malloc, returns_nonnull));

#endif
