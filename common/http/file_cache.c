#include "common/http/file_cache.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/http/conditional.h"
#include "common/http/content_coding.h"
#include "common/http/gzip.h"
#include "common/http/http_date.h"
#include "common/http/mime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    BUCKETS = 1024,   /* a power of two */
    REOPEN_MS = 1000, /* after this a path is looked up anew: what fstat cannot see */
    SETTLED_MS = 100, /* a file changed more recently may change again within its time stamp */
    COARSE_SETTLED_MS = 2000, /* on a file system that counts seconds; FAT counts every other */
    FAR_S = 10,
    LOAD_TRIES = 3,
    HEADER_LINES_BYTES = 256,
    NAME_BYTES = 4096,       /* as in PATH_MAX */
    SUFFIX_BYTES = 8,        /* of a variant's name */
    GZIPPED_BYTES = 16 << 20 /* of all that was compressed on the fly */
};

struct file_cache {
    struct document_root *root;
    uint32_t root_switches; /* when the entries were made */
    enum file_etag etag;
    size_t max_entries;
    size_t count;
    size_t gzipped_bytes;    /* of the entries, and of those that are lent */
    struct file_entry *lent; /* gzipped ones that left the cache while they were sent */
    struct file_entry *newest, *oldest;
    struct file_entry *buckets[BUCKETS];
};

struct file_cache *file_cache_create(struct document_root *root, size_t max_entries,
                                     enum file_etag etag)
{
    CHECK(max_entries > 0);
    struct file_cache *cache = memory_alloc_zeroed(1, sizeof(*cache));
    cache->root = root;
    cache->etag = etag;
    cache->max_entries = max_entries;
    return cache;
}

void file_entry_retain(struct file_entry *entry)
{
    atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
}

static bool gives_up_last_reference(struct file_entry *entry)
{
    return atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel) == 1;
}

/* Whoever ends an entry releases the compressed one, to which it holds a reference. */
void file_entry_release(struct file_entry *entry)
{
    while (entry != NULL && gives_up_last_reference(entry)) {
        struct file_entry *gzipped = entry->gzipped;
        if (entry->fd >= 0) {
            close(entry->fd);
        }
        free(entry->content);
        free((char *)entry->headers.ptr);
        free(entry);
        entry = gzipped;
    }
}

/* FNV-1a. */
static uint64_t hash_bytes(struct span bytes)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ (unsigned char)bytes.ptr[i]) * 1099511628211u;
    }
    return hash;
}

static struct file_entry **bucket_of(struct file_cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & (BUCKETS - 1)];
}

static void unlink_use(struct file_cache *cache, struct file_entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &cache->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &cache->oldest) = entry->newer;
}

