#include "common/handlers/site/static_range.h"
#include "tests/unit/handlers/handlers_testing.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* 2001-09-09: long ago, so that entries count as settled. */
enum { MODIFIED = 1000000000 };
#define MODIFIED_DATE "Sun, 09 Sep 2001 01:46:40 GMT"
#define LATER_DATE    "Sun, 09 Sep 2001 01:46:41 GMT"
#define EARLIER_DATE  "Sun, 09 Sep 2001 01:46:39 GMT"

static char root[64];
static int root_fd;
static struct document_root *document_root;

static void put(const char *name, const char *content)
{
    const struct timespec times[2] = {{.tv_sec = MODIFIED}, {.tv_sec = MODIFIED}};
    int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(close(fd), 0);
}

static int open_files(void **state)
{
    strcpy(root, "/tmp/twinhttpd-test-static-XXXXXX");
    if (mkdtemp(root) == NULL || open_handlers(state) != 0) {
        return -1;
    }
    struct error error;
    root_fd = open(root, O_PATH | O_CLOEXEC);
    document_root = document_root_open(root, &error);
    context.files = file_cache_create(document_root, 4, FILE_ETAG_PORTABLE);
    put("a.txt", "0123456789");
    put("index.html", "home");
    return mkdirat(root_fd, "dir", 0700);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static int close_files(void **state)
{
    close_handlers(state);
    file_cache_destroy(context.files);
    document_root_close(document_root);
    close(root_fd);
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A part of a file, as it will be sent. */
static void assert_part(unsigned status, const char *content)
{
    const struct http_response *response = &exchange->response;
    assert_int_equal(response->status, status);
    assert_non_null(response->file);
    assert_int_equal(response->file_bytes, strlen(content));
    assert_memory_equal(response->file->content + response->file_offset, content, strlen(content));
}

static unsigned get_with(const char *target, const char *fields)
{
    return ask("GET", target, fields, "");
}

static const char *with_etag(const char *format)
{
    static char text[256];
    char etag[FILE_ETAG_BYTES];
    assert_int_equal(get("/a.txt"), 200);
    snprintf(etag, sizeof(etag), "%s", exchange->response.file->etag);
    snprintf(text, sizeof(text), "%s%s\r\n", format, etag);
    return text;
}

static void test_files(void **state)
{
    (void)state;
    get("/a.txt");
    assert_part(200, "0123456789");
    assert_string_equal(exchange->response.content_type, "text/plain; charset=utf-8");
    get("/a.txt?query");
    assert_part(200, "0123456789");
    ask("HEAD", "/a.txt", "", "");
    assert_part(200, "0123456789");
    get("/");
    assert_part(200, "home");
    assert_string_equal(exchange->response.content_type, "text/html; charset=utf-8");
}

static void test_what_is_not_there(void **state)
{
    (void)state;
    assert_int_equal(get("/missing"), 404);
    assert_int_equal(get("/dir/"), 404); /* no list, no index.html */
    assert_int_equal(get("/a.txt/"), 404);
    assert_int_equal(symlinkat("/etc/passwd", root_fd, "out"), 0);
    assert_int_equal(get("/out"), 404);
    assert_int_equal(mkdirat(root_fd, "dir/index.html", 0700), 0);
    assert_int_equal(get("/dir/"), 404);
    assert_int_equal(ask("POST", "/a.txt", "", ""), 405);
}

static void test_directories(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(root_fd, "a b", 0700), 0);
    assert_int_equal(get("/dir"), 301);
    assert_string_equal(headers(), "Location: /dir/\r\n");
    assert_int_equal(get("/dir?a=b&c"), 301);
    assert_string_equal(headers(), "Location: /dir/?a=b&c\r\n");
    assert_int_equal(get("//dir"), 301); /* does not name a host */
    assert_string_equal(headers(), "Location: /dir/\r\n");
    assert_int_equal(get("/a%20b"), 301);
    assert_string_equal(headers(), "Location: /a%20b/\r\n");
    put("dir/index.html", "inside");
    get("/dir/");
    assert_part(200, "inside");
}

static void test_out_of_descriptors(void **state)
{
    (void)state;
    struct rlimit before, none = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    unsigned status = get("/a.txt");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, 503);
    assert_string_equal(headers(), "Retry-After: 1\r\n");
}

