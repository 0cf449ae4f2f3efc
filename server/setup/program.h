/* The file that this process runs: what an upgrade starts again. */
#ifndef TWINHTTPD_SERVER_SETUP_PROGRAM_H
#define TWINHTTPD_SERVER_SETUP_PROGRAM_H

#include <limits.h>
#include <stdbool.h>

/* Finds its absolute path, by the name that it was started by (argv[0]) where that leads to it:
 * symbolic links in it are kept, so that a new version may come by way of one. Later changes of the
 * working directory, PATH or the name itself do not matter. False: the path is not to be found. */
bool program_find(const char *name, char path[PATH_MAX]);

/* Becomes the program at the absolute path. Returns with errno set when it is none; no shell runs
 * it then. A script with an interpreter of its own ("#!") is a program. */
void program_run(const char *path, char *const *argv);

/* What to do when program_run has failed with this errno. */
const char *program_fix(const char *path, int error);

#endif
