/* SIGUSR2: a new program takes over the listening sockets (inheritance.h). */
#include "server/master/master_internal.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "server/master/commands.h"
#include "server/setup/inheritance.h"
#include "server/setup/pid_file.h"
#include "server/setup/program.h"
#include "server/setup/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static _Noreturn void run_new_program(const struct master *master, int talk_fd,
                                      const struct inheritance_pages *pages)
{
    const char *path = master->origin->program;
    signals_unblock();
    if (inheritance_offer(master->server, talk_fd, pages)) {
        program_run(path, master->origin->argv);
    }
    int error = errno;
    log_write(LOG_ERROR, "cannot start the new program %s: %s; %s", path, strerror(error),
              program_fix(path, error));
    _exit(127);
}

static bool refuse(struct error *error, const char *text)
{
    error_set(error, "%s", text);
    log_write(LOG_WARN, "not upgrading: %s", error->text);
    return false;
}

static void tell(const struct master *master, char byte)
{
    ssize_t ignored = send(master->upgrade.talk_fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

/* What is in them stays. */
static void close_pages(const struct inheritance_pages *pages)
{
    if (pages->counted_fd >= 0) {
        close(pages->counted_fd);
    }
    if (pages->counting_fd >= 0) {
        close(pages->counting_fd);
    }
}

bool upgrade_begin(struct master *master, struct error *error)
{
    int ends[2];
    if (getpid() == 1) {
        return refuse(error, "this is process 1; replace the container instead");
    }
    if (master->origin->program[0] == '\0') {
        return refuse(error, "the path of this program is not known; start it by its full path");
    }
    if (master->upgrade.pid != 0) {
        return refuse(error, "the last new program is not ready yet");
    }
    if (master->phase != MASTER_RUNNING || reload_is_under_way(master)) {
        return refuse(error, "the server is starting, reloading or about to end; ask again later");
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        return refuse(error, "no socket can be made; raise the limit of open files");
    }
    CHECK(master->upgrade.talk_fd == -1 && !master->on_trial);
    const struct inheritance_pages pages = posterity_begin(master);
    pid_t pid = fork();
    if (pid == 0) {
        run_new_program(master, ends[1], &pages);
    }
    close(ends[1]);
    close_pages(&pages);
    if (pid < 0) {
        close(ends[0]);
        posterity_end(master);
        return refuse(error, "no process can be forked; raise the limit of processes");
    }
    log_write(LOG_NOTICE, "upgrading: started %s as pid %d", master->origin->program, (int)pid);
    master->upgrade.pid = pid;
    master->upgrade.talk_fd = ends[0];
    master->upgrade.serves = false;
    master->upgrade.addresses_left = 0;
    master->upgrade.over_ms =
        clock_monotonic_ms() + master->server->config.start_timeout_ms + STOP_PATIENCE_MS;
    return true;
}

static void close_news(struct master *master)
{
    if (master->upgrade.talk_fd >= 0) {
        close(master->upgrade.talk_fd);
        master->upgrade.talk_fd = -1;
    }
}

void upgrade_abandon(struct master *master)
{
    if (master->upgrade.pid != 0 && !master->upgrade.serves) {
        kill(master->upgrade.pid, SIGTERM);
    }
}

void upgrade_check_deadline(struct master *master)
{
    if (master->upgrade.pid != 0 && !master->upgrade.serves && master->upgrade.over_ms != 0 &&
        clock_monotonic_ms() >= master->upgrade.over_ms) {
        log_write(LOG_WARN, "killing the new program (pid %d), which has not become ready in time",
                  (int)master->upgrade.pid);
        master->upgrade.over_ms = 0;
        kill(master->upgrade.pid, SIGKILL);
    }
}

uint64_t upgrade_due_ms(const struct master *master)
{
    uint64_t now_ms = clock_monotonic_ms();
    bool waits = master->upgrade.pid != 0 && !master->upgrade.serves;
    bool on_trial = master->phase == MASTER_HANDED_OVER && master->upgrade.over_ms > now_ms;
    return waits || on_trial ? master->upgrade.over_ms : 0;
}

static void hand_over(struct master *master, enum inheritance_news news)
{
    log_write(LOG_NOTICE, "the new program (pid %d) serves: retiring", (int)master->upgrade.pid);
    service_manager_name_main(&master->service_manager, (int)master->upgrade.pid);
    CHECK(master->upgrade.pid != 0 && !master->upgrade.serves);
    phase_enter(master, MASTER_HANDED_OVER);
    master->upgrade.serves = true;
    if (news == INHERITANCE_ELSEWHERE) {
        master->upgrade.addresses_left = UINT32_MAX;
    }
    master->upgrade.over_ms = clock_monotonic_ms() + master->server->config.upgrade_trial_ms;
    for (uint32_t i = 0; i < master->seat_count; i++) {
        struct seat *seat = &master->seats[i];
        legacies_pass_on(master, seat);
        *seat = (struct seat){0};
    }
    struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        children_retire(master, child);
    }
}

static void on_news(struct master *master, enum inheritance_news news)
{
    bool retired = master->phase == MASTER_HANDED_OVER;
    if (news >= INHERITANCE_LEAVES) {
        CHECK(news <= UINT8_MAX);
        master->upgrade.addresses_left |= UINT32_C(1)
                                          << (news - INHERITANCE_LEAVES) % ENDPOINTS_MOST;
        return;
    }
    switch (news) {
    case INHERITANCE_SERVES:
    case INHERITANCE_ELSEWHERE:
        if (master->phase == MASTER_RUNNING && !master->upgrade.serves) {
            hand_over(master, news);
        }
        break;
    case INHERITANCE_DRAINS:
        if (retired) {
            master->upgrade.over_ms = clock_monotonic_ms();
        }
        break;
    case INHERITANCE_STOPS:
        if (retired) {
            master_stop(master);
        }
        break;
    default:
        break;
    }
}

void upgrade_hear(struct master *master)
{
    char byte;
    ssize_t n;
    if (master->upgrade.talk_fd < 0) {
        return;
    }
    while (master->upgrade.talk_fd >= 0 &&
           (n = recv(master->upgrade.talk_fd, &byte, 1, MSG_DONTWAIT)) != 0) {
        if (n < 0) {
            return;
        }
        on_news(master, (enum inheritance_news)(unsigned char)byte);
    }
    close_news(master); /* it has ended: that is told when it is reaped */
}

static bool is_on_trial(const struct master *master)
{
    return master->phase == MASTER_HANDED_OVER && clock_monotonic_ms() < master->upgrade.over_ms;
}

static void serve_again(struct master *master)
{
    phase_enter(master, MASTER_RUNNING);
    CHECK(master->upgrade.serves);
    posterity_take_back(master);
    master->upgrade.addresses_left = 0;
    master->upgrade.over_ms = 0;
    listening_listen_again(master);
    pid_file_claim();
    service_manager_name_main(&master->service_manager, (int)getpid());
    master_tell_serving(master);
}

bool upgrade_take_back(struct master *master)
{
    if (!is_on_trial(master)) {
        return false;
    }
    log_write(LOG_NOTICE, "this program serves again: the new one (pid %d) is to end",
              (int)master->upgrade.pid);
    CHECK(master->upgrade.pid != 0);
    tell(master, INHERITANCE_RECALL);
    kill(master->upgrade.pid, SIGQUIT);
    serve_again(master);
    return true;
}

static const char *what_follows(const struct master *master, bool goes_back)
{
    if (goes_back) {
        return "serves again";
    }
    return master->phase == MASTER_HANDED_OVER ? "leaves, too" : "goes on";
}

bool upgrade_is_over(struct master *master, pid_t pid, int wait_status)
{
    if (pid != master->upgrade.pid || pid == 0) {
        return false;
    }
    upgrade_hear(master); /* what it has said last */
    bool by_signal = WIFSIGNALED(wait_status);
    int number = by_signal ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    bool goes_back = is_on_trial(master) && (by_signal || number != 0);
    bool in_order = !by_signal && number == 0 && master->upgrade.serves;
    const char *next = what_follows(master, goes_back);
    master->upgrade.pid = 0;
    close_news(master);
    if (goes_back) {
        serve_again(master);
    } else if (master->phase == MASTER_HANDED_OVER) {
        master->upgrade.over_ms = clock_monotonic_ms();
    } else {
        master->upgrade.over_ms = 0;
        master->upgrade.addresses_left = 0;
    }
    posterity_end(master);
    if (master->phase == MASTER_RUNNING) {
        control_take_back(master);
    }
    /* told last, so that whoever reads it finds it so */
    log_write(in_order ? LOG_NOTICE : LOG_ERROR, "the new program (pid %d) %s %d: this one %s",
              (int)pid, by_signal ? "was killed by signal" : "exited with status", number, next);
    return true;
}

bool upgrade_is_passed(const struct master *master)
{
    return master->phase == MASTER_HANDED_OVER && !is_on_trial(master);
}
