#include "common/base/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* A terminal must not become the controlling one, and opening must not wait: not for the reader of
 * a FIFO, not for a modem. */
enum { HOW = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, NEW_FILE = O_APPEND | O_CREAT };
enum { NEW_FILE_MODE = 0640, FIRST_FREE = 3, DESCRIPTOR_PATH_BYTES = 32 };

/* ---- Opening ---- */

/* The number that a path names; -1: it names none. */
static int descriptor_of(const char *path)
{
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    if (strcmp(path, "/dev/stdout") == 0) {
        return STDOUT_FILENO;
    }
    if (strcmp(path, "/dev/stderr") == 0) {
        return STDERR_FILENO;
    }
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        size_t length = strlen(folders[i]);
        if (strncmp(path, folders[i], length) == 0) {
            char *end;
            long number = strtol(path + length, &end, 10);
            bool good = end != path + length && *end == '\0' && number >= 0 && number < INT_MAX;
            return good ? (int)number : -1;
        }
    }
    return -1;
}

bool log_file_is_descriptor(const char *path)
{
    return descriptor_of(path) >= 0;
}

static int open_again(int fd, int flags)
{
    char path[DESCRIPTOR_PATH_BYTES];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, HOW | flags);
}

/* A socket cannot be opened, nor can a pipe of another user's. */
static int open_descriptor(int fd)
{
    int again = open_again(fd, O_APPEND);
    return again >= 0 ? again : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
}

int log_file_open(const char *path)
{
    int fd = descriptor_of(path);
    return fd >= 0 ? open_descriptor(fd) : open(path, HOW | NEW_FILE, NEW_FILE_MODE);
}

int log_file_open_at(int directory_fd, const char *name)
{
    return openat(directory_fd, name, HOW | NEW_FILE | O_NOFOLLOW, NEW_FILE_MODE);
}

bool log_file_replace(int fd, int new_fd)
{
    bool replaced = dup3(new_fd, fd, O_CLOEXEC) >= 0;
    close(new_fd);
    return replaced;
}

bool log_file_reopen(int fd, const char *path)
{
    if (log_file_is_descriptor(path)) {
        return true;
    }
    int new_fd = log_file_open(path);
    return new_fd >= 0 && log_file_replace(fd, new_fd);
}

const char *log_file_cause(const char *path, int error)
{
    struct stat status;
    bool no_reader = error == ENXIO && stat(path, &status) == 0 && S_ISFIFO(status.st_mode);
    return no_reader ? "it is a FIFO that nobody reads" : strerror(error);
}

/* A regular file that was opened without O_APPEND has a position that all who share it rely on. A
 * socket needs no description of our own: each send says that it does not wait. */
static bool can_be_own(int fd, int flags)
{
    struct stat status;
    return flags >= 0 && fstat(fd, &status) == 0 && !S_ISSOCK(status.st_mode) &&
           (!S_ISREG(status.st_mode) || (flags & O_APPEND) != 0);
}

static bool is_regular(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

bool log_file_own(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    int closes = fcntl(fd, F_GETFD);
    if (!can_be_own(fd, flags)) {
        return false;
    }
    int own = open_again(fd, flags & O_APPEND);
    if (own < 0) {
        return false;
    }
    bool is_own = dup3(own, fd, (closes & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0) >= 0;
    close(own);
    return is_own && is_regular(fd);
}

/* ---- Writing ---- */

/* A pipe or a device. Our own description has O_NONBLOCK. One that we had to leave shared has not:
 * newer kernels can be asked not to wait in a single call, with others we look before. */
static ssize_t write_now(int fd, const char *data, size_t bytes)
{
    const struct iovec piece = {(char *)data, bytes};
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    ssize_t n = pwritev2(fd, &piece, 1, -1, RWF_NOWAIT);
    if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS)) {
        return n;
    }
    if (poll(&room, 1, 0) <= 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, data, bytes);
}

static ssize_t put(int fd, mode_t mode, const char *data, size_t bytes)
{
    if (S_ISREG(mode)) {
        return write(fd, data, bytes);
    }
    return S_ISSOCK(mode) ? send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL)
                          : write_now(fd, data, bytes);
}

static size_t whole_lines(const char *lines, size_t bytes)
{
    const char *end = memrchr(lines, '\n', bytes);
    return end == NULL ? 0 : (size_t)(end - lines) + 1;
}

/* As many lines as a pipe takes at once or not at all. */
static size_t piece_bytes(const char *lines, size_t bytes)
{
    const size_t most = bytes < PIPE_BUF ? bytes : PIPE_BUF;
    const size_t whole = most < bytes ? whole_lines(lines, most) : bytes;
    return whole > 0 ? whole : most;
}

/* Takes the last bytes of a file away that we have just written, unless somebody else has appended
 * to them. The offset, by which that is seen, is set first: as soon as they are gone, there is room
 * for a piece of somebody else's line, and who found another offset would leave that there. */
static bool take_back(int fd, size_t bytes)
{
    struct stat status;
    return fstat(fd, &status) == 0 && status.st_size >= (off_t)bytes &&
           lseek(fd, 0, SEEK_CUR) == status.st_size &&
           lseek(fd, status.st_size - (off_t)bytes, SEEK_SET) >= 0 &&
           ftruncate(fd, status.st_size - (off_t)bytes) == 0;
}

static size_t take_back_torn(int fd, const char *lines, size_t written)
{
    int saved_errno = errno;
    size_t whole = whole_lines(lines, written);
    if (whole < written && take_back(fd, written - whole)) {
        written = whole;
    }
    errno = saved_errno;
    return written;
}

/* One that is not interrupted. */
static ssize_t put_piece(int fd, mode_t mode, const char *lines, size_t bytes)
{
    ssize_t n;
    do {
        n = put(fd, mode, lines, S_ISREG(mode) ? bytes : piece_bytes(lines, bytes));
    } while (n < 0 && errno == EINTR);
    if (n == 0) { /* a terminal that takes nothing now */
        errno = EAGAIN;
    }
    return n;
}

static size_t append(int fd, mode_t mode, const char *lines, size_t bytes)
{
    size_t written = 0;
    ssize_t n;
    while (written < bytes && (n = put_piece(fd, mode, lines + written, bytes - written)) > 0) {
        written += (size_t)n;
    }
    return S_ISREG(mode) && written < bytes ? take_back_torn(fd, lines, written) : written;
}

size_t log_file_append(int fd, const char *lines, size_t bytes)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? append(fd, status.st_mode, lines, bytes) : 0;
}

size_t log_file_append_piece(int fd, const char *lines, size_t bytes)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return 0;
    }
    if (S_ISREG(status.st_mode)) {
        return append(fd, status.st_mode, lines, bytes);
    }
    ssize_t n = put_piece(fd, status.st_mode, lines, bytes);
    return n > 0 ? (size_t)n : 0;
}

const char *log_file_loss_cause(int error)
{
    switch (error) {
    case EAGAIN:
        return "its reader is too slow, or has stopped";
    case EPIPE:
        return "nobody reads it";
    default:
        return strerror(error);
    }
}
