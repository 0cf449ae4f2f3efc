#include "common/base/extents.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "tests/unit/failing_call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/failing_check.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGES = 400, REGION_BYTES = PAGES * EXTENT_PAGE_BYTES, SEED = 7 };
enum { BLOCK_BYTES = 512, BLOCKS_OF_A_PAGE = EXTENT_PAGE_BYTES / BLOCK_BYTES };

/* Shared memory, and the books for it. */
static int memory_fd;
static char *base;
static struct extents *extents;

static struct failing_call failing_madvise;
static uint64_t ns_of_a_look; /* how far the clock goes whenever it is read */

WRAPPED(int, madvise, void *memory, size_t bytes, int advice)
{
    return fails_now(&failing_madvise) ? -1 : __real_madvise(memory, bytes, advice);
}

WRAPPED(uint64_t, clock_monotonic_ns, void)
{
    static uint64_t now_ns;
    now_ns += ns_of_a_look;
    return now_ns;
}

static void map(size_t bytes)
{
    memory_fd = memfd_create("extents", MFD_CLOEXEC);
    assert_true(memory_fd >= 0);
    assert_int_equal(ftruncate(memory_fd, (off_t)bytes), 0);
    base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    assert_ptr_not_equal(base, MAP_FAILED);
    extents = extents_create(base, bytes);
}

static void unmap(size_t bytes)
{
    extents_destroy(extents);
    munmap(base, bytes);
    close(memory_fd);
}

static int begin(void **state)
{
    (void)state;
    failing_madvise = (struct failing_call){0};
    ns_of_a_look = 0;
    map(REGION_BYTES);
    return 0;
}

static int end(void **state)
{
    (void)state;
    unmap(REGION_BYTES);
    return 0;
}

/* The books of a successor: it knows nothing yet. */
static void succeed(void)
{
    extents_destroy(extents);
    extents = extents_create(base, REGION_BYTES);
}

static size_t pages_with_memory(void)
{
    struct stat status;
    assert_int_equal(fstat(memory_fd, &status), 0);
    return (size_t)status.st_blocks / BLOCKS_OF_A_PAGE;
}

static struct extent take_pages(uint32_t pages)
{
    struct extent run = extents_take(extents, (size_t)pages * EXTENT_PAGE_BYTES);
    assert_int_equal(run.count, pages);
    return run;
}

static struct extent take_and_touch(uint32_t pages)
{
    struct extent run = take_pages(pages);
    memset(extents_memory(extents, run), 1, (size_t)pages * EXTENT_PAGE_BYTES);
    return run;
}

static void expect_full(void)
{
    assert_int_equal(extents_take(extents, 1).count, 0);
}

static void test_whole_pages(void **state)
{
    (void)state;
    static const size_t expected[][2] = {
        {1, 1},
        {4096, 1},
        {4097, 2},
        {16384, 4},
        {65536, 16},
        {65537, 17},
        {1 << 20, 256},
        {REGION_BYTES, PAGES},
        {REGION_BYTES + 1, 0},
        {SIZE_MAX, 0},
        {((size_t)1 << 44) + 1, 0}, /* more pages than 32 bits can count */
    };
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct extent run = extents_take(extents, expected[i][0]);
        assert_int_equal(run.count, expected[i][1]);
        if (run.count > 0) {
            assert_ptr_equal(extents_memory(extents, run), base + run.page * EXTENT_PAGE_BYTES);
            extents_give(extents, run);
        }
    }
}

static void test_the_last_given_is_the_first_taken(void **state)
{
    (void)state;
    struct extent runs[5];
    for (int i = 0; i < 5; i++) {
        runs[i] = take_pages(4);
    }
    for (int i = 0; i < 5; i++) {
        extents_give(extents, runs[i]);
    }
    extents_give(extents, take_pages(3)); /* another length does not matter */
    for (int i = 4; i >= 0; i--) {
        assert_int_equal(take_pages(4).page, runs[i].page);
    }
}

static void test_exhaustion(void **state)
{
    (void)state;
    struct extent runs[PAGES / 4];
    for (int i = 0; i < PAGES / 4; i++) {
        runs[i] = take_pages(4);
    }
    expect_full();
    extents_give(extents, runs[17]);
    assert_int_equal(extents_take(extents, 5 * EXTENT_PAGE_BYTES).count, 0);
    assert_int_equal(take_pages(4).page, runs[17].page);
    expect_full();
}

