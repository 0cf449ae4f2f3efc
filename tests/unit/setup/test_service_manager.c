#include "server/setup/service_manager.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "tests/unit/patience.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { MESSAGE_BYTES = 1024 };

static char name[64]; /* of the socket, in the abstract namespace */
static int heard_fd;
static struct service_manager manager;

static int listen_as_service_manager(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(name, sizeof(name), "@twinhttpd-test-%d", (int)getpid());
    memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    heard_fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return heard_fd < 0 || bind(heard_fd, (struct sockaddr *)&address, bytes) != 0;
}

static int stop_listening(void **state)
{
    (void)state;
    static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                            "LISTEN_PID",    "LISTEN_FDS",    "LISTEN_FDNAMES"};
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        unsetenv(variables[i]);
    }
    service_manager_close(&manager);
    return close(heard_fd);
}

static void set_own_pid(const char *variable)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    setenv(variable, pid, 1);
}

static const char *heard(void)
{
    static char message[MESSAGE_BYTES];
    struct pollfd waiting = {.fd = heard_fd, .events = POLLIN};
    assert_int_equal(poll(&waiting, 1, PATIENCE_MS), 1);
    ssize_t bytes = recv(heard_fd, message, sizeof(message) - 1, 0);
    assert_true(bytes > 0);
    message[bytes] = '\0';
    return message;
}

static void assert_nothing_heard(void)
{
    char byte;
    assert_int_equal(recv(heard_fd, &byte, 1, MSG_DONTWAIT), -1);
}

static void test_tells_its_state(void **state)
{
    (void)state;
    service_manager_open(&manager);
    assert_true(manager.notify_fd >= 0);
    assert_int_not_equal(fcntl(manager.notify_fd, F_GETFD) & FD_CLOEXEC, 0);
    service_manager_ready(&manager, "serving");
    assert_string_equal(heard(), "READY=1\nSTATUS=serving\n");
    service_manager_stopping(&manager, "draining");
    assert_string_equal(heard(), "STOPPING=1\nSTATUS=draining\n");
    service_manager_reloading(&manager, "reading settings");
    unsigned long long time_us;
    char status[32];
    assert_int_equal(
        sscanf(heard(), "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=%31[^\n]", &time_us, status), 2);
    assert_true(time_us > 0);
    assert_string_equal(status, "reading settings");
    service_manager_name_main(&manager, 4711);
    assert_string_equal(heard(), "MAINPID=4711\n");
}

static void test_nobody_listens(void **state)
{
    (void)state;
    static const char *const bad[] = {"relative/path", "", "/no/such/socket", "@no-such-socket"};
    char too_long[256] = "/";
    memset(too_long + 1, 'x', sizeof(too_long) - 2);
    log_set_level(LOG_ERROR); /* each is reported */
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        service_manager_open(&manager);
        assert_int_equal(manager.notify_fd, -1);
    }
    setenv("NOTIFY_SOCKET", too_long, 1);
    service_manager_open(&manager);
    assert_int_equal(manager.notify_fd, -1);
    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "1000", 1);
    service_manager_open(&manager);
    service_manager_ready(&manager, "heard by nobody");
    service_manager_beat(&manager);
    assert_int_equal(service_manager_wait_ms(&manager, -1), -1);
    assert_nothing_heard();
}

static void test_a_service_manager_that_ends(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    service_manager_open(&manager);
    close(heard_fd);
    service_manager_ready(&manager, "lost"); /* neither waits nor dies */
    assert_true(manager.failed);
    assert_int_equal(listen_as_service_manager(NULL), 0);
}

static void fill_queue(void)
{
    while (send(manager.notify_fd, "-", 1, MSG_DONTWAIT) == 1) {
    }
}

static void empty_queue(void)
{
    char byte;
    while (recv(heard_fd, &byte, 1, MSG_DONTWAIT) == 1) {
    }
}

/* What the master does turn by turn, until this has been heard. */
static void assert_told_again(const char *message)
{
    struct pollfd waiting = {.fd = heard_fd, .events = POLLIN};
    const uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    int wait_ms;
    while ((wait_ms = service_manager_wait_ms(&manager, -1)) >= 0 &&
           poll(&waiting, 1, wait_ms + 1) == 0) {
        assert_true(clock_monotonic_ms() < until_ms);
        service_manager_beat(&manager);
    }
    assert_string_equal(heard(), message);
}

