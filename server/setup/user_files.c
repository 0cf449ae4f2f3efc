#include "server/setup/user_files.h"

#include "common/base/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_AT_MOST = 40 };

/* ---- With the user's rights ---- */

/* -1 with errno set. The file may be made. */
static int open_as_user(const struct privileges *privileges, const char *path)
{
    struct privileges_own own;
    if (!privileges_lay_down(privileges, &own)) {
        return -1;
    }
    int fd = log_file_open(path);
    privileges_take_up(&own);
    return fd;
}

bool user_files_can_append(const struct privileges *privileges, const char *path)
{
    struct privileges_own own;
    if (!privileges->changes || log_file_is_descriptor(path)) {
        return true;
    }
    if (!privileges_lay_down(privileges, &own)) {
        return false;
    }
    int fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    privileges_take_up(&own);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* ---- By root ---- */

/* A path on the way: a directory, and what is left of the path in it. */
struct way {
    const struct privileges *privileges;
    const char *path;
    int directory_fd;
    int links; /* followed so far */
    char rest[PATH_MAX];
    struct error *error;
};

static void __attribute__((format(printf, 2, 3))) refuse(const struct way *way, const char *format,
                                                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    error_set_list(way->error, format, arguments);
    va_end(arguments);
}

static bool refuse_name(const struct way *way, const char *name)
{
    refuse(
        way,
        "user %.32s may not, and root does not open what others can change: \"%.64s\" on the way "
        "is not root's alone",
        way->privileges->user, name);
    return false;
}

static bool is_in_groups(const struct privileges *privileges, gid_t gid)
{
    for (int i = 0; i < privileges->group_count; i++) {
        if (privileges->groups[i] == gid) {
            return true;
        }
    }
    return gid == privileges->gid;
}

/* What is in a folder with the sticky bit nobody but its owner can take the place of: that it is
 * root's is looked at on the way. */
static bool is_roots(const struct privileges *privileges, const struct stat *status)
{
    bool shared = (status->st_mode & S_IWOTH) != 0 ||
                  ((status->st_mode & S_IWGRP) != 0 && is_in_groups(privileges, status->st_gid));
    return status->st_uid == 0 && (!shared || (status->st_mode & S_ISVTX) != 0);
}

/* Goes to a folder, which is closed with the way. */
static bool enter(struct way *way, int fd)
{
    struct stat status;
    if (way->directory_fd >= 0) {
        close(way->directory_fd);
    }
    way->directory_fd = fd;
    return fd >= 0 && fstat(fd, &status) == 0 && is_roots(way->privileges, &status);
}

static bool enter_start(struct way *way)
{
    const char *start = way->rest[0] == '/' ? "/" : ".";
    return enter(way, open(start, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* Takes the next name off the rest. */
static void next_name(struct way *way, char name[NAME_MAX + 1])
{
    const char *from = way->rest + strspn(way->rest, "/");
    size_t length = strcspn(from, "/");
    snprintf(name, NAME_MAX + 1, "%.*s", (int)length, from);
    from += length;
    from += strspn(from, "/");
    memmove(way->rest, from, strlen(from) + 1);
}

/* Puts where a link leads in front of the rest. */
static bool follow(struct way *way, int link_fd)
{
    char target[PATH_MAX];
    char rest[PATH_MAX];
    ssize_t bytes = readlinkat(link_fd, "", target, sizeof(target));
    if (bytes < 0 || ++way->links > LINKS_AT_MOST) {
        return false;
    }
    int wanted = snprintf(rest, sizeof(rest), "%.*s%s%s", (int)bytes, target,
                          way->rest[0] != '\0' ? "/" : "", way->rest);
    if (wanted < 0 || (size_t)wanted >= sizeof(rest)) {
        return false;
    }
    memcpy(way->rest, rest, sizeof(rest));
    return rest[0] != '/' || enter_start(way);
}

/* One step on; false, refused. */
static bool go_on(struct way *way, const char *name)
{
    struct stat status;
    int fd = openat(way->directory_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        refuse(way, "%s", strerror(errno));
        return false;
    }
    if (!S_ISLNK(status.st_mode)) {
        return enter(way, fd) || refuse_name(way, name);
    }
    bool followed = status.st_uid == 0 && follow(way, fd);
    close(fd);
    return followed || refuse_name(way, name);
}

/* Devices are made by root alone. */
static bool may_be_log(const struct way *way, const struct stat *status)
{
    return status->st_uid == 0 || S_ISCHR(status->st_mode) ||
           status->st_uid == way->privileges->uid;
}

/* The kernel refuses it first where fs.protected_regular is set: a file of somebody else's in a
 * folder with the sticky bit. */
static bool is_somebody_elses(const struct way *way, const char *name)
{
    struct stat status;
    return fstatat(way->directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           !S_ISLNK(status.st_mode) && !may_be_log(way, &status);
}

/* -1 with ELOOP in errno: it is a link. */
static int open_last(const struct way *way, const char *name)
{
    struct stat status;
    int fd = log_file_open_at(way->directory_fd, name);
    if (fd < 0 && errno == EACCES && is_somebody_elses(way, name)) {
        refuse_name(way, name);
        errno = EPERM;
        return -1;
    }
    if (fd < 0) {
        refuse(way, "%s", log_file_cause(way->path, errno));
        return -1;
    }
    if (fstat(fd, &status) != 0 || !may_be_log(way, &status)) {
        refuse_name(way, name);
        close(fd);
        errno = EPERM;
        return -1;
    }
    return fd;
}

static int walk(struct way *way)
{
    char name[NAME_MAX + 1];
    if (!enter_start(way)) {
        refuse_name(way, way->rest[0] == '/' ? "/" : ".");
        return -1;
    }
    while (true) {
        next_name(way, name);
        int fd = way->rest[0] == '\0' ? open_last(way, name) : -1;
        if (fd >= 0 || (way->rest[0] == '\0' && errno != ELOOP)) {
            return fd;
        }
        if (!go_on(way, name)) {
            return -1;
        }
    }
}

static int open_as_root(const struct privileges *privileges, const char *path, struct error *error)
{
    struct way way = {.privileges = privileges, .path = path, .directory_fd = -1, .error = error};
    if (snprintf(way.rest, sizeof(way.rest), "%s", path) >= (int)sizeof(way.rest)) {
        refuse(&way, "%s", strerror(ENAMETOOLONG));
        return -1;
    }
    int fd = walk(&way);
    if (way.directory_fd >= 0) {
        close(way.directory_fd);
    }
    return fd;
}

/* ---- Both ---- */

int user_files_open_log(const struct privileges *privileges, const char *path, int *user_error,
                        struct error *error)
{
    bool as_user = privileges->changes && !log_file_is_descriptor(path);
    int fd = as_user ? open_as_user(privileges, path) : log_file_open(path);
    *user_error = fd < 0 ? errno : 0;
    if (fd < 0 && as_user && (errno == EACCES || errno == EPERM)) {
        return open_as_root(privileges, path, error);
    }
    if (fd < 0) {
        error_set(error, "%s", log_file_cause(path, errno));
    }
    return fd;
}
