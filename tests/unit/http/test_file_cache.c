#include "common/http/file_cache.h"

#include "common/http/conditional.h"
#include "common/http/content_coding.h"
#include "tests/unit/failing_call.h"
#include "tests/unit/open_descriptors.h"
#include "tests/unit/patience.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#define HELLO_ETAG "\"5-a430d84680aabd0b\"" /* FNV-1a of "hello" */

enum { PATH_BYTES = 256, ENTRIES = 8, OLD_S = 3600, LARGE_BYTES = FILE_CONTENT_BYTES + 1 };

/* root/ is served; what lies beside it may not be. */
static char directory[] = "/tmp/twinhttpd-test-file-cache-XXXXXX";
static struct document_root *document_root;
static struct file_cache *cache;
static uint64_t turn, now_ms;

/* ---- System calls ---- */

enum field { SIZE, MODIFIED_S, MODIFIED_NS, CHANGED_S, CHANGED_NS, INODE, LINKS, FIELDS };

static struct failing_call failing_fstat, ending_pread, failing_pread, failing_syscall;
static enum field altered = FIELDS; /* what one fstat reports otherwise; FIELDS: nothing */
static int unaltered;               /* calls before that */
static bool ever_changing;          /* each fstat reports another time of change */
static long changes;
static bool no_nanoseconds;
static bool imposed; /* each fstat reports this time of modification */
static int64_t imposed_mtime_s;

static void alter(struct stat *status)
{
    if (unaltered > 0) {
        unaltered--;
        return;
    }
    status->st_size += altered == SIZE;
    status->st_mtim.tv_sec += altered == MODIFIED_S;
    status->st_mtim.tv_nsec += altered == MODIFIED_NS;
    status->st_ctim.tv_sec += altered == CHANGED_S;
    status->st_ctim.tv_nsec += altered == CHANGED_NS;
    status->st_ino += altered == INODE;
    status->st_nlink += altered == LINKS;
    altered = FIELDS;
}

WRAPPED(int, fstat, int fd, struct stat *status)
{
    if (fails_now(&failing_fstat)) {
        return -1;
    }
    int result = __real_fstat(fd, status);
    alter(status);
    if (ever_changing) {
        status->st_ctim.tv_nsec = ++changes;
    }
    if (no_nanoseconds) {
        status->st_mtim.tv_nsec = status->st_ctim.tv_nsec = 0;
    }
    if (imposed) {
        status->st_mtim.tv_sec = imposed_mtime_s;
    }
    return result;
}

/* The one does not fail, but finds the end of the file. */
WRAPPED(ssize_t, pread, int fd, void *data, size_t bytes, off_t offset)
{
    if (fails_now(&failing_pread)) {
        return -1;
    }
    return fails_now(&ending_pread) ? 0 : __real_pread(fd, data, bytes, offset);
}

static uint64_t realtime_ms; /* 0: the clock's */

WRAPPED(uint64_t, clock_realtime_ms, void)
{
    return realtime_ms > 0 ? realtime_ms : __real_clock_realtime_ms();
}

/* Only openat2 is called by number. */
WRAPPED(long, syscall, long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    int from = va_arg(arguments, int);
    const char *path = va_arg(arguments, const char *);
    void *how = va_arg(arguments, void *);
    size_t how_bytes = va_arg(arguments, size_t);
    va_end(arguments);
    return fails_now(&failing_syscall) ? -1 : __real_syscall(number, from, path, how, how_bytes);
}

/* ---- Fixture ---- */

static const char *at(const char *name)
{
    static char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/root/%s", directory, name);
    return path;
}

