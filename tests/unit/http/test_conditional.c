#include "common/http/conditional.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define BEFORE   "Sun, 06 Nov 1994 08:49:36 GMT"
#define MODIFIED "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER    "Sun, 06 Nov 1994 08:49:38 GMT"

static const int64_t MODIFIED_SECONDS = 784111777;
static const int64_t NOW = 1795222923; /* Sat, 21 Nov 2026 01:02:03 GMT */

#define P CONDITIONAL_PROCEED
#define N CONDITIONAL_NOT_MODIFIED
#define F CONDITIONAL_PRECONDITION_FAILED

/* Fields that a case does not name are absent. */
struct fields {
    const char *if_match;
    const char *if_unmodified_since;
    const char *if_none_match;
    const char *if_modified_since;
};

struct conditional_case {
    struct fields fields;
    enum conditional_result get;
    enum conditional_result put;
};

static struct span span_or_absent(const char *text)
{
    return text != NULL ? span_of(text) : (struct span){NULL, 0};
}

static enum conditional_result evaluate(const struct fields *fields,
                                        const struct validators *validators, bool is_get_or_head)
{
    struct conditional conditional = {
        .if_match = span_or_absent(fields->if_match),
        .if_none_match = span_or_absent(fields->if_none_match),
        .if_modified_since = span_or_absent(fields->if_modified_since),
        .if_unmodified_since = span_or_absent(fields->if_unmodified_since),
        .if_range = SPAN("\"has no say here\""),
    };
    return conditional_evaluate(&conditional, validators, is_get_or_head, NOW);
}

static void check(const struct conditional_case *c, const struct validators *validators)
{
    enum conditional_result get = evaluate(&c->fields, validators, true);
    enum conditional_result put = evaluate(&c->fields, validators, false);
    if (get != c->get || put != c->put) {
        fail_msg("If-Match: %s, If-Unmodified-Since: %s, If-None-Match: %s, "
                 "If-Modified-Since: %s: GET %d, PUT %d; expected %d, %d",
                 c->fields.if_match, c->fields.if_unmodified_since, c->fields.if_none_match,
                 c->fields.if_modified_since, (int)get, (int)put, (int)c->get, (int)c->put);
    }
}

static void check_all(const struct conditional_case *cases, size_t count,
                      const struct validators *validators)
{
    for (size_t i = 0; i < count; i++) {
        check(&cases[i], validators);
    }
}

static struct validators with_etag(const char *etag)
{
    return (struct validators){span_or_absent(etag), MODIFIED_SECONDS, true};
}

static void test_without_conditions(void **state)
{
    (void)state;
    struct validators validators = with_etag("\"a\"");
    check(&(struct conditional_case){{0}, P, P}, &validators);
    check(&(struct conditional_case){{0}, P, P}, &(struct validators){{NULL, 0}, 0, false});
}

static void test_if_match(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        {{.if_match = "\"xyzzy\""}, P, P},
        {{.if_match = "\"xyzzy\", \"r2d2xxxx\", \"c3piozzzz\""}, P, P},
        {{.if_match = "\"r2d2xxxx\",\"xyzzy\""}, P, P},
        {{.if_match = "*"}, P, P},
        {{.if_match = " * "}, P, P},
        {{.if_match = "\"XYZZY\""}, F, F},
        {{.if_match = "\"xyzz\""}, F, F},
        {{.if_match = "\"xyzzyx\""}, F, F},
        {{.if_match = "\"\""}, F, F},
        {{.if_match = ""}, F, F},
        {{.if_match = "W/\"xyzzy\""}, F, F}, /* strong comparison */
        {{.if_match = "W/\"xyzzy\", \"xyzzy\""}, P, P},
        {{.if_match = "\"*\""}, F, F},
    };
    struct validators validators = with_etag("\"xyzzy\"");
    check_all(CASES, COUNT(CASES), &validators);
}

