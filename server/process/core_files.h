/* Whether a process that dies of a signal leaves a core file. */
#ifndef TWINHTTPD_SERVER_PROCESS_CORE_FILES_H
#define TWINHTTPD_SERVER_PROCESS_CORE_FILES_H

#include <stdbool.h>

/* For the calling process and those it will fork. On: as large as the hard limit allows, if the
 * process is dumpable (confinement.c). Off: none. Reports in the log what could not be done. */
void core_files_allow(bool allowed);

#endif
