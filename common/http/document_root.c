#include "common/http/document_root.h"

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/http/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    LOOK_MS = 500,
    PATIENT_LOOKS = 4 /* in vain; a link that is removed and made again has nothing to be told */
};

struct document_root {
    char *path;
    int fd;
    _Atomic uint32_t switches;
    _Atomic uint64_t looked_ms;
    bool pinned;
    enum beneath_way way;
    atomic_flag looking; /* what is below belongs to who has set it */
    dev_t device;        /* of the directory at fd */
    ino_t inode;
    unsigned failures; /* in a row */
};

static int open_directory(const char *path)
{
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void remember(struct document_root *root, const struct stat *status)
{
    root->device = status->st_dev;
    root->inode = status->st_ino;
}

static bool open_root(struct document_root *root, struct error *error)
{
    struct stat status;
    root->fd = open_directory(root->path);
    if (root->fd < 0 || fstat(root->fd, &status) != 0) {
        return error_set(error,
                         "cannot open the document root %s: %s; name a directory with --root",
                         root->path, strerror(errno));
    }
    remember(root, &status);
    int way = beneath_choose_way(root->fd);
    if (way < 0) {
        return error_set(error, "cannot search the document root %s: %s; check its permissions",
                         root->path, strerror(errno));
    }
    root->way = (enum beneath_way)way;
    return true;
}

struct document_root *document_root_open(const char *path, struct error *error)
{
    struct document_root *root = memory_alloc_zeroed(1, sizeof(*root));
    atomic_flag_clear(&root->looking);
    root->path = memory_copy_string(path);
    if (!open_root(root, error)) {
        document_root_close(root);
        return NULL;
    }
    return root;
}

void document_root_close(struct document_root *root)
{
    if (root != NULL) {
        if (root->fd >= 0) {
            close(root->fd);
        }
        free(root->path);
        free(root);
    }
}

int document_root_fd(const struct document_root *root)
{
    return root->fd;
}

const char *document_root_path(const struct document_root *root)
{
    return root->path;
}

bool document_root_goes_by_steps(const struct document_root *root)
{
    return root->way == BENEATH_STEPS;
}

int document_root_open_file(const struct document_root *root, const char *path)
{
    return beneath_open(root->way, root->fd, path);
}

/* ---- Following the path ---- */

static bool leads_elsewhere(const struct document_root *root, const struct stat *status)
{
    return status->st_dev != root->device || status->st_ino != root->inode;
}

/* Opens what the path names now, and puts it in the place of the former at its descriptor: calls
 * that are under way in other threads end in one or the other. False with errno set. */
static bool take_place(struct document_root *root)
{
    struct stat status;
    int fd = open_directory(root->path);
    if (fd < 0) {
        return false;
    }
    bool good = fstat(fd, &status) == 0 && beneath_choose_way(fd) >= 0 &&
                dup3(fd, root->fd, O_CLOEXEC) >= 0;
    int error = errno;
    close(fd);
    errno = error;
    if (good) {
        remember(root, &status);
        atomic_fetch_add(&root->switches, 1); /* behind the switch: who sees it opens new files */
        log_write(LOG_NOTICE, "the document root %s is another directory now: serving that",
                  root->path);
    }
    return good;
}

static void note_failure(struct document_root *root)
{
    root->failures++;
    if (root->failures == PATIENT_LOOKS) {
        log_write(
            LOG_WARN,
            "cannot look up the document root %s: %m; the directory that it was goes on being "
            "served until the path leads to one again",
            root->path);
    }
}

static void look(struct document_root *root)
{
    struct stat status;
    bool known = stat(root->path, &status) == 0;
    if (known && (!leads_elsewhere(root, &status) || take_place(root))) {
        root->failures = 0;
    } else {
        note_failure(root);
    }
}

uint32_t document_root_follow(struct document_root *root, uint64_t now_ms)
{
    uint64_t looked_ms = atomic_load_explicit(&root->looked_ms, memory_order_relaxed);
    if (now_ms >= looked_ms + LOOK_MS && !root->pinned &&
        !atomic_flag_test_and_set(&root->looking)) {
        atomic_store_explicit(&root->looked_ms, now_ms, memory_order_relaxed);
        look(root);
        atomic_flag_clear(&root->looking);
    }
    return atomic_load_explicit(&root->switches, memory_order_acquire);
}

void document_root_pin(struct document_root *root)
{
    root->pinned = true;
}