static void test_not_modified(void **state)
{
    (void)state;
    assert_int_equal(get_with("/a.txt", with_etag("If-None-Match: ")), 304);
    assert_non_null(exchange->response.file); /* for its validators */
    assert_null(exchange->response.content_type);
    assert_int_equal(get_with("/a.txt", with_etag("If-None-Match: \"x\", W/")), 304);
    assert_int_equal(get_with("/a.txt", "If-None-Match: *\r\n"), 304);
    assert_int_equal(get_with("/a.txt", "If-None-Match: \"x\"\r\n"), 200);
    assert_int_equal(get_with("/a.txt", "If-Modified-Since: " MODIFIED_DATE "\r\n"), 304);
    assert_int_equal(get_with("/a.txt", "If-Modified-Since: " EARLIER_DATE "\r\n"), 200);
    assert_int_equal(get_with("/a.txt", "If-None-Match: \"x\"\r\n"
                                        "If-Modified-Since: " LATER_DATE "\r\n"),
                     200); /* the tag decides */
    assert_int_equal(ask("HEAD", "/a.txt", "If-None-Match: *\r\n", ""), 304);
}

static void test_precondition_failed(void **state)
{
    (void)state;
    assert_int_equal(get_with("/a.txt", "If-Match: \"x\"\r\n"), 412);
    assert_null(exchange->response.file);
    assert_string_equal(body(), "Precondition Failed\n");
    assert_int_equal(get_with("/a.txt", "If-Unmodified-Since: " EARLIER_DATE "\r\n"), 412);
    assert_int_equal(get_with("/a.txt", "If-Unmodified-Since: " MODIFIED_DATE "\r\n"), 200);
    assert_int_equal(get_with("/a.txt", with_etag("If-Match: ")), 200);
}

static void test_ranges(void **state)
{
    (void)state;
    get_with("/a.txt", "Range: bytes=2-4\r\n");
    assert_part(206, "234");
    assert_string_equal(headers(), "Content-Range: bytes 2-4/10\r\n");
    get_with("/a.txt", "Range: bytes=-3\r\n");
    assert_part(206, "789");
    assert_string_equal(headers(), "Content-Range: bytes 7-9/10\r\n");
    get_with("/a.txt", "Range: bytes=8-99\r\n");
    assert_part(206, "89");
    assert_int_equal(get_with("/a.txt", "Range: bytes=10-\r\n"), 416);
    assert_null(exchange->response.file);
    assert_string_equal(headers(), "Content-Range: bytes */10\r\n");
    assert_string_equal(body(), "Range Not Satisfiable\n");
    static const char *const whole[] = {"Range: lines=1-2\r\n", "Range: bytes=4-2\r\n",
                                        "Range: bytes=0-5,3-9\r\n",
                                        "Range: bytes=0-1\r\nRange: bytes=0-1\r\n"};
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        get_with("/a.txt", whole[i]);
        assert_part(200, "0123456789");
        assert_string_equal(headers(), "");
    }
    ask("HEAD", "/a.txt", "Range: bytes=2-4\r\n", "");
    assert_part(200, "0123456789"); /* defined for GET alone (RFC 9110, 14.2) */
}

/* What will be sent: the lines of each part, and its bytes. */
static const char *parts_body(void)
{
    static char text[4096];
    const struct http_response *response = &exchange->response;
    struct buffer out = {0};
    struct byte_range range;
    assert_non_null(response->parts);
    assert_non_null(response->file);
    while (multipart_next(response->parts, &out, &range)) {
        buffer_append(&out, response->file->content + range.first,
                      (size_t)(range.last - range.first + 1));
    }
    assert_int_equal(out.len, http_response_body_bytes(response));
    assert_in_range(out.len, 1, sizeof(text) - 1);
    memcpy(text, out.data, out.len);
    text[out.len] = '\0';
    buffer_free(&out);
    return text;
}

static void test_several_ranges(void **state)
{
    (void)state;
    char boundary[64], expected[512];
    assert_int_equal(get_with("/a.txt", "Range: bytes=0-1, -3\r\n"), 206);
    assert_null(exchange->response.content_type);
    assert_int_equal(
        sscanf(headers(), "Content-Type: multipart/byteranges; boundary=%63s", boundary), 1);
    snprintf(expected, sizeof(expected),
             "\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
             "Content-Range: bytes 0-1/10\r\n\r\n01"
             "\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n"
             "Content-Range: bytes 7-9/10\r\n\r\n789\r\n--%s--\r\n",
             boundary, boundary, boundary);
    assert_string_equal(parts_body(), expected);
    get_with("/a.txt", "Range: bytes=0-1, 20-30\r\n"); /* only one of them is there */
    assert_part(206, "01");
}

