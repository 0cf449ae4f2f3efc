#include "common/scoreboard/scoreboard.h"

#include "common/base/clock.h"
#include "tests/unit/patience.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/client_at.h"

#include "tests/unit/failing_check.h"

enum { PROCESSES = 3, SLOTS_EACH = 2, SLOTS = PROCESSES * SLOTS_EACH, NOTES = 50000 };

static struct scoreboard *scoreboard;

static int make(void **state)
{
    (void)state;
    scoreboard = scoreboard_create(SLOTS);
    return scoreboard == NULL;
}

static int discard(void **state)
{
    (void)state;
    scoreboard_destroy(scoreboard);
    return 0;
}

static void note(uint32_t slot, const char *line)
{
    struct client_address client = client_at("10.1.2.3", (uint16_t)(1000 + slot));
    slot_note_begin(&scoreboard->slots[slot], span_of(line), &client);
}

static void test_create(void **state)
{
    (void)state;
    assert_true(scoreboard->started_ms > 0);
    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(scoreboard->slots[i].state, SLOT_EMPTY);
        assert_int_equal((uintptr_t)&scoreboard->slots[i] % 64, 0);
    }
    scoreboard_destroy(NULL);
}

/* No worker can make the master write behind the mapping. */
static void test_the_capacity_is_each_processs_own(void **state)
{
    (void)state;
    struct scoreboard *board = scoreboard_create(2);
    assert_non_null(board);
    pid_t child = fork();
    if (child == 0) {
        board->slot_capacity = UINT32_MAX;
        atomic_store(&board->generation, 7);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(board->slot_capacity, 2);
    assert_int_equal(board->generation, 7); /* the rest is shared */
    scoreboard_destroy(board);
}

static void test_enter_in_a_child_is_seen(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[4];
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        slot_enter(slot, 2, 7, SLOT_POOL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(slot->pid, child);
    assert_int_equal(slot->tid, child); /* the main thread */
    assert_int_equal(slot->process, 2);
    assert_int_equal(slot->generation, 7);
    assert_int_equal(slot->role, SLOT_POOL);
    assert_int_equal(slot->state, SLOT_STARTING);
    assert_true(slot->heartbeat_ms >= scoreboard->started_ms);
    slot_set_state(slot, SLOT_READY);
    assert_int_equal(slot->state, SLOT_READY);
    assert_int_equal(slot->ready_ns, 0);
    slot_note_process_ready(slot);
    assert_true(slot->ready_ns / 1000000 >= scoreboard->started_ms);
}

static void *enter_in_a_thread(void *slot)
{
    slot_enter(slot, 0, 1, SLOT_LOOP);
    return NULL;
}

static void test_enter_in_a_thread(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[1];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, enter_in_a_thread, slot), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(slot->pid, getpid());
    assert_int_not_equal(slot->tid, getpid());
    assert_int_equal(slot->role, SLOT_LOOP);
}

static void test_notes(void **state)
{
    (void)state;
    struct request_copy copy;
    assert_false(slot_note_read(&scoreboard->slots[3], &copy));
    note(3, "GET /a?b HTTP/1.1");
    assert_true(slot_note_read(&scoreboard->slots[3], &copy));
    assert_string_equal(copy.line, "GET /a?b HTTP/1.1");
    assert_string_equal(copy.client, "10.1.2.3:1003");
    assert_false(slot_note_read(&scoreboard->slots[2], &copy));
    slot_note_end(&scoreboard->slots[3]);
    assert_false(slot_note_read(&scoreboard->slots[3], &copy));
    note(3, "HEAD"); /* nothing of the longer one before it is left */
    assert_true(slot_note_read(&scoreboard->slots[3], &copy));
    assert_string_equal(copy.line, "HEAD");
}

static void test_notes_of_every_length(void **state)
{
    (void)state;
    char line[NOTE_LINE_BYTES + 50];
    for (size_t bytes = 1; bytes < sizeof(line); bytes++) {
        struct request_copy copy;
        for (size_t i = 0; i < bytes; i++) {
            line[i] = (char)('a' + (i + bytes) % 26);
        }
        line[bytes] = '\0';
        note(0, line);
        memset(&copy, 'x', sizeof(copy));
        assert_true(slot_note_read(&scoreboard->slots[0], &copy));
        size_t kept = bytes < NOTE_LINE_BYTES ? bytes : NOTE_LINE_BYTES;
        assert_int_equal(strlen(copy.line), kept);
        assert_memory_equal(copy.line, line, kept);
        assert_int_equal(scoreboard->slots[0].current.bytes, kept);
    }
    struct request_copy neighbour;
    assert_false(slot_note_read(&scoreboard->slots[1], &neighbour));
}

/* The line must be read where the span ends: nothing promises a NUL, or a whole word. */
static void test_notes_read_no_further_than_the_span(void **state)
{
    (void)state;
    struct client_address client = client_at("10.0.0.1", 1);
    struct request_copy copy;
    for (size_t bytes = 1; bytes <= NOTE_LINE_BYTES; bytes++) {
        char *exact = malloc(bytes);
        memset(exact, 'y', bytes);
        slot_note_begin(&scoreboard->slots[0], (struct span){exact, bytes}, &client);
        free(exact);
        assert_true(slot_note_read(&scoreboard->slots[0], &copy));
        assert_int_equal(strspn(copy.line, "y"), bytes);
    }
}

static void test_a_half_written_note_is_not_read(void **state)
{
    (void)state;
    struct request_copy copy;
    note(0, "GET / HTTP/1.1");
    atomic_fetch_add(&scoreboard->slots[0].current.sequence, 1); /* as while it is written */
    assert_false(slot_note_read(&scoreboard->slots[0], &copy));
    atomic_fetch_add(&scoreboard->slots[0].current.sequence, 1);
    assert_true(slot_note_read(&scoreboard->slots[0], &copy));
}

static void *write_notes(void *stop)
{
    char line[NOTE_LINE_BYTES + 1];
    struct client_address client = client_at("10.0.0.1", 0);
    for (unsigned i = 0; !atomic_load((_Atomic bool *)stop); i++) {
        memset(line, 'a' + (int)(i % 26), sizeof(line));
        client.words[0] = (uint64_t)AF_INET << 32 | ('a' + i % 26);
        slot_note_begin(&scoreboard->slots[0], (struct span){line, i % NOTE_LINE_BYTES + 1},
                        &client);
        if (i % 3 == 0) {
            slot_note_end(&scoreboard->slots[0]);
        }
    }
    return NULL;
}

/* Whatever is read while the owner writes is one note, never a mixture. */
static void test_notes_are_never_torn(void **state)
{
    (void)state;
    static _Atomic bool stop;
    pthread_t writer;
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&writer, NULL, write_notes, &stop), 0);
    for (int seen = 0; seen < NOTES;) {
        struct request_copy copy;
        if (!slot_note_read(&scoreboard->slots[0], &copy)) {
            assert_true(clock_monotonic_ms() < until_ms);
            continue;
        }
        char client[CLIENT_TEXT_BYTES];
        seen++;
        assert_int_equal(strspn(copy.line, (char[]){copy.line[0], '\0'}), strlen(copy.line));
        snprintf(client, sizeof(client), "10.0.0.1:%d", copy.line[0]);
        assert_string_equal(copy.client, client);
    }
    atomic_store(&stop, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
}

