#include "server/supervise/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Whom to become ---- */

static bool find_user(struct privileges *privileges, const char *name, const char *group,
                      char error[PRIVILEGES_ERROR_BYTES])
{
    const struct passwd *user = getpwnam(name);
    if (user == NULL) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "there is no user \"%s\"; add it (useradd --system), or name another with --user",
                 name);
        return false;
    }
    privileges->uid = user->pw_uid;
    privileges->gid = user->pw_gid;
    if (group == NULL) {
        return true;
    }
    const struct group *found = getgrnam(group);
    if (found == NULL) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "there is no group \"%s\"; add it (groupadd --system), or name another with "
                 "--user",
                 group);
        return false;
    }
    privileges->gid = found->gr_gid;
    return true;
}

/* Whether this process may send signals to others than its own user's. */
static bool may_signal_others(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & CAP_TO_MASK(CAP_KILL)) != 0;
}

static bool may_become(const struct privileges *privileges, char error[PRIVILEGES_ERROR_BYTES])
{
    if (privileges->uid == 0) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "user %s would keep every privilege; name an ordinary user with --user",
                 privileges->user);
        return false;
    }
    if (privileges->changes && geteuid() != 0) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "cannot become user %s: only root can; start as root, or leave --user out",
                 privileges->user);
        return false;
    }
    if (privileges->changes && !may_signal_others()) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "could not stop or replace workers of user %s: a signal to them takes CAP_KILL; "
                 "let the master have it, or leave --user out",
                 privileges->user);
        return false;
    }
    return true;
}

bool privileges_resolve(struct privileges *privileges, const char *user,
                        char error[PRIVILEGES_ERROR_BYTES])
{
    char name[PRIVILEGES_NAME_BYTES];
    *privileges = (struct privileges){0};
    if (user == NULL) {
        return true;
    }
    if (strlen(user) >= sizeof(name)) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "no user has a name this long: %.40s...; "
                 "name another with --user",
                 user);
        return false;
    }
    strcpy(name, user);
    strcpy(privileges->user, user);
    char *group = strchr(name, ':');
    if (group != NULL) {
        *group++ = '\0';
    }
    if (!find_user(privileges, name, group, error)) {
        return false;
    }
    privileges->changes = privileges->uid != geteuid() || privileges->gid != getegid();
    if (!may_become(privileges, error)) {
        return false;
    }
    privileges->group_count = PRIVILEGES_GROUPS;
    if (getgrouplist(name, privileges->gid, privileges->groups, &privileges->group_count) < 0) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "user %s is in more than %d groups; name one with fewer with --user", name,
                 (int)PRIVILEGES_GROUPS);
        return false;
    }
    return true;
}

/* ---- Giving up ---- */

/* Without CAP_SETPCAP the set cannot shrink; then PR_SET_NO_NEW_PRIVS alone keeps what is left of
 * it out of reach. */
static bool drop_bounding_set(void)
{
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
         capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            return errno == EPERM;
        }
    }
    return true;
}

static bool become(const struct privileges *privileges)
{
    return drop_bounding_set() &&
           setgroups((size_t)privileges->group_count, privileges->groups) == 0 &&
           setresgid(privileges->gid, privileges->gid, privileges->gid) == 0 &&
           setresuid(privileges->uid, privileges->uid, privileges->uid) == 0;
}

/* All sets of them; the ambient one follows by itself. Who has none does not ask: a service
 * manager's filter of system calls may forbid it. */
static bool clear_capabilities(void)
{
    static const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct mine[_LINUX_CAPABILITY_U32S_3] = {{0}};
    return (syscall(SYS_capget, &header, mine) == 0 && memcmp(mine, none, sizeof(none)) == 0) ||
           syscall(SYS_capset, &header, none) == 0;
}

static bool has_become(const struct privileges *privileges)
{
    uid_t uids[3];
    gid_t gids[3];
    if (getresuid(&uids[0], &uids[1], &uids[2]) != 0 ||
        getresgid(&gids[0], &gids[1], &gids[2]) != 0) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        if (uids[i] != privileges->uid || gids[i] != privileges->gid) {
            return false;
        }
    }
    return true;
}

static bool can_come_back(void)
{
    return setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setgroups(0, NULL) == 0;
}

bool privileges_drop(const struct privileges *privileges, char error[PRIVILEGES_ERROR_BYTES])
{
    if (privileges->changes && !become(privileges)) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "cannot become user %s: %s; the master needs CAP_SETUID and CAP_SETGID",
                 privileges->user, strerror(errno));
        return false;
    }
    if (geteuid() != 0 && !clear_capabilities()) {
        snprintf(error, PRIVILEGES_ERROR_BYTES, "cannot give up capabilities: %s; start without",
                 strerror(errno));
        return false;
    }
    if (privileges->changes && (!has_become(privileges) || can_come_back())) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "user %s could become root again; check the kernel's security modules",
                 privileges->user);
        return false;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "cannot rule out new privileges: %s; Linux 3.5 or later is needed",
                 strerror(errno));
        return false;
    }
    return true;
}

