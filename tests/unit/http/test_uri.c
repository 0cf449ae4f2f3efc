#include "common/http/uri.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void assert_span(const char *context, struct span actual, const char *expected)
{
    if (!span_equal(actual, span_of(expected))) {
        fail_msg("%s: \"%.*s\", expected \"%s\"", context, (int)actual.len, actual.ptr, expected);
    }
}

/* A copy in memory of exactly its size, so that a sanitizer sees a read behind it. */
static struct span exact_copy(struct span text)
{
    char *copy = malloc(text.len + (text.len == 0));
    assert_non_null(copy);
    memcpy(copy, text.ptr, text.len);
    return (struct span){copy, text.len};
}

static void free_copy(struct span copy)
{
    free((void *)(uintptr_t)copy.ptr); /* only the span is const, not the memory */
}

static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        const char *authority; /* NULL: none */
        const char *path;
        const char *query; /* NULL: none */
    } CASES[] = {
        /* origin-form (RFC 9112, 3.2.1) */
        {"/", NULL, "/", NULL},
        {"/where?q=now", NULL, "/where", "q=now"},
        {"/a/b/c", NULL, "/a/b/c", NULL},
        {"/a?", NULL, "/a", ""},
        {"/?", NULL, "/", ""},
        {"/?a?b=/c", NULL, "/", "a?b=/c"},
        {"//example.com/x", NULL, "//example.com/x", NULL},
        {"/http://example.com/", NULL, "/http://example.com/", NULL},
        {"/%41%2f..", NULL, "/%41%2f..", NULL},
        {"/user@host:80", NULL, "/user@host:80", NULL},
        /* absolute-form (RFC 9112, 3.2.2) */
        {"http://www.example.org/pub/WWW/TheProject.html", "www.example.org",
         "/pub/WWW/TheProject.html", NULL},
        {"http://example.org", "example.org", "/", NULL},
        {"http://example.org/", "example.org", "/", NULL},
        {"http://example.org?x=1", "example.org", "/", "x=1"},
        {"http://example.org?", "example.org", "/", ""},
        {"http://example.org?a/b", "example.org", "/", "a/b"},
        {"http://example.org/?", "example.org", "/", ""},
        {"http://example.org:8080/a?b", "example.org:8080", "/a", "b"},
        {"https://example.org/a", "example.org", "/a", NULL},
        {"HTTP://Example.ORG/A", "Example.ORG", "/A", NULL},
        {"hTTpS://example.org/A", "example.org", "/A", NULL},
        {"http://[::1]:8080/a", "[::1]:8080", "/a", NULL},
        {"http://example.org//a", "example.org", "//a", NULL},
        {"http://example.org/user@host", "example.org", "/user@host", NULL},
        {"http://example.org?user@host", "example.org", "/", "user@host"},
        {"http://a", "a", "/", NULL},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct span target = exact_copy(span_of(CASES[i].target));
        struct uri uri;
        memset(&uri, 0xff, sizeof uri);
        assert_int_equal(uri_split(target, &uri), URI_OK);
        assert_span(CASES[i].target, uri.path, CASES[i].path);
        assert_int_equal(uri.has_query, CASES[i].query != NULL);
        assert_span(CASES[i].target, uri.query, CASES[i].query != NULL ? CASES[i].query : "");
        assert_int_equal(uri.authority.ptr != NULL, CASES[i].authority != NULL);
        if (CASES[i].authority != NULL) {
            assert_span(CASES[i].target, uri.authority, CASES[i].authority);
        }
        free_copy(target);
    }
}

static void test_split_refuses(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "",
        "*",
        "a",
        "index.html",
        "?a=b",
        "example.com:443",
        "http:",
        "http:/",
        "http:/a",
        "http:a",
        "http//a/",
        "httpx://a/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "javascript://example.org/",
        ":///",
        /* no host */
        "http://",
        "https://",
        "http:///",
        "http:///a",
        "http://?a",
        "http://:80",
        "http://:80/a",
        /* user information */
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://trusted.example@evil.example/",
        "http://@example.org/",
        /* fragments */
        "#",
        "/#",
        "/a#b",
        "/a?b#c",
        "http://example.org#a",
        "http://example.org/a#b",
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct uri uri = {.has_query = true, .path = SPAN("untouched")};
        struct span target = exact_copy(span_of(CASES[i]));
        if (uri_split(target, &uri) != URI_BAD_REQUEST) {
            fail_msg("\"%s\" was accepted", CASES[i]);
        }
        assert_span(CASES[i], uri.path, "untouched");
        free_copy(target);
    }
}

