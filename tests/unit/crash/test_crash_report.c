/* A process dies in each way that leaves a report; its parent reads the report. */
#include "server/crash/crash_report.h"

#include "common/base/check.h"
#include "common/scoreboard/ledger.h"
#include "common/scoreboard/scoreboard.h"

#include "server/crash/crash_symbols.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { SLOT = 2 };

static struct scoreboard *scoreboard;
static struct crash_story story;

static int open_board(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(4);
    return scoreboard == NULL;
}

static int close_board(void **state)
{
    (void)state;
    scoreboard_destroy(scoreboard);
    return 0;
}

/* The faults are meant, and no sanitizer is to see them first. */
#define DELIBERATE __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

DELIBERATE static void write_to(uintptr_t address)
{
    *(volatile int *)address = 1;
}

DELIBERATE static void die_of_a_write(void)
{
    write_to(0x10);
}

DELIBERATE static int divide(int dividend, volatile int divisor)
{
    return dividend / divisor;
}

DELIBERATE static void die_of_a_division(void)
{
    if (divide(1, 0) == 0) {
        raise(SIGFPE);
    }
}

DELIBERATE static int recurse(volatile int *depth) /* NOLINT(misc-no-recursion) */
{
    volatile char frame[512];
    frame[0] = (char)*depth;
    *depth += 1;
    return *depth < 0 ? 0 : recurse(depth) + frame[0];
}

static void die_of_a_recursion(void)
{
    volatile int depth = 0;
    recurse(&depth);
}

static void die_of_a_signal(void)
{
    kill(getpid(), SIGBUS);
}

DELIBERATE static void call_nothing(void)
{
    void (*volatile nothing)(void) = NULL;
    nothing();
    write_to(0); /* so that the call above is no jump */
}

static void die_far_away(void); /* at the end of this file */

/* Runs fatal in a child that reports; returns its wait status. The story is read. */
static int die(void (*fatal)(void), void (*tell)(void *data), struct crash_note *note)
{
    pid_t pid = fork();
    if (pid == 0) {
        crash_report_open(note, tell, NULL);
        crash_report_enter_thread(SLOT);
        fatal();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    deaths_read_crash(scoreboard, 0, 4, &story);
    crash_symbols_resolve(&story.stack);
    assert_true(!story.told || story.pid == pid);
    return status;
}

static struct crash_note *board_note(void)
{
    return &scoreboard->slots[0].crash;
}

static void assert_killed_by(int status, int signal)
{
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), signal);
}

/* Index of the frame of this function, which must be among them. */
static uint32_t frame_of(const char *function)
{
    for (uint32_t i = 0; i < story.stack.frame_count; i++) {
        if (strcmp(story.stack.frames[i].function, function) == 0) {
            return i;
        }
    }
    fail_msg("no frame of %s", function);
    return 0;
}

static void test_a_write(void **state)
{
    (void)state;
    assert_killed_by(die(die_of_a_write, NULL, board_note()), SIGSEGV);
    assert_true(story.told);
    assert_int_equal(story.signal, SIGSEGV);
    assert_int_equal(story.code, SEGV_MAPERR);
    assert_int_equal(story.address, 0x10);
    assert_int_equal(story.tid, story.pid);
    assert_int_equal(story.slot, SLOT);
    assert_false(story.stack_overflow);
    assert_false(story.has_request);
    assert_int_equal(frame_of("write_to"), 0);
    assert_int_equal(frame_of("die_of_a_write"), 1);
    assert_non_null(strstr(story.stack.frames[0].file, "tests/unit/crash/test_crash_report.c"));
    assert_in_range(story.stack.frames[0].line, 40, 60);
    assert_string_equal(story.stack.frames[0].module, "test_crash_report");
}

/* A path longer than its room keeps its end. */
static void test_a_fault_in_a_file_far_away(void **state)
{
    (void)state;
    assert_killed_by(die(die_far_away, NULL, board_note()), SIGSEGV);
    const struct crash_frame *frame = &story.stack.frames[frame_of("die_far_away")];
    assert_string_equal(frame->file, "within/a/tree/of/folders/with/long/names/far_away.c");
    assert_int_equal(frame->line, 3);
}

