/* The socket and its clients, with answers that the test makes up. */
#include "server/control/control.h"

#include "common/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { PATH_BYTES = 64, LONG_ANSWER_BYTES = 4 << 20 };

static char folder[] = "/tmp/twinhttpd-test-control-XXXXXX";
static char path[PATH_BYTES];
static struct control *control;
static char last_request[CONTROL_LINE_BYTES + 1];
static size_t answer_bytes; /* of the next answer */

static void answer_for_test(void *data, const struct ucred *peer, struct span request,
                            struct buffer *answer)
{
    assert_ptr_equal(data, path);
    assert_int_equal(peer->pid, getpid());
    snprintf(last_request, sizeof(last_request), "%.*s", (int)request.len, request.ptr);
    for (size_t i = 0; i < answer_bytes; i++) {
        buffer_append(answer, "a", 1);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int open_control(void **state)
{
    (void)state;
    struct error error;
    snprintf(path, sizeof(path), "%s/socket", folder);
    answer_bytes = 2;
    control = control_create(path, answer_for_test, path, &error);
    control_publish(control);
    return control == NULL;
}

static int close_control(void **state)
{
    (void)state;
    control_destroy(control);
    control = NULL;
    return 0;
}

static int connect_client(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Serves as the master does, until nothing is to be done at once. */
/* The clock stands still until a test moves it on: how long a machine takes does not matter. */
static uint64_t now_ms = 1000;

uint64_t __wrap_clock_monotonic_ms(void);
uint64_t __wrap_clock_monotonic_ms(void)
{
    return now_ms;
}

static void serve(void)
{
    struct pollfd watched = {.fd = control_fd(control), .events = POLLIN};
    while (poll(&watched, 1, 0) > 0) {
        control_serve(control);
    }
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void assert_closed(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

static void assert_open(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_one_line_there_and_one_back(void **state)
{
    (void)state;
    char answer[8];
    int fd = connect_client();
    send_text(fd, "first");
    serve();
    assert_open(fd);
    send_text(fd, " half\nsecond\n");
    serve();
    assert_string_equal(last_request, "first half");
    assert_int_equal(recv(fd, answer, sizeof(answer), 0), 3);
    assert_memory_equal(answer, "aa\n", 3);
    close(fd);
    assert_int_equal(control_due_ms(control), 0);
}

static void test_mode_and_identity(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_true(control_is_at_its_path(control));
    assert_string_equal(control_path(control), path);
    assert_int_equal(unlink(path), 0);
    assert_false(control_is_at_its_path(control));
}

static void test_a_path_of_another_stays(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    control_destroy(control);
    control = NULL;
    assert_int_equal(lstat(path, &status), 0);
    assert_int_equal(rmdir(path), 0);
}

static void test_not_at_its_path_before_it_is_published(void **state)
{
    (void)state;
    struct error error;
    char other_path[PATH_BYTES];
    snprintf(other_path, sizeof(other_path), "%s/other", folder);
    struct control *other = control_create(other_path, answer_for_test, path, &error);
    assert_non_null(other);
    assert_int_not_equal(access(other_path, F_OK), 0);
    control_publish(other);
    assert_int_equal(access(other_path, F_OK), 0);
    control_destroy(other);
    assert_int_not_equal(access(other_path, F_OK), 0);
    other = control_create(other_path, answer_for_test, path, &error);
    assert_non_null(other);
    control_destroy(other); /* leaves nothing: the folder can be removed in the end */
}

static void test_a_long_line(void **state)
{
    (void)state;
    char line[CONTROL_LINE_BYTES + 1];
    char answer[256] = {0};
    memset(line, 'x', sizeof(line));
    int fd = connect_client();
    assert_int_equal(send(fd, line, CONTROL_LINE_BYTES - 1, 0), CONTROL_LINE_BYTES - 1);
    serve();
    assert_open(fd);
    send_text(fd, "x");
    serve();
    assert_true(recv(fd, answer, sizeof(answer) - 1, 0) > 0);
    assert_non_null(strstr(answer, "\"ok\":false"));
    assert_closed(fd);

    fd = connect_client();
    line[CONTROL_LINE_BYTES - 1] = '\n';
    assert_int_equal(send(fd, line, CONTROL_LINE_BYTES, 0), CONTROL_LINE_BYTES);
    serve();
    assert_int_equal(strlen(last_request), CONTROL_LINE_BYTES - 1);
    close(fd);
}

/* The kernel takes it in pieces, as the client reads them. */
static void test_a_long_answer(void **state)
{
    (void)state;
    static char piece[1 << 16];
    size_t received = 0;
    answer_bytes = LONG_ANSWER_BYTES;
    int fd = connect_client();
    send_text(fd, "long\n");
    serve();
    assert_int_not_equal(control_due_ms(control), 0);
    ssize_t n;
    while ((n = recv(fd, piece, sizeof(piece), 0)) > 0) {
        received += (size_t)n;
        serve();
    }
    assert_int_equal(n, 0);
    assert_int_equal(received, LONG_ANSWER_BYTES + 1);
    assert_int_equal(control_due_ms(control), 0);
    close(fd);
}

static void wait_until_due(void)
{
    uint64_t due_ms = control_due_ms(control);
    assert_in_range(due_ms, now_ms, now_ms + CONTROL_PATIENCE_MS);
    now_ms = due_ms;
    control_serve(control);
}

static void test_the_silent_and_who_does_not_read_are_cut(void **state)
{
    (void)state;
    static char piece[1 << 20];
    answer_bytes = LONG_ANSWER_BYTES;
    int silent = connect_client();
    int reader = connect_client();
    send_text(reader, "long\n");
    serve();
    assert_open(silent);
    wait_until_due();
    while (control_due_ms(control) != 0) { /* the second may have been accepted later */
        wait_until_due();
    }
    assert_closed(silent);
    size_t received = 0;
    ssize_t n;
    while ((n = recv(reader, piece, sizeof(piece), 0)) > 0) {
        received += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_in_range(received, 1, LONG_ANSWER_BYTES - 1);
    close(reader);
}

/* More than there are places wait in the kernel, and wake nobody. */
static void test_more_clients_than_places(void **state)
{
    (void)state;
    char answer[8];
    int fds[CONTROL_CLIENTS + 1];
    for (int i = 0; i <= CONTROL_CLIENTS; i++) {
        fds[i] = connect_client();
    }
    send_text(fds[CONTROL_CLIENTS], "last\n");
    last_request[0] = '\0';
    serve(); /* comes back: the one that waits does not make the socket readable */
    assert_string_equal(last_request, "");
    close(fds[0]);
    serve();
    assert_string_equal(last_request, "last");
    assert_int_equal(recv(fds[CONTROL_CLIENTS], answer, sizeof(answer), 0), 3);
    for (int i = 1; i <= CONTROL_CLIENTS; i++) {
        close(fds[i]);
    }
    serve();
    assert_int_equal(control_due_ms(control), 0);
}

/* Who has gone meanwhile, and who has nothing more to say, hold nobody up. */
static void test_an_answer_that_comes_later(void **state)
{
    (void)state;
    char answer[8] = "";
    int fds[3];
    answer_bytes = 0;
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_client();
        send_text(fds[i], "later\n");
    }
    assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
    serve();
    for (int i = 0; i < 3; i++) {
        assert_open(fds[i]);
    }
    close(fds[1]);
    serve(); /* comes back: nothing is readable */
    control_answer_waiting(control, SPAN("done"));
    assert_int_equal(recv(fds[0], answer, sizeof(answer), 0), 5);
    assert_string_equal(answer, "done\n");
    assert_int_equal(recv(fds[2], answer, sizeof(answer), 0), 5);
    serve();
    assert_closed(fds[0]);
    assert_closed(fds[2]);
    control_answer_waiting(control, SPAN("nobody"));
    control_answer_waiting(NULL, SPAN("nobody"));
    assert_int_equal(control_due_ms(control), 0);
}

/* It is told that it has waited, and not that it has failed. */
static void test_an_answer_that_does_not_come(void **state)
{
    (void)state;
    char answer[256] = "";
    answer_bytes = 0;
    int fd = connect_client();
    send_text(fd, "later\n");
    serve();
    uint64_t due_ms = control_due_ms(control);
    assert_in_range(due_ms, now_ms + 1, now_ms + CONTROL_WAITING_MS);
    now_ms = due_ms - 1;
    control_serve(control);
    assert_int_equal(control_due_ms(control), due_ms);
    now_ms = due_ms + 1;
    control_serve(control);
    assert_true(recv(fd, answer, sizeof(answer) - 1, 0) > 0);
    assert_non_null(strstr(answer, "\"ok\":false"));
    assert_non_null(strstr(answer, "it is put off"));
    serve();
    assert_closed(fd);
}

static void test_without_a_socket(void **state)
{
    (void)state;
    assert_int_equal(control_fd(NULL), -1);
    assert_int_equal(control_due_ms(NULL), 0);
    assert_null(control_path(NULL));
    assert_false(control_is_at_its_path(NULL));
    control_serve(NULL);
    control_publish(NULL);
    control_destroy(NULL);
    control_forget(NULL);
}

static void test_refused_paths(void **state)
{
    (void)state;
    struct error error;
    char long_path[CONTROL_PATH_BYTES_MAX + 2];
    memset(long_path, 'x', sizeof(long_path));
    long_path[sizeof(long_path) - 1] = '\0';
    assert_null(control_create(long_path, answer_for_test, NULL, &error));
    assert_non_null(strstr(error.text, "too long"));
    assert_null(control_create(folder, answer_for_test, NULL, &error));
    assert_non_null(strstr(error.text, "is no socket"));
    assert_null(control_create(path, answer_for_test, NULL, &error));
    assert_non_null(strstr(error.text, "another process listens"));
    assert_null(control_create("/no/such/folder/socket", answer_for_test, NULL, &error));
    assert_non_null(strstr(error.text, "cannot make"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_line_there_and_one_back, open_control,
                                        close_control),
        cmocka_unit_test_setup_teardown(test_mode_and_identity, open_control, close_control),
        cmocka_unit_test_setup_teardown(test_a_path_of_another_stays, open_control, close_control),
        cmocka_unit_test_setup_teardown(test_not_at_its_path_before_it_is_published, open_control,
                                        close_control),
        cmocka_unit_test_setup_teardown(test_a_long_line, open_control, close_control),
        cmocka_unit_test_setup_teardown(test_a_long_answer, open_control, close_control),
        cmocka_unit_test_setup_teardown(test_the_silent_and_who_does_not_read_are_cut, open_control,
                                        close_control),
        cmocka_unit_test_setup_teardown(test_more_clients_than_places, open_control, close_control),
        cmocka_unit_test_setup_teardown(test_an_answer_that_comes_later, open_control,
                                        close_control),
        cmocka_unit_test_setup_teardown(test_an_answer_that_does_not_come, open_control,
                                        close_control),
        cmocka_unit_test_setup_teardown(test_refused_paths, open_control, close_control),
        cmocka_unit_test(test_without_a_socket),
    };
    return cmocka_run_group_tests_name("control", tests, make_folder, remove_folder);
}