static void test_what_it_has_no_room_for_is_told_again(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    setenv("WATCHDOG_USEC", "20000", 1);
    service_manager_open(&manager);
    fill_queue();
    service_manager_ready(&manager, "lost at first");
    service_manager_name_main(&manager, 4711);
    service_manager_stopping(&manager, "the later one counts");
    assert_true(manager.failed);
    assert_in_range(service_manager_wait_ms(&manager, -1), 0, 100);
    empty_queue();
    assert_told_again("MAINPID=4711\n");
    assert_told_again("STOPPING=1\nSTATUS=the later one counts\n");
    assert_false(manager.failed);
    assert_told_again("WATCHDOG=1\n");
}

static void test_without_a_watchdog(void **state)
{
    (void)state;
    static const char *const no_time[] = {"", "0", "x", "-1", "1000s", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(no_time) / sizeof(no_time[0]); i++) {
        setenv("WATCHDOG_USEC", no_time[i], 1);
        service_manager_open(&manager);
        assert_int_equal(service_manager_wait_ms(&manager, -1), -1);
        assert_int_equal(service_manager_wait_ms(&manager, 7), 7);
        service_manager_beat(&manager);
        service_manager_close(&manager);
    }
    setenv("WATCHDOG_USEC", "1000", 1);
    setenv("WATCHDOG_PID", "1", 1); /* another process's */
    service_manager_open(&manager);
    assert_int_equal(service_manager_wait_ms(&manager, -1), -1);
    assert_nothing_heard();
}

static void test_beats_at_half_the_interval(void **state)
{
    (void)state;
    set_own_pid("WATCHDOG_PID");
    setenv("WATCHDOG_USEC", "40000000", 1);
    service_manager_open(&manager);
    assert_int_equal(manager.beat_interval_ms, 20000);
    assert_null(getenv("WATCHDOG_PID")); /* who replaces this program inherits the rest */
    assert_int_equal(service_manager_wait_ms(&manager, -1), 0); /* the first one at once */
    service_manager_beat(&manager);
    assert_string_equal(heard(), "WATCHDOG=1\n");
    assert_in_range(service_manager_wait_ms(&manager, -1), 10000, 20000);
    assert_int_equal(service_manager_wait_ms(&manager, 5), 5);
    service_manager_beat(&manager);
    assert_nothing_heard(); /* not due */
    manager.beat_at_ms = 0;
    assert_int_equal(service_manager_wait_ms(&manager, 5), 0);
    service_manager_beat(&manager);
    assert_string_equal(heard(), "WATCHDOG=1\n");
}

static void test_sockets(void **state)
{
    (void)state;
    set_own_pid("LISTEN_PID");
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "a:b", 1);
    assert_int_equal(service_manager_take_sockets(), 2);
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_FDNAMES"));
    assert_int_equal(service_manager_take_sockets(), 0);
}

static void test_no_sockets(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "0", "-1", "x", "1x", "5000", "99999999999999999999"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set_own_pid("LISTEN_PID");
        setenv("LISTEN_FDS", bad[i], 1);
        assert_int_equal(service_manager_take_sockets(), 0);
    }
    setenv("LISTEN_PID", "1", 1); /* meant for another process */
    setenv("LISTEN_FDS", "1", 1);
    assert_int_equal(service_manager_take_sockets(), 0);
    setenv("LISTEN_FDS", "1", 1);
    assert_int_equal(service_manager_take_sockets(), 0);
}

#define TEST(function)                                                                             \
    cmocka_unit_test_setup_teardown(function, listen_as_service_manager, stop_listening)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_tells_its_state),
        TEST(test_nobody_listens),
        TEST(test_a_service_manager_that_ends),
        TEST(test_what_it_has_no_room_for_is_told_again),
        TEST(test_without_a_watchdog),
        TEST(test_beats_at_half_the_interval),
        TEST(test_sockets),
        TEST(test_no_sockets),
    };
    return cmocka_run_group_tests_name("service_manager", tests, NULL, NULL);
}