/* Spare runs, neighbours of all lengths, become one. */
static void test_merging(void **state)
{
    (void)state;
    struct extent runs[PAGES];
    int count = 0;
    for (uint32_t left = PAGES; left > 0; left -= runs[count++].count) {
        uint32_t pages = 1 + (uint32_t)count % 20;
        runs[count] = take_pages(pages < left ? pages : left);
    }
    expect_full();
    for (int i = 0; i < count; i += 2) {
        extents_give(extents, runs[i]);
    }
    assert_int_equal(extents_take(extents, 21 * EXTENT_PAGE_BYTES).count, 0);
    for (int i = 1; i < count; i += 2) {
        extents_give(extents, runs[i]);
    }
    assert_int_equal(take_pages(PAGES).page, 0);
    expect_full();
}

/* A spare run of one length serves another length as well. */
static void test_merging_for_a_short_run(void **state)
{
    (void)state;
    struct extent most = take_pages(PAGES - 16);
    extents_give(extents, take_pages(16));
    struct extent runs[8];
    for (int i = 0; i < 8; i++) {
        runs[i] = take_pages(2);
        assert_true(runs[i].page >= most.count);
    }
    expect_full();
}

/* The only place begins as far before the last run that becomes free as it can. */
static void test_merging_with_free_pages_before(void **state)
{
    (void)state;
    take_pages(10);
    struct extent before = take_pages(3);
    struct extent last = take_pages(1);
    take_pages(PAGES - 14);
    extents_give(extents, before);
    extents_trim(extents);
    extents_trim(extents);
    assert_int_equal(extents_take(extents, 4 * EXTENT_PAGE_BYTES).count, 0);
    extents_give(extents, last);
    assert_int_equal(take_pages(4).page, 10);
}

/* The number of each page's run in a model; 0: it is free. */
static uint32_t model[PAGES];
static struct extent runs_of_model[PAGES + 1]; /* by that number; count 0: none */
static uint64_t random_state;

static uint32_t next_random(uint32_t below)
{
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(random_state >> 33) % below;
}

static void reset_model(void)
{
    memset(model, 0, sizeof(model));
    memset(runs_of_model, 0, sizeof(runs_of_model));
}

static uint32_t longest_gap(void)
{
    uint32_t longest = 0;
    uint32_t gap = 0;
    for (size_t i = 0; i < PAGES; i++) {
        gap = model[i] == 0 ? gap + 1 : 0;
        longest = gap > longest ? gap : longest;
    }
    return longest;
}

/* What its owner wrote is still there, in the first and the last page. */
static void write_number(struct extent run, uint32_t number)
{
    char *memory = extents_memory(extents, run);
    memcpy(memory, &number, sizeof(number));
    memcpy(memory + (size_t)run.count * EXTENT_PAGE_BYTES - sizeof(number), &number,
           sizeof(number));
}

static void expect_number(struct extent run, uint32_t number)
{
    const char *memory = extents_memory(extents, run);
    assert_memory_equal(memory, &number, sizeof(number));
    assert_memory_equal(memory + (size_t)run.count * EXTENT_PAGE_BYTES - sizeof(number), &number,
                        sizeof(number));
}

static void expect_only(struct extent run, uint32_t number)
{
    assert_true(run.page < PAGES && run.count <= PAGES - run.page);
    for (uint32_t i = 0; i < run.count; i++) {
        assert_int_equal(model[run.page + i], number);
    }
}

static void mark(struct extent run, uint32_t number)
{
    for (uint32_t i = 0; i < run.count; i++) {
        model[run.page + i] = number;
    }
}

/* Mostly short runs. */
static void take_at_random(uint32_t number)
{
    uint32_t pages = 1 + next_random(next_random(4) == 0 ? 40 : 16);
    struct extent run =
        extents_take(extents, (size_t)pages * EXTENT_PAGE_BYTES - next_random(EXTENT_PAGE_BYTES));
    if (run.count == 0) {
        assert_true(longest_gap() < pages);
        return;
    }
    assert_int_equal(run.count, pages);
    expect_only(run, 0);
    mark(run, number);
    runs_of_model[number] = run;
    write_number(run, number);
}

static void give_of_model(uint32_t number)
{
    struct extent run = runs_of_model[number];
    expect_number(run, number);
    expect_only(run, number);
    extents_give(extents, run);
    mark(run, 0);
    runs_of_model[number] = (struct extent){0};
}

/* There are fewer numbers in one phase than in another, so that it fills and empties. */
static void step_at_random(uint32_t numbers)
{
    uint32_t number = 1 + next_random(numbers);
    if (runs_of_model[number].count > 0) {
        give_of_model(number);
    } else {
        take_at_random(number);
    }
    if (next_random(50) == 0) {
        extents_trim(extents);
    }
}

static void give_all_of_model(void)
{
    for (uint32_t number = 1; number <= PAGES; number++) {
        if (runs_of_model[number].count > 0) {
            give_of_model(number);
        }
    }
}

static void exercise(int steps)
{
    for (int i = 0; i < steps; i++) {
        step_at_random(i / 1000 % 2 == 0 ? 120 : 20);
    }
}

