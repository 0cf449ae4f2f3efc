/* Both ends of the way to the commands: petitions.c asks, control_peer.c answers. */
#include "server/observe/petitions.h"

#include "common/base/clock.h"
#include "server/control/control_peer.h"
#include "tests/unit/patience.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct event_base *base;
static struct petitions *petitions;
static struct control_peer *peer;
static bool is_over;
static int answered;
static char answers[16][64]; /* in the order in which they came; "": none came */
static int asked;
static size_t answer_bytes; /* how long the master's are, beyond what they say */

/* ---- The master ---- */

/* "later" is answered later. */
static void answer(void *data, const struct ucred *who, struct span line, struct buffer *out)
{
    assert_ptr_equal(data, &asked);
    assert_null(who);
    asked++;
    if (!span_equal(line, SPAN("later"))) {
        buffer_printf(out, "{%.*s}%*s", (int)line.len, line.ptr, (int)answer_bytes, "");
    }
}

/* ---- The observer ---- */

static void on_over(void *data)
{
    assert_ptr_equal(data, &is_over);
    is_over = true;
}

static void on_answer(void *data, struct span text)
{
    assert_in_range(answered, 0, 15);
    snprintf(answers[answered++], 64, "%s=%.*s", (const char *)data,
             text.ptr == NULL || text.len > 40 ? 0 : (int)text.len, text.ptr);
}

static bool ask(const char *line)
{
    return petitions_send(petitions, span_of(line), on_answer, (void *)(uintptr_t)line);
}

/* ---- Both ---- */

static int make(void **state)
{
    (void)state;
    int ends[2];
    base = event_base_new();
    if (base == NULL ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        return -1;
    }
    petitions = petitions_create(ends[0], base, on_over, &is_over);
    peer = control_peer_create(ends[1], answer, &asked);
    is_over = false;
    answered = asked = 0;
    answer_bytes = 0;
    return 0;
}

static int discard(void **state)
{
    (void)state;
    petitions_destroy(petitions);
    control_peer_destroy(peer);
    event_base_free(base);
    return 0;
}

static void look(void)
{
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void await_answers(int count)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (answered < count && clock_monotonic_ms() < until_ms) {
        assert_true(control_peer_serve(peer));
        look();
    }
    assert_int_equal(answered, count);
}

static void test_questions_and_answers(void **state)
{
    (void)state;
    assert_true(ask("one"));
    assert_true(ask("two"));
    await_answers(2);
    assert_string_equal(answers[0], "one={one}");
    assert_string_equal(answers[1], "two={two}");
    assert_int_equal(control_peer_due_ms(peer), 0);
}

/* Those that come later do not keep others up. */
static void test_answers_out_of_order(void **state)
{
    (void)state;
    assert_true(ask("later"));
    assert_true(ask("one"));
    await_answers(1);
    assert_string_equal(answers[0], "one={one}");
    assert_true(control_peer_due_ms(peer) > clock_monotonic_ms());
    control_peer_answer_waiting(peer, SPAN("{now}"));
    await_answers(2);
    assert_string_equal(answers[1], "later={now}");
}

static void test_so_many_wait(void **state)
{
    (void)state;
    for (int i = 0; i < PETITIONS_MOST; i++) {
        assert_true(ask("later"));
    }
    assert_false(ask("one"));
    assert_true(control_peer_serve(peer));
    control_peer_answer_waiting(peer, SPAN("{now}"));
    await_answers(PETITIONS_MOST);
    assert_true(ask("one"));
    await_answers(PETITIONS_MOST + 1);
}

/* Longer than what the socket takes at once. */
static void test_a_long_answer(void **state)
{
    (void)state;
    answer_bytes = 1 << 20;
    assert_true(ask("one"));
    await_answers(1);
    assert_string_equal(answers[0], "one=");
}

