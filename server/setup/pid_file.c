#include "server/setup/pid_file.h"

#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTENT_BYTES = 24 };

/* Process-wide by nature. */
static struct {
    char path[PATH_MAX]; /* "": there is none */
    int fd;              /* holds the lock; -1: nothing is locked */
    bool upgrades;
} file = {.fd = -1};

enum attempt {
    ATTEMPT_DONE,
    ATTEMPT_LATER, /* the parent has the file until this process serves */
    ATTEMPT_AGAIN, /* somebody else was quicker */
    ATTEMPT_FAILED
};

static enum attempt fail(struct error *error)
{
    error_set(error, "cannot write the pid file %.256s: %s; choose another with --pid-file",
              file.path, strerror(errno));
    return ATTEMPT_FAILED;
}

/* ---- The file that is there ---- */

/* A lock of fcntl, not of flock, which forked workers would hold on to when the master has died. */
static bool lock(int fd)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &whole) == 0;
}

static enum attempt judge_holder(int fd, struct error *error)
{
    struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_GETLK, &holder) == 0 && holder.l_type == F_UNLCK) {
        return ATTEMPT_AGAIN;
    }
    if (file.upgrades && holder.l_pid == getppid()) {
        return ATTEMPT_LATER;
    }
    error_set(error,
              "the pid file %.256s belongs to a running server, pid %d; stop that one, or choose "
              "another file with --pid-file",
              file.path, (int)holder.l_pid);
    return ATTEMPT_FAILED;
}

/* Whether this is the file that the path leads to. */
static bool is_in_place(int fd)
{
    struct stat there;
    struct stat mine;
    return fd >= 0 && lstat(file.path, &there) == 0 && fstat(fd, &mine) == 0 &&
           there.st_dev == mine.st_dev && there.st_ino == mine.st_ino;
}

/* A number and a line feed, or nothing: whatever else is there was not meant to be replaced. */
static bool is_pid(int fd)
{
    char content[CONTENT_BYTES];
    ssize_t bytes = pread(fd, content, sizeof(content), 0);
    for (ssize_t i = 0; i < bytes; i++) {
        bool end = i > 0 && i == bytes - 1 && content[i] == '\n';
        if (!end && (content[i] < '0' || content[i] > '9')) {
            return false;
        }
    }
    return bytes >= 0 && bytes < CONTENT_BYTES;
}

/* Locks it; -1 in *fd if there is none. */
static enum attempt take_old(int *fd, struct error *error)
{
    *fd = open(file.path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0) {
        return errno == ENOENT ? ATTEMPT_DONE : fail(error);
    }
    enum attempt result = ATTEMPT_DONE;
    if (!lock(*fd)) {
        result = judge_holder(*fd, error);
    } else if (!is_in_place(*fd)) {
        result = ATTEMPT_AGAIN;
    } else if (!is_pid(*fd)) {
        error_set(error, "%.256s is no pid file; remove it, or choose another with --pid-file",
                  file.path);
        result = ATTEMPT_FAILED;
    }
    if (result != ATTEMPT_DONE) {
        close(*fd);
    }
    return result;
}

/* ---- The new one ---- */

/* A locked file with the pid under a name that nobody knows yet. -1 with errno set on failure. */
static int make_new(char name[PATH_MAX])
{
    char content[CONTENT_BYTES];
    int bytes = snprintf(content, sizeof(content), "%d\n", (int)getpid());
    if (snprintf(name, PATH_MAX, "%s.XXXXXX", file.path) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    if (fchmod(fd, 0644) == 0 && write(fd, content, (size_t)bytes) == bytes && lock(fd)) {
        return fd;
    }
    int saved_errno = errno;
    unlink(name);
    close(fd);
    errno = saved_errno;
    return -1;
}

/* A new name must not exist yet (link); what is there, with replaces, is ours to take the place of
 * (rename). */
static bool put_in_place(const char *name, bool replaces)
{
    bool good = replaces ? rename(name, file.path) == 0 : link(name, file.path) == 0;
    int saved_errno = errno;
    if (!good || !replaces) {
        unlink(name);
    }
    errno = saved_errno;
    return good;
}

static bool put_new(bool replaces)
{
    char name[PATH_MAX];
    int fd = make_new(name);
    if (fd < 0) {
        return false;
    }
    if (!put_in_place(name, replaces)) {
        int saved_errno = errno;
        close(fd);
        errno = saved_errno;
        return false;
    }
    if (file.fd >= 0) {
        close(file.fd);
    }
    file.fd = fd;
    return true;
}

/* ---- A server's way with it ---- */

static enum attempt try_once(struct error *error)
{
    int old;
    enum attempt result = take_old(&old, error);
    if (result != ATTEMPT_DONE) {
        return result;
    }
    if (!put_new(old >= 0)) {
        result = errno == EEXIST ? ATTEMPT_AGAIN : fail(error);
    }
    if (old >= 0) {
        close(old);
    }
    return result;
}

bool pid_file_create(const char *path, bool upgrades, struct error *error)
{
    enum attempt result = ATTEMPT_AGAIN;
    file.fd = -1;
    file.upgrades = upgrades;
    if (path == NULL) {
        return true;
    }
    if (snprintf(file.path, sizeof(file.path), "%s", path) >= (int)sizeof(file.path)) {
        errno = ENAMETOOLONG;
        result = fail(error);
    }
    while (result == ATTEMPT_AGAIN) {
        result = try_once(error);
    }
    if (result == ATTEMPT_FAILED) {
        file.path[0] = '\0';
    }
    return result != ATTEMPT_FAILED;
}

bool pid_file_try(const char *path, struct error *error)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return true;
    }
    bool good = fd >= 0 && is_pid(fd);
    if (!good) {
        error_set(error, "%.256s is no pid file; remove it, or choose another with --pid-file",
                  path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

void pid_file_claim(void)
{
    if (file.path[0] != '\0' && !is_in_place(file.fd) && !put_new(true)) {
        log_write(LOG_ERROR, "cannot write the pid file %s: %m; it is wrong now", file.path);
    }
}

void pid_file_forget(void)
{
    if (file.fd >= 0) {
        close(file.fd);
    }
    file.fd = -1;
    file.path[0] = '\0';
}

void pid_file_remove(void)
{
    if (is_in_place(file.fd) && unlink(file.path) != 0) {
        log_write(LOG_WARN, "cannot remove the pid file %s: %m; remove it by hand", file.path);
    }
    pid_file_forget();
}
