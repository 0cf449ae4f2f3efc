/* The states of processes as the kernel shows them, and what becomes of those that nobody waits
 * for: zombies and orphans. */
#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SPINNERS = 3, SAMPLES = 20, PATIENCE_MS = 5000, EXIT_STATUS = 7 };

static unsigned runs(void)
{
    return micro_is_quick() ? 3 : 10;
}

static void tell(const char *key, const char *statement, bool (*is_so)(void), const char *detail)
{
    unsigned observed = 0;
    for (unsigned run = 0; run < runs(); run++) {
        observed += is_so();
    }
    micro_fact(key, statement, observed, runs(), "%s", detail);
}

/* ---- Ready, sleeping, waiting, stopped ---- */

static pid_t start_spinner(void)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        for (;;) {
            __asm__ volatile("");
        }
    }
    return pid;
}

/* More of them than their one CPU can run, so that at each moment at most one runs; and all are R.
 */
static bool all_ready_are_r(void)
{
    pid_t spinners[SPINNERS];
    unsigned all_r = 0;
    micro_pin(0);
    for (int i = 0; i < SPINNERS; i++) {
        spinners[i] = start_spinner();
    }
    micro_unpin();
    for (unsigned sample = 0; sample < SAMPLES; sample++) {
        unsigned r = 0;
        for (int i = 0; i < SPINNERS; i++) {
            r += micro_look(spinners[i]).state == 'R';
        }
        all_r += r == SPINNERS;
        micro_sleep_ms(1);
    }
    for (int i = 0; i < SPINNERS; i++) {
        micro_kill(spinners[i]);
    }
    return all_r == SAMPLES;
}

static pid_t start_sleeper(void)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    return pid;
}

static bool sleeping_is_s(void)
{
    pid_t pid = start_sleeper();
    bool is_so = micro_wait_for_state(pid, 'S', PATIENCE_MS);
    micro_kill(pid);
    return is_so;
}

static bool stopped_is_t(void)
{
    pid_t pid = start_sleeper();
    micro_wait_for_state(pid, 'S', PATIENCE_MS);
    kill(pid, SIGSTOP);
    bool stopped = micro_wait_for_state(pid, 'T', PATIENCE_MS);
    kill(pid, SIGCONT);
    bool back = micro_wait_for_state(pid, 'S', PATIENCE_MS);
    micro_kill(pid);
    return stopped && back;
}

/* Until its child has ended or executed something, the kernel lets a parent by vfork sleep where no
 * signal but a deadly one reaches it. */
static bool vfork_parent_is_d(void)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        pid_t self = getpid();
        /* NOLINTBEGIN: its wait is the question */
        pid_t child = vfork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            while (getppid() == self) { /* it may have been killed before */
                pause();
            }
        }
        /* NOLINTEND */
        _exit(0);
    }
    bool is_so = micro_wait_for_state(pid, 'D', PATIENCE_MS);
    micro_kill(pid);
    return is_so;
}

/* ---- Zombies ---- */

static pid_t start_zombie(void)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        /* Memory of its own, so that there is something to lose. */
        micro_touched(4 * 1024 * 1024);
        _exit(EXIT_STATUS);
    }
    return pid;
}

static bool zombie_is_z(void)
{
    pid_t pid = start_zombie();
    bool is_so = micro_wait_for_state(pid, 'Z', PATIENCE_MS);
    micro_reap(pid);
    return is_so;
}

static bool has_no_memory(pid_t pid)
{
    char path[64], text[2048];
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    return micro_look(pid).resident_pages == 0 && micro_read_text(path, text, sizeof(text)) &&
           strstr(text, "VmRSS:") == NULL;
}

static bool zombie_has_no_memory(void)
{
    pid_t pid = start_zombie();
    bool is_so = micro_wait_for_state(pid, 'Z', PATIENCE_MS) && has_no_memory(pid);
    micro_reap(pid);
    return is_so;
}

static bool zombie_keeps_pid(void)
{
    pid_t pid = start_zombie();
    bool kept = micro_wait_for_state(pid, 'Z', PATIENCE_MS) && kill(pid, 0) == 0 &&
                micro_look(pid).parent == getpid();
    /* Dead already: it cannot be killed. */
    kill(pid, SIGKILL);
    kept = kept && micro_look(pid).state == 'Z';
    micro_reap(pid);
    return kept && kill(pid, 0) != 0 && errno == ESRCH;
}

