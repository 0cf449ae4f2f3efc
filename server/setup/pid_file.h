/* The file that tells scripts the pid of the server's main process, and that one server has alone.
 * A process has one, or none. */
#ifndef TWINHTTPD_SERVER_SETUP_PID_FILE_H
#define TWINHTTPD_SERVER_SETUP_PID_FILE_H

#include "common/base/error.h"

#include <stdbool.h>

/* Puts the pid of the calling process there: readers find the old content, no file, or the new one,
 * never a part. Until pid_file_remove or its end the process, without its children, holds a lock on
 * the file. False with one line in error: another living process holds it, there is something else
 * at the path, or it cannot be written. With upgrades the parent is the program that this one
 * replaces: then the parent's file is left to it until pid_file_claim. NULL as path: no file. */
bool pid_file_create(const char *path, bool upgrades, struct error *error);

/* Whether what is at the path may be replaced: nothing, or a pid file, also that of a server that
 * runs. Changes nothing. False with one line in error. */
bool pid_file_try(const char *path, struct error *error);

/* Makes the file this process's own, whoever of the two programs of an upgrade had it: this one
 * serves now, or serves again. Reports when that fails. */
void pid_file_claim(void);

/* Closes it in a process that does not answer for it, such as a forked worker, which could
 * otherwise write to it under any user. File and lock stay with the process that has them. */
void pid_file_forget(void);

/* Gives it up; removes it if it is still this process's own. */
void pid_file_remove(void);

#endif
