/* A master in a world of its own: its processes, its signals and its time are the test's. Nothing
 * is forked, nobody is killed, and no time passes but by pass(). Each test program that includes
 * this has the calls below wrapped (twin_master_test in CMakeLists.txt). */
#ifndef TWINHTTPD_TESTS_UNIT_MASTER_TESTING_H
#define TWINHTTPD_TESTS_UNIT_MASTER_TESTING_H

#include "server/master/master_internal.h"
#include "tests/unit/failing_call.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum {
    PROCESSES = 3,
    SLOTS = 64,
    START_MS = 1000000,
    START_TIMEOUT_MS = 5000,
    DRAIN_MS = 2000,
    TRIAL_MS = 30000,
    FIRST_PID = 1001,
    FAKES = 512,
    ORDERS_MOST = 8,
    NONE = -1
};

/* ---- What the kernel would do ---- */

struct fake_process {
    bool is_alive;
    int wait_status;         /* of one that has ended and waits to be reaped; NONE: none does */
    int orders[ORDERS_MOST]; /* signals, in the order in which they came */
    int order_count;
    uint64_t draining_slots; /* when it was forked: a bit for each */
};

static struct fake_process fakes[FAKES]; /* by pid, from FIRST_PID on */
static int forks;
static uint64_t now_ms;
static struct failing_call failing_fork;
static int waiting_signals[16];
static int waiting_signal_count;
static int talk_fd = -1; /* the new program's end of the socket to its master */

static inline struct fake_process *fake(pid_t pid)
{
    assert_in_range(pid, FIRST_PID, FIRST_PID + forks - 1);
    return &fakes[pid - FIRST_PID];
}

WRAPPED(uint64_t, clock_monotonic_ms, void)
{
    return now_ms;
}

WRAPPED(uint64_t, clock_monotonic_ns, void)
{
    return now_ms * 1000000;
}

static inline int deliver(pid_t pid, int number)
{
    struct fake_process *process = fake(pid);
    if (!process->is_alive) {
        errno = ESRCH;
        return -1;
    }
    assert_in_range(process->order_count, 0, ORDERS_MOST - 1);
    process->orders[process->order_count++] = number;
    return 0;
}

WRAPPED(int, kill, pid_t pid, int number)
{
    return deliver(pid, number);
}

WRAPPED(int, sigqueue, pid_t pid, int number, const union sigval value)
{
    (void)value;
    return deliver(pid, number);
}

WRAPPED(pid_t, waitpid, pid_t pid, int *wait_status, int options)
{
    if (pid > 0) { /* an observer at the end of the server, which ends when it is told to */
        fake(pid)->is_alive = false;
        return pid;
    }
    assert_int_equal(pid, -1);
    assert_int_equal(options, WNOHANG);
    for (int i = 0; i < forks; i++) {
        if (fakes[i].wait_status != NONE) {
            *wait_status = fakes[i].wait_status;
            fakes[i].wait_status = NONE;
            return FIRST_PID + i;
        }
    }
    return 0;
}