/* Written long ago, as far as its time stamp tells. */
static void put_old(const char *name, const char *content)
{
    const struct timespec times[2] = {{.tv_sec = time(NULL) - OLD_S},
                                      {.tv_sec = time(NULL) - OLD_S}};
    FILE *file = fopen(at(name), "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(utimensat(AT_FDCWD, at(name), times, 0), 0);
}

static void rewrite(const char *name, const char *content)
{
    int fd = open(at(name), O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(close(fd), 0);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    return remove(path);
}

static int make(void **state)
{
    (void)state;
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    if (mkdtemp(directory) == NULL || mkdir(at(""), 0700) != 0) {
        return -1;
    }
    struct error error;
    failing_fstat = ending_pread = failing_pread = failing_syscall = (struct failing_call){0};
    document_root = document_root_open(at(""), &error);
    cache = file_cache_create(document_root, ENTRIES, FILE_ETAG_PORTABLE);
    realtime_ms = 0;
    turn = 1;
    now_ms = 1000000;
    return document_root == NULL;
}

static int discard(void **state)
{
    (void)state;
    file_cache_destroy(cache);
    document_root_close(document_root);
    return nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static enum file_result find(const char *path, struct file_entry **entry)
{
    *entry = NULL;
    return file_cache_open(cache, span_of(path), turn, now_ms, entry);
}

/* The caller has to release it. */
static struct file_entry *get(const char *path)
{
    struct file_entry *entry;
    assert_int_equal(find(path, &entry), FILE_FOUND);
    return entry;
}

static void assert_result(const char *path, enum file_result expected)
{
    struct file_entry *entry;
    enum file_result result = find(path, &entry);
    if (result != expected) {
        fail_msg("%s: %d, not %d (%s)", path, result, expected, strerror(errno));
    }
    if (result == FILE_FOUND) {
        file_entry_release(entry);
    } else {
        assert_null(entry);
    }
}

static void assert_content(const char *path, const char *expected)
{
    struct file_entry *entry = get(path);
    assert_int_equal(entry->size_bytes, strlen(expected));
    assert_non_null(entry->content);
    assert_memory_equal(entry->content, expected, strlen(expected));
    file_entry_release(entry);
}

static void test_found(void **state)
{
    (void)state;
    put_old("a.html", "hello");
    struct file_entry *entry = get("/a.html");
    char etag[FILE_ETAG_BYTES], expected[256];
    struct stat status;
    assert_int_equal(stat(at("a.html"), &status), 0);
    assert_int_equal(entry->size_bytes, 5);
    assert_memory_equal(entry->content, "hello", 5);
    assert_string_equal(entry->content_type, "text/html; charset=utf-8");
    assert_int_equal(entry->last_modified, status.st_mtim.tv_sec);
    assert_true(entry->fd >= 0);
    strcpy(etag, HELLO_ETAG);
    assert_string_equal(entry->etag, etag);
    struct tm utc;
    char date[64];
    gmtime_r(&status.st_mtim.tv_sec, &utc);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    snprintf(expected, sizeof(expected),
             "Last-Modified: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n"
             "X-Content-Type-Options: nosniff\r\n",
             date, etag);
    assert_true(span_equal(entry->headers, span_of(expected)));
    file_entry_release(entry);
}

static void test_same_entry_again(void **state)
{
    (void)state;
    put_old("a", "x");
    struct file_entry *first = get("/a"), *second = get("/a");
    turn++;
    now_ms += 999;
    struct file_entry *third = get("/a");
    assert_ptr_equal(first, second);
    assert_ptr_equal(first, third); /* unchanged: not opened again */
    assert_int_equal(first->references, 4);
    turn++;
    now_ms += 1;
    struct file_entry *fourth = get("/a");
    assert_ptr_not_equal(first, fourth); /* after a second it is, for what fstat cannot see */
    file_entry_release(first);
    file_entry_release(second);
    file_entry_release(third);
    file_entry_release(fourth);
}

static void test_kinds(void **state)
{
    (void)state;
    assert_int_equal(mkdir(at("dir"), 0700), 0);
    put_old("dir/file", "x");
    put_old("empty", "");
    assert_result("/", FILE_IS_DIRECTORY);
    assert_result("/dir", FILE_IS_DIRECTORY);
    assert_result("/dir/", FILE_IS_DIRECTORY);
    assert_result("/dir/file", FILE_FOUND);
    assert_content("/empty", "");
    assert_result("/missing", FILE_NOT_FOUND);
    assert_result("/missing/file", FILE_NOT_FOUND);
    assert_result("/dir/missing", FILE_NOT_FOUND);
    assert_result("/empty/", FILE_NOT_FOUND);
    assert_result("/empty/file", FILE_NOT_FOUND);
}

static void test_long_names(void **state)
{
    (void)state;
    char path[6000];
    for (size_t bytes = 250; bytes < sizeof(path); bytes += 250) {
        memset(path, 'n', bytes);
        path[0] = '/';
        struct file_entry *entry;
        assert_int_equal(file_cache_open(cache, (struct span){path, bytes}, 1, 1, &entry),
                         FILE_NOT_FOUND);
    }
    for (size_t i = 0; i < sizeof(path); i += 2) {
        memcpy(path + i, "/n", 2);
    }
    for (size_t bytes = 4090; bytes < 4104; bytes++) {
        struct file_entry *entry;
        assert_int_equal(file_cache_open(cache, (struct span){path, bytes}, 1, 1, &entry),
                         FILE_NOT_FOUND);
    }
}

static void test_links(void **state)
{
    (void)state;
    char outside[PATH_BYTES];
    snprintf(outside, sizeof(outside), "%s/secret", directory);
    FILE *file = fopen(outside, "w");
    assert_non_null(file);
    fclose(file);
    put_old("file", "inside");
    assert_int_equal(mkdir(at("dir"), 0700), 0);
    assert_int_equal(symlink("file", at("good")), 0);
    assert_int_equal(symlink("../file", at("dir/good")), 0);
    assert_int_equal(symlink(outside, at("absolute")), 0);
    assert_int_equal(symlink("../secret", at("relative")), 0);
    assert_int_equal(symlink("..", at("parent")), 0);
    assert_int_equal(symlink("../root/file", at("out-and-in")), 0);
    assert_int_equal(symlink("loop", at("loop")), 0);
    assert_int_equal(symlink("/proc/self/root/etc/passwd", at("magic")), 0);
    assert_content("/good", "inside");
    assert_content("/dir/good", "inside");
    assert_result("/absolute", FILE_NOT_FOUND);
    assert_result("/relative", FILE_NOT_FOUND);
    assert_result("/parent/secret", FILE_NOT_FOUND);
    assert_result("/parent", FILE_NOT_FOUND);
    assert_result("/out-and-in", FILE_NOT_FOUND);
    assert_result("/loop", FILE_NOT_FOUND);
    assert_result("/magic", FILE_NOT_FOUND);
    assert_result("/../secret", FILE_NOT_FOUND); /* even if a caller forgot to normalise */
}

static void test_special_files_do_not_block(void **state)
{
    (void)state;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true((size_t)snprintf(address.sun_path, sizeof(address.sun_path), "%s", at("socket")) <
                sizeof(address.sun_path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    size_t before = open_descriptors();
    alarm(PATIENCE_S); /* a FIFO without a writer would wait for ever */
    assert_result("/fifo", FILE_NOT_FOUND);
    assert_result("/socket", FILE_NOT_FOUND);
    alarm(0);
    assert_int_equal(open_descriptors(), before);
    close(fd);
}

/* Needs a user who may not read everything. */
static void test_forbidden(void **state)
{
    (void)state;
    put_old("private", "x");
    assert_int_equal(chmod(at("private"), 0), 0);
    assert_int_equal(chmod(directory, 0755), 0);
    assert_int_equal(chmod(at(""), 0755), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct file_entry *entry;
        if (geteuid() == 0 && setuid(65534) != 0) {
            _exit(99);
        }
        _exit((int)find("/private", &entry));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), FILE_FORBIDDEN);
}

static void test_out_of_descriptors(void **state)
{
    (void)state;
    put_old("a", "x");
    struct rlimit before, none = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct file_entry *entry;
    enum file_result result = find("/a", &entry);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(result, FILE_EXHAUSTED);
    assert_content("/a", "x");
}

static void test_replaced_by_rename(void **state)
{
    (void)state;
    put_old("a", "first");
    assert_content("/a", "first");
    put_old("b", "other");
    char from[PATH_BYTES];
    snprintf(from, sizeof(from), "%s", at("b"));
    assert_int_equal(rename(from, at("a")), 0);
    assert_content("/a", "first"); /* in the same turn: asked before the change */
    turn++;
    assert_content("/a", "other");
}

static void test_rewritten_in_place(void **state)
{
    (void)state;
    put_old("a", "first");
    assert_content("/a", "first");
    rewrite("a", "other");
    turn++;
    assert_content("/a", "other");
    /* Again and again, within one tick of the file system's clock. */
    for (int i = 0; i < 200; i++) {
        char text[8];
        snprintf(text, sizeof(text), "%05d", i);
        rewrite("a", text);
        turn++;
        assert_content("/a", text);
    }
}

/* Only the time of the last change of the inode tells. */
static void test_rewritten_and_dated_back(void **state)
{
    (void)state;
    put_old("a", "first");
    assert_content("/a", "first");
    put_old("a", "other");
    turn++;
    assert_content("/a", "other");
}

/* Two writes within one tick of the file system's clock look the same: who has just been written
 * is read again. */
static void test_just_written(void **state)
{
    (void)state;
    put_old("a", "first");
    rewrite("a", "other");
    struct file_entry *first = get("/a"), *second = get("/a");
    turn++;
    struct file_entry *third = get("/a");
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, third);
    file_entry_release(first);
    file_entry_release(second);
    file_entry_release(third);
}

static void test_removed_and_made_again(void **state)
{
    (void)state;
    put_old("a", "first");
    assert_content("/a", "first");
    assert_int_equal(unlink(at("a")), 0);
    turn++;
    assert_result("/a", FILE_NOT_FOUND);
    put_old("a", "again");
    assert_content("/a", "again"); /* what is missing is not remembered */
    assert_int_equal(unlink(at("a")), 0);
    assert_int_equal(mkdir(at("a"), 0700), 0);
    turn++;
    assert_result("/a", FILE_IS_DIRECTORY);
}

static void test_shrunk_and_grown(void **state)
{
    (void)state;
    put_old("a", "0123456789");
    struct file_entry *held = get("/a");
    assert_int_equal(truncate(at("a"), 4), 0);
    turn++;
    assert_content("/a", "0123");
    assert_int_equal(held->size_bytes, 10); /* who holds the old one keeps what it was */
    assert_memory_equal(held->content, "0123456789", 10);
    file_entry_release(held);
    put_old("a", "0123456789abcdef");
    turn++;
    assert_content("/a", "0123456789abcdef");
}

static void put_bytes(const char *name, size_t bytes)
{
    char *content = malloc(bytes + 1);
    memset(content, 'c', bytes);
    content[bytes] = '\0';
    put_old(name, content);
    free(content);
}

static void date_file(const char *name, int64_t seconds, long nanoseconds)
{
    const struct timespec times[2] = {{.tv_sec = seconds, .tv_nsec = nanoseconds},
                                      {.tv_sec = seconds, .tv_nsec = nanoseconds}};
    assert_int_equal(utimensat(AT_FDCWD, at(name), times, 0), 0);
}

/* Whenever it is opened: workers must not differ. */
static void test_last_modified_is_the_file_s_own(void **state)
{
    (void)state;
    put_old("a", "x");
    date_file("a", OLD_S, 999999999);
    const uint64_t opened_ms[] = {OLD_S * 1000, OLD_S * 1000 + 999, OLD_S * 1000 + 86400000};
    for (size_t i = 0; i < 3; i++, turn++, now_ms += 1000) {
        realtime_ms = opened_ms[i];
        struct file_entry *entry = get("/a");
        assert_int_equal(entry->last_modified, OLD_S);
        assert_true(entry->date_is_own);
        file_entry_release(entry);
    }
}

/* A date that Date has not reached is not told: instead when the file was dated so. */
static void test_last_modified_is_not_in_the_future(void **state)
{
    (void)state;
    struct stat status;
    put_old("a", "x");
    date_file("a", time(NULL) + OLD_S, 0);
    assert_int_equal(stat(at("a"), &status), 0);
    for (int i = 0; i < 3; i++, turn++, now_ms += 1000) {
        struct file_entry *entry = get("/a");
        assert_int_equal(entry->last_modified, status.st_ctim.tv_sec);
        assert_false(entry->date_is_own);
        file_entry_release(entry);
    }
    realtime_ms = (uint64_t)(status.st_ctim.tv_sec - OLD_S) * 1000; /* the clock has gone back */
    struct file_entry *entry = get("/a");
    assert_int_equal(entry->last_modified, CONDITIONAL_NO_DATE);
    assert_null(strstr(entry->headers.ptr, "Last-Modified"));
    file_entry_release(entry);
}

/* Some file systems keep 64 bits of seconds; on the others the kernel takes the nearest it has. */
static void test_extreme_dates(void **state)
{
    (void)state;
    static const int64_t seconds[] = {
        INT64_MIN, INT64_MIN / 1000, INT64_MIN / 2, -62135596801,         -62135596800,  -1,
        0,         253402300799,     253402300800,  INT64_MAX / 1000 + 1, INT64_MAX / 2, INT64_MAX};
    put_bytes("a", LARGE_BYTES);
    for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++, turn++, now_ms += 1000) {
        imposed = true;
        imposed_mtime_s = seconds[i];
        struct file_entry *entry = get("/a");
        imposed = false;
        bool sayable = seconds[i] >= -62135596800;
        if (sayable && seconds[i] <= time(NULL)) {
            assert_int_equal(entry->last_modified, seconds[i]);
        }
        assert_int_equal(entry->last_modified == CONDITIONAL_NO_DATE, !sayable);
        assert_int_equal(strstr(entry->headers.ptr, "Last-Modified") == NULL, !sayable);
        assert_int_equal(entry->etag[0], '"'); /* not W/: none of them is of just now */
        file_entry_release(entry);
    }
}

/* ---- Entity tags ---- */

static void tag_of(const char *path, char etag[FILE_ETAG_BYTES])
{
    struct file_entry *entry = get(path);
    memcpy(etag, entry->etag, FILE_ETAG_BYTES);
    file_entry_release(entry);
}

static void make_cache(enum file_etag kind)
{
    file_cache_destroy(cache);
    cache = file_cache_create(document_root, ENTRIES, kind);
}

/* Large ones, of which the content is not looked at. */
static void put_copies(void)
{
    static const struct {
        const char *name;
        size_t bytes;
        long nanoseconds;
    } copies[] = {{"a", LARGE_BYTES, 123456789},
                  {"copy", LARGE_BYTES, 123456789},
                  {"a.gz", LARGE_BYTES, 123456789},
                  {"larger", LARGE_BYTES + 1, 123456789},
                  {"later", LARGE_BYTES, 123456790}};
    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        put_bytes(copies[i].name, copies[i].bytes);
        date_file(copies[i].name, OLD_S, copies[i].nanoseconds);
    }
}

static void test_equal_copies_have_equal_tags(void **state)
{
    (void)state;
    char etag[FILE_ETAG_BYTES], other[FILE_ETAG_BYTES];
    static const char *const others[] = {"/larger", "/later", "/a.gz"};
    put_copies();
    tag_of("/a", etag);
    tag_of("/copy", other);
    assert_string_equal(etag, other);
    assert_string_equal(etag, "\"4001-e10075bcd15\"");
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        tag_of(others[i], other);
        assert_string_not_equal(etag, other);
    }
    assert_string_equal(other, "\"4001-e10075bcd15-gzip\""); /* a variant is not the same */
}

