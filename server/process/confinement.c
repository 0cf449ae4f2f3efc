#include "server/process/confinement.h"

#include "common/base/log.h"
#include "server/process/core_files.h"
#include "server/process/sandbox.h"
#include "server/process/seclusion.h"
#include "server/setup/terminal.h"

#include <signal.h>
#include <sys/prctl.h>

/* However the master dies. The kernel forgets it when a process changes its user. */
static bool end_with_master(const struct server *server)
{
    if (server->config.bare || prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) {
        return true;
    }
    log_write(LOG_ERROR, "cannot ask to end with the master: %m");
    return false;
}

/* One user's processes can reach into each other. Who is secluded does not reach out, and stays
 * open to a master without privileges, which looks into it for the watchdog and for its memory.
 * Where the kernel has no seclusion, nobody's memory is there to be reached, but for who wants core
 * files: the kernel writes none of a process that is closed. */
static void close_to_siblings(const struct server *server)
{
    const struct config *config = &server->config;
    bool sandboxed = config->seccomp == CONFIG_SECCOMP_ON;
    bool secluded = sandboxed && seclusion_enter();
    bool open = config->core_files || (!server->privileges.changes && (!sandboxed || secluded));
    if (prctl(PR_SET_DUMPABLE, open ? 1 : 0) != 0) {
        log_write(LOG_WARN, "cannot %s: %m", open ? "allow core files" : "close /proc to others");
    }
}

/* As the user that serves, and while it may still start a process. */
static void move_in(struct estate **estate)
{
    struct error error;
    if (*estate != NULL && !estate_enter(*estate, &error)) {
        log_write(LOG_WARN, "its connections will die with it: %s", error.text);
        *estate = NULL;
    }
}

bool confinement_enter(const struct server *server, struct estate **estate)
{
    struct error error;
    terminal_leave_to_serve();
    if (!privileges_drop(&server->privileges, &error) ||
        (server->config.seccomp == CONFIG_SECCOMP_ON && !privileges_drop_tracing(&error))) {
        log_write(LOG_ERROR, "%s", error.text);
        return false;
    }
    core_files_allow(server->config.core_files);
    close_to_siblings(server);
    if (!end_with_master(server)) {
        return false;
    }
    move_in(estate);
    if (!sandbox_enter(server->config.seccomp, &error)) {
        log_write(LOG_ERROR, "%s", error.text);
        return false;
    }
    return true;
}

void confinement_hide(enum config_seccomp mode)
{
    if (mode != CONFIG_SECCOMP_OFF && prctl(PR_SET_DUMPABLE, 0) != 0) {
        log_write(LOG_WARN, "cannot hide the master's memory from its workers: %m");
    }
}
