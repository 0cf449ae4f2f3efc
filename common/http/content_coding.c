#include "common/http/content_coding.h"

enum { WEIGHT_ONE = 1000, WEIGHT_NOT_NAMED = -1, WEIGHT_INVALID = -2 };

static const struct {
    const char *name;
    const char *suffix;
} codings[CODINGS] = {
    [CODING_BR] = {"br", ".br"},
    [CODING_ZSTD] = {"zstd", ".zst"},
    [CODING_GZIP] = {"gzip", ".gz"},
    [CODING_IDENTITY] = {"identity", ""},
};

const char *content_coding_name(enum content_coding coding)
{
    return codings[coding].name;
}

const char *content_coding_suffix(enum content_coding coding)
{
    return codings[coding].suffix;
}

enum content_coding content_coding_of_name(struct span name)
{
    int coding = 0;
    for (; coding < CODING_IDENTITY; coding++) {
        struct span suffix = span_of(codings[coding].suffix);
        if (name.len > suffix.len &&
            memcmp(name.ptr + name.len - suffix.len, suffix.ptr, suffix.len) == 0) {
            break;
        }
    }
    return (enum content_coding)coding;
}

/* qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ), in thousandths. */
static int parse_weight(struct span text)
{
    if (text.len == 0 || text.len > 5 || (text.ptr[0] != '0' && text.ptr[0] != '1') ||
        (text.len > 1 && text.ptr[1] != '.')) {
        return WEIGHT_INVALID;
    }
    int weight = (text.ptr[0] - '0') * WEIGHT_ONE;
    int place = WEIGHT_ONE / 10;
    for (size_t i = 2; i < text.len; i++, place /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return WEIGHT_INVALID;
        }
        weight += (text.ptr[i] - '0') * place;
    }
    return weight <= WEIGHT_ONE ? weight : WEIGHT_INVALID;
}

/* Cuts the text before the first separator off; the rest begins behind it. */
static struct span cut(struct span *rest, char separator)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->ptr, separator, rest->len);
    size_t len = end == NULL ? rest->len : (size_t)(end - rest->ptr);
    struct span part = {rest->ptr, len};
    size_t step = end == NULL ? len : len + 1;
    *rest = (struct span){rest->ptr + step, rest->len - step};
    return span_trim(part);
}

/* codings [ ";" "q=" qvalue ] */
static int member_weight(struct span member, struct span *name)
{
    *name = cut(&member, ';');
    struct span parameter = span_trim(member);
    if (parameter.len == 0) {
        return WEIGHT_ONE;
    }
    if (parameter.len < 2 || !span_equal_nocase((struct span){parameter.ptr, 2}, SPAN("q="))) {
        return WEIGHT_INVALID;
    }
    return parse_weight((struct span){parameter.ptr + 2, parameter.len - 2});
}

static bool names_coding(struct span name, enum content_coding coding)
{
    /* x-gzip is an old name of the same (RFC 9110, 8.4.1.3). */
    return span_equal_nocase(name, span_of(codings[coding].name)) ||
           (coding == CODING_GZIP && span_equal_nocase(name, SPAN("x-gzip")));
}

static void read_weights(struct span list, int weights[CODINGS], int *other)
{
    while (list.len > 0) {
        struct span name;
        int weight = member_weight(cut(&list, ','), &name);
        if (weight == WEIGHT_INVALID) {
            continue;
        }
        if (span_equal(name, SPAN("*"))) {
            *other = weight;
        }
        for (int coding = 0; coding < CODINGS; coding++) {
            if (names_coding(name, (enum content_coding)coding)) {
                weights[coding] = weight;
            }
        }
    }
}

enum content_coding content_coding_choose(struct span accept_encoding, unsigned available)
{
    int weights[CODINGS];
    int other = WEIGHT_NOT_NAMED;
    for (int coding = 0; coding < CODINGS; coding++) {
        weights[coding] = WEIGHT_NOT_NAMED;
    }
    read_weights(accept_encoding, weights, &other);
    enum content_coding best = CODING_IDENTITY;
    int best_weight = 0;
    for (int coding = 0; coding < CODING_IDENTITY; coding++) {
        int weight = weights[coding] != WEIGHT_NOT_NAMED ? weights[coding] : other;
        if ((available & CODING_BIT(coding)) != 0 && weight > best_weight) {
            best = (enum content_coding)coding;
            best_weight = weight;
        }
    }
    /* Identity wins only if the client weighs it higher: an unnamed one is merely acceptable. */
    return weights[CODING_IDENTITY] > best_weight ? CODING_IDENTITY : best;
}