static void link_newest(struct file_cache *cache, struct file_entry *entry)
{
    entry->newer = NULL;
    entry->older = cache->newest;
    *(cache->newest != NULL ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

static bool is_lent(const struct file_entry *gzipped)
{
    return atomic_load_explicit(&gzipped->references, memory_order_acquire) > 1;
}

static void release_gzipped(struct file_cache *cache, struct file_entry *gzipped)
{
    cache->gzipped_bytes -= (size_t)gzipped->size_bytes;
    file_entry_release(gzipped);
}

/* What slow readers hold counts as long as they do: else as much again could be compressed. */
static void remove_gzipped(struct file_cache *cache, struct file_entry *entry)
{
    struct file_entry *gzipped = entry->gzipped;
    entry->gzipped = NULL;
    if (gzipped == NULL) {
        return;
    }
    if (is_lent(gzipped)) {
        gzipped->bucket_next = cache->lent;
        cache->lent = gzipped;
    } else {
        release_gzipped(cache, gzipped);
    }
}

static void take_back_lent(struct file_cache *cache)
{
    struct file_entry **link = &cache->lent;
    while (*link != NULL) {
        struct file_entry *gzipped = *link;
        if (is_lent(gzipped)) {
            link = &gzipped->bucket_next;
        } else {
            *link = gzipped->bucket_next;
            release_gzipped(cache, gzipped);
        }
    }
}

static void remove_entry(struct file_cache *cache, struct file_entry *entry)
{
    struct file_entry **link = bucket_of(cache, entry->hash);
    while (*link != entry) {
        link = &(*link)->bucket_next;
    }
    *link = entry->bucket_next;
    unlink_use(cache, entry);
    cache->count--;
    remove_gzipped(cache, entry);
    file_entry_release(entry);
}

static void insert_entry(struct file_cache *cache, struct file_entry *entry)
{
    if (cache->count == cache->max_entries) {
        remove_entry(cache, cache->oldest);
    }
    struct file_entry **bucket = bucket_of(cache, entry->hash);
    entry->bucket_next = *bucket;
    *bucket = entry;
    link_newest(cache, entry);
    cache->count++;
}

static void forget_all(struct file_cache *cache)
{
    struct file_entry *entry = cache->newest;
    while (entry != NULL) {
        struct file_entry *older = entry->older;
        remove_entry(cache, entry);
        entry = older;
    }
}

void file_cache_destroy(struct file_cache *cache)
{
    forget_all(cache);
    while (cache->lent != NULL) {
        struct file_entry *gzipped = cache->lent;
        cache->lent = gzipped->bucket_next;
        file_entry_release(gzipped);
    }
    free(cache);
}

void file_cache_follow_root(struct file_cache *cache, uint64_t now_ms)
{
    uint32_t switches = document_root_follow(cache->root, now_ms);
    if (switches != cache->root_switches) {
        cache->root_switches = switches;
        forget_all(cache);
    }
}

static struct file_entry *find_entry(struct file_cache *cache, struct span path, uint64_t hash)
{
    struct file_entry *entry = *bucket_of(cache, hash);
    while (entry != NULL && (entry->hash != hash ||
                             !span_equal(path, (struct span){entry->path, entry->path_len}))) {
        entry = entry->bucket_next;
    }
    return entry;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec && a->st_ino == b->st_ino &&
           a->st_nlink == b->st_nlink;
}

/* How long after a change another one may leave the same time stamp. */
static int64_t settling_ms(const struct stat *status)
{
    bool whole_seconds = status->st_mtim.tv_nsec == 0 && status->st_ctim.tv_nsec == 0;
    return whole_seconds ? COARSE_SETTLED_MS : SETTLED_MS;
}

/* Two writes within one tick of the file system's clock leave the same time stamp. Far from now no
 * milliseconds are counted: some file systems keep any 64 bits. */
static bool is_settled(const struct stat *status)
{
    const int64_t now_ms = (int64_t)clock_realtime_ms(), now_s = now_ms / 1000;
    const int64_t modified_s = status->st_mtim.tv_sec;
    if (modified_s < now_s - FAR_S || modified_s > now_s + FAR_S) {
        return true;
    }
    int64_t age_ms = now_ms - (modified_s * 1000 + status->st_mtim.tv_nsec / 1000000);
    int64_t limit_ms = settling_ms(status);
    return age_ms > limit_ms || age_ms < -limit_ms;
}

static bool is_fresh(struct file_entry *entry, uint64_t turn, uint64_t now_ms)
{
    if (entry->checked_turn == turn) {
        return true;
    }
    struct stat status;
    if (now_ms - entry->opened_ms >= REOPEN_MS || fstat(entry->fd, &status) != 0 ||
        !same_file(&status, &entry->status) || !entry->settled) {
        return false;
    }
    entry->checked_turn = turn;
    return true;
}

static enum file_result result_of_errno(void)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EXDEV: /* leads out of the root */
    case ENAMETOOLONG:
    case ENXIO: /* a socket, or a device that is not there */
    case ENODEV:
        return FILE_NOT_FOUND;
    case EACCES:
    case EPERM:
        return FILE_FORBIDDEN;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return FILE_EXHAUSTED;
    default:
        return FILE_FAILED;
    }
}