WRAPPED(int, signals_open, const int *signals)
{
    (void)signals;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

WRAPPED(int, signals_next, int fd)
{
    (void)fd;
    if (waiting_signal_count == 0) {
        return 0;
    }
    int number = waiting_signals[0];
    memmove(waiting_signals, waiting_signals + 1, sizeof(waiting_signals) - sizeof(int));
    waiting_signal_count--;
    return number;
}

WRAPPED(int, socketpair, int domain, int type, int protocol, int ends[2])
{
    int result = __real_socketpair(domain, type, protocol, ends);
    if (result == 0 && (type & 0xf) == SOCK_STREAM) { /* an upgrade's */
        if (talk_fd >= 0) {
            close(talk_fd);
        }
        talk_fd = dup(ends[1]);
    }
    return result;
}

/* ---- What would be read and opened for a new configuration ---- */

static const char *next_listen; /* in the configuration that is read next */
static uint32_t next_processes; /* that it asks for */
static uint32_t next_loops;     /* in each */
static enum config_on_death next_on_death;
static bool is_next_readable;          /* else it is refused when it is read */
static bool is_next_openable;          /* else when it is opened */
static enum lookup_result next_lookup; /* what the addresses' names lead to */
static int open_servers;
static char listen_address[] = "127.0.0.1:8080";

WRAPPED(bool, server_read_config, const struct server_origin *origin, struct config *config,
        struct error *error)
{
    (void)origin;
    if (!is_next_readable) {
        return error_set(error, "unknown key");
    }
    *config = (struct config){.listen = strdup(next_listen),
                              .on_death = next_on_death,
                              .drain_timeout_ms = DRAIN_MS,
                              .start_timeout_ms = START_TIMEOUT_MS,
                              .upgrade_trial_ms = TRIAL_MS};
    return true;
}

WRAPPED(bool, server_reopen, struct server *server, struct config *config,
        const struct endpoints *endpoints, const struct server *predecessor, uint32_t epoch,
        struct error *error)
{
    (void)endpoints;
    if (!is_next_openable) {
        config_free(config);
        return error_set(error, "cannot listen");
    }
    *server = *predecessor;
    server->config = *config;
    server->epoch = epoch;
    server->plan.processes = next_processes;
    server->plan.loops = server->plan.slots_per_process = next_loops;
    *config = (struct config){0};
    open_servers++;
    return true;
}

WRAPPED(void, server_close, struct server *server)
{
    config_free(&server->config);
    open_servers--;
}

WRAPPED(void, server_use_log, const struct server *server)
{
    (void)server;
}

WRAPPED(bool, lookup_begin, struct lookup *lookup, const char *listen, struct error *error)
{
    (void)listen;
    (void)error;
    *lookup = (struct lookup){.fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
                              .deadline_ms = now_ms + LOOKUP_PATIENCE_MS};
    return true;
}

WRAPPED(enum lookup_result, lookup_proceed, struct lookup *lookup, const char *listen,
        struct endpoints *endpoints, struct error *error)
{
    (void)listen;
    *endpoints = (struct endpoints){0};
    if (next_lookup == LOOKUP_WAITS && now_ms < lookup->deadline_ms) {
        return LOOKUP_WAITS;
    }
    lookup_abandon(lookup);
    if (next_lookup != LOOKUP_FOUND) {
        error_set(error, "no such name");
        return LOOKUP_FAILED;
    }
    return LOOKUP_FOUND;
}

/* ---- The master ---- */

static struct server server;
static struct server_origin origin;
static struct master master;
static int announced;

/* A bit for each of the first 64. */
static uint64_t draining_slots(void)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < server.scoreboard->slot_capacity && i < 64; i++) {
        bits |= (uint64_t)(server.scoreboard->slots[i].draining != 0) << i;
    }
    return bits;
}

WRAPPED(pid_t, fork, void)
{
    if (fails_now(&failing_fork)) {
        return -1;
    }
    assert_in_range(forks, 0, FAKES - 1);
    fakes[forks] = (struct fake_process){
        .is_alive = true, .wait_status = NONE, .draining_slots = draining_slots()};
    return FIRST_PID + forks++;
}

static inline void announce(const struct server *of, const char *token, enum announcement what)
{
    assert_ptr_equal(of, &server);
    assert_null(token);
    announced += what == ANNOUNCE_SERVER;
}

/* One turn. Nothing stays undone that is due: its loop would not wait. */
static inline void turn(void)
{
    master_work(&master);
    uint64_t due_ms = master_due_ms(&master);
    assert_true(due_ms == 0 || due_ms > now_ms);
}

/* The time goes on, from one thing that is due to the next. */
static inline void pass(uint64_t ms)
{
    uint64_t end_ms = now_ms + ms;
    uint64_t due_ms;
    while ((due_ms = master_due_ms(&master)) != 0 && due_ms <= end_ms) {
        now_ms = due_ms;
        turn();
    }
    now_ms = end_ms;
}

static inline void signal_master(int number)
{
    waiting_signals[waiting_signal_count++] = number;
    turn();
}

static inline struct child *find(pid_t pid)
{
    struct child *child;
    TAILQ_FOREACH(child, &master.children, link)
    {
        if (child->pid == pid) {
            return child;
        }
    }
    return NULL;
}

static inline pid_t last_pid(void)
{
    return FIRST_PID + forks - 1;
}

static inline uint32_t count_children(void)
{
    uint32_t count = 0;
    struct child *child;
    TAILQ_FOREACH(child, &master.children, link)
    {
        count++;
    }
    return count;
}

/* ---- What processes do ---- */

static inline void tell_readiness(const struct readiness_news *news)
{
    assert_int_equal(send(master.readiness.told_fd, news, sizeof(*news), 0), sizeof(*news));
}