/* Of a small file the content alone counts, however and whenever it was written. */
static void test_tags_of_small_files(void **state)
{
    (void)state;
    char etag[FILE_ETAG_BYTES];
    put_old("a", "hello");
    tag_of("/a", etag);
    assert_string_equal(etag, HELLO_ETAG);
    rewrite("a", "other");
    turn++;
    tag_of("/a", etag);
    assert_string_not_equal(etag, HELLO_ETAG);
    rewrite("a", "hello"); /* just now, and yet strong */
    turn++;
    tag_of("/a", etag);
    assert_string_equal(etag, HELLO_ETAG);
    put_old("a.br", "hello");
    tag_of("/a.br", etag);
    assert_string_equal(etag, "\"5-a430d84680aabd0b-br\"");
}

static void test_tags_with_the_inode(void **state)
{
    (void)state;
    char etag[FILE_ETAG_BYTES], other[FILE_ETAG_BYTES], expected[FILE_ETAG_BYTES];
    struct stat status;
    put_copies();
    make_cache(FILE_ETAG_INODE);
    tag_of("/a", etag);
    tag_of("/copy", other);
    assert_string_not_equal(etag, other);
    assert_int_equal(stat(at("a"), &status), 0);
    snprintf(expected, sizeof(expected), "\"%llx-4001-e10075bcd15\"",
             (unsigned long long)status.st_ino);
    assert_string_equal(etag, expected);
}