static enum file_result kind_of(const struct stat *status)
{
    if (S_ISREG(status->st_mode)) {
        return FILE_FOUND;
    }
    return S_ISDIR(status->st_mode) ? FILE_IS_DIRECTORY : FILE_NOT_FOUND;
}

/* What came of reading a file into memory. */
enum reading {
    READ_STILL, /* all of it is one version */
    READ_MOVING,
    READ_FAILED /* errno says why */
};

/* *got: so many bytes were there, at most those that fstat had promised. */
static enum reading read_content(const struct file_entry *entry, char *content, size_t *got)
{
    size_t bytes = (size_t)entry->status.st_size;
    struct stat after;
    ssize_t n = 1;
    *got = 0;
    while (*got < bytes && n > 0) {
        n = pread(entry->fd, content + *got, bytes - *got, (off_t)*got);
        *got += n > 0 ? (size_t)n : 0;
    }
    if (n < 0 || fstat(entry->fd, &after) != 0) {
        return READ_FAILED;
    }
    return *got == bytes && same_file(&after, &entry->status) ? READ_STILL : READ_MOVING;
}

/* Small files are kept in memory. */
static enum reading load_content(struct file_entry *entry)
{
    size_t got;
    if (entry->size_bytes > FILE_CONTENT_BYTES) {
        return READ_STILL;
    }
    entry->content = memory_alloc((size_t)entry->size_bytes + 1);
    enum reading reading = read_content(entry, entry->content, &got);
    if (reading == READ_MOVING) { /* a snapshot: its length at least is true */
        entry->size_bytes = got;
        entry->status.st_size = (off_t)got;
        entry->settled = false;
    }
    return reading;
}

/* The file's own time, unless it lies in the future, which Last-Modified must not (RFC 9110,
 * 8.8.2.1; Date is seen to when the head is rendered): then the time at which somebody dated it so.
 * Both are the same for every worker, whenever it opens the file. */
static void choose_date(struct file_entry *entry)
{
    int64_t now = (int64_t)(clock_realtime_ms() / 1000);
    entry->date_is_own = entry->status.st_mtim.tv_sec <= now;
    int64_t date = entry->date_is_own ? entry->status.st_mtim.tv_sec : entry->status.st_ctim.tv_sec;
    entry->last_modified = date <= now && http_date_can_say(date) ? date : CONDITIONAL_NO_DATE;
}

/* What tells one version from another, as "SIZE-CONTENT" or "[INODE-]SIZE-TIME". Of the latter,
 * another version may have the same for a moment, so that it is weak: a strong tag vouches for
 * every byte. */
static void make_etag(struct file_entry *entry, enum file_etag kind, const char *suffix)
{
    const struct timespec *modified = &entry->status.st_mtim;
    unsigned long long bytes = entry->size_bytes;
    int length = 0;
    if (kind == FILE_ETAG_PORTABLE && entry->content != NULL) {
        uint64_t hash = hash_bytes((struct span){entry->content, (size_t)entry->size_bytes});
        length = snprintf(entry->etag, FILE_ETAG_BYTES, "\"%llx-%016llx%s\"", bytes,
                          (unsigned long long)hash, suffix);
    } else if (kind != FILE_ETAG_OFF) {
        char inode[2 * sizeof(uint64_t) + sizeof("-")] = "";
        if (kind == FILE_ETAG_INODE) {
            snprintf(inode, sizeof(inode), "%llx-", (unsigned long long)entry->status.st_ino);
        }
        length =
            snprintf(entry->etag, FILE_ETAG_BYTES, "%s\"%s%llx-%llx%08lx%s\"",
                     entry->settled ? "" : "W/", inode, bytes, (unsigned long long)modified->tv_sec,
                     (unsigned long)modified->tv_nsec, suffix);
    }
    CHECK(length >= 0 && length < FILE_ETAG_BYTES);
}

