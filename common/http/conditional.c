#include "common/http/conditional.h"

#include "common/http/http_date.h"

enum comparison { COMPARE_STRONG, COMPARE_WEAK };

struct etag {
    struct span opaque; /* with its quotes */
    bool weak;
};

/* etagc (RFC 9110, 8.8.3): visible ASCII without the quote, and bytes from 0x80. */
static bool is_etag_byte(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte == 0x21 || (byte >= 0x23 && byte != 0x7f);
}

/* Removes one entity tag from the front of the text. */
static bool take_etag(struct span *text, struct etag *etag)
{
    const char *p = text->ptr;
    const char *end = p + text->len;
    etag->weak = end - p >= 2 && p[0] == 'W' && p[1] == '/';
    p += etag->weak ? 2 : 0;
    const char *opening = p;
    if (p == end || *p != '"') {
        return false;
    }
    p++;
    while (p < end && is_etag_byte(*p)) {
        p++;
    }
    if (p == end || *p != '"') {
        return false;
    }
    p++;
    etag->opaque = (struct span){opening, (size_t)(p - opening)};
    *text = (struct span){p, (size_t)(end - p)};
    return true;
}

static bool parse_etag(struct span text, struct etag *etag)
{
    return text.ptr != NULL && take_etag(&text, etag) && text.len == 0;
}

static bool etag_matches(struct etag a, struct etag b, enum comparison comparison)
{
    bool comparable = comparison == COMPARE_WEAK || (!a.weak && !b.weak);
    return comparable && span_equal(a.opaque, b.opaque);
}

/* Drops white space, commas and the empty members between them. Whether there was a comma. */
static bool skip_separators(struct span *list)
{
    bool comma = false;
    while (list->len > 0 && strchr(" \t,", list->ptr[0]) != NULL && list->ptr[0] != '\0') {
        comma = comma || list->ptr[0] == ',';
        list->ptr++;
        list->len--;
    }
    return comma;
}

/* Reads the whole list before it answers: one bad member spoils it. */
static bool list_matches(struct span list, struct etag current, enum comparison comparison)
{
    bool matches = false;
    skip_separators(&list);
    while (list.len > 0) {
        struct etag member;
        if (!take_etag(&list, &member)) {
            return false;
        }
        if (!skip_separators(&list) && list.len > 0) {
            return false;
        }
        matches = matches || etag_matches(member, current, comparison);
    }
    return matches;
}

/* Whether the value of If-Match or If-None-Match names the current representation. */
static bool names_current(struct span value, const struct validators *validators,
                          enum comparison comparison)
{
    if (!validators->exists) {
        return false;
    }
    if (span_equal(span_trim(value), SPAN("*"))) {
        return true;
    }
    struct etag current;
    return parse_etag(validators->etag, &current) && list_matches(value, current, comparison);
}

/* False, too, when there is nothing to compare with: then the field is ignored. */
static bool read_date(struct span value, const struct validators *validators,
                      int64_t now_unix_seconds, int64_t *date)
{
    return value.ptr != NULL && validators->exists &&
           validators->last_modified != CONDITIONAL_NO_DATE &&
           http_date_parse(span_trim(value), now_unix_seconds, date);
}

/* If-Match, else If-Unmodified-Since: is it still the representation that the client means? */
static bool is_still_the_same(const struct conditional *conditional,
                              const struct validators *validators, int64_t now_unix_seconds)
{
    if (conditional->if_match.ptr != NULL) {
        return names_current(conditional->if_match, validators, COMPARE_STRONG);
    }
    int64_t date;
    return !read_date(conditional->if_unmodified_since, validators, now_unix_seconds, &date) ||
           validators->last_modified <= date;
}

enum conditional_result conditional_evaluate(const struct conditional *conditional,
                                             const struct validators *validators,
                                             bool is_get_or_head, int64_t now_unix_seconds)
{
    if (!is_still_the_same(conditional, validators, now_unix_seconds)) {
        return CONDITIONAL_PRECONDITION_FAILED;
    }
    if (conditional->if_none_match.ptr != NULL) {
        if (!names_current(conditional->if_none_match, validators, COMPARE_WEAK)) {
            return CONDITIONAL_PROCEED;
        }
        return is_get_or_head ? CONDITIONAL_NOT_MODIFIED : CONDITIONAL_PRECONDITION_FAILED;
    }
    int64_t date;
    if (is_get_or_head &&
        read_date(conditional->if_modified_since, validators, now_unix_seconds, &date) &&
        validators->last_modified <= date) {
        return CONDITIONAL_NOT_MODIFIED;
    }
    return CONDITIONAL_PROCEED;
}

bool conditional_if_range_holds(struct span if_range, const struct validators *validators,
                                int64_t now_unix_seconds)
{
    if (if_range.ptr == NULL) {
        return true;
    }
    struct etag wanted;
    if (parse_etag(span_trim(if_range), &wanted)) {
        struct etag current;
        return validators->exists && parse_etag(validators->etag, &current) &&
               etag_matches(wanted, current, COMPARE_STRONG);
    }
    int64_t date;
    return read_date(if_range, validators, now_unix_seconds, &date) &&
           validators->last_modified == date &&
           date <= now_unix_seconds - CONDITIONAL_STRONG_DATE_S;
}
