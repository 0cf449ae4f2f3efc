#include "common/http/mime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *const DEFAULT_TYPE = "application/octet-stream";

static void test_the_table_is_sorted_for_the_binary_search(void **state)
{
    (void)state;
    size_t count = 1;
    for (; mime_extension(count) != NULL; count++) {
        if (strcmp(mime_extension(count - 1), mime_extension(count)) >= 0) {
            fail_msg("\"%s\" stands before \"%s\"", mime_extension(count - 1),
                     mime_extension(count));
        }
    }
    assert_true(count >= 60);
    assert_null(mime_extension(count));
    assert_null(mime_extension(SIZE_MAX));
}

/* None is too long for the search, or has a capital, which no search would find. */
static void test_every_extension_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; mime_extension(i) != NULL; i++) {
        char path[64];
        snprintf(path, sizeof path, "/dir/file.%s", mime_extension(i));
        const char *type = mime_type_of(span_of(path));
        if (strcmp(type, DEFAULT_TYPE) == 0) {
            fail_msg("\"%s\" was not found", path);
        }
        for (char *c = path; *c != '\0'; c++) {
            *c = (char)toupper((unsigned char)*c);
        }
        assert_ptr_equal(mime_type_of(span_of(path)), type);
    }
}

static void test_every_type_is_well_formed(void **state)
{
    (void)state;
    for (size_t i = 0; mime_extension(i) != NULL; i++) {
        char path[64];
        snprintf(path, sizeof path, "x.%s", mime_extension(i));
        const char *type = mime_type_of(span_of(path));
        bool is_text = strncmp(type, "text/", 5) == 0;
        const char *parameters = strchr(type, ';');
        assert_int_equal(is_text, parameters != NULL);
        assert_true(!is_text || strcmp(parameters, "; charset=utf-8") == 0);
        const char *slash = strchr(type, '/');
        assert_true(slash != NULL && slash > type && slash[1] != '\0' && slash[1] != ';');
    }
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *type;
    } CASES[] = {
        {"/index.html", "text/html; charset=utf-8"},
        {"/index.htm", "text/html; charset=utf-8"},
        {"/INDEX.HTML", "text/html; charset=utf-8"},
        {"/style.css", "text/css; charset=utf-8"},
        {"/app.js", "text/javascript; charset=utf-8"},
        {"/app.mjs", "text/javascript; charset=utf-8"},
        {"/robots.txt", "text/plain; charset=utf-8"},
        {"/data.json", "application/json"},
        {"/feed.xml", "application/xml"},
        {"/logo.svg", "image/svg+xml"},
        {"/logo.png", "image/png"},
        {"/photo.jpg", "image/jpeg"},
        {"/photo.JpEg", "image/jpeg"},
        {"/favicon.ico", "image/vnd.microsoft.icon"},
        {"/font.woff2", "font/woff2"},
        {"/font.woff", "font/woff"},
        {"/code.wasm", "application/wasm"},
        {"/app.webmanifest", "application/manifest+json"},
        {"/book.pdf", "application/pdf"},
        {"/old.7z", "application/x-7z-compressed"},
        {"/new.zst", "application/zstd"},
        /* the last extension alone */
        {"/archive.tar.gz", "application/gzip"},
        {"/page.html.bak", "application/octet-stream"},
        {"/jquery-3.7.1.min.js", "text/javascript; charset=utf-8"},
        {"/a..html", "text/html; charset=utf-8"},
        {"file.html", "text/html; charset=utf-8"},
        {"/\xc3\xa4.html", "text/html; charset=utf-8"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        assert_string_equal(mime_type_of(span_of(CASES[i].path)), CASES[i].type);
    }
}

static void test_everything_else_is_a_stream_of_bytes(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "",
        "/",
        ".",
        "..",
        "/.",
        "html",
        "/html",
        "/Makefile",
        "/file.",
        "/file.html.",
        "/dir.html/",
        "/dir.html/file",
        "/.html",
        ".html",
        "/dir/.html",
        "/file.htmlx",
        "/file.htm\x6c ",
        "/file.ht",
        "/file. html",
        "/file.html/.",
        "/file.unknown",
        "/file.webmanifests",
        "/file.webmanifestwebmanifestwebmanifest",
        "/file.\xff\xfe",
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        if (strcmp(mime_type_of(span_of(CASES[i])), DEFAULT_TYPE) != 0) {
            fail_msg("\"%s\" has the type %s", CASES[i], mime_type_of(span_of(CASES[i])));
        }
    }
    assert_string_equal(mime_type_of((struct span){NULL, 0}), DEFAULT_TYPE);
}

static void test_the_length_of_the_path_counts(void **state)
{
    (void)state;
    assert_string_equal(mime_type_of((struct span){"/a.jsonld", 7}), "application/json");
    assert_string_equal(mime_type_of((struct span){"/a.jsonld", 5}),
                        "text/javascript; charset=utf-8");
    assert_string_equal(mime_type_of((struct span){"/a.jsonld", 3}), DEFAULT_TYPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_is_sorted_for_the_binary_search),
        cmocka_unit_test(test_every_extension_is_found),
        cmocka_unit_test(test_every_type_is_well_formed),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_everything_else_is_a_stream_of_bytes),
        cmocka_unit_test(test_the_length_of_the_path_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
