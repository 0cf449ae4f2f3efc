/* Why something could not be done, as one line for people: cause and what to do. Who finds it sets
 * it, who called prints it, once. */
#ifndef TWINHTTPD_COMMON_BASE_ERROR_H
#define TWINHTTPD_COMMON_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

enum { ERROR_TEXT_BYTES = 512 };

/* The caller owns it; its text ends with a NUL. */
struct error {
    char text[ERROR_TEXT_BYTES];
};

/* Writes the text as printf does: what does not fit is cut, and control bytes become '?', so that
 * it stays one line. An argument may be the old text; errno stays. Always false, so that a caller
 * can return it. */
bool error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with the arguments of another function. */
bool error_set_list(struct error *error, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

#endif