static void test_no_tags(void **state)
{
    (void)state;
    put_copies();
    make_cache(FILE_ETAG_OFF);
    struct file_entry *entry = get("/a");
    assert_string_equal(entry->etag, "");
    assert_null(strstr(entry->headers.ptr, "ETag"));
    assert_non_null(strstr(entry->headers.ptr, "Last-Modified"));
    file_entry_release(entry);
}

/* A second version may have the same, and a strong one vouches for every byte. */
static void test_the_tag_of_what_has_just_changed_is_weak(void **state)
{
    (void)state;
    char etag[FILE_ETAG_BYTES];
    put_bytes("a", LARGE_BYTES);
    date_file("a", OLD_S, 500000000);
    const struct {
        uint64_t at_ms;
        bool weak;
    } cases[] = {{OLD_S * 1000 + 500, true},
                 {OLD_S * 1000 + 600, true},
                 {OLD_S * 1000 + 601, false},
                 {OLD_S * 1000 + 400, true}, /* the clock has gone back a little */
                 {OLD_S * 1000 + 399, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++, turn++, now_ms += 1000) {
        realtime_ms = cases[i].at_ms;
        tag_of("/a", etag);
        assert_string_equal(etag,
                            cases[i].weak ? "W/\"4001-e101dcd6500\"" : "\"4001-e101dcd6500\"");
    }
}

static void test_a_file_system_that_counts_seconds(void **state)
{
    (void)state;
    char etag[FILE_ETAG_BYTES];
    put_bytes("a", LARGE_BYTES);
    date_file("a", OLD_S, 0);
    const uint64_t ages_ms[] = {0, 2000, 2001};
    for (size_t i = 0; i < 3; i++, turn++, now_ms += 1000) {
        realtime_ms = OLD_S * 1000 + ages_ms[i];
        no_nanoseconds = true;
        tag_of("/a", etag);
        no_nanoseconds = false;
        assert_int_equal(etag[0], i < 2 ? 'W' : '"');
    }
}

/* ---- Another root ---- */

static void test_the_root_leads_elsewhere(void **state)
{
    (void)state;
    char former[PATH_BYTES];
    put_old("a", "first");
    put_old("gone", "x");
    struct file_entry *held = get("/a");
    assert_result("/gone", FILE_FOUND);
    size_t before = open_descriptors();
    snprintf(former, sizeof(former), "%s/former", directory);
    assert_int_equal(rename(at(""), former), 0);
    assert_int_equal(mkdir(at(""), 0700), 0);
    put_old("a", "other");
    assert_content("/a", "first"); /* in the same turn */
    turn++;
    now_ms += 1000;
    assert_result("/gone", FILE_NOT_FOUND);
    assert_content("/a", "other");
    assert_int_equal(open_descriptors(), before);   /* the held one, and the new one */
    assert_memory_equal(held->content, "first", 5); /* who sends it goes on */
    char byte;
    assert_int_equal(pread(held->fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 'f');
    file_entry_release(held);
    /* Without a request, too, nothing of the old one stays open. */
    snprintf(former, sizeof(former), "%s/former-2", directory);
    assert_int_equal(rename(at(""), former), 0);
    assert_int_equal(mkdir(at(""), 0700), 0);
    now_ms += 1000;
    file_cache_follow_root(cache, now_ms);
    assert_int_equal(open_descriptors(), before - 2);
}

static void test_small_content_is_kept(void **state)
{
    (void)state;
    put_bytes("small", FILE_CONTENT_BYTES);
    put_bytes("large", FILE_CONTENT_BYTES + 1);
    struct file_entry *small = get("/small"), *large = get("/large");
    assert_non_null(small->content);
    assert_int_equal(small->content[FILE_CONTENT_BYTES - 1], 'c');
    assert_null(large->content);
    assert_int_equal(large->size_bytes, FILE_CONTENT_BYTES + 1);
    char byte;
    assert_int_equal(pread(large->fd, &byte, 1, FILE_CONTENT_BYTES), 1);
    assert_int_equal(byte, 'c');
    file_entry_release(small);
    file_entry_release(large);
}

static void put_numbered(int count)
{
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        put_old(name, name);
    }
}

static struct file_entry *get_numbered(int number)
{
    char path[16];
    snprintf(path, sizeof(path), "/%d", number);
    return get(path);
}

static void test_descriptors_are_bounded(void **state)
{
    (void)state;
    put_numbered(4 * ENTRIES);
    size_t before = open_descriptors();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4 * ENTRIES; i++) {
            file_entry_release(get_numbered(i));
            assert_in_range(open_descriptors(), before + 1, before + ENTRIES);
        }
    }
    assert_int_equal(open_descriptors(), before + ENTRIES);
    file_cache_destroy(cache);
    assert_int_equal(open_descriptors(), before);
    cache = file_cache_create(document_root, ENTRIES, FILE_ETAG_PORTABLE);
}

