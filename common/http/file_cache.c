#include "common/http/file_cache.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/http/content_coding.h"
#include "common/http/gzip.h"
#include "common/http/http_date.h"
#include "common/http/mime.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    BUCKETS = 1024,   /* a power of two */
    REOPEN_MS = 1000, /* after this a path is looked up anew: what fstat cannot see */
    SETTLED_MS = 100, /* a file changed more recently may change again within its time stamp */
    LOAD_TRIES = 3,
    LOOKUP_TRIES = 16,
    HEADER_LINES_BYTES = 256,
    NAME_BYTES = 4096,       /* as in PATH_MAX */
    SUFFIX_BYTES = 8,        /* of a variant's name */
    GZIPPED_BYTES = 16 << 20 /* of all that was compressed on the fly */
};

struct file_cache {
    int root_fd;
    size_t max_entries;
    size_t count;
    size_t gzipped_bytes;    /* of the entries, and of those that are lent */
    struct file_entry *lent; /* gzipped ones that left the cache while they were sent */
    struct file_entry *newest, *oldest;
    struct file_entry *buckets[BUCKETS];
};

struct file_cache *file_cache_create(int root_fd, size_t max_entries)
{
    assert(max_entries > 0);
    struct file_cache *cache = memory_alloc_zeroed(1, sizeof(*cache));
    cache->root_fd = root_fd;
    cache->max_entries = max_entries;
    return cache;
}

void file_entry_retain(struct file_entry *entry)
{
    atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
}

void file_entry_release(struct file_entry *entry)
{
    if (atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel) == 1) {
        if (entry->fd >= 0) {
            close(entry->fd);
        }
        if (entry->gzipped != NULL) {
            file_entry_release(entry->gzipped);
        }
        free(entry->content);
        free((char *)entry->headers.ptr);
        free(entry);
    }
}

