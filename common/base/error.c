#include "common/base/error.h"

#include "common/base/escape.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool error_set_list(struct error *error, const char *format, va_list arguments)
{
    struct error made;
    int saved_errno = errno;
    vsnprintf(made.text, sizeof(made.text), format, arguments);
    escape_control_bytes(made.text, strlen(made.text));
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
