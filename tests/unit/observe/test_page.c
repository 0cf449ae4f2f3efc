#include "server/observe/page/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { PAGE_MOST_BYTES = 130000, TABLE_BYTES = 200000 };

static bool contains(const struct buffer *text, const char *part)
{
    return memmem(text->data, text->len, part, strlen(part)) != NULL;
}

/* The bytes must be one whole gzip member that holds the text. */
static void assert_inflates_to(const struct buffer *compressed, const struct buffer *text)
{
    char *out = malloc(text->len + 1);
    assert_non_null(out);
    z_stream stream = {.next_in = (Bytef *)compressed->data,
                       .avail_in = (uInt)compressed->len,
                       .next_out = (Bytef *)out,
                       .avail_out = (uInt)text->len + 1};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END); /* the checksum is right, too */
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, text->len);
    assert_memory_equal(out, text->data, text->len);
    inflateEnd(&stream);
    free(out);
}

static void test_is_one_small_document(void **state)
{
    (void)state;
    struct buffer page = {0};
    page_render((struct span){"", 0}, false, &page);
    assert_in_range(page.len, 50000, PAGE_MOST_BYTES);
    assert_memory_equal(page.data, "<!doctype html>", 15);
    assert_true(contains(&page, "<noscript></noscript>"));
    assert_true(contains(&page, "<script type=\"application/json\" id=\"recording\"></script>"));
    assert_false(contains(&page, "<!--table-->"));
    assert_false(contains(&page, "@SCRIPT@"));
    buffer_free(&page);
}

static void test_has_the_table_for_those_without_scripts(void **state)
{
    (void)state;
    struct buffer page = {0};
    page_render(SPAN("<table>here</table>"), false, &page);
    assert_true(contains(&page, "<noscript><table>here</table></noscript>"));
    buffer_free(&page);
}

static void test_gzip_holds_the_same(void **state)
{
    (void)state;
    char *table = malloc(TABLE_BYTES);
    assert_non_null(table);
    memset(table, 'x', TABLE_BYTES);
    for (size_t bytes = 0; bytes <= TABLE_BYTES; bytes = bytes * 3 + 1) {
        struct buffer plain = {0}, compressed = {0};
        page_render((struct span){table, bytes}, false, &plain);
        page_render((struct span){table, bytes}, true, &compressed);
        assert_inflates_to(&compressed, &plain);
        buffer_free(&plain);
        buffer_free(&compressed);
    }
    free(table);
}

static void test_policy_allows_this_script_alone(void **state)
{
    (void)state;
    const char *policy = page_content_security_policy();
    assert_memory_equal(policy, "default-src 'none'; script-src 'sha256-", 39);
    assert_non_null(strstr(policy, "; frame-ancestors 'none'"));
    assert_null(strstr(policy, "unsafe"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_one_small_document),
        cmocka_unit_test(test_has_the_table_for_those_without_scripts),
        cmocka_unit_test(test_gzip_holds_the_same),
        cmocka_unit_test(test_policy_allows_this_script_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