static void test_plain_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool plain;
    } CASES[] = {
        {"/", true},
        {"/a", true},
        {"/a/", true},
        {"/a/b.html", true},
        {"/a./b..c/d.", true},
        {"/~user/a+b,c;d=e@f:g!$&'()*", true},
        {"/a\\b", true},
        {"", false},
        {"a", false},
        {"a/", false},
        {".", false},
        {"./a", false},
        {"%2f", false},
        {"/%41", false},
        {"/a%", false},
        {"//", false},
        {"//a", false},
        {"/a//b", false},
        {"/a//", false},
        {"/.", false},
        {"/..", false},
        {"/.git", false},
        {"/.well-known/x", false},
        {"/a/.", false},
        {"/a/..", false},
        {"/a/../b", false},
        {"/a/.b", false},
        {"/...", false},
        {"/a b", false},
        {"/a\tb", false},
        {"/a\x7f", false},
        {"/a\x80", false},
        {"/\xff", false},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct span path = exact_copy(span_of(CASES[i].path));
        if (uri_path_is_plain(path) != CASES[i].plain) {
            fail_msg("\"%s\" is%s plain", CASES[i].path, CASES[i].plain ? " not" : "");
        }
        free_copy(path);
    }
    assert_false(uri_path_is_plain(SPAN("/a\0")));
    assert_false(uri_path_is_plain((struct span){NULL, 0}));
}

/* Input and output have exactly the promised size. */
static enum uri_result normalize(struct span raw, char *result)
{
    struct span copy = exact_copy(raw);
    char *out = malloc(raw.len + 1);
    assert_non_null(out);
    struct span path = {NULL, 0};
    enum uri_result answer = uri_normalize_path(copy, out, &path);
    if (answer == URI_OK) {
        assert_ptr_equal(path.ptr, out);
        assert_true(path.len <= raw.len);
        assert_int_equal(out[path.len], '\0');
        assert_int_equal(strlen(out), path.len);
        memcpy(result, out, path.len + 1);
    } else {
        assert_null(path.ptr);
    }
    free(out);
    free_copy(copy);
    return answer;
}

