/* Logs of a server whose processes become another user. Whoever may write to a folder decides what
 * its names lead to, so root must not open what that user names: a log is opened with the user's
 * rights, and by root alone only where every folder on the way is root's. */
#ifndef TWINHTTPD_SERVER_SETUP_USER_FILES_H
#define TWINHTTPD_SERVER_SETUP_USER_FILES_H

#include "common/base/error.h"
#include "server/setup/privileges.h"

/* Opens a log as log_file_open does. *user_error is 0 if the user can open it, else why not
 * (errno): then root has opened it. -1 with the cause in error on failure. */
int user_files_open_log(const struct privileges *privileges, const char *path, int *user_error,
                        struct error *error);

/* Whether the user can open a log that is there; false with errno set. */
bool user_files_can_append(const struct privileges *privileges, const char *path);

#endif
