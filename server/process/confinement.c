#include "server/process/confinement.h"

#include "common/base/log.h"
#include "server/process/core_files.h"
#include "server/process/descriptor_table.h"
#include "server/process/sandbox.h"
#include "server/process/seclusion.h"
#include "server/setup/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { OOM_SCORE_ADDED = 100, OOM_SCORE_MOST = 1000 };

/* However the master dies. The kernel forgets it when a process changes its user. */
static bool end_with_master(const struct server *server)
{
    if (server->config.bare || prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) {
        return true;
    }
    log_write(LOG_ERROR, "cannot ask to end with the master: %m");
    return false;
}

/* If memory runs out, a process that can be replaced is to go, and not the one that replaces it.
 * Each point weighs a thousandth of the memory there is. Who may not say so, is not told: it makes
 * no difference as long as memory lasts. */
static void die_before_master(const struct server *server)
{
    char text[16] = "";
    int fd = server->config.bare ? -1 : open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (read(fd, text, sizeof(text) - 1) > 0) {
        long score = strtol(text, NULL, 10) + OOM_SCORE_ADDED;
        int bytes =
            snprintf(text, sizeof(text), "%ld", score < OOM_SCORE_MOST ? score : OOM_SCORE_MOST);
        (void)!pwrite(fd, text, (size_t)bytes, 0);
    }
    close(fd);
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

/* Before anybody shares it: threads, or a keeper. */
static void reserve_descriptors(const struct server *server, const struct estate *estate)
{
    if (server->plan.model != PLAN_PREFORK || estate != NULL) {
        descriptor_table_grow(server->plan.descriptors);
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

/* What all give up. */
static bool give_up(const struct server *server)
{
    struct error error;
    terminal_leave_to_serve();
    die_before_master(server);
    if (!privileges_drop(&server->privileges, &error) ||
        (server->config.seccomp == CONFIG_SECCOMP_ON && !privileges_drop_tracing(&error))) {
        log_write(LOG_ERROR, "%s", error.text);
        return false;
    }
    core_files_allow(server->config.core_files);
    close_to_siblings(server);
    return end_with_master(server);
}

static bool enter_sandbox(const struct server *server, enum sandbox_purpose purpose)
{
    struct error error;
    if (!sandbox_enter(server->config.seccomp, purpose, &error)) {
        log_write(LOG_ERROR, "%s", error.text);
        return false;
    }
    return true;
}

bool confinement_enter(const struct server *server, struct estate **estate)
{
    if (!give_up(server)) {
        return false;
    }
    reserve_descriptors(server, *estate);
    move_in(estate);
    return enter_sandbox(server, SANDBOX_TO_SERVE);
}

bool confinement_observe(const struct server *server)
{
    return give_up(server) && enter_sandbox(server, SANDBOX_TO_OBSERVE);
}

void confinement_hide(enum config_seccomp mode)
{
    if (mode != CONFIG_SECCOMP_OFF && prctl(PR_SET_DUMPABLE, 0) != 0) {
        log_write(LOG_WARN, "cannot hide the master's memory from its workers: %m");
    }
}