/* Whether the cache still holds it: then it is not opened anew. */
static bool is_cached(int number, const struct file_entry *entry)
{
    struct file_entry *now = get_numbered(number);
    file_entry_release(now);
    return now == entry;
}

static void test_the_least_used_goes_first(void **state)
{
    (void)state;
    struct file_entry *entries[ENTRIES + 1];
    put_numbered(ENTRIES + 1);
    for (int i = 0; i < ENTRIES; i++) {
        entries[i] = get_numbered(i);
    }
    assert_true(is_cached(0, entries[0])); /* 1 is now the oldest */
    assert_true(is_cached(3, entries[3]));
    entries[ENTRIES] = get_numbered(ENTRIES);
    assert_true(is_cached(0, entries[0]));
    for (int i = 2; i <= ENTRIES; i++) {
        assert_true(is_cached(i, entries[i]));
    }
    assert_false(is_cached(1, entries[1]));
    for (int i = 0; i <= ENTRIES; i++) {
        file_entry_release(entries[i]);
    }
}

static void test_references_outlive_the_cache(void **state)
{
    (void)state;
    char byte;
    put_numbered(3 * ENTRIES);
    size_t before = open_descriptors();
    struct file_entry *held = get_numbered(0);
    file_entry_retain(held);
    for (int i = 1; i < 3 * ENTRIES; i++) {
        file_entry_release(get_numbered(i));
    }
    assert_int_equal(held->references, 2); /* evicted: only ours are left */
    assert_int_equal(pread(held->fd, &byte, 1, 0), 1);
    assert_int_equal(byte, '0');
    assert_int_equal(open_descriptors(), before + ENTRIES + 1);
    file_cache_destroy(cache);
    cache = file_cache_create(document_root, ENTRIES, FILE_ETAG_PORTABLE);
    file_entry_release(held);
    assert_int_equal(pread(held->fd, &byte, 1, 0), 1);
    assert_memory_equal(held->content, "0", 1);
    file_entry_release(held); /* the last one closes the file */
    assert_int_equal(open_descriptors(), before);
}

