#include "server/observe/bulletin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct bulletin *bulletin;
static struct bulletin_copy posted;
static struct bulletin_copy copy;

static int make(void **state)
{
    (void)state;
    bulletin = bulletin_create();
    posted = (struct bulletin_copy){.beat_ms = 1000, .phase = BULLETIN_RUNNING, .wanted = 2};
    posted.process_count = 2;
    posted.processes[0] = (struct bulletin_process){.pid = 11, .state = BULLETIN_CHILD_READY};
    posted.processes[1] = (struct bulletin_process){.pid = 12, .first_slot = 1};
    posted.totals.deaths = 7;
    return bulletin == NULL;
}

static int discard(void **state)
{
    (void)state;
    bulletin_destroy(bulletin);
    return 0;
}

static void test_what_is_posted_is_read(void **state)
{
    (void)state;
    bulletin_post(bulletin, &posted);
    assert_true(bulletin_read(bulletin, &copy));
    assert_int_equal(copy.wanted, 2);
    assert_int_equal(copy.totals.deaths, 7);
    assert_int_equal(copy.process_count, 2);
    assert_memory_equal(copy.processes, posted.processes, 2 * sizeof(copy.processes[0]));
    assert_true(bulletin_is_unchanged(bulletin, &copy));
    posted.process_count = 1;
    bulletin_post(bulletin, &posted);
    assert_false(bulletin_is_unchanged(bulletin, &copy));
    assert_true(bulletin_read(bulletin, &copy));
    assert_int_equal(copy.process_count, 1);
}

/* From the first word about a change to the next post. */
static void test_a_change_under_way_is_not_read(void **state)
{
    (void)state;
    bulletin_post(bulletin, &posted);
    assert_true(bulletin_read(bulletin, &copy));
    bulletin_begin(bulletin);
    bulletin_begin(bulletin);
    assert_false(bulletin_is_unchanged(bulletin, &copy));
    assert_false(bulletin_read(bulletin, &copy));
    bulletin_post(bulletin, &posted);
    assert_true(bulletin_read(bulletin, &copy));
    assert_true(bulletin_is_unchanged(bulletin, &copy));
}

static void test_the_beat_is_heard_in_any_case(void **state)
{
    (void)state;
    bulletin_post(bulletin, &posted);
    assert_int_equal(bulletin_heard_ms(bulletin, 1000), 0);
    assert_int_equal(bulletin_heard_ms(bulletin, 4500), 3500);
    assert_int_equal(bulletin_heard_ms(bulletin, 999), 0); /* clocks of two CPUs */
    bulletin_begin(bulletin);
    assert_int_equal(bulletin_heard_ms(bulletin, 4500), 3500);
}

static void test_tokens(void **state)
{
    (void)state;
    const char *token = bulletin_token(bulletin);
    assert_int_equal(strlen(token), BULLETIN_TOKEN_BYTES - 1);
    assert_int_equal(strspn(token, "0123456789abcdef"), BULLETIN_TOKEN_BYTES - 1);
    struct bulletin *other = bulletin_create();
    assert_non_null(other);
    assert_string_not_equal(bulletin_token(other), token);
    bulletin_destroy(other);
}

/* How a process ends that does something with it. */
static int status_of(void (*act)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        act();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void read_it(void)
{
    _exit(bulletin_read(bulletin, &copy) && copy.wanted == 2 ? 0 : 1);
}

static void write_to_it(void)
{
    if (bulletin_seal(bulletin)) {
        bulletin_post(bulletin, &posted);
    }
}

/* A serving process is to find neither the token nor anything that it could write to. */
static void test_only_an_observer_has_it(void **state)
{
    (void)state;
    bulletin_post(bulletin, &posted);
    int status = status_of(read_it);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    assert_true(bulletin_share(bulletin, true));
    assert_int_equal(status_of(read_it), 0);
    status = status_of(write_to_it);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    assert_true(bulletin_share(bulletin, false));
    status = status_of(read_it);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

static void acknowledge(void)
{
    if (!bulletin_seal(bulletin)) {
        _exit(1);
    }
    bulletin_acknowledge(bulletin, 4711);
    bulletin_retire(bulletin, (int32_t)getpid());
}

static void test_the_observer_is_heard(void **state)
{
    (void)state;
    assert_int_equal(bulletin_acknowledged_ms(bulletin), 0);
    assert_int_equal(bulletin_retired_pid(bulletin), 0);
    assert_true(bulletin_share(bulletin, true));
    assert_int_equal(status_of(acknowledge), 0);
    assert_int_equal(bulletin_acknowledged_ms(bulletin), 4711);
    assert_true(bulletin_retired_pid(bulletin) > 0);
}

static void test_names_of_phases(void **state)
{
    (void)state;
    assert_string_equal(bulletin_phase_name(BULLETIN_STARTING), "starting");
    assert_string_equal(bulletin_phase_name(BULLETIN_HANDED_OVER), "handed-over");
    assert_string_equal(bulletin_phase_name(BULLETIN_STOPPING), "stopping");
    assert_string_equal(bulletin_phase_name((enum bulletin_phase)99), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_posted_is_read),
        TEST(test_a_change_under_way_is_not_read),
        TEST(test_the_beat_is_heard_in_any_case),
        TEST(test_tokens),
        TEST(test_only_an_observer_has_it),
        TEST(test_the_observer_is_heard),
        TEST(test_names_of_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