/* As many as the limit says, and one more; as long as the file, and one byte more. */
static void test_how_many_ranges(void **state)
{
    (void)state;
    enum { FILE_BYTES = 2 * STATIC_RANGES_MAX };
    static char content[FILE_BYTES + 1];
    struct buffer fields = {0};
    memset(content, 'x', FILE_BYTES);
    put("many.txt", content);
    buffer_printf(&fields, "Range: bytes=0-0");
    for (int i = 1; i < STATIC_RANGES_MAX; i++) {
        buffer_printf(&fields, ",%d-%d", 2 * i, 2 * i);
    }
    buffer_printf(&fields, "%c", '\0');
    fields.len--;
    struct buffer more = {0};
    buffer_printf(&more, "%s,3-3\r\n", fields.data);
    buffer_printf(&fields, "\r\n%c", '\0');
    assert_int_equal(get_with("/many.txt", fields.data), 206);
    assert_non_null(exchange->response.parts);
    uint64_t bytes = multipart_bytes(exchange->response.parts);
    assert_in_range(bytes, STATIC_RANGES_MAX * 100, STATIC_RANGES_MAX * 200);
    buffer_printf(&more, "%c", '\0');
    get_with("/many.txt", more.data);
    assert_part(200, content);
    assert_null(exchange->response.parts);
    buffer_free(&fields);
    buffer_free(&more);
    assert_int_equal(get_with("/a.txt", "Range: bytes=0-4,5-9\r\n"), 206);
    assert_int_equal(get_with("/a.txt", "Range: bytes=0-4,0-4\r\n"),
                     206); /* overlap, or turn back */
    assert_int_equal(get_with("/a.txt", "Range: bytes=5-9,0-4\r\n"), 206);
    assert_int_equal(get_with("/a.txt", "Range: bytes=0-5,5-9\r\n"), 200);
}

static void test_variants(void **state)
{
    (void)state;
    put("v.css", "plain");
    put("v.css.gz", "gzipped");
    put("v.css.br", "brotli");
    get("/v.css");
    assert_part(200, "plain");
    assert_string_equal(headers(), "Vary: Accept-Encoding\r\n");
    get_with("/v.css", "Accept-Encoding: gzip, deflate\r\n");
    assert_part(200, "gzipped");
    assert_string_equal(headers(), "Vary: Accept-Encoding\r\nContent-Encoding: gzip\r\n");
    assert_string_equal(exchange->response.content_type, "text/css; charset=utf-8");
    get_with("/v.css", "Accept-Encoding: gzip\r\nAccept-Encoding: br;q=1.0, zstd\r\n");
    assert_part(200, "brotli");
    get_with("/v.css", "Accept-Encoding: gzip\r\nRange: bytes=0-3\r\n");
    assert_part(206, "gzip");
    assert_int_equal(get_with("/v.css", "Accept-Encoding: gzip\r\nRange: bytes=50-\r\n"), 416);
    assert_string_equal(headers(), "Content-Range: bytes */7\r\n");
    get_with("/v.css.gz", "Accept-Encoding: gzip\r\n"); /* by its own name it is a file */
    assert_part(200, "gzipped");
    assert_string_equal(headers(), "");
}

static void test_if_range(void **state)
{
    (void)state;
    get_with("/a.txt", with_etag("Range: bytes=2-4\r\nIf-Range: "));
    assert_part(206, "234");
    get_with("/a.txt", "Range: bytes=2-4\r\nIf-Range: \"x\"\r\n");
    assert_part(200, "0123456789");
    get_with("/a.txt", "Range: bytes=2-4\r\nIf-Range: " MODIFIED_DATE "\r\n");
    assert_part(206, "234");
    get_with("/a.txt", "Range: bytes=2-4\r\nIf-Range: " EARLIER_DATE "\r\n");
    assert_part(200, "0123456789");
    assert_int_equal(get_with("/a.txt", "Range: bytes=2-4\r\nIf-None-Match: *\r\n"), 304);
}

/* Every fate of a response gives its reference back: only the cache's own is left. */
static void test_references(void **state)
{
    (void)state;
    static const char *const fields[] = {"", "Range: bytes=10-\r\n", "If-Match: \"x\"\r\n",
                                         "If-None-Match: *\r\n", "Range: bytes=1-2\r\n"};
    get("/a.txt");
    struct file_entry *file = exchange->response.file;
    file_entry_retain(file);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        get_with("/a.txt", fields[i]);
        http_exchange_reset(exchange);
        assert_int_equal(file->references, 2);
    }
    file_entry_release(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_files, close_files)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_files),          TEST(test_what_is_not_there),
        TEST(test_directories),    TEST(test_out_of_descriptors),
        TEST(test_not_modified),   TEST(test_precondition_failed),
        TEST(test_ranges),         TEST(test_if_range),
        TEST(test_several_ranges), TEST(test_how_many_ranges),
        TEST(test_variants),       TEST(test_references),
    };
    return cmocka_run_group_tests_name("static_files", tests, NULL, NULL);
}