static void test_random_use(void **state)
{
    (void)state;
    random_state = SEED;
    reset_model();
    exercise(20000);
    give_all_of_model();
    assert_int_equal(take_pages(PAGES).page, 0);
}

/* One process after the other dies, and the next one finds what each run's owner has written. */
static void test_random_successions(void **state)
{
    (void)state;
    random_state = SEED + 1;
    reset_model();
    for (int generation = 0; generation < 30; generation++) {
        exercise(300);
        succeed();
        for (uint32_t number = 1; number <= PAGES; number++) {
            if (runs_of_model[number].count > 0) {
                assert_true(extents_claim(extents, runs_of_model[number]));
                assert_false(extents_claim(extents, runs_of_model[number]));
            }
        }
        extents_forget_predecessor(extents, UINT32_MAX);
    }
    give_all_of_model();
    assert_int_equal(take_pages(PAGES).page, 0);
}

static void test_claims(void **state)
{
    (void)state;
    static const struct {
        struct extent run;
        bool is_granted;
    } claims[] = {
        {{10, 5}, true},
        {{10, 5}, false}, /* twice */
        {{9, 2}, false},  /* each overlaps it */
        {{14, 1}, false},
        {{0, PAGES}, false},
        {{11, 3}, false},
        {{9, 7}, false},
        {{15, 1}, true}, /* neighbours */
        {{9, 1}, true},
        {{0, 0}, false}, /* empty */
        {{20, 0}, false},
        {{PAGES, 0}, false},
        {{PAGES, 1}, false}, /* outside */
        {{PAGES - 1, 2}, false},
        {{0, PAGES + 1}, false},
        {{UINT32_MAX, 1}, false},
        {{1, UINT32_MAX}, false}, /* sums that overflow */
        {{UINT32_MAX, UINT32_MAX}, false},
        {{PAGES - 1, UINT32_MAX - PAGES + 2}, false},
        {{100, UINT32_MAX - 99}, false},
        {{PAGES - 1, 1}, true}, /* the last page */
        {{64, 64}, true},       /* a whole word of the books */
        {{128, PAGES - 128 - 1}, true},
    };
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        assert_int_equal(extents_claim(extents, claims[i].run), claims[i].is_granted);
    }
    /* Left are pages 0 to 8 and 16 to 63. */
    assert_int_equal(take_pages(48).page, 16);
    assert_int_equal(take_pages(9).page, 0);
    expect_full();
    extents_give(extents, (struct extent){10, 5});
    assert_int_equal(take_pages(5).page, 10);
}

static void test_nothing_is_touched_at_first(void **state)
{
    (void)state;
    const size_t bytes = (size_t)1 << 31;
    unmap(REGION_BYTES);
    map(bytes);
    assert_int_equal(take_pages(4).page, 0);
    assert_int_equal(pages_with_memory(), 0);
    assert_true(
        extents_claim(extents, (struct extent){(uint32_t)(bytes / EXTENT_PAGE_BYTES) - 1, 1}));
    unmap(bytes);
    map(REGION_BYTES);
}

/* The clock stands still: one call does all there is to do. */
static void trim(void)
{
    assert_false(extents_trim(extents));
}

static void test_a_steady_load_keeps_its_memory(void **state)
{
    (void)state;
    struct extent runs[10];
    for (int second = 0; second < 5; second++) {
        for (int i = 0; i < 10; i++) {
            runs[i] = take_and_touch(4);
        }
        for (int i = 0; i < 10; i++) {
            extents_give(extents, runs[i]);
        }
        trim();
        assert_int_equal(pages_with_memory(), 10 * 4);
    }
    trim();
    assert_int_equal(pages_with_memory(), 0);
}

/* Of ten runs three are needed in the next second, those that were given last. */
static void test_what_a_peak_has_needed_goes_back(void **state)
{
    (void)state;
    struct extent runs[10];
    for (int i = 0; i < 10; i++) {
        runs[i] = take_and_touch(2);
    }
    for (int i = 0; i < 10; i++) {
        extents_give(extents, runs[i]);
    }
    trim();
    for (int i = 9; i >= 7; i--) {
        assert_int_equal(take_pages(2).page, runs[i].page);
    }
    for (int i = 7; i < 10; i++) {
        extents_give(extents, runs[i]);
    }
    trim();
    assert_int_equal(pages_with_memory(), 3 * 2);
    assert_int_equal(take_pages(2).page, runs[9].page);
}

/* Neither what is taken, nor what is next to it. */
static void test_only_free_memory_goes_back(void **state)
{
    (void)state;
    struct extent before = take_and_touch(1);
    struct extent between = take_and_touch(20);
    struct extent behind = take_and_touch(1);
    extents_give(extents, between);
    trim();
    assert_int_equal(pages_with_memory(), 2);
    assert_int_equal(*(char *)extents_memory(extents, before), 1);
    assert_int_equal(*(char *)extents_memory(extents, behind), 1);
    assert_int_equal(*(char *)extents_memory(extents, take_pages(20)), 0);
}