static void test_a_division(void **state)
{
    (void)state;
    assert_killed_by(die(die_of_a_division, NULL, board_note()), SIGFPE);
    assert_int_equal(story.signal, SIGFPE);
    frame_of("die_of_a_division");
}

/* The newest frames and the oldest, with the number of those between. */
static void test_a_stack_overflow(void **state)
{
    (void)state;
    assert_killed_by(die(die_of_a_recursion, NULL, board_note()), SIGSEGV);
    assert_true(story.stack_overflow);
    assert_int_equal(frame_of("recurse"), 0);
    assert_in_range(frame_of("die_of_a_recursion"), CRASH_INNER_FRAMES, CRASH_STORY_FRAMES);
    assert_in_range(story.stack.left_out, 1000, 100000);
    assert_int_equal(story.stack.left_out_at, CRASH_INNER_FRAMES);
}

static void test_a_signal_from_outside(void **state)
{
    (void)state;
    assert_killed_by(die(die_of_a_signal, NULL, board_note()), SIGBUS);
    assert_int_equal(story.code, SI_USER);
    assert_int_equal(story.sender_pid, story.pid);
    assert_int_equal(story.sender_uid, getuid());
}

static void test_abort(void **state)
{
    (void)state;
    assert_killed_by(die(abort, NULL, board_note()), SIGABRT);
    assert_int_equal(story.signal, SIGABRT);
    assert_int_equal(story.code, SI_TKILL);
}

static void fail_a_check(void)
{
    volatile int left = -1;
    CHECK(left >= 0);
}

static void test_an_assertion(void **state)
{
    (void)state;
    assert_killed_by(die(fail_a_check, NULL, board_note()), SIGABRT);
    assert_int_equal(story.signal, SIGABRT);
    assert_memory_equal(story.assertion, "`left >= 0` at ", 15);
    assert_non_null(strstr(story.assertion, "tests/unit/crash/test_crash_report.c:"));
    frame_of("fail_a_check");
    assert_killed_by(die(abort, NULL, board_note()), SIGABRT);
    assert_string_equal(story.assertion, ""); /* not the one before */
}

/* Of a text longer than its room the end is kept, which tells the line. */
static void fail_a_long_check(void)
{
    static char text[2 * CRASH_ASSERTION_BYTES];
    memset(text, 'x', sizeof(text) - 1);
    memcpy(text + sizeof(text) - 5, ":123", 4);
    check_failed(text);
}

static void test_a_long_assertion(void **state)
{
    (void)state;
    assert_killed_by(die(fail_a_long_check, NULL, board_note()), SIGABRT);
    assert_int_equal(strlen(story.assertion), CRASH_ASSERTION_BYTES - 1);
    assert_string_equal(story.assertion + CRASH_ASSERTION_BYTES - 5, ":123");
}

/* Whoever damaged the process may have written anything there. */
static void test_an_assertion_without_an_end(void **state)
{
    (void)state;
    die(abort, NULL, board_note());
    memset(board_note()->assertion, 'x', CRASH_ASSERTION_BYTES);
    deaths_read_crash(scoreboard, 0, 4, &story);
    assert_int_equal(strlen(story.assertion), CRASH_ASSERTION_BYTES - 1);
}

static void *fail_in_a_thread(void *argument)
{
    crash_report_enter_thread(SLOT + 1);
    fail_a_check();
    return argument;
}

static void check_in_a_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, fail_in_a_thread, NULL);
    pthread_join(thread, NULL);
}

static void test_an_assertion_of_a_thread(void **state)
{
    (void)state;
    assert_killed_by(die(check_in_a_thread, NULL, board_note()), SIGABRT);
    assert_int_equal(story.slot, SLOT + 1);
    assert_memory_equal(story.assertion, "`left >= 0` at ", 15);
}

