#include "common/http/range.h"

#include <stdbool.h>

enum member { MEMBER_INVALID, MEMBER_EMPTY, MEMBER_SATISFIABLE, MEMBER_UNSATISFIABLE };

/* Removes a number from the front; at least one digit. Too large a number becomes UINT64_MAX. */
static bool take_number(struct span *text, uint64_t *number)
{
    size_t digits = 0;
    uint64_t result = 0;
    for (; digits < text->len && text->ptr[digits] >= '0' && text->ptr[digits] <= '9'; digits++) {
        uint64_t digit = (uint64_t)(text->ptr[digits] - '0');
        result = result > (UINT64_MAX - digit) / 10 ? UINT64_MAX : result * 10 + digit;
    }
    text->ptr += digits;
    text->len -= digits;
    *number = result;
    return digits > 0;
}

static bool take_dash(struct span *text)
{
    if (text->len == 0 || text->ptr[0] != '-') {
        return false;
    }
    text->ptr++;
    text->len--;
    return true;
}

/* "-500": the last bytes of the file. */
static enum member parse_suffix(struct span text, uint64_t size_bytes, struct byte_range *range)
{
    uint64_t length;
    if (!take_dash(&text) || !take_number(&text, &length) || text.len > 0) {
        return MEMBER_INVALID;
    }
    if (length == 0 || size_bytes == 0) {
        return MEMBER_UNSATISFIABLE;
    }
    range->first = length < size_bytes ? size_bytes - length : 0;
    range->last = size_bytes - 1;
    return MEMBER_SATISFIABLE;
}

/* "0-499", or "500-" up to the end of the file. */
static enum member parse_interval(struct span text, uint64_t size_bytes, struct byte_range *range)
{
    uint64_t last = UINT64_MAX;
    if (!take_number(&text, &range->first) || !take_dash(&text)) {
        return MEMBER_INVALID;
    }
    if (text.len > 0 && (!take_number(&text, &last) || text.len > 0)) {
        return MEMBER_INVALID;
    }
    if (range->first > last) {
        return MEMBER_INVALID;
    }
    if (range->first >= size_bytes) {
        return MEMBER_UNSATISFIABLE;
    }
    range->last = last < size_bytes ? last : size_bytes - 1;
    return MEMBER_SATISFIABLE;
}

static enum member parse_member(struct span text, uint64_t size_bytes, struct byte_range *range)
{
    if (text.len == 0) {
        return MEMBER_EMPTY;
    }
    return text.ptr[0] == '-' ? parse_suffix(text, size_bytes, range)
                              : parse_interval(text, size_bytes, range);
}

/* Removes what stands before the next comma, and the comma. */
static struct span take_member(struct span *list)
{
    const char *comma = memchr(list->ptr, ',', list->len);
    struct span member = {list->ptr, comma != NULL ? (size_t)(comma - list->ptr) : list->len};
    size_t taken = member.len + (comma != NULL);
    list->ptr += taken;
    list->len -= taken;
    return span_trim(member);
}

static enum range_result parse_list(struct span list, uint64_t size_bytes,
                                    struct byte_range *ranges, size_t max_ranges, size_t *count)
{
    size_t members = 0;
    size_t satisfiable = 0;
    uint64_t bytes_left = size_bytes;
    while (list.len > 0) {
        struct byte_range range;
        enum member member = parse_member(take_member(&list), size_bytes, &range);
        if (member == MEMBER_EMPTY) {
            continue;
        }
        if (member == MEMBER_INVALID || ++members > max_ranges) {
            return RANGE_NONE;
        }
        if (member == MEMBER_UNSATISFIABLE) {
            continue;
        }
        if (range.last - range.first >= bytes_left) {
            return RANGE_NONE;
        }
        bytes_left -= range.last - range.first + 1;
        ranges[satisfiable++] = range;
    }
    *count = satisfiable;
    if (satisfiable > 0) {
        return RANGE_SATISFIABLE;
    }
    return members > 0 ? RANGE_UNSATISFIABLE : RANGE_NONE;
}

enum range_result range_parse(struct span header, uint64_t size_bytes, struct byte_range *ranges,
                              size_t max_ranges, size_t *count)
{
    const struct span unit = SPAN("bytes=");
    *count = 0;
    if (header.ptr == NULL || header.len < unit.len ||
        !span_equal_nocase((struct span){header.ptr, unit.len}, unit)) {
        return RANGE_NONE;
    }
    struct span list = {header.ptr + unit.len, header.len - unit.len};
    return parse_list(list, size_bytes, ranges, max_ranges, count);
}
