#include "common/http/http_date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const int64_t RFC_EXAMPLE = 784111777;    /* Sun, 06 Nov 1994 08:49:37 GMT */
static const int64_t NOVEMBER_2026 = 1795222923; /* Sat, 21 Nov 2026 01:02:03 GMT */

static const struct {
    int64_t unix_seconds;
    const char *text;
} DATES[] = {
    {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
    {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
    {-1, "Wed, 31 Dec 1969 23:59:59 GMT"},
    {86399, "Thu, 01 Jan 1970 23:59:59 GMT"},
    {86400, "Fri, 02 Jan 1970 00:00:00 GMT"},
    {-86400, "Wed, 31 Dec 1969 00:00:00 GMT"},
    {-86401, "Tue, 30 Dec 1969 23:59:59 GMT"},
    {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
    {951868800, "Wed, 01 Mar 2000 00:00:00 GMT"},
    {1709164800, "Thu, 29 Feb 2024 00:00:00 GMT"},
    {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
    {4107542399, "Sun, 28 Feb 2100 23:59:59 GMT"},
    {-2203891200, "Thu, 01 Mar 1900 00:00:00 GMT"},
    {2147483648, "Tue, 19 Jan 2038 03:14:08 GMT"},
    {1795222923, "Sat, 21 Nov 2026 01:02:03 GMT"},
    {-62135596800, "Mon, 01 Jan 0001 00:00:00 GMT"},
    {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
};

static int64_t parse(const char *text, int64_t now_unix_seconds)
{
    int64_t result = INT64_MIN;
    if (!http_date_parse(span_of(text), now_unix_seconds, &result)) {
        fail_msg("\"%s\" was refused", text);
    }
    return result;
}

static void assert_refused(struct span text)
{
    int64_t untouched = 4711;
    if (http_date_parse(text, NOVEMBER_2026, &untouched)) {
        fail_msg("\"%.*s\" was accepted as %" PRId64, (int)text.len, text.ptr, untouched);
    }
    assert_int_equal(untouched, 4711);
}

static void test_known_dates_are_formatted(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(DATES); i++) {
        char text[HTTP_DATE_BYTES];
        http_date_format(DATES[i].unix_seconds, text);
        assert_string_equal(text, DATES[i].text);
    }
}

static void test_known_dates_are_parsed(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(DATES); i++) {
        assert_int_equal(parse(DATES[i].text, NOVEMBER_2026), DATES[i].unix_seconds);
    }
}

static void test_times_outside_the_calendar_are_clamped(void **state)
{
    (void)state;
    static const struct {
        int64_t unix_seconds;
        const char *text;
    } CASES[] = {
        {INT64_MIN, "Mon, 01 Jan 0001 00:00:00 GMT"},
        {-62135596801, "Mon, 01 Jan 0001 00:00:00 GMT"},
        {253402300800, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        char text[HTTP_DATE_BYTES];
        http_date_format(CASES[i].unix_seconds, text);
        assert_string_equal(text, CASES[i].text);
    }
}

static void assert_agrees_with_the_c_library(int64_t unix_seconds)
{
    char ours[HTTP_DATE_BYTES];
    char theirs[64];
    time_t seconds = (time_t)unix_seconds;
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    assert_true(strftime(theirs, sizeof theirs, "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0);
    http_date_format(unix_seconds, ours);
    assert_string_equal(ours, theirs);
    assert_int_equal(parse(ours, 0), unix_seconds);
}

/* The years from 1000 on, which strftime writes with four digits too. */
static void test_agrees_with_the_c_library_and_with_itself(void **state)
{
    (void)state;
    const int64_t year_1000 = -30610224000;
    const int64_t year_10000 = 253402300800;
    const int64_t step = 86400 * 11 + 7919; /* meets every day of the year and time of day */
    for (int64_t t = year_1000; t < year_10000; t += step) {
        assert_agrees_with_the_c_library(t);
    }
}

static void test_every_day_of_four_centuries(void **state)
{
    (void)state;
    const int64_t year_1800 = -5364662400;
    for (int64_t day = 0; day < 146097; day++) {
        assert_agrees_with_the_c_library(year_1800 + day * 86400);
    }
}

static void test_the_three_forms_mean_the_same(void **state)
{
    (void)state;
    static const char *const FORMS[] = {
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
    };
    for (size_t i = 0; i < COUNT(FORMS); i++) {
        assert_int_equal(parse(FORMS[i], NOVEMBER_2026), RFC_EXAMPLE);
    }
}

static void test_a_two_digit_day_in_asctime(void **state)
{
    (void)state;
    assert_int_equal(parse("Wed Nov 16 08:49:37 1994", 0), RFC_EXAMPLE + 10 * 86400);
}

static void test_any_day_name_will_do(void **state)
{
    (void)state;
    static const char *const FORMS[] = {
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Saturday, 06-Nov-94 08:49:37 GMT",
        "Thu Nov  6 08:49:37 1994",
    };
    for (size_t i = 0; i < COUNT(FORMS); i++) {
        assert_int_equal(parse(FORMS[i], NOVEMBER_2026), RFC_EXAMPLE);
    }
}

static void test_every_month_and_day_name_is_known(void **state)
{
    (void)state;
    static const char *const MONTHS[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const char *const DAYS[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
    int64_t previous = 0;
    for (size_t i = 0; i < COUNT(MONTHS); i++) {
        char text[64];
        snprintf(text, sizeof text, "%.3s, 28 %s 2026 00:00:00 GMT", DAYS[i % 7], MONTHS[i]);
        int64_t imf = parse(text, 0);
        assert_true(imf > previous);
        previous = imf;
        snprintf(text, sizeof text, "%s, 28-%s-26 00:00:00 GMT", DAYS[i % 7], MONTHS[i]);
        assert_int_equal(parse(text, NOVEMBER_2026), imf);
        snprintf(text, sizeof text, "%.3s %s 28 00:00:00 2026", DAYS[i % 7], MONTHS[i]);
        assert_int_equal(parse(text, 0), imf);
    }
}

static void test_a_leap_second_is_the_next_second(void **state)
{
    (void)state;
    assert_int_equal(parse("Sat, 31 Dec 2016 23:59:60 GMT", 0), 1483228800);
    assert_int_equal(parse("Saturday, 31-Dec-16 23:59:60 GMT", NOVEMBER_2026), 1483228800);
    assert_int_equal(parse("Sat Dec 31 23:59:60 2016", 0), 1483228800);
}

static void test_two_digit_years_end_fifty_years_from_now(void **state)
{
    (void)state;
    static const struct {
        const char *now;
        const char *text;
        const char *meaning;
    } CASES[] = {
        /* The second that decides: 50 years ahead is still the future, one more is the past. */
        {"Sat, 21 Nov 2026 01:02:03 GMT", "Sunday, 21-Nov-76 01:02:03 GMT",
         "Sat, 21 Nov 2076 01:02:03 GMT"},
        {"Sat, 21 Nov 2026 01:02:03 GMT", "Sunday, 21-Nov-76 01:02:04 GMT",
         "Sun, 21 Nov 1976 01:02:04 GMT"},
        {"Sat, 21 Nov 2026 01:02:03 GMT", "Sunday, 22-Nov-76 00:00:00 GMT",
         "Sun, 22 Nov 1976 00:00:00 GMT"},
        {"Sat, 21 Nov 2026 01:02:03 GMT", "Friday, 01-Jan-77 00:00:00 GMT",
         "Fri, 01 Jan 1977 00:00:00 GMT"},
        {"Sat, 21 Nov 2026 01:02:03 GMT", "Friday, 31-Dec-99 23:59:59 GMT",
         "Fri, 31 Dec 1999 23:59:59 GMT"},
        {"Sat, 21 Nov 2026 01:02:03 GMT", "Friday, 01-Jan-00 00:00:00 GMT",
         "Sat, 01 Jan 2000 00:00:00 GMT"},
        /* Across the end of a century, in both directions. */
        {"Fri, 31 Dec 1999 00:00:00 GMT", "Saturday, 01-Jan-05 00:00:00 GMT",
         "Sat, 01 Jan 2005 00:00:00 GMT"},
        {"Fri, 31 Dec 1999 00:00:00 GMT", "Saturday, 01-Jan-49 00:00:00 GMT",
         "Fri, 01 Jan 2049 00:00:00 GMT"},
        {"Fri, 31 Dec 1999 00:00:00 GMT", "Saturday, 01-Jan-50 00:00:00 GMT",
         "Sun, 01 Jan 1950 00:00:00 GMT"},
        {"Sat, 01 Jan 2000 00:00:00 GMT", "Friday, 31-Dec-99 23:59:59 GMT",
         "Fri, 31 Dec 1999 23:59:59 GMT"},
        {"Sun, 01 Jan 2090 00:00:00 GMT", "Friday, 01-Jan-10 00:00:00 GMT",
         "Wed, 01 Jan 2110 00:00:00 GMT"},
        /* "Now" on a leap day: fifty years later there is none, its place is the first of March. */
        {"Thu, 29 Feb 2024 00:00:00 GMT", "Sunday, 01-Mar-74 00:00:00 GMT",
         "Thu, 01 Mar 2074 00:00:00 GMT"},
        {"Thu, 29 Feb 2024 00:00:00 GMT", "Sunday, 01-Mar-74 00:00:01 GMT",
         "Fri, 01 Mar 1974 00:00:01 GMT"},
        /* The century decides whether there is a leap day. */
        {"Sat, 21 Nov 2026 01:02:03 GMT", "Tuesday, 29-Feb-00 00:00:00 GMT",
         "Tue, 29 Feb 2000 00:00:00 GMT"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        int64_t now = parse(CASES[i].now, 0);
        assert_int_equal(parse(CASES[i].text, now), parse(CASES[i].meaning, 0));
    }
}

static void test_two_digit_years_at_the_ends_of_time(void **state)
{
    (void)state;
    static const int64_t NOWS[] = {INT64_MIN, -62135596800, 253402300799, INT64_MAX};
    int64_t result = 4711;
    for (size_t i = 0; i < COUNT(NOWS); i++) {
        (void)http_date_parse(SPAN("Sunday, 06-Nov-94 08:49:37 GMT"), NOWS[i], &result);
    }
    /* 1 AD: the year 94 is more than 50 years ahead, and before it there is no other. */
    result = 4711;
    assert_false(http_date_parse(SPAN("Sunday, 06-Nov-94 08:49:37 GMT"), INT64_MIN, &result));
    /* 2060: 29 February 2100 does not exist. */
    assert_false(http_date_parse(SPAN("Sunday, 29-Feb-00 00:00:00 GMT"), 2840140800, &result));
    /* 9999: the year 10020 would be near enough, but the calendar ends. */
    assert_false(http_date_parse(SPAN("Sunday, 06-Nov-20 08:49:37 GMT"), INT64_MAX, &result));
    assert_int_equal(result, 4711);
}

static void test_days_of_the_month(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } CASES[] = {
        {"Sun, 31 Jan 2026 00:00:00 GMT", true},  {"Sun, 32 Jan 2026 00:00:00 GMT", false},
        {"Sun, 28 Feb 2026 00:00:00 GMT", true},  {"Sun, 29 Feb 2026 00:00:00 GMT", false},
        {"Sun, 29 Feb 2024 00:00:00 GMT", true},  {"Sun, 30 Feb 2024 00:00:00 GMT", false},
        {"Sun, 29 Feb 2000 00:00:00 GMT", true},  {"Sun, 29 Feb 1900 00:00:00 GMT", false},
        {"Sun, 29 Feb 2100 00:00:00 GMT", false}, {"Sun, 31 Mar 2026 00:00:00 GMT", true},
        {"Sun, 30 Apr 2026 00:00:00 GMT", true},  {"Sun, 31 Apr 2026 00:00:00 GMT", false},
        {"Sun, 31 May 2026 00:00:00 GMT", true},  {"Sun, 31 Jun 2026 00:00:00 GMT", false},
        {"Sun, 31 Jul 2026 00:00:00 GMT", true},  {"Sun, 31 Aug 2026 00:00:00 GMT", true},
        {"Sun, 31 Sep 2026 00:00:00 GMT", false}, {"Sun, 31 Oct 2026 00:00:00 GMT", true},
        {"Sun, 31 Nov 2026 00:00:00 GMT", false}, {"Sun, 31 Dec 2026 00:00:00 GMT", true},
        {"Sun, 00 Jan 2026 00:00:00 GMT", false}, {"Sunday, 29-Feb-26 00:00:00 GMT", false},
        {"Sunday, 29-Feb-24 00:00:00 GMT", true}, {"Sun Feb 29 00:00:00 2026", false},
        {"Sun Feb 29 00:00:00 2024", true},       {"Sun Feb  0 00:00:00 2024", false},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        if (CASES[i].valid) {
            parse(CASES[i].text, NOVEMBER_2026);
        } else {
            assert_refused(span_of(CASES[i].text));
        }
    }
}

static void test_malformed_dates_are_refused(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "",
        "0",
        "GMT",
        "784111777",
        "1994-11-06T08:49:37Z",
        /* case */
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 NOV 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        /* names */
        "Son, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nop 1994 08:49:37 GMT",
        "Sun, 06 11 1994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday Nov  6 08:49:37 1994",
        "06 Nov 1994 08:49:37 GMT",
        /* zone */
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT+1",
        "Sun, 06 Nov 1994 08:49:37 GM",
        "Sunday, 06-Nov-94 08:49:37 EST",
        "Sun Nov  6 08:49:37 1994 GMT",
        /* white space */
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun,06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT",
        "Sun, 06\tNov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994  08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  06 08:49:37 1994",
        /* widths and digits */
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 006 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 994 08:49:37 GMT",
        "Sun, 06 Nov 11994 08:49:37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 06 Nov 1994 08:49:37.5 GMT",
        "Sun, 06 Nov 1994 08-49-37 GMT",
        "Sun, 0x Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 199: 08:49:37 GMT",
        "Sun, 06 Nov 199/ 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06-Nov-4 08:49:37 GMT",
        "Sunday, 06 Nov 94 08:49:37 GMT",
        "Sunday, 06-Nov 94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov  6 08:49:37 19944",
        /* ranges */
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun Nov  6 08:49:37 0000",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sunday, 06-Nov-94 24:49:37 GMT",
        "Sunday, 06-Nov-94 08:99:37 GMT",
        "Sunday, 99-Nov-94 08:49:37 GMT",
        "Sun Nov  6 99:49:37 1994",
        /* more than one, or more than a date */
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT; length=123",
        "\"Sun, 06 Nov 1994 08:49:37 GMT\"",
        "\xff\xff\xff, 06 Nov 1994 08:49:37 GMT",
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        assert_refused(span_of(CASES[i]));
    }
    assert_refused(SPAN("Sun, 06 Nov 1994 08:49:37 GMT\0"));
    assert_refused(SPAN("Sun\0 06 Nov 1994 08:49:37 GMT"));
    assert_refused((struct span){NULL, 0});
}

/* Each prefix lives in memory of exactly its size, so that a sanitizer sees a read behind it. */
static void test_cut_dates_are_refused(void **state)
{
    (void)state;
    static const char *const FORMS[] = {
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    };
    for (size_t i = 0; i < COUNT(FORMS); i++) {
        for (size_t len = 1; len < strlen(FORMS[i]); len++) {
            char *copy = malloc(len);
            assert_non_null(copy);
            memcpy(copy, FORMS[i], len);
            assert_refused((struct span){copy, len});
            free(copy);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_dates_are_formatted),
        cmocka_unit_test(test_known_dates_are_parsed),
        cmocka_unit_test(test_times_outside_the_calendar_are_clamped),
        cmocka_unit_test(test_agrees_with_the_c_library_and_with_itself),
        cmocka_unit_test(test_every_day_of_four_centuries),
        cmocka_unit_test(test_the_three_forms_mean_the_same),
        cmocka_unit_test(test_a_two_digit_day_in_asctime),
        cmocka_unit_test(test_any_day_name_will_do),
        cmocka_unit_test(test_every_month_and_day_name_is_known),
        cmocka_unit_test(test_a_leap_second_is_the_next_second),
        cmocka_unit_test(test_two_digit_years_end_fifty_years_from_now),
        cmocka_unit_test(test_two_digit_years_at_the_ends_of_time),
        cmocka_unit_test(test_days_of_the_month),
        cmocka_unit_test(test_malformed_dates_are_refused),
        cmocka_unit_test(test_cut_dates_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