static void test_a_cache_of_one(void **state)
{
    (void)state;
    file_cache_destroy(cache);
    cache = file_cache_create(document_root, 1, FILE_ETAG_PORTABLE);
    put_numbered(3);
    for (int i = 0; i < 9; i++) {
        char expected[8];
        struct file_entry *entry = get_numbered(i % 3);
        snprintf(expected, sizeof(expected), "%d", i % 3);
        assert_memory_equal(entry->content, expected, 1);
        file_entry_release(entry);
    }
}

/* Whatever fstat shows differently, the file is opened anew. */
static void test_every_change_counts(void **state)
{
    (void)state;
    put_old("a", "x");
    struct file_entry *entry = get("/a");
    for (enum field field = SIZE; field < FIELDS; field++) {
        turn++;
        altered = field;
        struct file_entry *anew = get("/a");
        assert_int_equal(altered, FIELDS);
        assert_ptr_not_equal(anew, entry);
        file_entry_release(entry);
        entry = anew;
    }
    turn++;
    assert_content("/a", "x");
    struct file_entry *same = get("/a");
    assert_ptr_equal(same, entry);
    file_entry_release(same);
    file_entry_release(entry);
}

/* A clock that went back leaves files from the future: theirs is a time like any other. */
static void test_modified_in_the_future(void **state)
{
    (void)state;
    put_old("a", "x");
    const struct timespec times[2] = {{.tv_sec = time(NULL) + OLD_S},
                                      {.tv_sec = time(NULL) + OLD_S}};
    assert_int_equal(utimensat(AT_FDCWD, at("a"), times, 0), 0);
    struct file_entry *first = get("/a");
    turn++;
    struct file_entry *second = get("/a");
    assert_ptr_equal(first, second);
    file_entry_release(first);
    file_entry_release(second);
}

static void test_status_cannot_be_read(void **state)
{
    (void)state;
    put_old("a.css", "x");
    put_old("a.css.gz", "y");
    size_t before = open_descriptors();
    failing_fstat = fail_next(1, EIO);
    assert_result("/a.css", FILE_FAILED);
    assert_int_equal(open_descriptors(), before);
    failing_fstat = fail_after(1, 1, EIO); /* after it was read: it is read again */
    struct file_entry *entry = get("/a.css");
    assert_int_equal(failing_fstat.failures, 0);
    assert_int_equal(entry->codings, CODING_BIT(CODING_GZIP));
    turn++;
    failing_fstat = fail_next(1, EIO); /* when it is compared: it is opened anew */
    struct file_entry *anew = get("/a.css");
    assert_ptr_not_equal(anew, entry);
    file_entry_release(anew);
    file_entry_release(entry);
    turn++;
    now_ms += 1000;
    failing_fstat = fail_after(2, 1, EIO); /* of the variant: there is none then */
    entry = get("/a.css");
    assert_int_equal(failing_fstat.failures, 0);
    assert_int_equal(entry->codings, 0);
    file_entry_release(entry);
    assert_int_equal(open_descriptors(), before + 1);
}

/* Files that are changed while they are read are read again, */
static void test_does_not_hold_still(void **state)
{
    (void)state;
    put_old("a", "hello");
    ending_pread = fail_next(2, 0);
    assert_content("/a", "hello");
    assert_int_equal(ending_pread.failures, 0);
    turn++;
    now_ms += 1000;
    unaltered = 1;
    altered = CHANGED_NS; /* seen behind the last byte */
    int reads = ending_pread.calls;
    assert_content("/a", "hello");
    assert_int_equal(ending_pread.calls, reads + 2);
}

/* but not forever: then what was found is served. */
static void test_never_holds_still(void **state)
{
    (void)state;
    put_old("a", "hello");
    size_t before = open_descriptors();
    ending_pread = fail_next(3, 0); /* cut to nothing, each time that it is read */
    struct file_entry *entry = get("/a");
    assert_int_equal(ending_pread.calls, 3);
    assert_int_equal(entry->size_bytes, 0);
    assert_string_equal(entry->etag, "\"0-cbf29ce484222325\"");
    turn++;
    assert_content("/a", "hello"); /* it is looked at again at once */
    file_entry_release(entry);
    turn++;
    now_ms += 1000;
    ever_changing = true; /* written while it is read, each time */
    entry = get("/a");
    ever_changing = false;
    assert_int_equal(entry->size_bytes, 5);
    assert_memory_equal(entry->content, "hello", 5);
    assert_string_equal(entry->etag, HELLO_ETAG);
    assert_null(file_cache_gzip(cache, entry));
    file_entry_release(entry);
    assert_int_equal(open_descriptors(), before + 1);
}

static void test_cannot_be_read(void **state)
{
    (void)state;
    put_old("a", "hello");
    size_t before = open_descriptors();
    failing_pread = fail_next(3, EIO);
    struct file_entry *entry;
    assert_int_equal(find("/a", &entry), FILE_FAILED);
    assert_int_equal(errno, EIO);
    assert_int_equal(open_descriptors(), before);
    failing_pread = fail_next(2, EIO);
    assert_content("/a", "hello");
}

/* The kernel cannot judge ".." while something is renamed: after a while we look ourselves. */
static void test_renamed_meanwhile(void **state)
{
    (void)state;
    put_old("a", "x");
    failing_syscall = fail_next(15, EAGAIN);
    assert_content("/a", "x");
    assert_int_equal(failing_syscall.failures, 0);
    turn++;
    now_ms += 1000;
    failing_syscall = fail_next(16, EAGAIN);
    assert_content("/a", "x");
    assert_int_equal(failing_syscall.failures, 0);
}

