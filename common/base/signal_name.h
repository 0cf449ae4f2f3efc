/* Signals by name. */
#ifndef TWINHTTPD_COMMON_BASE_SIGNAL_NAME_H
#define TWINHTTPD_COMMON_BASE_SIGNAL_NAME_H

enum { SIGNAL_NAME_BYTES = 16, SIGNAL_END_BYTES = 48 };

/* "SIGSEGV"; a number without a name becomes "signal 42". */
void signal_name(int number, char out[SIGNAL_NAME_BYTES]);

/* How a process has ended that waitpid tells of: "was killed by SIGKILL", "exited with status 1".
 */
void signal_describe_end(int wait_status, char out[SIGNAL_END_BYTES]);

/* The number of "SIGTERM", "TERM", "term" or "15"; 0 when there is no such signal. */
int signal_number(const char *text);

#endif
