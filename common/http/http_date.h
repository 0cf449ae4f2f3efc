/* HTTP dates (RFC 9110, 5.6.7) by own arithmetic: no locale, no time zone, no static memory. */
#ifndef TWINHTTPD_COMMON_HTTP_HTTP_DATE_H
#define TWINHTTPD_COMMON_HTTP_HTTP_DATE_H

#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* "Sun, 06 Nov 1994 08:49:37 GMT" and its NUL. */
enum { HTTP_DATE_BYTES = 30 };

/* Whether a time can be written as an HTTP date: the years 1 to 9999. */
bool http_date_can_say(int64_t unix_seconds);

/* Renders seconds since 1970 (UTC) as an IMF-fixdate, NUL-terminated. A time outside the years
 * 1 to 9999 becomes the nearest one inside. */
void http_date_format(int64_t unix_seconds, char out[HTTP_DATE_BYTES]);

/* Reads one of the three forms that a recipient must accept: IMF-fixdate, RFC 850 and asctime.
 * Letter case and length are strict, and so are the day of the month (leap years too) and the time;
 * second 60 is accepted, and any name of a day, for it adds nothing. A two-digit year is the latest
 * one that is not more than 50 years after now_unix_seconds. White space around the date is the
 * caller's to trim. False: not a date, and *unix_seconds is left alone. */
bool http_date_parse(struct span text, int64_t now_unix_seconds, int64_t *unix_seconds);

#endif