static bool zombie_keeps_status(void)
{
    pid_t pid = start_zombie();
    micro_wait_for_state(pid, 'Z', PATIENCE_MS);
    int status = micro_reap(pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_STATUS;
}

/* ---- Orphans ---- */

/* In shared memory. */
static struct board {
    _Atomic int orphan;
} *board;

/* How a family is set up. The grandchild serves a listening socket by one byte for each connection,
 * until our end of a pipe closes. */
struct family {
    int listener, leash[2];
    pid_t parent, orphan;
    struct sockaddr_in address;
};

_Noreturn static void serve_until_released(const struct family *family)
{
    const char answer = 1;
    close(family->leash[1]);
    for (;;) {
        fd_set waiting;
        int connection;
        char byte;
        FD_ZERO(&waiting);
        FD_SET(family->listener, &waiting);
        FD_SET(family->leash[0], &waiting);
        int most = family->listener > family->leash[0] ? family->listener : family->leash[0];
        if (select(most + 1, &waiting, NULL, NULL, NULL) < 0) {
            continue;
        }
        if (FD_ISSET(family->leash[0], &waiting) && read(family->leash[0], &byte, 1) == 0) {
            _exit(0);
        }
        connection =
            FD_ISSET(family->listener, &waiting) ? accept(family->listener, NULL, NULL) : -1;
        if (connection >= 0) {
            (void)!write(connection, &answer, 1);
            close(connection);
        }
    }
}

/* The parent starts the grandchild and waits to be killed. */
_Noreturn static void be_parent(const struct family *family, bool dies_with_parent)
{
    pid_t self = getpid(), orphan = fork();
    micro_need(orphan >= 0, "cannot fork");
    if (orphan == 0) {
        if (dies_with_parent) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
        }
        if (getppid() == self) {
            atomic_store(&board->orphan, getpid());
        }
        serve_until_released(family);
    }
    close(family->leash[1]);
    for (;;) {
        pause();
    }
}

static bool is_there(const void *argument)
{
    (void)argument;
    return atomic_load(&board->orphan) != 0;
}

static struct family start_family(bool dies_with_parent)
{
    struct family family = {
        .address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}}};
    socklen_t length = sizeof(family.address);
    struct sockaddr *address = (struct sockaddr *)&family.address;
    atomic_store(&board->orphan, 0);
    family.listener = socket(AF_INET, SOCK_STREAM, 0);
    micro_need(family.listener >= 0 && bind(family.listener, address, length) == 0 &&
                   listen(family.listener, 8) == 0 &&
                   getsockname(family.listener, address, &length) == 0,
               "cannot listen on 127.0.0.1");
    micro_need(pipe(family.leash) == 0, "cannot make a pipe");
    family.parent = micro_fork();
    if (family.parent == 0) {
        be_parent(&family, dies_with_parent);
    }
    close(family.listener); /* from now on only they have it */
    close(family.leash[0]);
    errno = ETIMEDOUT;
    micro_need(micro_wait_for(is_there, NULL, PATIENCE_MS), "a grandchild did not start");
    family.orphan = atomic_load(&board->orphan);
    return family;
}