static void render_headers(struct file_entry *entry)
{
    char date_line[HTTP_DATE_BYTES + sizeof("Last-Modified: \r\n")] = "";
    char etag_line[FILE_ETAG_BYTES + sizeof("ETag: \r\n")] = "";
    if (entry->last_modified != CONDITIONAL_NO_DATE) {
        char date[HTTP_DATE_BYTES];
        http_date_format(entry->last_modified, date);
        snprintf(date_line, sizeof(date_line), "Last-Modified: %s\r\n", date);
    }
    if (entry->etag[0] != '\0') {
        snprintf(etag_line, sizeof(etag_line), "ETag: %s\r\n", entry->etag);
    }
    char *lines = memory_alloc(HEADER_LINES_BYTES);
    int bytes = snprintf(lines, HEADER_LINES_BYTES,
                         "%s%sAccept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n",
                         date_line, etag_line);
    CHECK(bytes > 0 && bytes < HEADER_LINES_BYTES);
    entry->headers = (struct span){lines, (size_t)bytes};
}

/* A variant has another tag than what it is a variant of, whatever else they have in common. */
static void describe(struct file_entry *entry, enum file_etag kind, enum content_coding coding)
{
    char suffix[SUFFIX_BYTES] = "";
    if (coding != CODING_IDENTITY) {
        snprintf(suffix, sizeof(suffix), "-%s", content_coding_name(coding));
    }
    choose_date(entry);
    make_etag(entry, kind, suffix);
    render_headers(entry);
}

static struct file_entry *make_entry(int fd, const struct stat *status, struct span path)
{
    struct file_entry *entry = memory_alloc_zeroed(1, sizeof(*entry) + path.len + 1);
    atomic_init(&entry->references, 1);
    entry->fd = fd;
    entry->status = *status;
    entry->settled = is_settled(status);
    entry->size_bytes = (uint64_t)status->st_size;
    entry->content_type = mime_type_of(path);
    entry->path_len = path.len;
    memcpy(entry->path, path.ptr, path.len);
    return entry;
}

/* Which variants lie beside a file. name has room for the longest suffix. */
static unsigned find_variants(const struct document_root *root, char *name)
{
    unsigned found = 0;
    char *end = name + strlen(name);
    for (int coding = 0; coding < CODING_IDENTITY; coding++) {
        struct stat status;
        const char *suffix = content_coding_suffix((enum content_coding)coding);
        memcpy(end, suffix, strlen(suffix) + 1);
        int fd = document_root_open_file(root, name);
        if (fd >= 0) {
            if (fstat(fd, &status) == 0 && kind_of(&status) == FILE_FOUND) {
                found |= CODING_BIT(coding);
            }
            close(fd);
        }
    }
    *end = '\0';
    return found;
}

/* Opens and reads the file once. FILE_FOUND without an entry: it did not hold still, and is to be
 * tried again. */
static enum file_result try_to_load(const struct file_cache *cache, const char *name,
                                    struct span path, bool is_last_try, struct file_entry **out)
{
    struct stat status;
    int fd = document_root_open_file(cache->root, name);
    if (fd < 0) {
        return result_of_errno();
    }
    enum file_result kind = fstat(fd, &status) == 0 ? kind_of(&status) : FILE_FAILED;
    if (kind != FILE_FOUND) {
        close(fd);
        return kind;
    }
    struct file_entry *entry = make_entry(fd, &status, path);
    enum reading reading = load_content(entry);
    if (reading == READ_STILL || (reading == READ_MOVING && is_last_try)) {
        describe(entry, cache->etag, content_coding_of_name(path));
        *out = entry;
        return FILE_FOUND;
    }
    int error = errno;
    file_entry_release(entry);
    errno = error;
    return reading == READ_MOVING || !is_last_try ? FILE_FOUND : FILE_FAILED;
}