static void test_if_none_match(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        {{.if_none_match = "\"xyzzy\""}, N, F},
        {{.if_none_match = "W/\"xyzzy\""}, N, F}, /* weak comparison */
        {{.if_none_match = "\"xyzzy\", \"r2d2xxxx\", \"c3piozzzz\""}, N, F},
        {{.if_none_match = "W/\"xyzzy\", W/\"r2d2xxxx\", W/\"c3piozzzz\""}, N, F},
        {{.if_none_match = "W/\"r2d2xxxx\", \"c3piozzzz\" ,\t\"xyzzy\""}, N, F},
        {{.if_none_match = "*"}, N, F},
        {{.if_none_match = "\t*"}, N, F},
        {{.if_none_match = "\"r2d2xxxx\""}, P, P},
        {{.if_none_match = "\"r2d2xxxx\", W/\"c3piozzzz\""}, P, P},
        {{.if_none_match = "\"xyzz\""}, P, P},
        {{.if_none_match = "\"xyzzyx\""}, P, P},
        {{.if_none_match = "\"*\""}, P, P},
    };
    struct validators validators = with_etag("\"xyzzy\"");
    check_all(CASES, COUNT(CASES), &validators);
}

/* RFC 9110, 8.8.3.2: the table of comparisons; strong by If-Match, weak by If-None-Match. */
static void test_comparisons_of_the_rfc(void **state)
{
    (void)state;
    static const struct {
        const char *etag_1;
        const char *etag_2;
        bool strong;
        bool weak;
    } CASES[] = {
        {"W/\"1\"", "W/\"1\"", false, true}, {"W/\"1\"", "W/\"2\"", false, false},
        {"W/\"1\"", "\"1\"", false, true},   {"\"1\"", "W/\"1\"", false, true},
        {"\"1\"", "\"1\"", true, true},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct validators validators = with_etag(CASES[i].etag_1);
        struct fields match = {.if_match = CASES[i].etag_2};
        struct fields none_match = {.if_none_match = CASES[i].etag_2};
        assert_int_equal(evaluate(&match, &validators, true), CASES[i].strong ? P : F);
        assert_int_equal(evaluate(&none_match, &validators, true), CASES[i].weak ? N : P);
    }
}

static void test_entity_tag_lists(void **state)
{
    (void)state;
    static const struct {
        const char *list;
        bool matches;
    } CASES[] = {
        /* empty members (RFC 9110, 5.6.1.2) and white space */
        {",\"a\"", true},
        {"\"a\",", true},
        {" , ,\t\"a\" ,, ", true},
        {"\"b\",,\"a\"", true},
        {"\"b\"\t,\t\"a\"", true},
        {",", false},
        {" ", false},
        /* malformed: nothing matches, not even the member that is right */
        {"a", false},
        {"\"a", false},
        {"a\"", false},
        {"\"", false},
        {"'a'", false},
        {"w/\"a\"", false},
        {"W\"a\"", false},
        {"/\"a\"", false},
        {"W/", false},
        {"W", false},
        {"W/a", false},
        {"W/ \"a\"", false},
        {"W/W/\"a\"", false},
        {"\"a\" \"b\"", false},
        {"\"a\"\"b\"", false},
        {"\"b\" \"a\"", false},
        {"\"a\"; \"b\"", false},
        {"\"a\", b", false},
        {"b, \"a\"", false},
        {"\"a\", \"b", false},
        {"\"a\", *", false},
        {"*, \"a\"", false},
        {"*,", false},
        {"**", false},
        {"\"a\"x", false},
        {"x\"a\"", false},
        {"\"a \"", false},
        {"\"a\", \"b b\"", false},
        {"\"a\", \"b\x7f\"", false},
        {"\"a\", \"b\tb\"", false},
        {"\"a\", \"b\xff\"", true},
        {"\"a\", \"!#\"", true},
    };
    struct validators validators = with_etag("\"a\"");
    for (size_t i = 0; i < COUNT(CASES); i++) {
        enum conditional_result match = CASES[i].matches ? P : F;
        enum conditional_result none_match = CASES[i].matches ? N : P;
        check(&(struct conditional_case){{.if_match = CASES[i].list}, match, match}, &validators);
        assert_int_equal(
            evaluate(&(struct fields){.if_none_match = CASES[i].list}, &validators, true),
            none_match);
    }
}

