/* A check that fails ends its process: so it does in a child, whose log is read. For test programs,
 * behind cmocka.h. */
#ifndef TWINHTTPD_TESTS_UNIT_FAILING_CHECK_H
#define TWINHTTPD_TESTS_UNIT_FAILING_CHECK_H

#include "common/base/log.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child has written to its log. */
static char failing_check_log[4096];

/* Runs fatal in a child, which has to end by SIGABRT. */
static inline void failing_check_run(void (*fatal)(void))
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL); /* cmocka catches it */
        log_use(ends[1]);
        log_set_level(LOG_ERROR);
        fatal();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t bytes;
    while ((bytes = read(ends[0], failing_check_log + used, sizeof(failing_check_log) - 1 - used)) >
           0) {
        used += (size_t)bytes;
    }
    failing_check_log[used] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* Fatal must fail the check of this condition. */
static inline void assert_check_fails(void (*fatal)(void), const char *condition)
{
    failing_check_run(fatal);
    const char *text = strstr(failing_check_log, "assertion failed: `");
    assert_non_null(text);
    text += strlen("assertion failed: `");
    if (strncmp(text, condition, strlen(condition)) != 0 || text[strlen(condition)] != '`') {
        fail_msg("another check has failed: %s", failing_check_log);
    }
}

#endif
