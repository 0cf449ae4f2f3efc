/* The records of connections: what each step leaves, and what is not believed of a predecessor. */
#include "common/net/durable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { CONNECTIONS = 8, PAGE_BYTES = 4096, RECORD_BYTES = 128, RECORD_WORDS = 16 };

/* The words of a record that a rogue would write to. */
enum { WORD, WHERE, INPUT_BEGINS, INPUT_RUN, OTHER_INPUT_BEGINS, OTHER_INPUT_RUN };
enum { INTERIM_PUT = 58 }; /* the bit of the word */

static char *area;
static struct durable *durable;
static struct durable_record *record;
static struct buffer input;

static int make(void **state)
{
    (void)state;
    area = mmap(NULL, durable_area_bytes(CONNECTIONS), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    durable = durable_open(area, CONNECTIONS, 1);
    input = (struct buffer){0};
    return area == MAP_FAILED;
}

static int discard(void **state)
{
    (void)state;
    durable_close(durable);
    return munmap(area, durable_area_bytes(CONNECTIONS));
}

static int any_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

static void enter(int fd)
{
    record = durable_enter(durable, fd, 0);
    assert_non_null(record);
}

static void read_into(const char *text)
{
    if (input.capacity == 0) {
        assert_true(durable_input_take(durable, record, 0, 1000, &input));
    }
    memcpy(input.data + input.len, text, strlen(text));
    input.len += strlen(text);
}

/* A request of so many bytes is answered. */
static void answer(size_t consumed, uint64_t written_bytes)
{
    durable_begin(record, 0);
    durable_answered(record);
    durable_sent(record, consumed, written_bytes, false);
}

static void die(uint32_t next_generation)
{
    durable_close(durable);
    durable = durable_open(area, CONNECTIONS, next_generation);
}

static struct durable_record *only_one(uint32_t generation, int fd)
{
    size_t cursor = 0;
    uint32_t found_generation;
    int found_fd;
    struct durable_record *found = durable_next(durable, &cursor, &found_generation, &found_fd);
    assert_non_null(found);
    assert_int_equal(found_generation, generation);
    assert_int_equal(found_fd, fd);
    uint32_t none;
    assert_null(durable_next(durable, &cursor, &none, &found_fd));
    return found;
}

static void assert_nobody(void)
{
    size_t cursor = 0;
    uint32_t generation;
    int fd;
    assert_null(durable_next(durable, &cursor, &generation, &fd));
}

static void test_a_request_from_step_to_step(void **state)
{
    (void)state;
    enter(70);
    read_into("request");
    durable_begin(record, 100);
    assert_int_equal(durable_state(record).begun, 1);
    assert_int_equal(durable_state(record).answered, 0);
    assert_int_equal(durable_output(record).begins_at, 100);
    durable_answered(record);
    durable_sending(record, 130,
                    &(struct durable_offer){.digest = 5, .date_second = 9, .closes = true});
    const struct durable_output output = durable_output(record);
    assert_int_equal(output.bytes, 30);
    assert_int_equal(output.digest, 5);
    assert_int_equal(output.date_second, 9);
    assert_int_equal(output.answers, 1);
    assert_true(output.closes);
    durable_sent(record, 7, 130, true);
    const struct durable_state after = durable_state(record);
    assert_int_equal(after.consumed, 7);
    assert_int_equal(after.begun, 0);
    assert_true(after.closing);
    durable_input_give(durable, record, &input);
    assert_int_equal(input.capacity, 0);
    assert_false(durable_state(record).has_input);
}

static void test_what_is_at_work_stays_begun(void **state)
{
    (void)state;
    enter(70);
    read_into("first second");
    durable_begin(record, 0);
    durable_answered(record);
    durable_begin(record, 10);
    durable_sending(record, 10, &(struct durable_offer){.digest = 1});
    durable_sent(record, 6, 10, false);
    assert_int_equal(durable_state(record).begun, 1);
    assert_int_equal(durable_state(record).answered, 0);
    assert_int_equal(durable_output(record).begins_at, 10);
    assert_int_equal(durable_output(record).bytes, 0);
}

static void test_a_successor_finds_all(void **state)
{
    (void)state;
    struct buffer found;
    enter(70);
    read_into("0123456789");
    answer(4, 20);
    die(2);
    record = only_one(1, 70);
    assert_true(durable_adopt(durable, record, 5, 10, &found));
    assert_int_equal(found.len, 10);
    assert_memory_equal(found.data, "0123456789", 10);
    assert_int_equal(durable_state(record).consumed, 4);
    die(3);
    assert_ptr_equal(only_one(2, 5), record);
}

static void test_input_that_moves(void **state)
{
    (void)state;
    struct buffer found;
    enter(70);
    read_into("0123456789");
    answer(4, 20);
    assert_true(durable_input_move(durable, record, &input, 100000));
    assert_true(input.capacity >= 100006);
    assert_memory_equal(input.data, "456789", 6);
    die(2);
    record = only_one(1, 70);
    assert_true(durable_adopt(durable, record, 5, 10, &found));
    assert_int_equal(found.len, 6);
    assert_memory_equal(found.data, "456789", 6);
}

static void test_deaths_are_counted_under_the_same_request(void **state)
{
    (void)state;
    enter(70);
    read_into("first second");
    durable_begin(record, 0);
    durable_answered(record);
    durable_begin(record, 10);
    durable_restart(record, false, 1);
    assert_int_equal(durable_state(record).suspect, 2);
    assert_int_equal(durable_state(record).attempts, 1);
    durable_begin(record, 0);
    durable_answered(record);
    durable_begin(record, 10);
    assert_int_equal(durable_state(record).begun, 2); /* not three */
    durable_restart(record, false, 1);
    assert_int_equal(durable_state(record).attempts, 2);
    durable_begin(record, 0);
    durable_restart(record, false, 1);
    assert_int_equal(durable_state(record).suspect, 1); /* another one, now */
    assert_int_equal(durable_state(record).attempts, 1);
    durable_restart(record, false, 0); /* another connection's request did it */
    assert_int_equal(durable_state(record).attempts, 1);
    durable_restart(record, false, 6);
    assert_int_equal(durable_state(record).attempts, 7);
    for (int i = 0; i < 2 * DURABLE_ATTEMPTS_MOST; i++) {
        durable_restart(record, false, 2);
    }
    assert_int_equal(durable_state(record).attempts, DURABLE_ATTEMPTS_MOST);
}

static void test_who_has_left_is_not_found(void **state)
{
    (void)state;
    int fd = any_socket();
    enter(fd);
    read_into("x");
    durable_leave(durable, record, fd, &input);
    assert_int_equal(input.capacity, 0);
    die(2);
    assert_nobody();
    assert_int_equal(durable_disbelieved(durable), 0);
    for (int i = 0; i < CONNECTIONS; i++) { /* all are free again */
        enter(80 + i);
    }
    assert_null(durable_enter(durable, 99, 0));
}

/* On its way to another process, it is whose the claim is. */
static void test_who_is_on_the_way(void **state)
{
    (void)state;
    uint32_t generation;
    enter(70);
    assert_int_equal(durable_claim(record, &generation), 0);
    durable_pend(record, 12345);
    die(2);
    struct durable_record *found = only_one(1, 70);
    assert_int_equal(durable_claim(found, &generation), 12345);
    assert_int_equal(generation, 1);
    assert_true(durable_adopt(durable, found, 8, 0, &input));
    assert_int_equal(durable_claim(found, &generation), 0);
    assert_int_equal(generation, 2);
    durable_pend(found, 777);
    durable_settle(found);
    assert_int_equal(durable_claim(found, &generation), 0);
    assert_non_null(durable_enter(durable, 71, 99));
    die(3);
    size_t cursor = 0, claimed = 0;
    int fd;
    while ((found = durable_next(durable, &cursor, &generation, &fd)) != NULL) {
        assert_true(fd == 8 || fd == 71);
        claimed += durable_claim(found, &generation) == 99;
    }
    assert_int_equal(claimed, 1);
}

static void test_who_is_expected(void **state)
{
    (void)state;
    int fds[CONNECTIONS];
    struct durable_expected expected;
    assert_false(durable_expected(durable, &expected));
    durable_expect(durable, 5, 6);
    die(2);
    assert_true(durable_expected(durable, &expected));
    assert_int_equal(expected.generation, 1);
    assert_int_equal(expected.cookie, 5);
    assert_int_equal(expected.claim, 6);
    durable_expect_nothing(durable);
    assert_false(durable_expected(durable, &expected));
    durable_expect(durable, 0, 0);
    enter(70); /* it has come */
    enter(71);
    assert_false(durable_expected(durable, &expected));
    assert_int_equal(durable_descriptors(durable, 2, fds), 2);
    assert_true(fds[0] + fds[1] == 70 + 71 && fds[0] != fds[1]);
    assert_int_equal(durable_descriptors(durable, 1, fds), 0);
}

static void test_who_goes_on_alone(void **state)
{
    (void)state;
    enter(70);
    read_into("0123456789");
    answer(4, 20);
    durable_abandon(durable, record, &input);
    assert_int_equal(input.len, 6);
    assert_memory_equal(input.data, "456789", 6);
    buffer_free(&input);
    die(2);
    assert_nobody();
}

/* ---- What a rogue has written ---- */

static uint64_t *words(void)
{
    return (uint64_t *)(void *)(area + PAGE_BYTES);
}

static void test_what_cannot_be_is_left_out(void **state)
{
    (void)state;
    static const struct {
        int word;
        uint64_t value;
    } lies[] = {
        {WHERE, UINT64_C(1) << 32},                  /* no descriptor */
        {INPUT_RUN, 0},                              /* no page */
        {INPUT_RUN, UINT64_C(0xffffffff) << 32 | 1}, /* beyond the area */
        {INPUT_RUN, UINT64_C(1) << 32 | 0xffffffff}, /* too many */
        {WORD, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        memset(area, 0, PAGE_BYTES + CONNECTIONS * RECORD_BYTES);
        die(1);
        input = (struct buffer){0};
        enter(70);
        read_into("x");
        words()[lies[i].word] = lies[i].value;
        die(2);
        assert_nobody();
        assert_int_equal(durable_disbelieved(durable), 1);
    }
}

/* Output that no input asks for. */
static void test_output_from_nothing(void **state)
{
    (void)state;
    enter(70);
    words()[WORD] = UINT64_C(1) << INTERIM_PUT;
    die(2);
    assert_nobody();
}

/* Whatever had begun behind it: nobody waits for that. */
static void test_the_last_answer_is_the_last(void **state)
{
    (void)state;
    enter(70);
    read_into("first second");
    durable_begin(record, 0);
    durable_answered(record);
    durable_begin(record, 10);
    durable_restart(record, false, 1);
    durable_begin(record, 0);
    durable_answered(record);
    durable_sent(record, 6, 10, true);
    assert_int_equal(durable_state(record).begun, 0);
    assert_true(durable_state(record).closing);
}

static void test_more_records_than_there_can_be(void **state)
{
    (void)state;
    enter(70);
    *(uint64_t *)(void *)area = UINT64_MAX;
    die(2);
    only_one(1, 70);
}

static void test_input_of_two(void **state)
{
    (void)state;
    enter(70);
    read_into("x");
    enter(71);
    struct buffer other = {0};
    assert_true(durable_input_take(durable, record, 0, 1000, &other));
    words()[RECORD_WORDS + INPUT_RUN] = words()[INPUT_RUN];
    die(2);
    only_one(1, 70); /* the other one would read its client's bytes */
}

static void test_lengths_are_the_kernels(void **state)
{
    (void)state;
    struct buffer found;
    enter(70);
    read_into("0123456789");
    answer(4, 20);
    die(2);
    record = only_one(1, 70);
    assert_false(durable_adopt(durable, record, 5, 3, &found));       /* less than is consumed */
    assert_false(durable_adopt(durable, record, 5, 1 << 20, &found)); /* more than there is room */
    assert_false(durable_adopt(durable, record, 5, UINT64_MAX, &found));
    assert_int_equal(found.capacity, 0);
    durable_drop(durable, record);
    die(3);
    assert_nobody();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_request_from_step_to_step),
        TEST(test_what_is_at_work_stays_begun),
        TEST(test_a_successor_finds_all),
        TEST(test_input_that_moves),
        TEST(test_deaths_are_counted_under_the_same_request),
        TEST(test_who_has_left_is_not_found),
        TEST(test_who_is_on_the_way),
        TEST(test_who_is_expected),
        TEST(test_who_goes_on_alone),
        TEST(test_what_cannot_be_is_left_out),
        TEST(test_output_from_nothing),
        TEST(test_the_last_answer_is_the_last),
        TEST(test_more_records_than_there_can_be),
        TEST(test_input_of_two),
        TEST(test_lengths_are_the_kernels),
    };
    return cmocka_run_group_tests_name("durable", tests, NULL, NULL);
}
