#include "common/http/content_coding.h"

#include "common/http/weight.h"

enum { WEIGHT_NOT_NAMED = -1 };

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

/* codings [ ";" "q=" qvalue ] */
static int member_weight(struct span member, struct span *name)
{
    *name = weight_cut(&member, ';');
    struct span parameter = span_trim(member);
    if (parameter.len == 0) {
        return WEIGHT_ONE;
    }
    if (parameter.len < 2 || !span_equal_nocase((struct span){parameter.ptr, 2}, SPAN("q="))) {
        return WEIGHT_INVALID;
    }
    return weight_parse((struct span){parameter.ptr + 2, parameter.len - 2});
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
        int weight = member_weight(weight_cut(&list, ','), &name);
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
