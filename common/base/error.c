#include "common/base/error.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

bool error_set_list(struct error *error, const char *format, va_list arguments)
{
    struct error made;
    int saved_errno = errno;
    vsnprintf(made.text, sizeof(made.text), format, arguments);
    for (char *c = made.text; *c != '\0'; c++) {
        *c = iscntrl((unsigned char)*c) ? '?' : *c;
    }
    *error = made;
    errno = saved_errno;
    return false;
}

bool error_set(struct error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error_set_list(error, format, arguments);
    va_end(arguments);
    return false;
}