/* The separator of the list, the wildcard and a backslash are ordinary bytes between quotes. */
static void test_unusual_entity_tags(void **state)
{
    (void)state;
    static const struct {
        const char *etag;
        const char *list;
        bool matches;
    } CASES[] = {
        {"\"a,b\"", "\"a,b\"", true},       {"\"a,b\"", "\"x\",\"a,b\"", true},
        {"\"a\"", "\"x,\"a\",x\"", false},  {"\"*\"", "\"*\"", true},
        {"\"a\\\"", "\"a\\\"", true},       {"\"\"", "\"\"", true},
        {"\"W/\"", "\"W/\"", true},         {"\"\xc3\xa4\"", "\"\xc3\xa4\"", true},
        {"\"65-5f3\"", "\"65-5f3\"", true}, {"\"a\"", "\"a-gzip\"", false},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct validators validators = with_etag(CASES[i].etag);
        assert_int_equal(
            evaluate(&(struct fields){.if_none_match = CASES[i].list}, &validators, true),
            CASES[i].matches ? N : P);
    }
}

static void test_if_modified_since(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        {{.if_modified_since = BEFORE}, P, P},
        {{.if_modified_since = MODIFIED}, N, P}, /* GET and HEAD alone */
        {{.if_modified_since = AFTER}, N, P},
        {{.if_modified_since = " " MODIFIED "\t"}, N, P},
        {{.if_modified_since = "Sunday, 06-Nov-94 08:49:37 GMT"}, N, P},
        {{.if_modified_since = "Sunday, 06-Nov-94 08:49:36 GMT"}, P, P},
        {{.if_modified_since = "Thursday, 01-Jan-26 00:00:00 GMT"}, N, P}, /* 2026, by NOW */
        {{.if_modified_since = "Sun Nov  6 08:49:37 1994"}, N, P},
        {{.if_modified_since = "Fri, 31 Dec 9999 23:59:59 GMT"}, N, P},
        /* not a date: ignored */
        {{.if_modified_since = ""}, P, P},
        {{.if_modified_since = "*"}, P, P},
        {{.if_modified_since = "tomorrow"}, P, P},
        {{.if_modified_since = "Sun, 06 Nov 1994 08:49:37 UTC"}, P, P},
        {{.if_modified_since = AFTER ", " AFTER}, P, P},
        {{.if_modified_since = AFTER "; length=17"}, P, P},
    };
    struct validators validators = with_etag("\"a\"");
    check_all(CASES, COUNT(CASES), &validators);
}

static void test_if_unmodified_since(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        {{.if_unmodified_since = BEFORE}, F, F},
        {{.if_unmodified_since = MODIFIED}, P, P},
        {{.if_unmodified_since = AFTER}, P, P},
        {{.if_unmodified_since = "Sunday, 06-Nov-94 08:49:36 GMT"}, F, F},
        /* not a date: ignored */
        {{.if_unmodified_since = ""}, P, P},
        {{.if_unmodified_since = "yesterday"}, P, P},
        {{.if_unmodified_since = "sun, 06 nov 1994 08:49:36 gmt"}, P, P},
        {{.if_unmodified_since = BEFORE ", " BEFORE}, P, P},
    };
    struct validators validators = with_etag("\"a\"");
    check_all(CASES, COUNT(CASES), &validators);
}

