/* Collected lines in memory that outlives a process: what each step leaves, and what is not
 * believed of a predecessor. */
#include "common/net/durable_lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

enum { FD = 7, LINE_BYTES = 1000, WAITING_BYTES = 256 * 1024 };

/* The words that a rogue would write to. */
enum { WORD, WRITER, OFFERED };

static void *area;
static struct durable_lines *lines;
static struct buffer batch;

static int make(void **state)
{
    (void)state;
    area = mmap(NULL, durable_lines_area_bytes(), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(area != MAP_FAILED);
    lines = durable_lines_open(area, 1);
    batch = durable_lines_batch(lines);
    return 0;
}

static int discard(void **state)
{
    (void)state;
    durable_lines_close(lines);
    return munmap(area, durable_lines_area_bytes());
}

static void die(uint32_t next_generation)
{
    durable_lines_close(lines);
    lines = durable_lines_open(area, next_generation);
    batch = durable_lines_batch(lines);
}

static void add(const char *text)
{
    durable_lines_make_room(lines, &batch, strlen(text));
    buffer_append(&batch, text, strlen(text));
}

static void assert_batch(const char *text)
{
    assert_int_equal(batch.len, strlen(text));
    assert_memory_equal(batch.data, text, strlen(text));
}

static bool is_offered(uint32_t *record)
{
    uint64_t sent_bytes;
    return durable_lines_offered(lines, record, NULL, &sent_bytes);
}

static void offer(uint32_t record, const char *text, uint64_t sent_bytes)
{
    const struct buffer noted = {.data = (char *)text, .len = strlen(text)};
    durable_lines_offer(lines, record, &noted, sent_bytes);
}

/* What is not added to its end is not there. */
static void test_lines_count_when_all_are_there(void **state)
{
    (void)state;
    add("a\n");
    die(2);
    assert_batch("");
    add("a\n");
    add("b\n");
    durable_lines_commit(lines, &batch);
    add("c\n");
    die(3);
    assert_batch("a\nb\n");
}

/* The store that adds the lines is the one that ends the offer. */
static void test_an_offer(void **state)
{
    (void)state;
    uint32_t record;
    uint64_t sent_bytes;
    struct buffer noted;
    assert_false(is_offered(&record));
    offer(5, "line", 77);
    die(2);
    assert_true(durable_lines_offered(lines, &record, &noted, &sent_bytes));
    assert_int_equal(record, 5);
    assert_int_equal(sent_bytes, 77);
    assert_int_equal(noted.len, 4);
    assert_memory_equal(noted.data, "line", 4);
    buffer_free(&noted);
    add("line\n");
    die(3);
    assert_true(is_offered(&record));
    add("line\n");
    durable_lines_commit(lines, &batch);
    die(4);
    assert_false(is_offered(&record));
    assert_batch("line\n");
    offer(6, "other", 0);
    durable_lines_withdraw(lines);
    durable_lines_withdraw(lines);
    die(5);
    assert_false(is_offered(&record));
}

/* Only who has a position can be asked. */
static void test_a_write(void **state)
{
    (void)state;
    uint32_t generation;
    int fd;
    add("a\nb\n");
    durable_lines_commit(lines, &batch);
    assert_false(durable_lines_are_open(lines, &generation, &fd));
    durable_lines_writing(lines, FD, false);
    die(2);
    assert_false(durable_lines_are_open(lines, &generation, &fd));
    durable_lines_writing(lines, FD, true);
    die(3);
    assert_true(durable_lines_are_open(lines, &generation, &fd));
    assert_int_equal(generation, 2);
    assert_int_equal(fd, FD);
    assert_batch("a\nb\n");
    durable_lines_written(lines, &batch, 2);
    assert_batch("b\n");
    die(4);
    assert_false(durable_lines_are_open(lines, &generation, &fd));
    assert_batch("b\n");
    durable_lines_written(lines, &batch, 2);
    die(5);
    assert_batch("");
}

/* What a slow reader leaves wanders through the memory, and back to its beginning. */
static void test_a_batch_that_is_never_empty(void **state)
{
    (void)state;
    char line[LINE_BYTES + 1];
    size_t first = 0, last = 0;
    for (int round = 0; round < 5000; round++) {
        while (batch.len < WAITING_BYTES) {
            memset(line, 'a' + (int)(last++ % 26), LINE_BYTES);
            line[LINE_BYTES] = '\0';
            add(line);
        }
        durable_lines_commit(lines, &batch);
        for (size_t i = 0; i < batch.len; i += LINE_BYTES) {
            assert_int_equal(batch.data[i], 'a' + (int)((first + i / LINE_BYTES) % 26));
        }
        durable_lines_written(lines, &batch, LINE_BYTES);
        first++;
        if (round % 100 == 0) {
            die((uint32_t)round + 2);
        }
    }
    durable_lines_written(lines, &batch, batch.len);
    add("x\n");
    durable_lines_commit(lines, &batch);
    die(10000);
    assert_batch("x\n");
}

static void test_nothing_is_left_where_there_is_no_log(void **state)
{
    (void)state;
    uint32_t record;
    add("a\n");
    durable_lines_commit(lines, &batch);
    offer(1, "x", 0);
    durable_lines_drop(lines);
    die(2);
    assert_batch("");
    assert_false(is_offered(&record));
}

/* Whatever the words say: what is found lies in the area. */
static void test_a_rogue(void **state)
{
    (void)state;
    uint64_t *words = area;
    uint64_t number = 88172645463325252U;
    for (int i = 0; i < 2000; i++) {
        for (int at = WORD; at <= OFFERED; at++) {
            number ^= number << 13, number ^= number >> 7, number ^= number << 17;
            words[at] = i % 3 == 0 ? number : number & 0x0003ffffff0fffffU;
        }
        die((uint32_t)i + 2);
        uint32_t record, generation;
        int fd;
        uint64_t sent_bytes;
        struct buffer noted = {0};
        assert_true(batch.len <= DURABLE_BATCH_BYTES && batch.len <= batch.capacity);
        assert_true(batch.data + batch.capacity <= (char *)area + durable_lines_area_bytes());
        assert_true(!durable_lines_are_open(lines, &generation, &fd) || fd >= 0);
        if (durable_lines_offered(lines, &record, &noted, &sent_bytes)) {
            assert_true(noted.len <= DURABLE_OFFER_BYTES);
            buffer_free(&noted);
        }
        durable_lines_withdraw(lines);
        durable_lines_written(lines, &batch, batch.len);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)
    const struct CMUnitTest tests[] = {
        TEST(test_lines_count_when_all_are_there),
        TEST(test_an_offer),
        TEST(test_a_write),
        TEST(test_a_batch_that_is_never_empty),
        TEST(test_nothing_is_left_where_there_is_no_log),
        TEST(test_a_rogue),
    };
    return cmocka_run_group_tests_name("durable_lines", tests, NULL, NULL);
}