static void test_normalize(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        const char *path;
    } CASES[] = {
        {"/", "/"},
        {"/a", "/a"},
        {"/a/b/c", "/a/b/c"},
        {"/a/", "/a/"},
        /* percent-encoding */
        {"/%61", "/a"},
        {"/%41%5A%5a", "/AZZ"},
        {"/a%20b", "/a b"},
        {"/%e2%82%ac", "/\xe2\x82\xac"},
        {"/%E2%82%AC", "/\xe2\x82\xac"},
        {"/%ff%80", "/\xff\x80"},
        {"/%3f%23%25%3A", "/?#%:"},
        {"/%7e/%7E", "/~/~"},
        {"/a+b", "/a+b"},
        /* once, not twice */
        {"/%2541", "/%41"},
        {"/%252e%252e/", "/%2e%2e/"},
        {"/%252f", "/%2f"},
        {"/%2500", "/%00"},
        {"/%25%34%31", "/%41"},
        /* dot segments (RFC 3986, 5.2.4, 6.2.2.3) */
        {"/a/b/c/./../../g", "/a/g"},
        {"/./a", "/a"},
        {"/.", "/"},
        {"/./", "/"},
        {"/././.", "/"},
        {"/a/.", "/a/"},
        {"/a/./", "/a/"},
        {"/a/..", "/"},
        {"/a/../", "/"},
        {"/a/b/..", "/a/"},
        {"/a/b/../", "/a/"},
        {"/a/b/../..", "/"},
        {"/a/b/../../", "/"},
        {"/a/b/../c", "/a/c"},
        {"/a/../b/../c", "/c"},
        {"/abc/../d", "/d"},
        {"/a/%2e%2e/b", "/b"},
        {"/a/%2E./b", "/b"},
        {"/a/.%2e/b", "/b"},
        {"/a/%2e/b", "/a/b"},
        {"/a/b/%2e%2e", "/a/"},
        /* names with dots are names */
        {"/...", "/..."},
        {"/a/.../b", "/a/.../b"},
        {"/..a", "/..a"},
        {"/a..", "/a.."},
        {"/.a/b.", "/.a/b."},
        {"/..a/..", "/"},
        {"/.git/config", "/.git/config"},
        /* slashes */
        {"//", "/"},
        {"//a", "/a"},
        {"///a////b//", "/a/b/"},
        {"/a//../b", "/b"},
        {"//a/..//", "/"},
        {"//evil.example/a", "/evil.example/a"},
        {"/./..a//./b", "/..a/b"},
        /* a backslash separates nothing */
        {"/a\\..\\b", "/a\\..\\b"},
        {"/..\\a", "/..\\a"},
        {"/%5c..%5C", "/\\..\\"},
        {"/a/..%5cb", "/a/..\\b"},
        /* UTF-8 that is too long for what it says is not "." */
        {"/a/%c0%ae%c0%ae/b", "/a/\xc0\xae\xc0\xae/b"},
        {"/%c0%af", "/\xc0\xaf"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        char path[256] = "";
        if (normalize(span_of(CASES[i].raw), path) != URI_OK) {
            fail_msg("\"%s\" was refused", CASES[i].raw);
        }
        assert_span(CASES[i].raw, span_of(path), CASES[i].path);
    }
}

static void test_normalize_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        enum uri_result result;
    } CASES[] = {
        {"", URI_BAD_REQUEST},
        {"a", URI_BAD_REQUEST},
        {"*", URI_BAD_REQUEST},
        {"../a", URI_BAD_REQUEST},
        {"%2fa", URI_BAD_REQUEST},
        /* out of the root */
        {"/..", URI_BAD_REQUEST},
        {"/../", URI_BAD_REQUEST},
        {"/../a", URI_BAD_REQUEST},
        {"/./..", URI_BAD_REQUEST},
        {"//..", URI_BAD_REQUEST},
        {"/a/../..", URI_BAD_REQUEST},
        {"/a/../../a", URI_BAD_REQUEST},
        {"/a//../../b", URI_BAD_REQUEST},
        {"/a/b/../../../etc/passwd", URI_BAD_REQUEST},
        {"/%2e%2e", URI_BAD_REQUEST},
        {"/%2e%2e/%2e%2e/etc/passwd", URI_BAD_REQUEST},
        {"/.%2E/", URI_BAD_REQUEST},
        /* percent-encoding */
        {"/%", URI_BAD_REQUEST},
        {"/%4", URI_BAD_REQUEST},
        {"/a%", URI_BAD_REQUEST},
        {"/%/a", URI_BAD_REQUEST},
        {"/%4/", URI_BAD_REQUEST},
        {"/%gg", URI_BAD_REQUEST},
        {"/%4G", URI_BAD_REQUEST},
        {"/%G4", URI_BAD_REQUEST},
        {"/%4g", URI_BAD_REQUEST},
        {"/%g4", URI_BAD_REQUEST},
        {"/%%41", URI_BAD_REQUEST},
        {"/%u0041", URI_BAD_REQUEST},
        {"/%-1", URI_BAD_REQUEST},
        {"/% 1", URI_BAD_REQUEST},
        {"/%+1", URI_BAD_REQUEST},
        {"/%0x", URI_BAD_REQUEST},
        {"/%:0", URI_BAD_REQUEST},
        {"/%@0", URI_BAD_REQUEST},
        {"/%`0", URI_BAD_REQUEST},
        {"/%\xff\xff", URI_BAD_REQUEST},
        /* control bytes */
        {"/%00", URI_BAD_REQUEST},
        {"/a%00.html", URI_BAD_REQUEST},
        {"/%01", URI_BAD_REQUEST},
        {"/%0a", URI_BAD_REQUEST},
        {"/%0d%0aSet-Cookie:x", URI_BAD_REQUEST},
        {"/%1f", URI_BAD_REQUEST},
        {"/%7f", URI_BAD_REQUEST},
        {"/%7F", URI_BAD_REQUEST},
        {"/\x01", URI_BAD_REQUEST},
        {"/\x7f", URI_BAD_REQUEST},
        /* an encoded slash is not a separator, and no name has one */
        {"/%2f", URI_NOT_FOUND},
        {"/%2F", URI_NOT_FOUND},
        {"/a%2fb", URI_NOT_FOUND},
        {"/..%2f..%2fetc%2fpasswd", URI_NOT_FOUND},
        {"/%2e%2e%2f", URI_NOT_FOUND},
        /* the first fault decides */
        {"/%2f%00", URI_NOT_FOUND},
        {"/%00%2f", URI_BAD_REQUEST},
        {"/../%2f", URI_NOT_FOUND},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        char path[256] = "";
        if (normalize(span_of(CASES[i].raw), path) != CASES[i].result) {
            fail_msg("\"%s\" became \"%s\"", CASES[i].raw, path);
        }
    }
    char path[256];
    assert_int_equal(normalize(SPAN("/a\0b"), path), URI_BAD_REQUEST);
    assert_int_equal(normalize(SPAN("/\0"), path), URI_BAD_REQUEST);
}