/* RFC 9110, 13.2.2, step by step. */
static void test_precedence(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        /* 1 before 2: If-Match silences If-Unmodified-Since, also when it is malformed */
        {{.if_match = "\"a\"", .if_unmodified_since = BEFORE}, P, P},
        {{.if_match = "\"b\"", .if_unmodified_since = AFTER}, F, F},
        {{.if_match = "a", .if_unmodified_since = AFTER}, F, F},
        /* 1 and 2 before 3 */
        {{.if_match = "\"b\"", .if_none_match = "\"a\""}, F, F},
        {{.if_match = "\"a\"", .if_none_match = "\"a\""}, N, F},
        {{.if_match = "\"a\"", .if_none_match = "\"b\""}, P, P},
        {{.if_unmodified_since = BEFORE, .if_none_match = "\"a\""}, F, F},
        {{.if_unmodified_since = AFTER, .if_none_match = "\"a\""}, N, F},
        {{.if_unmodified_since = AFTER, .if_none_match = "\"b\""}, P, P},
        /* 1 and 2 before 4 */
        {{.if_match = "\"b\"", .if_modified_since = AFTER}, F, F},
        {{.if_match = "\"a\"", .if_modified_since = AFTER}, N, P},
        {{.if_unmodified_since = BEFORE, .if_modified_since = BEFORE}, F, F},
        {{.if_unmodified_since = MODIFIED, .if_modified_since = MODIFIED}, N, P},
        /* 3 before 4: If-None-Match silences If-Modified-Since, also when it is malformed */
        {{.if_none_match = "\"b\"", .if_modified_since = AFTER}, P, P},
        {{.if_none_match = "b", .if_modified_since = AFTER}, P, P},
        {{.if_none_match = "", .if_modified_since = AFTER}, P, P},
        {{.if_none_match = "\"a\"", .if_modified_since = BEFORE}, N, F},
        /* all of them */
        {{.if_match = "\"a\"",
          .if_unmodified_since = BEFORE,
          .if_none_match = "W/\"a\"",
          .if_modified_since = BEFORE},
         N,
         F},
    };
    struct validators validators = with_etag("\"a\"");
    check_all(CASES, COUNT(CASES), &validators);
}

static void test_nothing_there(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        {{.if_match = "*"}, F, F},
        {{.if_match = "\"a\""}, F, F},
        {{.if_none_match = "*"}, P, P}, /* "create, do not overwrite" */
        {{.if_none_match = "\"a\""}, P, P},
        {{.if_modified_since = AFTER}, P, P},
        {{.if_unmodified_since = BEFORE}, P, P},
    };
    struct validators validators = {SPAN("\"a\""), MODIFIED_SECONDS, false};
    check_all(CASES, COUNT(CASES), &validators);
}

static void test_without_entity_tag(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        {{.if_match = "*"}, P, P},
        {{.if_match = "\"a\""}, F, F},
        {{.if_match = "\"\""}, F, F},
        {{.if_none_match = "*"}, N, F},
        {{.if_none_match = "\"a\""}, P, P},
        {{.if_none_match = "\"\"", .if_modified_since = AFTER}, P, P},
        {{.if_modified_since = MODIFIED}, N, P},
    };
    struct validators validators = with_etag(NULL);
    check_all(CASES, COUNT(CASES), &validators);
}

static void test_without_date(void **state)
{
    (void)state;
    static const struct conditional_case CASES[] = {
        {{.if_modified_since = AFTER}, P, P},
        {{.if_unmodified_since = BEFORE}, P, P},
        {{.if_none_match = "\"a\""}, N, F},
    };
    struct validators validators = {SPAN("\"a\""), CONDITIONAL_NO_DATE, true};
    check_all(CASES, COUNT(CASES), &validators);
}

/* The text is in memory of exactly its size, so that a sanitizer sees a read behind it. */
static void test_every_prefix_of_a_list(void **state)
{
    (void)state;
    const char *const list = "W/\"x\" , \"yy\",,W/\"\"\t,\"z\"";
    struct validators validators = with_etag("\"a\"");
    for (size_t len = 0; len <= strlen(list); len++) {
        char *copy = malloc(len + (len == 0));
        assert_non_null(copy);
        memcpy(copy, list, len);
        struct conditional conditional = {.if_none_match = {copy, len}};
        assert_int_equal(conditional_evaluate(&conditional, &validators, true, NOW), P);
        assert_false(conditional_if_range_holds((struct span){copy, len}, &validators, NOW));
        free(copy);
    }
    struct conditional nul = {.if_none_match = SPAN("\"b\",\0\"a\"")};
    assert_int_equal(conditional_evaluate(&nul, &validators, true, NOW), P);
}

