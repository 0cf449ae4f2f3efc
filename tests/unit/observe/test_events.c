/* Events, and who may go on from which. */
#include "server/observe/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

static struct events *events;

static int make(void **state)
{
    (void)state;
    events = events_create("00c0ffee00c0ffee");
    return 0;
}

static int discard(void **state)
{
    (void)state;
    events_destroy(events);
    return 0;
}

static bool resume(const char *id, uint64_t *next)
{
    return events_resume(events, span_of(id), next);
}

static void test_form(void **state)
{
    (void)state;
    static const char expected[] = "id: 00c0ffee00c0ffee-1\nevent: tick\ndata: {\"t\":1}\n\n";
    assert_int_equal(events_newest(events), 0);
    events_add(events, 10, "tick", SPAN("{\"t\":1}"));
    struct event_text *event = events_find(events, 1);
    assert_non_null(event);
    assert_int_equal(event->bytes, strlen(expected));
    assert_memory_equal(event->text, expected, event->bytes);
    assert_int_equal(events_end(events), event->bytes);
    assert_null(events_find(events, 0));
    assert_null(events_find(events, 2));
}

/* What is for one viewer alone has the number that this one goes on behind. */
static void test_an_event_apart(void **state)
{
    (void)state;
    events_add(events, 10, "tick", SPAN("{}"));
    struct event_text *event = events_make(events, "hello", SPAN("{}"));
    assert_int_equal(event->number, 1);
    assert_int_equal(events_newest(events), 1);
    event_text_release(event);
}

/* Who holds an event has it for as long as it likes. */
static void test_held(void **state)
{
    (void)state;
    events_add(events, 10, "tick", SPAN("{\"held\":1}"));
    struct event_text *event = events_find(events, 1);
    event_text_hold(event);
    events_expire(events, 1000000);
    assert_null(events_find(events, 1));
    assert_non_null(strstr(event->text, "held"));
    event_text_release(event);
}

static void test_a_minute(void **state)
{
    (void)state;
    for (uint64_t tick = 0; tick < 900; tick++) {
        events_add(events, tick * 100, "tick", SPAN("{}"));
        events_expire(events, tick * 100);
    }
    assert_null(events_find(events, 299));
    assert_non_null(events_find(events, 300));
    assert_non_null(events_find(events, 900));
}

static void test_so_many_bytes(void **state)
{
    (void)state;
    enum { EVENT_BYTES = 100000 };
    char *data = malloc(EVENT_BYTES);
    assert_non_null(data);
    memset(data, 'x', EVENT_BYTES);
    for (int i = 0; i < 100; i++) {
        events_add(events, 1, "tick", (struct span){data, EVENT_BYTES});
    }
    free(data);
    assert_non_null(events_find(events, 100));
    assert_non_null(events_find(events, 100 - EVENTS_BYTES / EVENT_BYTES + 2));
    assert_null(events_find(events, 100 - EVENTS_BYTES / EVENT_BYTES));
}

static void test_so_many_events(void **state)
{
    (void)state;
    for (int i = 0; i < 5000; i++) {
        events_add(events, 1, "tick", SPAN("{}"));
    }
    assert_non_null(events_find(events, 5000));
    assert_non_null(events_find(events, 4000));
    assert_null(events_find(events, 3000));
}

static void test_going_on(void **state)
{
    (void)state;
    uint64_t next = 0;
    assert_false(resume("00c0ffee00c0ffee-0", &next));
    for (uint64_t i = 1; i <= 700; i++) {
        events_add(events, i * 100, "tick", SPAN("{}"));
    }
    events_expire(events, 70000); /* the first 99 are older than a minute */
    assert_true(resume("00c0ffee00c0ffee-500", &next));
    assert_int_equal(next, 501);
    assert_true(resume("00c0ffee00c0ffee-700", &next)); /* nothing was missed */
    assert_int_equal(next, 701);
    assert_true(resume("00c0ffee00c0ffee-99", &next));
    assert_int_equal(next, 100);
    assert_false(resume("00c0ffee00c0ffee-98", &next));
    assert_false(resume("00c0ffee00c0ffee-701", &next)); /* there is no such event yet */
}

static void test_ids_of_others(void **state)
{
    (void)state;
    static const char *const ids[] = {
        "",
        "-",
        "-1",
        "1",
        "00c0ffee00c0ffee",
        "00c0ffee00c0ffee-",
        "00c0ffee00c0ffee-1x",
        "00c0ffee00c0ffee--1",
        "00c0ffee00c0ffee- 1",
        "00c0ffee00c0ffee+1",
        "00c0ffee00c0ffef-1",
        "00c0ffee00c0ffee-18446744073709551616",
        "00c0ffee00c0ffee-00000000000000000000000000000000000000000000000001",
        "\xff\xff",
    };
    uint64_t next;
    events_add(events, 10, "tick", SPAN("{}"));
    assert_true(resume("00c0ffee00c0ffee-1", &next));
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        assert_false(resume(ids[i], &next));
    }
    assert_false(events_resume(events, (struct span){NULL, 0}, &next));
}

/* Nobody has been watching, and nothing was made meanwhile. */
static void test_a_gap(void **state)
{
    (void)state;
    uint64_t next;
    events_add(events, 10, "tick", SPAN("{}"));
    events_forget(events);
    assert_false(resume("00c0ffee00c0ffee-1", &next));
    events_add(events, 10, "tick", SPAN("{}"));
    assert_false(resume("00c0ffee00c0ffee-1", &next));
    assert_true(resume("00c0ffee00c0ffee-3", &next));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_form, make, discard),
        cmocka_unit_test_setup_teardown(test_an_event_apart, make, discard),
        cmocka_unit_test_setup_teardown(test_held, make, discard),
        cmocka_unit_test_setup_teardown(test_a_minute, make, discard),
        cmocka_unit_test_setup_teardown(test_so_many_bytes, make, discard),
        cmocka_unit_test_setup_teardown(test_so_many_events, make, discard),
        cmocka_unit_test_setup_teardown(test_going_on, make, discard),
        cmocka_unit_test_setup_teardown(test_ids_of_others, make, discard),
        cmocka_unit_test_setup_teardown(test_a_gap, make, discard),
    };
    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
