/* Assertions: what must be true, whatever clients, other processes and the kernel do. One that is
 * not true is a mistake in the program, which must not go on: the process ends by SIGABRT, and the
 * log and the story of its crash tell the condition, the file and the line. They are on in every
 * build. */
#ifndef TWINHTTPD_COMMON_BASE_CHECK_H
#define TWINHTTPD_COMMON_BASE_CHECK_H

#define CHECK_LITERAL_OF(number) #number
#define CHECK_LITERAL(number)    CHECK_LITERAL_OF(number)

/* One literal for each check, so that the caller has one argument to pass, out of its way. */
#define CHECK(condition)                                                                           \
    (__builtin_expect(!!(condition), 1)                                                            \
         ? (void)0                                                                                 \
         : check_failed("`" #condition "` at " __FILE__ ":" CHECK_LITERAL(__LINE__)))

/* Writes "assertion failed: <text>" to the log and ends the process by abort(). Allocates nothing.
 * The text must last until the end of the process. */
_Noreturn void check_failed(const char *text) __attribute__((cold));

/* For a signal handler: the text of the check that the calling thread has failed, or NULL. */
const char *check_failure(void);

#endif
