/* Open files with everything about them that is the same for every response: descriptor, size,
 * validators, rendered header lines, and the bytes themselves if they are few.
 *
 * A cache belongs to one thread. An entry that was handed out may be released by another thread (a
 * pool thread finds it, the loop thread sends it), so the reference count is atomic. */
#ifndef TWINHTTPD_COMMON_HTTP_FILE_CACHE_H
#define TWINHTTPD_COMMON_HTTP_FILE_CACHE_H

#include "common/base/span.h"
#include "common/http/document_root.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>

enum { FILE_CONTENT_BYTES = 16384, FILE_ETAG_BYTES = 80 }; /* up to here the content is kept */

/* What entity tags are made of. */
enum file_etag {
    FILE_ETAG_PORTABLE, /* size, and content if that is in memory, else time of modification: equal
                         * copies on several hosts have equal tags */
    FILE_ETAG_INODE,    /* inode, size and time: of this host alone */
    FILE_ETAG_OFF       /* there are none */
};

struct file_entry {
    _Atomic uint32_t references;
    int fd; /* -1 for what was made on the fly */
    uint64_t size_bytes;
    int64_t last_modified;      /* seconds since 1970; CONDITIONAL_NO_DATE: there is none to show */
    bool date_is_own;           /* last_modified is the file's own time of modification */
    char etag[FILE_ETAG_BYTES]; /* empty: off */
    const char *content_type;
    unsigned codings; /* CODING_BIT of each coding that a variant is stored in beside this file */
    struct span headers;        /* Last-Modified, ETag (if any), Accept-Ranges: lines with CRLF */
    char *content;              /* NULL: send it from fd */
    struct file_entry *gzipped; /* made on the fly and owned; NULL: not yet, or not worth it */
    bool gzip_tried;
    bool settled;       /* what was loaded cannot have changed under the same time stamp since */
    struct stat status; /* as it was when opened: what freshness is judged by */
    uint64_t hash;
    uint64_t checked_turn;
    uint64_t opened_ms;
    struct file_entry *bucket_next;
    struct file_entry *newer, *older; /* order of use */
    size_t path_len;
    char path[];
};

enum file_result {
    FILE_FOUND,
    FILE_IS_DIRECTORY,
    FILE_NOT_FOUND,
    FILE_FORBIDDEN,
    FILE_EXHAUSTED, /* no descriptors or memory left */
    FILE_FAILED     /* errno says why */
};

struct file_cache;

/* root is the caller's and outlives the cache. Keeps at most max_entries files open. */
struct file_cache *file_cache_create(struct document_root *root, size_t max_entries,
                                     enum file_etag etag);
void file_cache_destroy(struct file_cache *cache);

/* To be called now and then, also while nothing is asked for: when the document root has become
 * another directory, the files of the old one are closed as soon as nobody sends them any more.
 * file_cache_open looks by itself, too, so that it finds new files alone. now_ms is
 * CLOCK_MONOTONIC. */
void file_cache_follow_root(struct file_cache *cache, uint64_t now_ms);

/* Finds the regular file that path (normalised, starting with "/") names beneath the root; no
 * symbolic link leads out of it. With FILE_FOUND the caller holds a reference.
 *
 * turn is that of the caller's handler context: an entry is compared with the file once a turn, so
 * that a request sees every change made before it was sent. now_ms is CLOCK_MONOTONIC. */
enum file_result file_cache_open(struct file_cache *cache, struct span path, uint64_t turn,
                                 uint64_t now_ms, struct file_entry **entry);

/* The gzipped form of an entry that file_cache_open has just found, with validators of its own;
 * the caller holds a reference. NULL: it does not pay, or the cache holds enough of them. */
struct file_entry *file_cache_gzip(struct file_cache *cache, struct file_entry *entry);

/* Another holder of the entry, and the end of one. The last release closes the file. */
void file_entry_retain(struct file_entry *entry);
void file_entry_release(struct file_entry *entry);

#endif
