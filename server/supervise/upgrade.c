/* SIGUSR2: a new program takes over the listening sockets (inheritance.h). */
#include "server/supervise/master_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/supervise/control_commands.h"
#include "server/supervise/inheritance.h"
#include "server/supervise/pid_file.h"
#include "server/supervise/stop_signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void run_new_program(const struct master *master, int ready_fd)
{
    char *const *argv = master->origin->argv;
    stop_signals_unblock();
    if (inheritance_offer(master->server, ready_fd)) {
        execvp(argv[0], argv);
    }
    log_write(LOG_ERROR, "cannot start the new program %s: %m", argv[0]);
    _exit(127);
}

static bool refuse(char error[SERVER_ERROR_BYTES], const char *text)
{
    snprintf(error, SERVER_ERROR_BYTES, "%s", text);
    log_write(LOG_WARN, "not upgrading: %s", error);
    return false;
}

bool upgrade_begin(struct master *master, char error[SERVER_ERROR_BYTES])
{
    int ends[2];
    if (getpid() == 1) {
        return refuse(error, "this is process 1; replace the container instead");
    }
    if (master->upgrade_pid != 0) {
        return refuse(error, "the last new program is not ready yet");
    }
    if (master->phase != MASTER_RUNNING || master->on_trial) {
        return refuse(error, "the server is starting, reloading or about to end; ask again later");
    }
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return refuse(error, "no pipe can be made; raise the limit of open files");
    }
    pid_t pid = fork();
    if (pid == 0) {
        run_new_program(master, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return refuse(error, "no process can be forked; raise the limit of processes");
    }
    log_write(LOG_NOTICE, "upgrading: started %s as pid %d", master->origin->argv[0], (int)pid);
    master->upgrade_pid = pid;
    master->upgrade_fd = ends[0];
    return true;
}

static void close_news(struct master *master)
{
    close(master->upgrade_fd);
    master->upgrade_fd = -1;
}

void upgrade_abandon(struct master *master)
{
    if (master->upgrade_fd >= 0) {
        kill(master->upgrade_pid, SIGTERM);
    }
}

/* The new program accepts from the same sockets now. */
static void hand_over(struct master *master)
{
    log_write(LOG_NOTICE, "the new program (pid %d) serves: retiring", (int)master->upgrade_pid);
    service_manager_name_main(&master->service_manager, (int)master->upgrade_pid);
    master->phase = MASTER_HANDED_OVER;
    master->upgrade_over_ms = clock_monotonic_ms() + master->server->config.upgrade_trial_ms;
    for (uint32_t i = 0; i < master->seat_count; i++) {
        struct seat *seat = &master->seats[i];
        *seat = (struct seat){0};
    }
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        children_retire(master, child);
    }
}

void upgrade_on_news(struct master *master)
{
    char byte;
    ssize_t n = read(master->upgrade_fd, &byte, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    close_news(master); /* at its end without news the process is reaped, and that is told */
    if (n == 1 && master->phase == MASTER_RUNNING) {
        hand_over(master);
    }
}

bool upgrade_is_over(struct master *master, pid_t pid, int wait_status)
{
    if (pid != master->upgrade_pid || pid == 0) {
        return false;
    }
    bool by_signal = WIFSIGNALED(wait_status);
    log_write(LOG_ERROR, "the new program (pid %d) %s %d: this one %s", (int)pid,
              by_signal ? "was killed by signal" : "exited with status",
              by_signal ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status),
              master->phase == MASTER_HANDED_OVER ? "serves again" : "goes on");
    master->upgrade_pid = 0;
    if (master->upgrade_fd >= 0) {
        close_news(master);
    }
    if (master->phase == MASTER_HANDED_OVER) {
        master->phase = MASTER_RUNNING;
        if (!listener_listen(&master->server->listener)) {
            log_write(LOG_ERROR, "cannot listen again: %m; restart the server");
        }
        pid_file_claim();
        service_manager_name_main(&master->service_manager, (int)getpid());
        master_tell_serving(master);
    }
    control_take_back(master);
    return true;
}

bool upgrade_is_passed(const struct master *master)
{
    return master->phase == MASTER_HANDED_OVER && clock_monotonic_ms() >= master->upgrade_over_ms &&
           TAILQ_EMPTY(&master->children);
}
