/* System calls that fail when a test says so: the linker sends every call of NAME in the program to
 * __wrap_NAME (twin_wrap in CMakeLists.txt), and __real_NAME is the function itself. For one
 * thread. */
#ifndef TWINHTTPD_TESTS_UNIT_FAILING_CALL_H
#define TWINHTTPD_TESTS_UNIT_FAILING_CALL_H

#include <errno.h>
#include <stdbool.h>

#define WRAPPED(type, name, ...)                                                                   \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

struct failing_call {
    int calls;    /* so far */
    int passing;  /* that come before the failures */
    int failures; /* still to come: 0 proves that the code under test has met all of them */
    int error;
};

static inline struct failing_call fail_after(int passing, int failures, int error)
{
    return (struct failing_call){.passing = passing, .failures = failures, .error = error};
}

static inline struct failing_call fail_next(int failures, int error)
{
    return fail_after(0, failures, error);
}

/* Whether the call at hand is to fail; errno is set then. */
static inline bool fails_now(struct failing_call *call)
{
    call->calls++;
    if (call->failures == 0) {
        return false;
    }
    if (call->passing > 0) {
        call->passing--;
        return false;
    }
    call->failures--;
    errno = call->error;
    return true;
}

#endif