static void test_add_and_subtract(void **state)
{
    (void)state;
    _Atomic uint64_t counter = 5;
    slot_add(&counter, UINT64_C(1) << 40);
    slot_subtract(&counter, 3);
    assert_int_equal(counter, (UINT64_C(1) << 40) + 2);
}

static void write_to_another_slot(void)
{
    slot_enter(&scoreboard->slots[0], 0, 1, SLOT_LOOP);
    slot_note_begin(&scoreboard->slots[1], SPAN("GET / HTTP/1.1"), &(struct client_address){{0}});
}

static void beat_in_another_slot(void)
{
    slot_enter(&scoreboard->slots[0], 0, 1, SLOT_LOOP);
    slot_beat(&scoreboard->slots[1], 1, SLOT_READY);
}

/* The counters and notes of a slot rest on there being one writer. */
static void test_a_thread_writes_to_its_own_slot(void **state)
{
    (void)state;
    assert_check_fails(write_to_another_slot, "is_own_or_none(slot)");
    assert_check_fails(beat_in_another_slot, "is_own_or_none(slot)");
}

static void serve_after_draining(void)
{
    struct worker_slot *slot = &scoreboard->slots[0];
    slot_enter(slot, 0, 1, SLOT_LOOP);
    slot_set_state(slot, SLOT_READY);
    slot_beat(slot, 1, SLOT_DRAINING);
    slot_beat(slot, 2, SLOT_READY);
}

static void beat_after_the_end(void)
{
    struct worker_slot *slot = &scoreboard->slots[0];
    slot_enter(slot, 0, 1, SLOT_LOOP);
    slot_set_state(slot, SLOT_ENDED);
    slot_beat(slot, 2, SLOT_READY);
}

static void test_a_state_never_goes_back(void **state)
{
    (void)state;
    assert_check_fails(serve_after_draining, "own.slot == NULL || may_follow[own.state][state]");
    assert_check_fails(beat_after_the_end, "own.slot == NULL || may_follow[own.state][state]");
}

/* What others have written into it makes nobody fail. */
static void test_a_scribbled_state_goes_on(void **state)
{
    (void)state;
    struct worker_slot *slot = &scoreboard->slots[0];
    slot_enter(slot, 0, 1, SLOT_LOOP);
    slot_set_state(slot, SLOT_READY);
    slot->state = 4711;
    slot->tid = -1;
    slot_beat(slot, 1, SLOT_READY);
    assert_int_equal(slot->state, SLOT_READY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create),
        TEST(test_the_capacity_is_each_processs_own),
        TEST(test_enter_in_a_child_is_seen),
        TEST(test_enter_in_a_thread),
        TEST(test_notes),
        TEST(test_notes_of_every_length),
        TEST(test_notes_read_no_further_than_the_span),
        TEST(test_a_half_written_note_is_not_read),
        TEST(test_notes_are_never_torn),
        TEST(test_add_and_subtract),
        TEST(test_a_thread_writes_to_its_own_slot),
        TEST(test_a_state_never_goes_back),
        TEST(test_a_scribbled_state_goes_on),
    };
    return cmocka_run_group_tests_name("scoreboard", tests, NULL, NULL);
}