static void test_the_master_leaves(void **state)
{
    (void)state;
    assert_true(ask("one"));
    control_peer_destroy(peer);
    peer = NULL;
    look();
    assert_true(is_over);
    assert_int_equal(answered, 0);
    assert_false(ask("two"));
    assert_true(control_peer_serve(NULL));
    assert_int_equal(control_peer_poll(NULL).fd, -1);
    control_peer_answer_waiting(NULL, SPAN("{}"));
}

/* ---- An observer that has gone wrong ---- */

static int raw_fd;

static int make_raw(void **state)
{
    (void)state;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        return -1;
    }
    raw_fd = ends[0];
    peer = control_peer_create(ends[1], answer, &asked);
    asked = 0;
    answer_bytes = 0;
    return 0;
}

static int discard_raw(void **state)
{
    (void)state;
    close(raw_fd);
    control_peer_destroy(peer);
    return 0;
}

static bool says(const char *text, size_t bytes)
{
    assert_int_equal(send(raw_fd, text, bytes, MSG_NOSIGNAL), bytes);
    return control_peer_serve(peer);
}

static void test_what_is_no_request(void **state)
{
    (void)state;
    static const char *const bad[] = {"\n",     "list\n", "12\n",  "\n1 a\n",
                                      " 1 a\n", "-1 a\n", "1\ta\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(says(bad[i], strlen(bad[i])));
        assert_int_equal(asked, 0);
        assert_int_equal(discard_raw(state), 0);
        assert_int_equal(make_raw(state), 0);
    }
    assert_true(says("1 a", 3));
    assert_true(says("\n", 1));
    assert_int_equal(asked, 1);
}

static void test_a_line_without_end(void **state)
{
    (void)state;
    char line[2 * CONTROL_LINE_BYTES];
    memset(line, '1', sizeof(line));
    bool goes_on = says(line, sizeof(line));
    for (int i = 0; goes_on && i < 10; i++) {
        goes_on = control_peer_serve(peer);
    }
    assert_false(goes_on);
    assert_int_equal(asked, 0);
}

/* The master has other things to do. */
static void test_too_many_requests(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * CONTROL_PEER_PER_SECOND; i++) {
        assert_int_equal(send(raw_fd, "1 a\n", 4, MSG_NOSIGNAL), 4);
    }
    uint64_t begin_ms = clock_monotonic_ms();
    for (int i = 0; i < 5; i++) {
        assert_true(control_peer_serve(peer));
    }
    if (clock_monotonic_ms() - begin_ms < 900) { /* else it has had a second already */
        assert_int_equal(asked, CONTROL_PEER_PER_SECOND);
        assert_int_equal(control_peer_poll(peer).events & POLLIN, 0);
        assert_true(control_peer_due_ms(peer) > begin_ms);
    }
    while (asked < 2 * CONTROL_PEER_PER_SECOND) {
        assert_true(control_peer_serve(peer));
        assert_true(clock_monotonic_ms() - begin_ms < PATIENCE_MS);
        usleep(1000);
    }
    assert_true(clock_monotonic_ms() - begin_ms >= 1000);
}

static void test_one_that_does_not_read(void **state)
{
    (void)state;
    answer_bytes = 1 << 20;
    bool goes_on = true;
    int said = 0;
    for (; goes_on && said < 20; said++) {
        goes_on = says("1 a\n", 4);
    }
    assert_false(goes_on);
    assert_in_range(said, 4, 6);
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, make, discard)
#define TEST_RAW(name) cmocka_unit_test_setup_teardown(name, make_raw, discard_raw)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_questions_and_answers),
        TEST(test_answers_out_of_order),
        TEST(test_so_many_wait),
        TEST(test_a_long_answer),
        TEST(test_the_master_leaves),
        TEST_RAW(test_what_is_no_request),
        TEST_RAW(test_a_line_without_end),
        TEST_RAW(test_too_many_requests),
        TEST_RAW(test_one_that_does_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
