/* Conditional requests (RFC 9110, 13): whether the client already has, or still has, what it names.
 */
#ifndef TWINHTTPD_COMMON_HTTP_CONDITIONAL_H
#define TWINHTTPD_COMMON_HTTP_CONDITIONAL_H

#include "common/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* The request's header field values; ptr is NULL where the field is absent. Lists that came in
 * several fields have been joined with commas (RFC 9110, 5.3). */
struct conditional {
    struct span if_match;
    struct span if_none_match;
    struct span if_modified_since;
    struct span if_unmodified_since;
    struct span if_range;
};

/* In validators: the representation has no date of modification. */
#define CONDITIONAL_NO_DATE INT64_MIN

/* What the server knows of the selected representation. */
struct validators {
    struct span etag;      /* as sent, with quotes and W/; ptr is NULL when there is none */
    int64_t last_modified; /* seconds since 1970, or CONDITIONAL_NO_DATE */
    bool exists;           /* a current representation exists: what "*" asks for */
};

enum conditional_result {
    CONDITIONAL_PROCEED,            /* answer as without conditions */
    CONDITIONAL_NOT_MODIFIED,       /* 304 */
    CONDITIONAL_PRECONDITION_FAILED /* 412 */
};

/* Evaluates all but If-Range in the order of RFC 9110, 13.2.2. To be called only when the answer
 * would otherwise be 2xx (13.2.1). A date that is not valid is ignored; an entity-tag list that is
 * not well-formed matches nothing. now_unix_seconds only serves dates with a two-digit year. */
enum conditional_result conditional_evaluate(const struct conditional *conditional,
                                             const struct validators *validators,
                                             bool is_get_or_head, int64_t now_unix_seconds);

/* Whether Range is to be honoured (RFC 9110, 13.1.5): true when if_range is absent (ptr is NULL) or
 * names the representation by a strong validator: the same strong entity tag, or exactly its date
 * of modification, which is strong (8.8.2.2) once it is CONDITIONAL_STRONG_DATE_S older than
 * now_unix_seconds. False: send the whole representation.
 *
 * Two versions of one second have the same date. A client that got the former while that second ran
 * must not ask by date (its Date tells it), but some do: they have that long to be told. */
enum { CONDITIONAL_STRONG_DATE_S = 5 };
bool conditional_if_range_holds(struct span if_range, const struct validators *validators,
                                int64_t now_unix_seconds);

#endif