static void test_merged_runs_go_back(void **state)
{
    (void)state;
    struct extent runs[PAGES / 2];
    for (int i = 0; i < PAGES / 2; i++) {
        runs[i] = take_and_touch(2);
    }
    for (int i = 0; i < PAGES / 2; i++) {
        extents_give(extents, runs[i]);
    }
    take_pages(17);
    trim();
    assert_int_equal(pages_with_memory(), 17);
}

static void test_what_the_predecessor_left_goes_back(void **state)
{
    (void)state;
    struct extent kept = take_and_touch(4);
    take_and_touch(100);
    succeed();
    assert_true(extents_claim(extents, kept));
    trim();
    assert_int_equal(pages_with_memory(), 104);
    extents_forget_predecessor(extents, 10);
    trim();
    assert_int_equal(pages_with_memory(), 4 + 94);
    extents_forget_predecessor(extents, UINT32_MAX);
    trim();
    assert_int_equal(pages_with_memory(), 4);
    assert_int_equal(*(char *)extents_memory(extents, kept), 1);
}

/* However slow the machine is, each call gives back a piece: a mebibyte of these 400 pages first.
 */
static void test_a_call_ends_in_time(void **state)
{
    (void)state;
    extents_give(extents, take_and_touch(PAGES));
    ns_of_a_look = 1000000;
    assert_true(extents_trim(extents));
    assert_int_equal(pages_with_memory(), PAGES - 256);
    assert_true(extents_trim(extents));
    assert_int_equal(pages_with_memory(), 0);
    assert_false(extents_trim(extents));
}

static void test_a_kernel_that_refuses(void **state)
{
    (void)state;
    char text[256] = "";
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    log_use(ends[1]);
    extents_give(extents, take_and_touch(PAGES));
    failing_madvise = fail_next(1, EPERM);
    assert_false(extents_trim(extents));
    extents_give(extents, take_and_touch(PAGES));
    assert_false(extents_trim(extents));
    log_use(STDERR_FILENO);
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
    close(ends[0]);
    assert_non_null(strstr(text, "madvise: Operation not permitted\n"));
    assert_int_equal(strchr(text, '\n')[1], '\0');
    assert_int_equal(failing_madvise.calls, 1);
    take_pages(PAGES);
}

static void give_twice(void)
{
    struct extent run = take_pages(4);
    extents_give(extents, run);
    extents_give(extents, run);
}

static void give_a_part(void)
{
    struct extent run = take_pages(4);
    run.count--;
    extents_give(extents, run);
}

static void give_what_is_outside(void)
{
    extents_give(extents, (struct extent){PAGES, 1});
}

static void use_what_was_given(void)
{
    struct extent run = take_pages(4);
    extents_give(extents, run);
    extents_memory(extents, run);
}

static void take_nothing(void)
{
    extents_take(extents, 0);
}

static void begin_inside_a_page(void)
{
    extents_create(base + 1, REGION_BYTES - EXTENT_PAGE_BYTES);
}

static void test_invariants(void **state)
{
    (void)state;
    const char *is_owned = "extents->owned[run.page] == run.count";
    assert_check_fails(give_twice, is_owned);
    assert_check_fails(give_a_part, is_owned);
    assert_check_fails(give_what_is_outside, "run.page < extents->pages && run.count > 0");
    assert_check_fails(use_what_was_given,
                       "run.page < extents->pages && extents->owned[run.page] == run.count");
    assert_check_fails(take_nothing, "bytes > 0");
    assert_check_fails(begin_inside_a_page, "(uintptr_t)base % EXTENT_PAGE_BYTES == 0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_whole_pages),
        TEST(test_the_last_given_is_the_first_taken),
        TEST(test_exhaustion),
        TEST(test_merging),
        TEST(test_merging_for_a_short_run),
        TEST(test_merging_with_free_pages_before),
        TEST(test_random_use),
        TEST(test_random_successions),
        TEST(test_claims),
        TEST(test_nothing_is_touched_at_first),
        TEST(test_a_steady_load_keeps_its_memory),
        TEST(test_what_a_peak_has_needed_goes_back),
        TEST(test_only_free_memory_goes_back),
        TEST(test_merged_runs_go_back),
        TEST(test_what_the_predecessor_left_goes_back),
        TEST(test_a_call_ends_in_time),
        TEST(test_a_kernel_that_refuses),
        TEST(test_invariants),
    };
    return cmocka_run_group_tests_name("extents", tests, NULL, NULL);
}