bool privileges_drop_tracing(char error[PRIVILEGES_ERROR_BYTES])
{
    const size_t set = CAP_TO_INDEX(CAP_SYS_PTRACE);
    const uint32_t others = ~(uint32_t)CAP_TO_MASK(CAP_SYS_PTRACE);
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct mine[_LINUX_CAPABILITY_U32S_3];
    if (geteuid() != 0) {
        return true; /* has nothing left */
    }
    bool good = syscall(SYS_capget, &header, mine) == 0;
    mine[set].effective &= others;
    mine[set].permitted &= others;
    mine[set].inheritable &= others;
    if (!good || syscall(SYS_capset, &header, mine) != 0) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "cannot give up the right to trace processes: %s; name an ordinary user with "
                 "--user",
                 strerror(errno));
        return false;
    }
    return true;
}

/* ---- Files ---- */

/* Something that serving will need. */
struct need {
    bool (*is_met)(const struct need *need);
    int fd;
    const char *path;
    const char *what; /* "cannot WHAT PATH" */
    const char *fix;
};

static bool can_search(const struct need *need)
{
    return faccessat(need->fd, ".", X_OK, 0) == 0;
}

static bool can_find(const struct need *need)
{
    struct stat status;
    return stat(need->path, &status) == 0;
}

static bool can_append(const struct need *need)
{
    return open(need->path, O_WRONLY | O_APPEND | O_CLOEXEC) >= 0;
}

/* In a process of its own: as the user, tries it. Writes what is wrong. */
static _Noreturn void try_need(const struct privileges *privileges, const struct need *need,
                               int out)
{
    char error[PRIVILEGES_ERROR_BYTES] = "";
    if (privileges_drop(privileges, error) && !need->is_met(need)) {
        snprintf(error, sizeof(error), "user %s cannot %s %s: %s; %s", privileges->user, need->what,
                 need->path, strerror(errno), need->fix);
    }
    ssize_t ignored = write(out, error, strlen(error));
    (void)ignored;
    _exit(error[0] == '\0' ? 0 : 1);
}

static bool check_need(const struct privileges *privileges, const struct need *need,
                       char error[PRIVILEGES_ERROR_BYTES])
{
    int ends[2];
    int status = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(error, PRIVILEGES_ERROR_BYTES, "cannot make a pipe: %s; free descriptors",
                 strerror(errno));
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        try_need(privileges, need, ends[1]);
    }
    close(ends[1]);
    ssize_t bytes = pid < 0 ? -1 : read(ends[0], error, PRIVILEGES_ERROR_BYTES - 1);
    error[bytes > 0 ? bytes : 0] = '\0';
    close(ends[0]);
    bool good = pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
    if (!good && error[0] == '\0') {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "cannot try whether user %s can %s %s: %s; allow more processes", privileges->user,
                 need->what, need->path,
                 pid < 0 ? strerror(errno) : "the process that tried it has died");
    }
    return good;
}

bool privileges_check_root(const struct privileges *privileges, int root_fd, const char *root,
                           char error[PRIVILEGES_ERROR_BYTES])
{
    const struct need need = {can_search, root_fd, root, "search the document root",
                              "open it to that user, or choose another with --root"};
    return !privileges->changes || check_need(privileges, &need, error);
}

bool privileges_check_root_path(const struct privileges *privileges, const char *root,
                                char error[PRIVILEGES_ERROR_BYTES])
{
    const struct need need = {can_find, -1, root, "look up the document root",
                              "what takes its place is served after a reload alone"};
    return !privileges->changes || check_need(privileges, &need, error);
}

bool privileges_check_log(const struct privileges *privileges, const char *path,
                          char error[PRIVILEGES_ERROR_BYTES])
{
    struct stat status;
    const struct need need = {can_append, -1, path, "open the log",
                              "let that user search its folder"};
    return !privileges->changes || path == NULL || stat(path, &status) != 0 ||
           !S_ISREG(status.st_mode) || check_need(privileges, &need, error);
}

bool privileges_give_log(const struct privileges *privileges, const char *path,
                         char error[PRIVILEGES_ERROR_BYTES])
{
    struct stat status;
    if (!privileges->changes || path == NULL) {
        return true;
    }
    int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    bool good = fd >= 0 && fstat(fd, &status) == 0;
    if (good && S_ISREG(status.st_mode) && status.st_nlink == 1) {
        good = fchownat(fd, "", privileges->uid, (gid_t)-1, AT_EMPTY_PATH) == 0;
    }
    if (!good) {
        snprintf(error, PRIVILEGES_ERROR_BYTES,
                 "cannot give the log %s to user %s: %s; choose another place for it", path,
                 privileges->user, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return good;
}