static void test_a_call_of_nothing(void **state)
{
    (void)state;
    assert_killed_by(die(call_nothing, NULL, board_note()), SIGSEGV);
    assert_int_equal(story.stack.frames[0].address, 0);
#if defined(__x86_64__)
    assert_int_equal(frame_of("call_nothing"), 1);
#endif
}

static void die_of_sigkill(void)
{
    raise(SIGKILL);
}

static void test_sigkill_tells_nothing(void **state)
{
    (void)state;
    assert_killed_by(die(die_of_sigkill, NULL, board_note()), SIGKILL);
    assert_false(story.told);
}

static void test_a_burial_clears_the_note(void **state)
{
    (void)state;
    struct ledger *ledger = ledger_create(scoreboard);
    assert_int_equal(ledger_claim(ledger, 4), 0);
    die(abort, NULL, board_note());
    assert_true(story.told);
    static struct death_record cause;
    cause = (struct death_record){.slot_count = 4, .crash = story};
    ledger_bury(ledger, &cause);
    ledger_destroy(ledger);
    deaths_read_crash(scoreboard, 0, 4, &story);
    assert_false(story.told);
    static struct death_record copy;
    assert_true(deaths_copy(scoreboard, 0, &copy));
    assert_false(copy.crash.told); /* not published yet */
    deaths_publish_crash(scoreboard, cause.number, &cause.crash);
    assert_true(deaths_copy(scoreboard, 0, &copy));
    assert_true(copy.crash.told);
    assert_int_equal(copy.crash.signal, SIGABRT);
}

/* A fault inside the handler: the process dies by the first signal all the same. */
static void test_a_note_that_cannot_be_written(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip(); /* it blocks all signals in every handler: the kernel then ends the process by the
               second */
#endif
    struct crash_note *note =
        mmap(NULL, sizeof(*note), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(note != MAP_FAILED);
    assert_killed_by(die(die_of_a_division, NULL, note), SIGFPE);
    assert_killed_by(die(die_of_a_write, NULL, note), SIGSEGV);
    assert_killed_by(die(abort, NULL, note), SIGABRT);
    munmap(note, sizeof(*note));
}

/* Two threads crash: the second while the first reports. */

static _Atomic bool first_reports, second_crashes;

static void tell_slowly(void *data)
{
    (void)data;
    atomic_store(&first_reports, true);
    while (!atomic_load(&second_crashes)) {
    }
    usleep(100000); /* longer than a crash takes */
}

static void *crash_second(void *argument)
{
    crash_report_enter_thread(SLOT + 1);
    while (!atomic_load(&first_reports)) {
    }
    atomic_store(&second_crashes, true);
    die_of_a_division();
    return argument;
}

static void die_in_two_threads(void)
{
    pthread_t second;
    pthread_create(&second, NULL, crash_second, NULL);
    die_of_a_write();
}

static void test_two_threads_at_once(void **state)
{
    (void)state;
    assert_killed_by(die(die_in_two_threads, tell_slowly, board_note()), SIGSEGV);
    assert_int_equal(story.signal, SIGSEGV);
    assert_int_equal(story.slot, SLOT);
    assert_int_equal(frame_of("write_to"), 0);
}

/* Landing. */

static struct crash_landing landing;

/* Faults, lands and goes on, more than once: the signal is not left blocked. */
static void land_three_times(void)
{
    landing.note = &scoreboard->slots[SLOT].crash;
    for (volatile int i = 0; i < 3; i++) {
        if (sigsetjmp(landing.point, 0) == 0) {
            crash_report_land_at(&landing);
            (i == 1 ? die_of_a_recursion : die_of_a_write)();
        }
    }
}

static void test_landing(void **state)
{
    (void)state;
    int status = die(land_three_times, NULL, board_note());
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(story.told);
    assert_int_equal(story.signal, SIGSEGV);
    assert_int_equal(story.slot, SLOT);
    assert_int_equal(board_note()->written, 0); /* the process has not died */
    deaths_take_crash(scoreboard, SLOT, &story);
    assert_true(story.told);
    deaths_read_crash(scoreboard, 0, 4, &story);
    assert_false(story.told);
}

static void abort_instead_of_landing(void)
{
    landing.note = &scoreboard->slots[SLOT].crash;
    if (sigsetjmp(landing.point, 0) == 0) {
        crash_report_land_at(&landing);
        abort();
    }
}

static void signal_instead_of_landing(void)
{
    landing.note = &scoreboard->slots[SLOT].crash;
    if (sigsetjmp(landing.point, 0) == 0) {
        crash_report_land_at(&landing);
        kill(getpid(), SIGSEGV);
    }
}

static void fault_after_landing_is_over(void)
{
    landing.note = &scoreboard->slots[SLOT].crash;
    if (sigsetjmp(landing.point, 0) == 0) {
        crash_report_land_at(&landing);
        crash_report_land_at(NULL);
        die_of_a_write();
    }
}

static void test_what_does_not_land(void **state)
{
    (void)state;
    assert_killed_by(die(abort_instead_of_landing, NULL, board_note()), SIGABRT);
    assert_killed_by(die(signal_instead_of_landing, NULL, board_note()), SIGSEGV);
    assert_killed_by(die(fault_after_landing_is_over, NULL, board_note()), SIGSEGV);
}

static void *overflow(void *argument)
{
    crash_report_enter_thread(SLOT + 1);
    die_of_a_recursion();
    return argument;
}

static void die_in_a_thread(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, overflow, NULL);
    pthread_join(thread, NULL);
}

