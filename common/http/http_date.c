#include "common/http/http_date.h"

enum {
    SECONDS_PER_DAY = 86400,
    DAYS_PER_ERA = 146097, /* 400 years: then the calendar repeats */
    DAYS_FROM_ERA_0_TO_1970 = 719468
};

/* 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z. */
static const int64_t FIRST_SECOND = -62135596800;
static const int64_t LAST_SECOND = 253402300799;

static const char *const DAYS[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const LONG_DAYS[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};
static const char *const MONTHS[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct date {
    int64_t year;
    int64_t month; /* 1 to 12 */
    int64_t day;   /* 1 to 31 */
    int64_t hour;
    int64_t minute;
    int64_t second;
};

/* The era's year starts on the first of March, so that the leap day comes last. A day behind the
 * end of its month counts on into the next one. Years from 0 on. */
static int64_t days_from_civil(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t month_from_march = month > 2 ? month - 3 : month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_ERA + day_of_era - DAYS_FROM_ERA_0_TO_1970;
}

/* The inverse, for days from 0000-03-01 on. */
static void civil_from_days(int64_t days, struct date *date)
{
    days += DAYS_FROM_ERA_0_TO_1970;
    int64_t era = days / DAYS_PER_ERA;
    int64_t day_of_era = days - era * DAYS_PER_ERA;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    date->day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    date->month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    date->year = year_of_era + era * 400 + (date->month <= 2);
}

static int64_t seconds_of(const struct date *date)
{
    return days_from_civil(date->year, date->month, date->day) * SECONDS_PER_DAY +
           date->hour * 3600 + date->minute * 60 + date->second;
}

bool http_date_can_say(int64_t unix_seconds)
{
    return unix_seconds >= FIRST_SECOND && unix_seconds <= LAST_SECOND;
}

static int64_t clamp(int64_t unix_seconds)
{
    if (unix_seconds < FIRST_SECOND) {
        return FIRST_SECOND;
    }
    return unix_seconds > LAST_SECOND ? LAST_SECOND : unix_seconds;
}

/* Days since 1970 (rounded down, also before it) of a clamped time; the date's fields filled. */
static int64_t date_of(int64_t unix_seconds, struct date *date)
{
    int64_t second_of_day = unix_seconds % SECONDS_PER_DAY;
    if (second_of_day < 0) {
        second_of_day += SECONDS_PER_DAY;
    }
    int64_t days = (unix_seconds - second_of_day) / SECONDS_PER_DAY;
    civil_from_days(days, date);
    date->hour = second_of_day / 3600;
    date->minute = second_of_day / 60 % 60;
    date->second = second_of_day % 60;
    return days;
}

static char *put_text(char *to, const char *text)
{
    size_t len = strlen(text);
    memcpy(to, text, len);
    return to + len;
}

static char *put_number(char *to, int64_t number, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        to[i] = (char)('0' + number % 10);
        number /= 10;
    }
    return to + digits;
}

void http_date_format(int64_t unix_seconds, char out[HTTP_DATE_BYTES])
{
    struct date date;
    int64_t days = date_of(clamp(unix_seconds), &date);
    int64_t weekday = ((days + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
    out = put_text(out, DAYS[weekday]);
    out = put_text(out, ", ");
    out = put_number(out, date.day, 2);
    out = put_text(out, " ");
    out = put_text(out, MONTHS[date.month - 1]);
    out = put_text(out, " ");
    out = put_number(out, date.year, 4);
    out = put_text(out, " ");
    out = put_number(out, date.hour, 2);
    out = put_text(out, ":");
    out = put_number(out, date.minute, 2);
    out = put_text(out, ":");
    out = put_number(out, date.second, 2);
    out = put_text(out, " GMT");
    *out = '\0';
}

/* The take_ functions remove what they recognize from the front of the text, or return false. */

static bool take_text(struct span *text, const char *expected)
{
    size_t len = strlen(expected);
    if (text->len < len || memcmp(text->ptr, expected, len) != 0) {
        return false;
    }
    text->ptr += len;
    text->len -= len;
    return true;
}

static bool take_name(struct span *text, const char *const *names, size_t count, int64_t *number)
{
    for (size_t i = 0; i < count; i++) {
        if (take_text(text, names[i])) {
            *number = (int64_t)i + 1;
            return true;
        }
    }
    return false;
}

static bool take_number(struct span *text, size_t digits, int64_t *number)
{
    if (text->len < digits) {
        return false;
    }
    int64_t result = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = text->ptr[i];
        if (c < '0' || c > '9') {
            return false;
        }
        result = result * 10 + (c - '0');
    }
    text->ptr += digits;
    text->len -= digits;
    *number = result;
    return true;
}

static bool take_day_name(struct span *text, const char *const *names)
{
    int64_t ignored;
    return take_name(text, names, 7, &ignored);
}

static bool take_month(struct span *text, struct date *date)
{
    return take_name(text, MONTHS, 12, &date->month);
}

static bool take_time(struct span *text, struct date *date)
{
    return take_number(text, 2, &date->hour) && take_text(text, ":") &&
           take_number(text, 2, &date->minute) && take_text(text, ":") &&
           take_number(text, 2, &date->second);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool scan_imf_fixdate(struct span text, struct date *date)
{
    return take_day_name(&text, DAYS) && take_text(&text, ", ") &&
           take_number(&text, 2, &date->day) && take_text(&text, " ") && take_month(&text, date) &&
           take_text(&text, " ") && take_number(&text, 4, &date->year) && take_text(&text, " ") &&
           take_time(&text, date) && take_text(&text, " GMT") && text.len == 0;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT": the year is left with its two digits. */
static bool scan_rfc850_date(struct span text, struct date *date)
{
    return take_day_name(&text, LONG_DAYS) && take_text(&text, ", ") &&
           take_number(&text, 2, &date->day) && take_text(&text, "-") && take_month(&text, date) &&
           take_text(&text, "-") && take_number(&text, 2, &date->year) && take_text(&text, " ") &&
           take_time(&text, date) && take_text(&text, " GMT") && text.len == 0;
}

/* "Sun Nov  6 08:49:37 1994" */
static bool scan_asctime_date(struct span text, struct date *date)
{
    return take_day_name(&text, DAYS) && take_text(&text, " ") && take_month(&text, date) &&
           take_text(&text, " ") &&
           (take_text(&text, " ") ? take_number(&text, 1, &date->day)
                                  : take_number(&text, 2, &date->day)) &&
           take_text(&text, " ") && take_time(&text, date) && take_text(&text, " ") &&
           take_number(&text, 4, &date->year) && text.len == 0;
}

/* Turns a two-digit year into the latest that is at most 50 years ahead (RFC 9110, 5.6.7). */
static void complete_year(struct date *date, int64_t now_unix_seconds)
{
    struct date limit;
    date_of(clamp(now_unix_seconds), &limit);
    date->year += (limit.year / 100 + 1) * 100;
    limit.year += 50;
    while (seconds_of(date) > seconds_of(&limit)) {
        date->year -= 100;
    }
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    static const int64_t DAYS_IN[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : DAYS_IN[month - 1];
}

/* The scan bounds the fields from below and by their number of digits; the month came by name. */
static bool date_is_valid(const struct date *date)
{
    return date->year >= 1 && date->year <= 9999 && date->day >= 1 &&
           date->day <= days_in_month(date->year, date->month) && date->hour <= 23 &&
           date->minute <= 59 && date->second <= 60;
}

bool http_date_parse(struct span text, int64_t now_unix_seconds, int64_t *unix_seconds)
{
    struct date date = {0};
    if (scan_rfc850_date(text, &date)) {
        complete_year(&date, now_unix_seconds);
    } else if (!scan_imf_fixdate(text, &date) && !scan_asctime_date(text, &date)) {
        return false;
    }
    if (!date_is_valid(&date)) {
        return false;
    }
    *unix_seconds = seconds_of(&date);
    return true;
}
