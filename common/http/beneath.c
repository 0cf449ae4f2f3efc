#include "common/http/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LOOKUP_TRIES = 16,
    MOST_LINKS = 40, /* as in the kernel */
    /* O_NONBLOCK keeps a FIFO or a device from blocking the worker before its kind is known. */
    READ_FLAGS = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
    STEP_FLAGS = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
};

static int open_by_kernel(int directory_fd, const char *path, int flags)
{
    struct open_how how = {
        .flags = (unsigned)flags,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    int fd;
    int tries = LOOKUP_TRIES;
    do { /* EAGAIN: something was renamed meanwhile, so that ".." could not be judged */
        fd = (int)syscall(SYS_openat2, directory_fd, path, &how, sizeof(how));
    } while (fd < 0 && errno == EAGAIN && --tries > 0);
    return fd;
}

/* ---- Step by step ---- */

/* Where a lookup has got to. No step follows a link or takes ".." from the kernel, so the directory
 * that is reached was found by its plain name in one that was found so before: whatever is renamed
 * meanwhile, each step stays beneath the directory in which it began. */
struct lookup {
    int root_fd;
    int fd;              /* of the directory that is reached: root_fd, or our own */
    char done[PATH_MAX]; /* its name: components with a slash behind each; empty for the root */
    char rest[PATH_MAX]; /* what is still to be looked up */
    int links;           /* followed so far */
};

static bool fail(int error)
{
    errno = error;
    return false;
}

/* Takes over fd. */
static void stand_in(struct lookup *lookup, int fd)
{
    if (lookup->fd != lookup->root_fd) {
        int error = errno;
        close(lookup->fd);
        errno = error;
    }
    lookup->fd = fd;
}

/* Into a directory, not through a link. */
static bool step_into(struct lookup *lookup, const char *name)
{
    int fd = openat(lookup->fd, name, STEP_FLAGS);
    if (fd < 0) {
        return false;
    }
    stand_in(lookup, fd);
    return true;
}

static bool enter(struct lookup *lookup, const char *name)
{
    size_t used = strlen(lookup->done);
    size_t len = strlen(name);
    if (used + len + 2 > sizeof(lookup->done)) {
        return fail(ENAMETOOLONG);
    }
    if (!step_into(lookup, name)) {
        return false;
    }
    memcpy(lookup->done + used, name, len);
    memcpy(lookup->done + used + len, "/", sizeof("/"));
    return true;
}

/* "..": the way so far without its last step, from the root. */
static bool leave(struct lookup *lookup)
{
    size_t len = strlen(lookup->done);
    if (len == 0) {
        return fail(EXDEV);
    }
    do {
        len--;
    } while (len > 0 && lookup->done[len - 1] != '/');
    lookup->done[len] = '\0';
    stand_in(lookup, lookup->root_fd);
    char name[NAME_MAX + 1];
    for (const char *at = lookup->done; *at != '\0'; at = strchr(at, '/') + 1) {
        size_t bytes = (size_t)(strchr(at, '/') - at);
        memcpy(name, at, bytes);
        name[bytes] = '\0';
        if (!step_into(lookup, name)) {
            return false;
        }
    }
    return true;
}

/* Puts where a link leads before what is left. False with ENOTDIR if the name is no link. */
static bool follow_link(struct lookup *lookup, const char *name)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(lookup->fd, name, target, sizeof(target));
    if (len < 0) {
        return fail(errno == EINVAL ? ENOTDIR : errno);
    }
    if (++lookup->links > MOST_LINKS) {
        return fail(ELOOP);
    }
    if (len == 0 || target[0] == '/') {
        return fail(len == 0 ? ENOENT : EXDEV);
    }
    size_t left = strlen(lookup->rest);
    if ((size_t)len + left + 1 > sizeof(lookup->rest)) {
        return fail(ENAMETOOLONG);
    }
    memmove(lookup->rest + len, lookup->rest, left + 1);
    memcpy(lookup->rest, target, (size_t)len);
    return true;
}

static bool has_more(const struct lookup *lookup)
{
    return lookup->rest[strspn(lookup->rest, "/")] != '\0';
}

/* Takes the next component off. False if it is too long for a name. */
static bool take_component(struct lookup *lookup, char name[NAME_MAX + 1])
{
    const char *start = lookup->rest + strspn(lookup->rest, "/");
    size_t len = strcspn(start, "/");
    if (len > NAME_MAX) {
        return fail(ENAMETOOLONG);
    }
    memcpy(name, start, len);
    name[len] = '\0';
    memmove(lookup->rest, start + len, strlen(start + len) + 1);
    return true;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* A component that has to be a directory. */
static bool pass(struct lookup *lookup, const char *name)
{
    if (strcmp(name, ".") == 0) {
        return true;
    }
    if (strcmp(name, "..") == 0) {
        return leave(lookup);
    }
    return enter(lookup, name) || (errno == ENOTDIR && follow_link(lookup, name));
}

static int walk(struct lookup *lookup, int flags)
{
    char name[NAME_MAX + 1];
    while (has_more(lookup)) {
        if (!take_component(lookup, name)) {
            return -1;
        }
        if (lookup->rest[0] != '\0' || is_dots(name)) { /* be it but a slash behind it */
            if (!pass(lookup, name)) {
                return -1;
            }
            continue;
        }
        int fd = openat(lookup->fd, name, flags | O_NOFOLLOW);
        if (fd >= 0 || errno != ELOOP) {
            return fd;
        }
        if (!follow_link(lookup, name)) {
            return -1;
        }
    }
    return openat(lookup->fd, ".", flags);
}

static int open_by_steps(int directory_fd, const char *path, int flags)
{
    struct lookup lookup = {.root_fd = directory_fd, .fd = directory_fd};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(lookup.rest) || path[0] == '/') {
        errno = len == 0 ? ENOENT : path[0] == '/' ? EXDEV : ENAMETOOLONG;
        return -1;
    }
    memcpy(lookup.rest, path, len + 1);
    int fd = walk(&lookup, flags);
    stand_in(&lookup, directory_fd);
    return fd;
}

/* ---- Both ways ---- */

int beneath_choose_way(int directory_fd)
{
    int way = BENEATH_KERNEL;
    int fd = open_by_kernel(directory_fd, ".", O_PATH | O_CLOEXEC);
    if (fd < 0) {
        way = BENEATH_STEPS;
        fd = openat(directory_fd, ".", STEP_FLAGS);
    }
    if (fd < 0) {
        return -1;
    }
    close(fd);
    return way;
}

int beneath_open(enum beneath_way way, int directory_fd, const char *path)
{
    if (way == BENEATH_KERNEL) {
        int fd = open_by_kernel(directory_fd, path, READ_FLAGS);
        if (fd >= 0 || (errno != EAGAIN && errno != ENOSYS)) {
            return fd;
        }
    } /* else, too, while others rename without end: our steps need no judgement of the kernel's */
    return open_by_steps(directory_fd, path, READ_FLAGS);
}