static void test_a_stack_overflow_of_a_thread(void **state)
{
    (void)state;
    assert_killed_by(die(die_in_a_thread, NULL, board_note()), SIGSEGV);
    assert_true(story.stack_overflow);
    assert_int_equal(story.slot, SLOT + 1);
    assert_int_not_equal(story.tid, story.pid);
    frame_of("die_of_a_recursion");
}

/* Where the thread's signal stack lay; NULL if it had none. */
static void *enter_and_leave(void *argument)
{
    (void)argument;
    crash_report_enter_thread(SLOT);
    stack_t stack;
    return sigaltstack(NULL, &stack) == 0 && (stack.ss_flags & SS_DISABLE) == 0 ? stack.ss_sp
                                                                                : NULL;
}

static bool is_mapped(void *page)
{
    unsigned char resident;
    return mincore(page, 1, &resident) == 0;
}

/* Asked of each stack: the size of the whole process also grows by what a sanitizer keeps of
 * threads. An address that is free again may be somebody else's by then, now and again. */
static void test_signal_stacks_go_with_their_threads(void **state)
{
    (void)state;
    crash_report_open(board_note(), NULL, NULL);
    unsigned left = 0;
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        void *stack;
        assert_int_equal(pthread_create(&thread, NULL, enter_and_leave, NULL), 0);
        assert_int_equal(pthread_join(thread, &stack), 0);
        assert_non_null(stack);
        left += is_mapped(stack);
    }
    assert_true(left < 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_board, close_board)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_write),
        TEST(test_a_fault_in_a_file_far_away),
        TEST(test_a_division),
        TEST(test_a_stack_overflow),
        TEST(test_a_signal_from_outside),
        TEST(test_abort),
        TEST(test_an_assertion),
        TEST(test_a_long_assertion),
        TEST(test_an_assertion_without_an_end),
        TEST(test_an_assertion_of_a_thread),
        TEST(test_a_call_of_nothing),
        TEST(test_sigkill_tells_nothing),
        TEST(test_a_burial_clears_the_note),
        TEST(test_a_note_that_cannot_be_written),
        TEST(test_two_threads_at_once),
        TEST(test_a_stack_overflow_of_a_thread),
        TEST(test_landing),
        TEST(test_what_does_not_land),
        TEST(test_signal_stacks_go_with_their_threads),
    };
    return cmocka_run_group_tests_name("crash_report", tests, NULL, NULL);
}

#line 1 "/somewhere/deep/within/a/tree/of/folders/with/long/names/far_away.c"
DELIBERATE static void die_far_away(void)
{
    write_to(0x10);
}