/* What the file system must never see, whatever the input. */
static void assert_is_normal(const char *raw, const char *path)
{
    if (path[0] != '/' || strstr(path, "//") != NULL || strstr(path, "/./") != NULL ||
        strstr(path, "/../") != NULL) {
        fail_msg("\"%s\" became \"%s\"", raw, path);
    }
    size_t len = strlen(path);
    bool ends_in_dots = (len >= 2 && strcmp(path + len - 2, "/.") == 0) ||
                        (len >= 3 && strcmp(path + len - 3, "/..") == 0);
    if (ends_in_dots) {
        fail_msg("\"%s\" became \"%s\"", raw, path);
    }
}

/* All paths of up to six pieces: normal form, and plain exactly means "nothing to do". */
static void test_every_combination_of_pieces(void **state)
{
    (void)state;
    static const char *const PIECES[] = {"", "/", ".", "a", "%2e", "%2f", "..", "%"};
    enum { PIECE_COUNT = 8, POSITIONS = 6 };
    size_t refused = 0;
    for (size_t n = 0; n < 262144; n++) {
        char raw[64] = "/";
        size_t rest = n;
        for (size_t i = 0; i < POSITIONS; i++, rest /= PIECE_COUNT) {
            strcat(raw, PIECES[rest % PIECE_COUNT]);
        }
        char path[64];
        struct span result = {NULL, 0};
        enum uri_result answer = uri_normalize_path(span_of(raw), path, &result);
        bool plain = uri_path_is_plain(span_of(raw));
        if (answer == URI_OK) {
            assert_is_normal(raw, path);
            bool unchanged = strcmp(raw, path) == 0;
            bool hidden = uri_path_is_hidden(result);
            assert_int_equal(plain, unchanged && !hidden);
        } else {
            assert_false(plain);
            refused++;
        }
    }
    assert_true(refused > 1000 && refused < 262000);
}

static void test_hidden_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        bool hidden;
    } CASES[] = {
        {"/", false},
        {"/a", false},
        {"/a.b/c.", false},
        {"/.git", true},
        {"/.git/config", true},
        {"/.htaccess", true},
        {"/a/.b", true},
        {"/a/.b/c", true},
        {"/.", true},
        {"/...", true},
        {"/a/..b", true},
        {"/.well-known", false},
        {"/.well-known/", false},
        {"/.well-known/security.txt", false},
        {"/.well-known/acme-challenge/x", false},
        {"/.well-known/.x", true},
        {"/.well-known/a/.x", true},
        {"/.well-known/.well-known", true},
        {"/.well-knownx", true},
        {"/.well-known.x", true},
        {"/.well-know", true},
        {"/.Well-Known/x", true},
        {"/a/.well-known", true},
        {"/a/.well-known/x", true},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct span path = exact_copy(span_of(CASES[i].path));
        if (uri_path_is_hidden(path) != CASES[i].hidden) {
            fail_msg("\"%s\" is%s hidden", CASES[i].path, CASES[i].hidden ? " not" : "");
        }
        free_copy(path);
    }
}

