/* The table of durable_states.h, walked: every state that steps lead to from a new record, and
 * every step in each of them. Those that it allows lead where it says, all others end the process.
 */
#include "common/net/durable.h"
#include "common/net/durable_states.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/failing_check.h"

#define STATE(name) name,
#define STEP(name)  name,
enum state { DURABLE_STATES(STATE) STATES };
enum step { DURABLE_STEPS(STEP) STEPS };

#define NAME(name) #name,
static const char *const state_names[] = {DURABLE_STATES(NAME)};
static const char *const step_names[] = {DURABLE_STEPS(NAME)};

#define LINE(to_array, step, from, to) to_array[step][from] |= 1U << (to);

enum {
    BEGUN_MOST = 3,     /* at a time, in this walk */
    FORMS_MOST = 2,     /* of a step: with the one or the other argument */
    DISTANCE_MOST = 24, /* of a record from a new one, in steps */
    FOUND_MOST = 4096,
    HEAD_BYTES = 4096 + 128 /* of the area: one record and what is before it */
};

/* A record, as the way to it; what differs only in places and counts of deaths is the same. */
struct found {
    struct durable_state state;
    uint32_t output_answers;
    uint8_t way[DISTANCE_MOST]; /* step * FORMS_MOST + form */
    unsigned distance;
};

static unsigned allowed[STEPS][STATES], seen[STEPS][STATES];
static bool has_been_tried[STEPS][STATES];
static struct found *all;
static size_t count;

static void *area;
static struct durable *durable;
static struct durable_record *record;
static struct buffer input;
static uint64_t written;

static enum state state_of(const struct durable_state *state)
{
#define OF(field)    (state->field)
#define COUNT(state) +(DURABLE_IS_##state(OF) ? 1 : 0)
#define FIND(state)                                                                                \
    if (DURABLE_IS_##state(OF)) {                                                                  \
        return state;                                                                              \
    }
    assert_int_equal(0 DURABLE_STATES(COUNT), 1);
    DURABLE_STATES(FIND)
    return STATES;
}

/* ---- Steps, each in one or two forms ---- */

static unsigned forms_of(enum step step)
{
    return step == SENT || step == RESTART ? 2 : 1;
}

static void step_sending(void)
{
    const uint64_t begins_at = durable_output(record).begins_at;
    written = begins_at + durable_output(record).bytes + 1;
    durable_sending(record, written, &(struct durable_offer){.digest = 1});
}

static void make_step(enum step step, unsigned form)
{
    switch (step) {
    case TAKE:
        durable_input_take(durable, record, 0, 100, &input);
        break;
    case MOVE:
        durable_input_move(durable, record, &input, 100);
        break;
    case GIVE:
        durable_input_give(durable, record, &input);
        break;
    case BEGIN:
        durable_begin(record, written);
        break;
    case ANSWER:
        durable_answered(record);
        break;
    case INTERIM:
        durable_interim(record, written);
        break;
    case SENDING:
        step_sending();
        break;
    case SENT:
        durable_sent(record, 0, written, form == 1);
        break;
    case RESTART:
        durable_restart(record, form == 1, 1);
        break;
    case STEPS:
        break;
    }
}

static void make_record(const struct found *found)
{
    memset(area, 0, HEAD_BYTES); /* a child that ended has left its record */
    durable = durable_open(area, 1, 1);
    record = durable_enter(durable, 70, 0);
    input = (struct buffer){0};
    written = 0;
    for (unsigned i = 0; i < found->distance; i++) {
        make_step(found->way[i] / FORMS_MOST, found->way[i] % FORMS_MOST);
    }
}

static void unmake_record(void)
{
    if (durable_state(record).has_input) {
        durable_abandon(durable, record, &input);
        buffer_free(&input);
    }
    durable_close(durable);
}

/* ---- The walk ---- */