/* Whoever asks is answered. */
static bool answers(const struct family *family)
{
    const struct timeval patience = {2, 0};
    char byte = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    micro_need(fd >= 0, "cannot make a socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    bool answered =
        connect(fd, (const struct sockaddr *)&family->address, sizeof(family->address)) == 0 &&
        read(fd, &byte, 1) == 1;
    close(fd);
    return answered;
}

static bool is_orphaned(const void *argument)
{
    const struct family *family = argument;
    struct micro_process orphan = micro_look(family->orphan);
    return orphan.state == 0 || orphan.state == 'Z' || orphan.parent != family->parent;
}

static bool is_gone(const void *argument)
{
    const struct family *family = argument;
    char state = micro_look(family->orphan).state;
    return state == 0 || state == 'Z';
}

static void release(const struct family *family)
{
    close(family->leash[1]);
    errno = ETIMEDOUT;
    micro_need(micro_wait_for(is_gone, family, PATIENCE_MS), "an orphan does not end");
    while (waitpid(-1, NULL, WNOHANG) > 0) { /* ours if we were its reaper */
    }
}

static pid_t last_adopter;

/* True: still there after its parent was killed, with another parent. */
static bool is_adopted(const struct family *family)
{
    micro_kill(family->parent);
    micro_wait_for(is_orphaned, family, PATIENCE_MS);
    struct micro_process orphan = micro_look(family->orphan);
    last_adopter = orphan.parent;
    bool lives = orphan.state != 0 && orphan.state != 'Z';
    return lives && orphan.parent != family->parent && orphan.parent > 0;
}

static bool orphan_is_adopted(void)
{
    struct family family = start_family(false);
    bool adopted = is_adopted(&family);
    release(&family);
    return adopted && (last_adopter != getpid() || getpid() == 1);
}

static bool subreaper_adopts(void)
{
    micro_need(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "cannot become a subreaper");
    struct family family = start_family(false);
    bool adopted = is_adopted(&family);
    release(&family);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    return adopted && last_adopter == getpid();
}

static bool orphan_keeps_serving(void)
{
    struct family family = start_family(false);
    bool served_before = answers(&family);
    bool adopted = is_adopted(&family);
    bool serves = answers(&family);
    release(&family);
    return served_before && adopted && serves;
}

static bool pdeathsig_ends_orphan(void)
{
    struct family family = start_family(true);
    bool served_before = answers(&family);
    micro_kill(family.parent);
    bool gone = micro_wait_for(is_gone, &family, PATIENCE_MS);
    bool serves = answers(&family);
    release(&family);
    return served_before && gone && !serves;
}

static void tell_of_orphans(void)
{
    char detail[64];
    unsigned adopted = 0;
    for (unsigned run = 0; run < runs(); run++) {
        adopted += orphan_is_adopted();
    }
    snprintf(detail, sizeof(detail), "its new parent is process %d", last_adopter);
    micro_fact("orphan-is-adopted",
               "a process whose parent was killed goes on, with init or a subreaper as its parent",
               adopted, runs(), "%s", detail);
    tell("orphan-is-adopted-by-subreaper",
         "an ancestor that asked for it (PR_SET_CHILD_SUBREAPER) adopts the orphan, not init",
         subreaper_adopts, "its new parent is the one that asked");
    tell("orphan-keeps-serving",
         "an orphan keeps the listening socket that it inherited, and goes on answering there",
         orphan_keeps_serving, "TCP on 127.0.0.1");
    tell("pdeathsig-ends-orphan",
         "with PR_SET_PDEATHSIG the child ends with its parent, and the port is free",
         pdeathsig_ends_orphan, "the connection is refused");
}

static void tell_all(void)
{
    tell("ready-is-R", "of three processes that compute on one CPU two wait for it: all show R",
         all_ready_are_r, "20 samples of each run");
    tell("sleeping-is-S", "a process that waits for a signal shows S", sleeping_is_s, "pause");
    tell("vfork-parent-is-D",
         "a process that waits for its child by vfork shows D: no signal but a deadly one ends it",
         vfork_parent_is_d, "vfork");
    tell("stopped-is-T", "a stopped process shows T, and S again when it goes on", stopped_is_t,
         "SIGSTOP, SIGCONT");
    tell("zombie-is-Z", "an ended process that nobody has waited for shows Z", zombie_is_z,
         "_exit");
    tell("zombie-has-no-memory", "a zombie has given back all its memory", zombie_has_no_memory,
         "resident pages 0, no VmRSS");
    tell("zombie-keeps-its-pid",
         "a zombie keeps its process id and cannot be killed; waiting for it frees the id",
         zombie_keeps_pid, "kill(pid, 0)");
    tell("zombie-keeps-its-exit-status", "a zombie keeps its exit status for its parent",
         zombie_keeps_status, "waitpid");
    tell_of_orphans();
}

int main(int argc, char **argv)
{
    micro_start("states", argc, argv);
    board = micro_shared(sizeof(*board));
    if (micro_wants_facts()) {
        tell_all();
    }
    return micro_finish();
}