static void test_encode(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *encoded;
    } CASES[] = {
        {"", ""},
        {"/", "/"},
        {"/a/b-c._~/", "/a/b-c._~/"},
        {"/AZaz09!$()*+,;=@", "/AZaz09!$()*+,;=@"},
        {"/a b", "/a%20b"},
        {"/100%", "/100%25"},
        {"/%41", "/%2541"},
        {"/a?b#c", "/a%3Fb%23c"},
        {"/\xe2\x82\xac", "/%E2%82%AC"},
        {"/\x80\xff", "/%80%FF"},
        {"/a\\b", "/a%5Cb"},
        {"/\r\nSet-Cookie: x", "/%0D%0ASet-Cookie%3A%20x"},
        {"/<script>\"'&`", "/%3Cscript%3E%22%27%26%60"},
        {"/[a]{b}|^", "/%5Ba%5D%7Bb%7D%7C%5E"},
        {"javascript:alert(1)", "javascript%3Aalert(1)"},
        {"/\x01\x1f\x7f", "/%01%1F%7F"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct buffer out = {0};
        buffer_append(&out, "Location: ", 10);
        uri_encode_path(&out, span_of(CASES[i].path));
        assert_true(out.len >= 10);
        assert_span(CASES[i].path, (struct span){out.data + 10, out.len - 10}, CASES[i].encoded);
        buffer_free(&out);
    }
}

/* Every byte that a name may hold survives the way to the client and back. */
static void test_encode_is_undone_by_normalize(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char name[] = {'/', 'x', (char)byte, 'x'};
        struct buffer out = {0};
        uri_encode_path(&out, (struct span){name, sizeof name});
        for (size_t i = 0; i < out.len; i++) {
            assert_true(out.data[i] > 0x20 && out.data[i] < 0x7f);
        }
        char path[64];
        bool allowed = byte >= 0x20 && byte != 0x7f;
        enum uri_result expected = allowed ? URI_OK : URI_BAD_REQUEST;
        assert_int_equal(normalize((struct span){out.data, out.len}, path), expected);
        if (allowed) {
            assert_memory_equal(path, name, sizeof name);
        }
        buffer_free(&out);
    }
}

/* What a client has encoded stays so, what it should have encoded is. */
static void test_encode_query(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        const char *encoded;
    } CASES[] = {
        {"", ""},
        {"a=1&b=%C3%A4&c", "a=1&b=%C3%A4&c"},
        {"AZaz09-._~:/?#[]@!$&'()*+,;=%", "AZaz09-._~:/?#[]@!$&'()*+,;=%"},
        {"q=\xe2\x82\xac", "q=%E2%82%AC"},
        {"\x80\xff", "%80%FF"},
        {"<\"\\^`{|}>", "%3C%22%5C%5E%60%7B%7C%7D%3E"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct buffer out = {0};
        buffer_append(&out, "?", 1);
        uri_encode_query(&out, span_of(CASES[i].query));
        assert_span(CASES[i].query, (struct span){out.data + 1, out.len - 1}, CASES[i].encoded);
        buffer_free(&out);
    }
}

