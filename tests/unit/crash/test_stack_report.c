/* A thread that is asked for its stack, and goes on as if nothing had been. */
#include "server/crash/stack_report.h"

#include "common/scoreboard/scoreboard.h"
#include "server/crash/crash_symbols.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct scoreboard *scoreboard;
static int ends[2]; /* of a pipe */
static _Atomic bool is_there;
static struct stack_story story;

static struct worker_slot *slot(void)
{
    return &scoreboard->slots[0];
}

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(1);
    is_there = false;
    stack_report_open();
    return scoreboard == NULL || pipe(ends) != 0;
}

static int discard(void **state)
{
    (void)state;
    close(ends[0]);
    close(ends[1]);
    scoreboard_destroy(scoreboard);
    return 0;
}

__attribute__((noinline)) static char wait_for_a_byte(void)
{
    char byte = 0;
    is_there = true;
    ssize_t n = read(ends[0], &byte, 1);
    return n == 1 ? byte : 'E'; /* interrupted, for one */
}

static void *serve(void *answer)
{
    slot_enter(slot(), 0, 1, SLOT_POOL);
    stack_report_enter_thread(slot());
    errno = 0;
    *(char *)answer = wait_for_a_byte();
    return NULL;
}

static void signal_thread(void)
{
    while (!is_there) {
        sched_yield();
    }
    assert_int_equal(syscall(SYS_tgkill, getpid(), slot()->tid, STACK_SIGNAL), 0);
}

static void wait_for_answer(uint32_t number)
{
    while (slot()->inquiry.answered != number) {
        sched_yield();
    }
}

static bool is_in(const char *function)
{
    stack_note_read(&slot()->inquiry.stack, &story);
    crash_symbols_resolve(&story);
    for (uint32_t i = 0; i < story.frame_count; i++) {
        if (strcmp(story.frames[i].function, function) == 0) {
            return true;
        }
    }
    return false;
}

static void test_it_tells_and_goes_on(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip(); /* it keeps the signal until the thread comes back from read by itself */
#endif
    char answer;
    pthread_t thread;
    pthread_create(&thread, NULL, serve, &answer);
    for (uint32_t number = 1; number <= 2; number++) {
        slot()->inquiry.asked = number;
        signal_thread();
        wait_for_answer(number);
        assert_true(is_in("wait_for_a_byte"));
        assert_true(is_in("serve"));
        assert_int_equal(story.left_out, 0);
    }
    assert_int_equal(write(ends[1], "x", 1), 1);
    pthread_join(thread, NULL);
    assert_int_equal(answer, 'x');
}

static void test_the_signal_of_a_stranger_says_nothing(void **state)
{
    (void)state;
    char answer;
    pthread_t thread;
    slot()->inquiry.stack.frames_met = 77;
    pthread_create(&thread, NULL, serve, &answer);
    signal_thread();
    assert_int_equal(write(ends[1], "x", 1), 1);
    pthread_join(thread, NULL);
    assert_int_equal(answer, 'x');
    assert_int_equal(slot()->inquiry.stack.frames_met, 77);
    assert_int_equal(slot()->inquiry.answered, 0);
}

static void test_a_thread_without_a_slot(void **state)
{
    (void)state;
    assert_int_equal(syscall(SYS_tgkill, getpid(), gettid(), STACK_SIGNAL), 0);
    assert_int_equal(slot()->inquiry.answered, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_it_tells_and_goes_on),
        TEST(test_the_signal_of_a_stranger_says_nothing),
        TEST(test_a_thread_without_a_slot),
    };
    return cmocka_run_group_tests_name("stack_report", tests, NULL, NULL);
}