static void test_reasons_of_the_kernel(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum file_result result;
    } reasons[] = {
        {ENOENT, FILE_NOT_FOUND}, {ENOTDIR, FILE_NOT_FOUND},      {ELOOP, FILE_NOT_FOUND},
        {EXDEV, FILE_NOT_FOUND},  {ENAMETOOLONG, FILE_NOT_FOUND}, {ENXIO, FILE_NOT_FOUND},
        {ENODEV, FILE_NOT_FOUND}, {EACCES, FILE_FORBIDDEN},       {EPERM, FILE_FORBIDDEN},
        {EMFILE, FILE_EXHAUSTED}, {ENFILE, FILE_EXHAUSTED},       {ENOMEM, FILE_EXHAUSTED},
        {EIO, FILE_FAILED},       {EINVAL, FILE_FAILED}};
    put_old("a", "x");
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        failing_syscall = fail_next(1, reasons[i].error);
        assert_result("/a", reasons[i].result);
    }
    assert_content("/a", "x");
}

/* What stands beside a file under a variant's name, but is no file, is not offered. */
static void test_variants(void **state)
{
    (void)state;
    put_old("a.css", "x");
    put_old("a.css.zst", "y");
    assert_int_equal(mkdir(at("a.css.br"), 0700), 0);
    assert_int_equal(mkfifo(at("a.css.gz"), 0600), 0);
    struct file_entry *entry = get("/a.css");
    assert_int_equal(entry->codings, CODING_BIT(CODING_ZSTD));
    file_entry_release(entry);
}

/* More files than fit into 1024 buckets without sharing: each is found, changed and dropped for
 * itself. */
static void test_shared_buckets(void **state)
{
    (void)state;
    enum { FILES = 300 };
    put_numbered(FILES);
    for (size_t size = FILES; size >= FILES / 2; size -= FILES / 2) {
        struct file_entry *entries[FILES];
        file_cache_destroy(cache);
        cache = file_cache_create(document_root, size, FILE_ETAG_PORTABLE);
        for (int i = 0; i < FILES; i++) {
            char name[16];
            int bytes = snprintf(name, sizeof(name), "%d", i);
            entries[i] = get_numbered(i);
            assert_int_equal(entries[i]->size_bytes, bytes);
            assert_memory_equal(entries[i]->content, name, (size_t)bytes);
        }
        for (int i = FILES - 1; i >= 0; i--) { /* the newest are there, nothing else is */
            assert_int_equal(is_cached(i, entries[i]), i >= FILES - (int)size);
            file_entry_release(entries[i]);
        }
    }
}

/* ---- Compressed on the fly ---- */

static void put_text(const char *name, size_t bytes)
{
    char *content = calloc(1, bytes + 1);
    for (size_t i = 0; i < bytes; i++) {
        content[i] = "All work and no play makes Jack a dull boy.\n"[i % 44];
    }
    put_old(name, content);
    free(content);
}

/* Letters in which there is nothing to be found but that they are letters. */
static void put_noise(const char *name, size_t bytes, char first, unsigned letters)
{
    char *content = calloc(1, bytes + 1);
    uint64_t random = 1;
    for (size_t i = 0; i < bytes; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        content[i] = (char)(first + (char)((random >> 33) % letters));
    }
    put_old(name, content);
    free(content);
}

/* Both have to be released. */
static struct file_entry *get_gzipped(const char *path, struct file_entry **entry)
{
    *entry = get(path);
    return file_cache_gzip(cache, *entry);
}

static void release(struct file_entry *first, struct file_entry *second)
{
    file_entry_release(first);
    file_entry_release(second);
}

static void test_gzipped(void **state)
{
    (void)state;
    put_text("a.txt", 50000);
    struct file_entry *entry, *later;
    struct file_entry *gzipped = get_gzipped("/a.txt", &entry);
    assert_non_null(gzipped);
    assert_in_range(gzipped->size_bytes, 20, 5000);
    assert_memory_equal(gzipped->content, "\x1f\x8b", 2);
    assert_int_equal(gzipped->fd, -1);
    assert_int_equal(gzipped->last_modified, entry->last_modified);
    assert_string_equal(gzipped->content_type, entry->content_type);
    assert_string_not_equal(gzipped->etag, entry->etag);
    assert_non_null(strstr(gzipped->etag, "-gzip\""));
    /* The same again, even for an entry that was opened anew. */
    turn++;
    now_ms += 1000;
    struct file_entry *again = get_gzipped("/a.txt", &later);
    assert_ptr_not_equal(later, entry);
    assert_ptr_equal(again, gzipped);
    release(again, later);
    /* Not when the file is another one. */
    put_text("a.txt", 60000);
    turn++;
    again = get_gzipped("/a.txt", &later);
    assert_non_null(again);
    assert_ptr_not_equal(again, gzipped);
    assert_string_not_equal(again->etag, gzipped->etag);
    release(again, later);
    file_cache_destroy(cache);
    file_entry_release(entry);
    assert_memory_equal(gzipped->content, "\x1f\x8b", 2); /* outlives both */
    file_entry_release(gzipped);
    cache = file_cache_create(document_root, ENTRIES, FILE_ETAG_PORTABLE);
}

/* Whether it pays is found out once. */
static void test_gzip_does_not_pay(void **state)
{
    (void)state;
    struct file_entry *entry;
    put_noise("a", FILE_CONTENT_BYTES + 1, '\1', 255);
    assert_null(get_gzipped("/a", &entry));
    file_entry_release(entry);
    int reads = ending_pread.calls;
    turn++;
    now_ms += 1000; /* neither for this entry nor for the next one of the same file */
    assert_null(get_gzipped("/a", &entry));
    assert_int_equal(ending_pread.calls, reads);
    file_entry_release(entry);
}

/* What was loaded just after a change may have changed again under the same time stamp, whenever
 * that is asked. */