/* Opens and reads the file anew. One that is written all the time is served as it was found. */
static enum file_result load_entry(struct file_cache *cache, struct span path,
                                   struct file_entry **out)
{
    char name[NAME_BYTES];
    if (path.len >= sizeof(name) - SUFFIX_BYTES) {
        return FILE_NOT_FOUND;
    }
    const char *relative = path.len > 1 ? name : ".";
    *out = NULL;
    memcpy(name, path.ptr + 1, path.len - 1);
    name[path.len - 1] = '\0';
    enum file_result result = FILE_NOT_FOUND;
    for (int left = LOAD_TRIES; left > 0 && *out == NULL; left--) {
        result = try_to_load(cache, relative, path, left == 1, out);
        if (result != FILE_FOUND) {
            return result;
        }
    }
    (*out)->codings = find_variants(cache->root, name);
    return FILE_FOUND;
}

/* What was compressed from the same bytes need not be compressed again. */
static void inherit_gzipped(struct file_entry *entry, struct file_entry *former)
{
    if (same_file(&entry->status, &former->status)) {
        entry->gzip_tried = former->gzip_tried;
        entry->gzipped = former->gzipped;
        former->gzipped = NULL;
    }
}

/* NULL: the file changes meanwhile, or does not become smaller. */
static struct file_entry *make_gzipped(const struct file_entry *entry, enum file_etag kind)
{
    const size_t bytes = (size_t)entry->size_bytes;
    struct buffer compressed = {0};
    size_t got;
    char *content = memory_alloc(bytes);
    bool is_smaller = read_content(entry, content, &got) == READ_STILL &&
                      gzip_compress((struct span){content, bytes}, &compressed);
    free(content);
    if (!is_smaller) {
        buffer_free(&compressed);
        return NULL;
    }
    struct span path = {entry->path, entry->path_len};
    struct file_entry *gzipped = make_entry(-1, &entry->status, path);
    gzipped->size_bytes = compressed.len;
    gzipped->content = memory_resize(compressed.data, compressed.len);
    describe(gzipped, kind, CODING_GZIP);
    return gzipped;
}

struct file_entry *file_cache_gzip(struct file_cache *cache, struct file_entry *entry)
{
    if (cache->gzipped_bytes >= GZIPPED_BYTES) {
        take_back_lent(cache);
    }
    /* One that is not settled may change under the same time stamp, and the next entry inherits. */
    if (!entry->gzip_tried && cache->gzipped_bytes < GZIPPED_BYTES && is_settled(&entry->status)) {
        entry->gzip_tried = true;
        entry->gzipped = make_gzipped(entry, cache->etag);
        if (entry->gzipped != NULL) {
            cache->gzipped_bytes += (size_t)entry->gzipped->size_bytes;
        }
    }
    if (entry->gzipped != NULL) {
        file_entry_retain(entry->gzipped);
    }
    return entry->gzipped;
}

enum file_result file_cache_open(struct file_cache *cache, struct span path, uint64_t turn,
                                 uint64_t now_ms, struct file_entry **out)
{
    CHECK(path.len > 0 && path.ptr[0] == '/');
    file_cache_follow_root(cache, now_ms);
    uint64_t hash = hash_bytes(path);
    struct file_entry *entry = find_entry(cache, path, hash);
    if (entry == NULL || !is_fresh(entry, turn, now_ms)) {
        struct file_entry *former = entry;
        enum file_result result = load_entry(cache, path, &entry);
        if (former != NULL && result == FILE_FOUND) {
            inherit_gzipped(entry, former);
        }
        if (former != NULL) {
            remove_entry(cache, former);
        }
        if (result != FILE_FOUND) {
            return result;
        }
        entry->hash = hash;
        entry->checked_turn = turn;
        entry->opened_ms = now_ms;
        insert_entry(cache, entry);
    } else if (cache->newest != entry) {
        unlink_use(cache, entry);
        link_newest(cache, entry);
    }
    file_entry_retain(entry);
    *out = entry;
    return FILE_FOUND;
}
