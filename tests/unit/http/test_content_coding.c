#include "common/http/content_coding.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    B = CODING_BIT(CODING_BR),
    Z = CODING_BIT(CODING_ZSTD),
    G = CODING_BIT(CODING_GZIP),
    ALL = B | Z | G
};

static const struct {
    const char *field;
    unsigned available;
    enum content_coding chosen;
} cases[] = {
    {"gzip", ALL, CODING_GZIP},
    {"gzip", B | Z, CODING_IDENTITY},
    {"GZip", ALL, CODING_GZIP},
    {"x-gzip", ALL, CODING_GZIP},
    {"gzip, br", ALL, CODING_BR},
    {"gzip, zstd", ALL, CODING_ZSTD},
    {"gzip;q=1.0, br;q=0.9", ALL, CODING_GZIP},
    {"gzip;q=0.001, br;q=0", ALL, CODING_GZIP},
    {"gzip;q=0", ALL, CODING_IDENTITY},
    {"*", ALL, CODING_BR},
    {"*", G, CODING_GZIP},
    {"*;q=0", ALL, CODING_IDENTITY},
    {"br;q=0, *", ALL, CODING_ZSTD},
    {"*, br;q=0", ALL, CODING_ZSTD},
    {"gzip;q=0.5, *;q=0.6", ALL, CODING_BR},
    {"identity", ALL, CODING_IDENTITY},
    {"identity, gzip;q=0.5", ALL, CODING_IDENTITY},
    {"identity;q=0.5, gzip;q=0.5", ALL, CODING_GZIP},
    {"identity;q=0, gzip;q=0.1", ALL, CODING_GZIP},
    {"identity;q=0", ALL, CODING_IDENTITY}, /* nothing is acceptable: better that than 406 */
    {"", ALL, CODING_IDENTITY},
    {" gzip ; q=0.5 ,\tbr ; Q=0.4", ALL, CODING_GZIP},
    {",,gzip,,", ALL, CODING_GZIP},
    {"deflate, compress", ALL, CODING_IDENTITY},
    {"gzip;q=2", ALL, CODING_IDENTITY},
    {"gzip;q=1.001", ALL, CODING_IDENTITY},
    {"gzip;q=0.1234", ALL, CODING_IDENTITY},
    {"gzip;q=.5", ALL, CODING_IDENTITY},
    {"gzip;q=", ALL, CODING_IDENTITY},
    {"gzip;level=9", ALL, CODING_IDENTITY},
    {"gzip;q=a, br", ALL, CODING_BR},
    {"gzipped", ALL, CODING_IDENTITY},
    {"gzip", 0, CODING_IDENTITY},
};

static void test_choices(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum content_coding chosen =
            content_coding_choose(span_of(cases[i].field), cases[i].available);
        if (chosen != cases[i].chosen) {
            fail_msg("\"%s\": %s, not %s", cases[i].field, content_coding_name(chosen),
                     content_coding_name(cases[i].chosen));
        }
    }
    assert_int_equal(content_coding_choose((struct span){NULL, 0}, ALL), CODING_IDENTITY);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(content_coding_name(CODING_ZSTD), "zstd");
    assert_string_equal(content_coding_suffix(CODING_ZSTD), ".zst");
    assert_string_equal(content_coding_suffix(CODING_IDENTITY), "");
}

static void test_coding_of_a_name(void **state)
{
    (void)state;
    assert_int_equal(content_coding_of_name(SPAN("/a.css.br")), CODING_BR);
    assert_int_equal(content_coding_of_name(SPAN("/a.css.zst")), CODING_ZSTD);
    assert_int_equal(content_coding_of_name(SPAN("/a.css.gz")), CODING_GZIP);
    assert_int_equal(content_coding_of_name(SPAN("/a.css")), CODING_IDENTITY);
    assert_int_equal(content_coding_of_name(SPAN("/gz")), CODING_IDENTITY);
    assert_int_equal(content_coding_of_name(SPAN(".gz")), CODING_IDENTITY);
    assert_int_equal(content_coding_of_name(SPAN("/a.GZ")), CODING_IDENTITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_coding_of_a_name),
    };
    return cmocka_run_group_tests_name("content_coding", tests, NULL, NULL);
}