static void test_if_range(void **state)
{
    (void)state;
    static const struct {
        const char *if_range;
        const char *etag;
        bool holds;
    } CASES[] = {
        {NULL, "\"a\"", true},
        {NULL, NULL, true},
        {"\"a\"", "\"a\"", true},
        {" \"a\" ", "\"a\"", true},
        {"\"b\"", "\"a\"", false},
        {"\"a\"", NULL, false},
        /* strong comparison, on both sides */
        {"W/\"a\"", "\"a\"", false},
        {"\"a\"", "W/\"a\"", false},
        {"W/\"a\"", "W/\"a\"", false},
        /* one tag, no list, no wildcard */
        {"\"a\", \"a\"", "\"a\"", false},
        {"\"a\",", "\"a\"", false},
        {"*", "\"a\"", false},
        {"a", "\"a\"", false},
        {"", "\"a\"", false},
        {"\"a", "\"a\"", false},
        /* exactly the date; an earlier or later one says nothing */
        {MODIFIED, "\"a\"", true},
        {MODIFIED, NULL, true},
        {MODIFIED, "W/\"a\"", true},
        {"Sunday, 06-Nov-94 08:49:37 GMT", "\"a\"", true},
        {BEFORE, "\"a\"", false},
        {AFTER, "\"a\"", false},
        {MODIFIED "x", "\"a\"", false},
        {"\"" MODIFIED "\"", "\"a\"", false},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct validators validators = with_etag(CASES[i].etag);
        struct span if_range = span_or_absent(CASES[i].if_range);
        if (conditional_if_range_holds(if_range, &validators, NOW) != CASES[i].holds) {
            fail_msg("If-Range: %s against %s", CASES[i].if_range, CASES[i].etag);
        }
    }
}

static void test_if_range_trusts_no_young_date(void **state)
{
    (void)state;
    struct validators validators = with_etag("\"a\"");
    struct span date = SPAN(MODIFIED);
    for (int64_t age = -1; age < CONDITIONAL_STRONG_DATE_S; age++) {
        assert_false(conditional_if_range_holds(date, &validators, MODIFIED_SECONDS + age));
    }
    assert_true(conditional_if_range_holds(date, &validators,
                                           MODIFIED_SECONDS + CONDITIONAL_STRONG_DATE_S));
    assert_true(conditional_if_range_holds(SPAN("\"a\""), &validators, MODIFIED_SECONDS));
}

static void test_if_range_without_representation_or_date(void **state)
{
    (void)state;
    struct validators gone = {SPAN("\"a\""), MODIFIED_SECONDS, false};
    assert_false(conditional_if_range_holds(SPAN("\"a\""), &gone, NOW));
    assert_false(conditional_if_range_holds(SPAN(MODIFIED), &gone, NOW));
    struct validators undated = {SPAN("\"a\""), CONDITIONAL_NO_DATE, true};
    assert_true(conditional_if_range_holds(SPAN("\"a\""), &undated, NOW));
    assert_false(conditional_if_range_holds(SPAN(MODIFIED), &undated, NOW));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_conditions),
        cmocka_unit_test(test_if_match),
        cmocka_unit_test(test_if_none_match),
        cmocka_unit_test(test_comparisons_of_the_rfc),
        cmocka_unit_test(test_entity_tag_lists),
        cmocka_unit_test(test_unusual_entity_tags),
        cmocka_unit_test(test_if_modified_since),
        cmocka_unit_test(test_if_unmodified_since),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_without_entity_tag),
        cmocka_unit_test(test_without_date),
        cmocka_unit_test(test_every_prefix_of_a_list),
        cmocka_unit_test(test_if_range),
        cmocka_unit_test(test_if_range_trusts_no_young_date),
        cmocka_unit_test(test_if_range_without_representation_or_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