static void test_what_was_loaded_unsettled_is_loaded_again(void **state)
{
    (void)state;
    put_text("a", 1000);
    struct file_entry *entry = get("/a");
    uint64_t modified_ms = (uint64_t)entry->status.st_mtim.tv_sec * 1000;
    file_entry_release(entry);
    turn++;
    now_ms += 1000; /* it is looked up anew, */
    realtime_ms = modified_ms + 1;
    struct file_entry *unsettled = get("/a");
    turn++;
    realtime_ms = modified_ms + 101;
    struct file_entry *settled = get("/a");
    assert_ptr_not_equal(settled, unsettled);
    turn++;
    entry = get("/a");
    assert_ptr_equal(entry, settled);
    file_entry_release(entry);
    release(settled, unsettled);
}

static void test_gzip_of_what_changes(void **state)
{
    (void)state;
    struct file_entry *entry;
    put_text("a", FILE_CONTENT_BYTES + 1);
    ending_pread = fail_next(1, 0);
    assert_null(get_gzipped("/a", &entry)); /* while it is read */
    assert_int_equal(ending_pread.failures, 0);
    file_entry_release(entry);
    put_text("b", FILE_CONTENT_BYTES + 1);
    entry = get("/b");
    uint64_t modified_ms = (uint64_t)entry->status.st_mtim.tv_sec * 1000;
    const uint64_t unsettled_ms[] = {modified_ms - 100, modified_ms, modified_ms + 100};
    for (size_t i = 0; i < 3; i++) { /* may change again under the same time stamp */
        realtime_ms = unsettled_ms[i];
        assert_null(file_cache_gzip(cache, entry));
    }
    realtime_ms = modified_ms + 101;
    struct file_entry *gzipped = file_cache_gzip(cache, entry);
    assert_non_null(gzipped);
    release(gzipped, entry);
}

/* The memory for all of them together is bounded, and comes back with the entry. */
static void test_gzip_budget(void **state)
{
    (void)state;
    enum { BUDGET_BYTES = 16 << 20 };
    struct file_entry *large, *entry;
    put_noise("large", BUDGET_BYTES / 2 * 3, ' ', 64);
    put_text("a", 1000);
    struct file_entry *gzipped = get_gzipped("/large", &large);
    assert_non_null(gzipped);
    assert_in_range(gzipped->size_bytes, BUDGET_BYTES, BUDGET_BYTES / 2 * 3);
    release(gzipped, large);
    assert_null(get_gzipped("/a", &entry));
    file_entry_release(entry);
    put_old("large", "small");
    turn++;
    assert_content("/large", "small");
    gzipped = get_gzipped("/a", &entry);
    assert_non_null(gzipped);
    release(gzipped, entry);
}

/* What is still being sent counts, although the cache has nothing of it any more. */
static void test_gzip_budget_counts_what_is_lent(void **state)
{
    (void)state;
    enum { BUDGET_BYTES = 16 << 20, LENT = 3 };
    struct file_entry *entry, *lent[LENT];
    put_text("a", 1000);
    for (size_t i = 0; i < LENT; i++) { /* one alone does not use it up */
        put_noise("large", BUDGET_BYTES / 2 + i, ' ', 64);
        turn++;
        lent[i] = get_gzipped("/large", &entry);
        file_entry_release(entry);
        assert_non_null(lent[i]);
    }
    put_old("large", "small");
    turn++;
    assert_content("/large", "small");
    assert_null(get_gzipped("/a", &entry));
    file_entry_release(entry);
    file_entry_release(lent[1]);
    struct file_entry *gzipped = get_gzipped("/a", &entry);
    assert_non_null(gzipped);
    release(gzipped, entry);
    release(lent[0], lent[2]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, discard)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_found),
        TEST(test_same_entry_again),
        TEST(test_kinds),
        TEST(test_long_names),
        TEST(test_links),
        TEST(test_special_files_do_not_block),
        TEST(test_forbidden),
        TEST(test_out_of_descriptors),
        TEST(test_replaced_by_rename),
        TEST(test_rewritten_in_place),
        TEST(test_rewritten_and_dated_back),
        TEST(test_just_written),
        TEST(test_removed_and_made_again),
        TEST(test_shrunk_and_grown),
        TEST(test_last_modified_is_the_file_s_own),
        TEST(test_last_modified_is_not_in_the_future),
        TEST(test_extreme_dates),
        TEST(test_equal_copies_have_equal_tags),
        TEST(test_tags_of_small_files),
        TEST(test_tags_with_the_inode),
        TEST(test_no_tags),
        TEST(test_the_tag_of_what_has_just_changed_is_weak),
        TEST(test_a_file_system_that_counts_seconds),
        TEST(test_the_root_leads_elsewhere),
        TEST(test_small_content_is_kept),
        TEST(test_descriptors_are_bounded),
        TEST(test_the_least_used_goes_first),
        TEST(test_references_outlive_the_cache),
        TEST(test_a_cache_of_one),
        TEST(test_every_change_counts),
        TEST(test_modified_in_the_future),
        TEST(test_status_cannot_be_read),
        TEST(test_does_not_hold_still),
        TEST(test_never_holds_still),
        TEST(test_cannot_be_read),
        TEST(test_renamed_meanwhile),
        TEST(test_reasons_of_the_kernel),
        TEST(test_variants),
        TEST(test_shared_buckets),
        TEST(test_gzipped),
        TEST(test_gzip_does_not_pay),
        TEST(test_what_was_loaded_unsettled_is_loaded_again),
        TEST(test_gzip_budget_counts_what_is_lent),
        TEST(test_gzip_of_what_changes),
        TEST(test_gzip_budget),
    };
    return cmocka_run_group_tests_name("file_cache", tests, NULL, NULL);
}