static void note_record(const struct found *from, enum step step, unsigned form)
{
    struct found now = *from;
    now.state = durable_state(record);
    now.output_answers = durable_output(record).answers;
    now.state.suspect = now.state.attempts = 0;
    if (now.state.begun > BEGUN_MOST) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (memcmp(&all[i].state, &now.state, sizeof(now.state)) == 0 &&
            all[i].output_answers == now.output_answers) {
            return;
        }
    }
    assert_true(count < FOUND_MOST && now.distance < DISTANCE_MOST);
    now.way[now.distance++] = (uint8_t)(step * FORMS_MOST + form);
    all[count++] = now;
}

/* What depends on more than the state. */
static bool makes_sense(const struct found *from, enum step step, unsigned form)
{
    bool keeps_output = step == RESTART && form == 1;
    return !keeps_output || from->output_answers <= from->state.answered;
}

static void follow(const struct found *from, enum step step, unsigned form)
{
    const enum state before = state_of(&from->state);
    if (!makes_sense(from, step, form)) {
        return;
    }
    make_record(from);
    make_step(step, form);
    const struct durable_state state = durable_state(record);
    const enum state after = state_of(&state);
    if ((allowed[step][before] >> after & 1) == 0) {
        fail_msg("%s leads from %s to %s", step_names[step], state_names[before],
                 state_names[after]);
    }
    seen[step][before] |= 1U << after;
    note_record(from, step, form);
    unmake_record();
}

static const struct found *forbidden_from;
static enum step forbidden_step;

static void make_forbidden_step(void)
{
    make_record(forbidden_from);
    make_step(forbidden_step, 0);
}

/* What has nothing to do is no step. */
static bool is_idle(enum step step, enum state state)
{
    return step == GIVE && (state == BARE || state == CLOSED);
}

/* In a child: once for each state is enough. */
static void must_fail(const struct found *from, enum step step)
{
    const enum state state = state_of(&from->state);
    if (has_been_tried[step][state] || is_idle(step, state)) {
        return;
    }
    has_been_tried[step][state] = true;
    forbidden_from = from;
    forbidden_step = step;
    failing_check_run(make_forbidden_step);
    if (strstr(failing_check_log, "may(STEP_") == NULL) {
        fail_msg("%s in %s: another check has failed: %s", step_names[step], state_names[state],
                 failing_check_log);
    }
}

static void try_step(const struct found *from, enum step step)
{
    if (allowed[step][state_of(&from->state)] == 0) {
        must_fail(from, step);
        return;
    }
    for (unsigned form = 0; form < forms_of(step); form++) {
        follow(from, step, form);
    }
}

static void walk(void)
{
    count = 1; /* a new one */
    for (size_t i = 0; i < count; i++) {
        for (enum step step = 0; step < STEPS; step++) {
            try_step(&all[i], step);
        }
    }
    print_message("%zu records\n", count);
}

static void test_the_code_does_what_the_table_says_and_nothing_else(void **state)
{
    (void)state;
    DURABLE_MAY(LINE, allowed)
    DURABLE_MAY_AFTER_LIES(LINE, allowed)
    area = mmap(NULL, durable_area_bytes(1), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    all = calloc(FOUND_MOST, sizeof(*all));
    assert_true(area != MAP_FAILED && all != NULL);
    walk();
    for (enum step step = 0; step < STEPS; step++) {
        for (enum state from = 0; from < STATES; from++) {
            if (allowed[step][from] != seen[step][from]) {
                fail_msg("%s from %s leads to the states %#x, the table says %#x", step_names[step],
                         state_names[from], seen[step][from], allowed[step][from]);
            }
        }
    }
    free(all);
    munmap(area, durable_area_bytes(1));
}

/* One line too many would hide behind another. */
static void test_no_line_stands_twice(void **state)
{
    (void)state;
    static unsigned lines[STEPS][STATES], often;
#define LINE_ONCE(to_array, step, from, to)                                                        \
    often += to_array[step][from] >> (to) & 1;                                                     \
    to_array[step][from] |= 1U << (to);
    DURABLE_MAY(LINE_ONCE, lines)
    DURABLE_MAY_AFTER_LIES(LINE_ONCE, lines)
    assert_int_equal(often, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_line_stands_twice),
        cmocka_unit_test(test_the_code_does_what_the_table_says_and_nothing_else),
    };
    return cmocka_run_group_tests_name("durable_states", tests, NULL, NULL);
}