static void test_query_param(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        const char *name;
        const char *value; /* NULL: not there */
    } CASES[] = {
        {"us=100", "us", "100"},
        {"a=1&b=2&c=3", "a", "1"},
        {"a=1&b=2&c=3", "b", "2"},
        {"a=1&b=2&c=3", "c", "3"},
        {"a=1&a=2", "a", "1"},
        {"a=", "a", ""},
        {"a", "a", ""},
        {"b&a&c", "a", ""},
        {"a=&a=2", "a", ""},
        {"a=b=c", "a", "b=c"},
        {"a==", "a", "="},
        {"a=%20+%26", "a", "%20+%26"},
        {"a=?/", "a", "?/"},
        {"&&a=1&&", "a", "1"},
        {"a=1&", "a", "1"},
        {"aa=1&a=2", "a", "2"},
        {"ba=1&a=2", "a", "2"},
        {"a=1;b=2", "a", "1;b=2"},
        {"", "a", NULL},
        {"&", "a", NULL},
        {"=", "a", NULL},
        {"=a", "a", NULL},
        {"b=a", "a", NULL},
        {"b=1?a=2", "a", NULL},
        {"a=1;b=2", "b", NULL},
        {"A=1", "a", NULL},
        {"%61=1", "a", NULL},
        {" a=1", "a", NULL},
        {"aa=1", "a", NULL},
        {"a=1", "aa", NULL},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        struct span query = exact_copy(span_of(CASES[i].query));
        struct span value = SPAN("untouched");
        bool found = uri_query_param(query, CASES[i].name, &value);
        if (found != (CASES[i].value != NULL)) {
            fail_msg("\"%s\" in \"%s\": %d", CASES[i].name, CASES[i].query, found);
        }
        assert_span(CASES[i].query, value, found ? CASES[i].value : "untouched");
        free_copy(query);
    }
    struct span value;
    assert_false(uri_query_param((struct span){NULL, 0}, "a", &value));
}

static void test_query_uint(void **state)
{
    (void)state;
    static const struct {
        const char *query;
        uint64_t max;
        bool valid;
        uint64_t value;
    } CASES[] = {
        {"n=0", 100, true, 0},
        {"n=42", 100, true, 42},
        {"n=100", 100, true, 100},
        {"n=007", 100, true, 7},
        {"n=00000000000000000000000000000000000042", 100, true, 42},
        {"n=0", 0, true, 0},
        {"n=9", 9, true, 9},
        {"n=5&n=x", 100, true, 5},
        {"n=18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        /* absent: the fallback, even when it is above the maximum */
        {"", 100, true, 4711},
        {"m=1", 100, true, 4711},
        {"N=1", 100, true, 4711},
        /* too large */
        {"n=101", 100, false, 0},
        {"n=1000", 100, false, 0},
        {"n=110", 100, false, 0},
        {"n=1", 0, false, 0},
        {"n=10", 9, false, 0},
        {"n=7", 5, false, 0},
        {"n=18446744073709551615", UINT64_MAX - 1, false, 0},
        {"n=18446744073709551616", UINT64_MAX, false, 0},
        {"n=18446744073709551617", UINT64_MAX, false, 0},
        {"n=99999999999999999999999999999", UINT64_MAX, false, 0},
        {"n=18446744073709551626", 100, false, 0}, /* 2^64 + 10 is not 10 */
        /* not a number */
        {"n=", 100, false, 0},
        {"n", 100, false, 0},
        {"n=x", 100, false, 0},
        {"n=1x", 100, false, 0},
        {"n=-1", 100, false, 0},
        {"n=+1", 100, false, 0},
        {"n=%31", 100, false, 0},
        {"n=1.0", 100, false, 0},
        {"n=1e1", 100, false, 0},
        {"n=0x10", 100, false, 0},
        {"n=1 ", 100, false, 0},
        {"n=/", 100, false, 0},
        {"n=:", 100, false, 0},
        {"n=\xb2", 100, false, 0},
        {"n=x&n=5", 100, false, 0},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        uint64_t value = 12345;
        bool valid = uri_query_uint(span_of(CASES[i].query), "n", 4711, CASES[i].max, &value);
        if (valid != CASES[i].valid || value != (valid ? CASES[i].value : 12345)) {
            fail_msg("\"%s\" up to %ju: %d, %ju", CASES[i].query, (uintmax_t)CASES[i].max, valid,
                     (uintmax_t)value);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_refuses),
        cmocka_unit_test(test_plain_paths),
        cmocka_unit_test(test_normalize),
        cmocka_unit_test(test_normalize_refuses),
        cmocka_unit_test(test_every_combination_of_pieces),
        cmocka_unit_test(test_hidden_paths),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_encode_is_undone_by_normalize),
        cmocka_unit_test(test_encode_query),
        cmocka_unit_test(test_query_param),
        cmocka_unit_test(test_query_uint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