/* FNV-1a. */
static uint64_t hash_path(struct span path)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < path.len; i++) {
        hash = (hash ^ (unsigned char)path.ptr[i]) * 1099511628211u;
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

void file_cache_destroy(struct file_cache *cache)
{
    while (cache->newest != NULL) {
        remove_entry(cache, cache->newest);
    }
    while (cache->lent != NULL) {
        struct file_entry *gzipped = cache->lent;
        cache->lent = gzipped->bucket_next;
        file_entry_release(gzipped);
    }
    free(cache);
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

/* Two writes within one tick of the file system's clock leave the same time stamp. */
static bool is_settled(const struct stat *status)
{
    int64_t modified_ms =
        (int64_t)status->st_mtim.tv_sec * 1000 + status->st_mtim.tv_nsec / 1000000;
    int64_t age_ms = (int64_t)clock_realtime_ms() - modified_ms;
    return age_ms > SETTLED_MS || age_ms < -SETTLED_MS;
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

/* O_NONBLOCK keeps a FIFO or a device from blocking the worker before its kind is known. */
static int open_beneath(int root_fd, const char *path)
{
    struct open_how how = {
        .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    int fd;
    int tries = LOOKUP_TRIES;
    do { /* EAGAIN: something was renamed meanwhile, so that ".." could not be judged */
        fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
    } while (fd < 0 && errno == EAGAIN && --tries > 0);
    return fd;
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

/* Reads the whole file. False if it did not hold still meanwhile. */
static bool read_whole(const struct file_entry *entry, char *content)
{
    size_t bytes = (size_t)entry->status.st_size;
    size_t got = 0;
    while (got < bytes) {
        ssize_t n = pread(entry->fd, content + got, bytes - got, (off_t)got);
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
    }
    struct stat after;
    return fstat(entry->fd, &after) == 0 && same_file(&after, &entry->status);
}

/* Small files are kept in memory. */
static bool load_content(struct file_entry *entry)
{
    if (entry->size_bytes > FILE_CONTENT_BYTES) {
        return true;
    }
    entry->content = memory_alloc((size_t)entry->size_bytes + 1);
    return read_whole(entry, entry->content);
}

/* Last-Modified must not lie in the future of Date (RFC 9110, 8.8.2.1), which is rendered by a tick
 * and so may be late: a second's distance is kept. */
static void render_headers(struct file_entry *entry, const char *etag_suffix)
{
    int64_t now = (int64_t)(clock_realtime_ms() / 1000) - 1;
    const struct timespec *modified = &entry->status.st_mtim;
    entry->last_modified = modified->tv_sec < now ? modified->tv_sec : now;
    snprintf(entry->etag, sizeof(entry->etag), "\"%llx-%llx-%llx%08lx%s\"",
             (unsigned long long)entry->status.st_ino, (unsigned long long)entry->size_bytes,
             (unsigned long long)modified->tv_sec, (unsigned long)modified->tv_nsec, etag_suffix);
    char date[HTTP_DATE_BYTES];
    http_date_format(entry->last_modified, date);
    char *lines = memory_alloc(HEADER_LINES_BYTES);
    int bytes = snprintf(lines, HEADER_LINES_BYTES,
                         "Last-Modified: %s\r\nETag: %s\r\nAccept-Ranges: bytes\r\n"
                         "X-Content-Type-Options: nosniff\r\n",
                         date, entry->etag);
    assert(bytes > 0 && bytes < HEADER_LINES_BYTES);
    entry->headers = (struct span){lines, (size_t)bytes};
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
static unsigned find_variants(int root_fd, char *name)
{
    unsigned found = 0;
    char *end = name + strlen(name);
    for (int coding = 0; coding < CODING_IDENTITY; coding++) {
        struct stat status;
        strcpy(end, content_coding_suffix((enum content_coding)coding));
        int fd = open_beneath(root_fd, name);
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

/* Opens and reads the file anew. */
static enum file_result load_entry(struct file_cache *cache, struct span path,
                                   struct file_entry **out)
{
    char name[NAME_BYTES];
    if (path.len >= sizeof(name) - SUFFIX_BYTES) {
        return FILE_NOT_FOUND;
    }
    const char *relative = path.len > 1 ? name : ".";
    memcpy(name, path.ptr + 1, path.len - 1);
    name[path.len - 1] = '\0';
    for (int try = 0; try < LOAD_TRIES; try++) {
        struct stat status;
        int fd = open_beneath(cache->root_fd, relative);
        if (fd < 0) {
            return result_of_errno();
        }
        enum file_result kind = fstat(fd, &status) == 0 ? kind_of(&status) : FILE_FAILED;
        if (kind != FILE_FOUND) {
            close(fd);
            return kind;
        }
        struct file_entry *entry = make_entry(fd, &status, path);
        if (load_content(entry)) {
            render_headers(entry, "");
            entry->codings = find_variants(cache->root_fd, name);
            *out = entry;
            return FILE_FOUND;
        }
        file_entry_release(entry);
    }
    errno = EBUSY;
    return FILE_FAILED;
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
static struct file_entry *make_gzipped(const struct file_entry *entry)
{
    const size_t bytes = (size_t)entry->size_bytes;
    struct buffer compressed = {0};
    char *content = memory_alloc(bytes);
    bool is_smaller =
        read_whole(entry, content) && gzip_compress((struct span){content, bytes}, &compressed);
    free(content);
    if (!is_smaller) {
        buffer_free(&compressed);
        return NULL;
    }
    struct span path = {entry->path, entry->path_len};
    struct file_entry *gzipped = make_entry(-1, &entry->status, path);
    gzipped->size_bytes = compressed.len;
    gzipped->content = memory_resize(compressed.data, compressed.len);
    render_headers(gzipped, "-gzip");
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
        entry->gzipped = make_gzipped(entry);
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
    assert(path.len > 0 && path.ptr[0] == '/');
    uint64_t hash = hash_path(path);
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