/* goes_on: with what its predecessor has left, and its successor with what it will. */
static inline void say_ready(pid_t pid, bool goes_on)
{
    assert_non_null(find(pid));
    tell_readiness(
        &(struct readiness_news){.generation = find(pid)->generation, .goes_on = goes_on});
}

static inline void become_ready(pid_t pid)
{
    say_ready(pid, true);
    turn();
}

static inline void end_unheard(pid_t pid, int wait_status)
{
    fake(pid)->is_alive = false;
    fake(pid)->wait_status = wait_status;
}

static inline void end(pid_t pid, int wait_status)
{
    end_unheard(pid, wait_status);
    signal_master(SIGCHLD);
}

static inline void exit_with(pid_t pid, int status)
{
    end(pid, W_EXITCODE(status, 0));
}

static inline void die_of(pid_t pid, int number)
{
    end(pid, W_EXITCODE(0, number));
}

/* ---- What is expected ---- */

static inline bool was_told(pid_t pid, int number)
{
    const struct fake_process *process = fake(pid);
    for (int i = 0; i < process->order_count; i++) {
        if (process->orders[i] == number) {
            return true;
        }
    }
    return false;
}

static inline pid_t pid_of(const struct child *child)
{
    return child == NULL ? NONE : child->pid;
}

/* Who sits there, and who is to follow; NONE: nobody. */
static inline void assert_seat(uint32_t number, pid_t child, pid_t successor)
{
    assert_in_range(number, 0, master.seat_count - 1);
    assert_int_equal(pid_of(master.seats[number].child), child);
    assert_int_equal(pid_of(master.seats[number].successor), successor);
}

/* ---- Life ---- */

/* A master that has started nobody yet. */
static inline int make(void **state)
{
    (void)state;
    now_ms = START_MS;
    forks = waiting_signal_count = announced = 0;
    failing_fork = (struct failing_call){0};
    next_listen = listen_address;
    next_processes = PROCESSES;
    next_loops = 1;
    next_on_death = CONFIG_ON_DEATH_CUT;
    is_next_readable = is_next_openable = true;
    next_lookup = LOOKUP_FOUND;
    open_servers = 1;
    log_set_level(LOG_ERROR + 1);
    snprintf(origin.program, sizeof(origin.program), "/usr/bin/prefork-server");
    server = (struct server){
        .config = {.listen = strdup(listen_address),
                   .drain_timeout_ms = DRAIN_MS,
                   .start_timeout_ms = START_TIMEOUT_MS,
                   .upgrade_trial_ms = TRIAL_MS},
        .plan = {.model = PLAN_PREFORK,
                 .dispatch = "",
                 .processes = PROCESSES,
                 .loops = 1,
                 .slots_per_process = 1,
                 .slot_capacity = SLOTS},
        .epoch = 1,
        .access_log_fd = -1,
        .error_log_fd = -1,
        .scoreboard = scoreboard_create(SLOTS),
    };
    server.ledger = ledger_create(server.scoreboard);
    master = (struct master){
        .server = &server, .last_epoch = 1, .origin = &origin, .announce = announce};
    return master_open(&master) ? 0 : -1;
}

/* One that runs: seat i has the process FIRST_PID + i. */
static inline int make_running(void **state)
{
    if (make(state) != 0) {
        return -1;
    }
    turn();
    for (pid_t i = 0; i < PROCESSES; i++) {
        become_ready(FIRST_PID + i);
    }
    return master.phase == MASTER_RUNNING ? 0 : -1;
}

static inline int discard(void **state)
{
    (void)state;
    struct child *child;
    while ((child = TAILQ_FIRST(&master.children)) != NULL) {
        TAILQ_REMOVE(&master.children, child, link);
        estate_destroy(child->estate);
        free(child);
    }
    reload_abandon(&master);
    master_close(&master);
    server_close(&server);
    assert_int_equal(open_servers, 0);
    ledger_destroy(server.ledger);
    scoreboard_destroy(server.scoreboard);
    if (talk_fd >= 0) {
        close(talk_fd);
        talk_fd = -1;
    }
    return 0;
}

#define TEST(name)            cmocka_unit_test_setup_teardown(name, make_running, discard)
#define TEST_OF_A_START(name) cmocka_unit_test_setup_teardown(name, make, discard)

#endif
