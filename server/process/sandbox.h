/* The system calls that a serving process may still make (seccomp). */
#ifndef TWINHTTPD_SERVER_PROCESS_SANDBOX_H
#define TWINHTTPD_SERVER_PROCESS_SANDBOX_H

#include "common/base/error.h"
#include "common/config/config.h"

#include <stdbool.h>

enum sandbox_purpose { SANDBOX_TO_SERVE, SANDBOX_TO_OBSERVE };

/* Leaves the calling thread, and all threads that it starts, with the calls in the tables of
 * sandbox.c for that purpose. Any other kills the process with SIGSYS (on), or is let pass and
 * noted in the kernel's log (log). PR_SET_NO_NEW_PRIVS must have been set. False with one line in
 * error.
 *
 * Why the process is killed instead of refused the call: it means that somebody else's code runs in
 * it, or that the table lacks an entry. An error number would let the one try on and hide the
 * other; a death is told, with the request that caused it, and the master replaces the process. */
bool sandbox_enter(enum config_seccomp mode, enum sandbox_purpose purpose, struct error *error);

#endif
