#include "server/setup/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Whom to become ---- */

/* Whether this process may send signals to others than its own user's. */
static bool may_signal_others(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & CAP_TO_MASK(CAP_KILL)) != 0;
}

static bool may_become(const struct privileges *privileges, struct error *error)
{
    if (privileges->uid == 0) {
        return error_set(error,
                         "user %s would keep every privilege; name an ordinary user with --user",
                         privileges->user);
    }
    if (privileges->changes && geteuid() != 0) {
        return error_set(error,
                         "cannot become user %s: only root can; start as root, or leave --user out",
                         privileges->user);
    }
    if (privileges->changes && !may_signal_others()) {
        return error_set(
            error,
            "could not stop or replace workers of user %s: a signal to them takes CAP_KILL; "
            "let the master have it, or leave --user out",
            privileges->user);
    }
    return true;
}

bool privileges_resolve(struct privileges *privileges, const char *user, struct error *error)
{
    struct account account;
    *privileges = (struct privileges){0};
    if (user == NULL) {
        return true;
    }
    snprintf(privileges->user, sizeof(privileges->user), "%s", user);
    if (!account_find(&account, user, error)) {
        return false;
    }
    privileges->uid = account.uid;
    privileges->gid = account.gid;
    privileges->group_count = account.group_count;
    memcpy(privileges->groups, account.groups, sizeof(account.groups));
    privileges->changes = privileges->uid != geteuid() || privileges->gid != getegid();
    return may_become(privileges, error);
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

/* All sets of them; the ambient one follows by itself. A process without
 * capabilities does not call the kernel: a service manager's filter of system calls may forbid it.
 */
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

static bool refuse_user(const struct privileges *privileges, struct error *error)
{
    return error_set(error, "cannot become user %s: %s; the master needs CAP_SETUID and CAP_SETGID",
                     privileges->user, strerror(errno));
}

bool privileges_drop(const struct privileges *privileges, struct error *error)
{
    if (privileges->changes && !become(privileges)) {
        return refuse_user(privileges, error);
    }
    if (geteuid() != 0 && !clear_capabilities()) {
        return error_set(error, "cannot give up capabilities: %s; start without", strerror(errno));
    }
    if (privileges->changes && (!has_become(privileges) || can_come_back())) {
        return error_set(error,
                         "user %s could become root again; check the kernel's security modules",
                         privileges->user);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return error_set(error, "cannot rule out new privileges: %s; Linux 3.5 or later is needed",
                         strerror(errno));
    }
    return true;
}

bool privileges_drop_tracing(struct error *error)
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
        return error_set(
            error,
            "cannot give up the right to trace processes: %s; name an ordinary user with "
            "--user",
            strerror(errno));
    }
    return true;
}

/* ---- For a moment ---- */

static bool has_effective_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, data) != 0 || data[0].effective != 0 ||
           data[1].effective != 0;
}

/* A change of the user makes the kernel forget whether the process may be dumped. */
static bool note_own(struct privileges_own *own)
{
    own->gid = getegid();
    own->group_count = getgroups(PRIVILEGES_GROUPS, own->groups);
    own->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    return own->group_count >= 0;
}

bool privileges_lay_down(const struct privileges *privileges, struct privileges_own *own)
{
    if (!note_own(own)) {
        return false;
    }
    if (setgroups((size_t)privileges->group_count, privileges->groups) == 0 &&
        setegid(privileges->gid) == 0 && seteuid(privileges->uid) == 0) {
        if (!has_effective_capabilities()) {
            return true;
        }
        errno = EPERM; /* PR_SET_SECUREBITS has changed what becoming a user means */
    }
    privileges_take_up(own);
    return false;
}

void privileges_take_up(const struct privileges_own *own)
{
    int saved_errno = errno;
    if (seteuid(0) != 0 || setegid(own->gid) != 0 ||
        (setgroups((size_t)own->group_count, own->groups) != 0 && errno != EPERM)) {
        abort(); /* it would go on as a user that was never meant */
    }
    if (own->dumpable == 1) {
        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    }
    errno = saved_errno;
}

/* ---- Files ---- */

/* What serving will need of the document root. */
struct need {
    bool (*is_met)(int root_fd, const char *root);
    const char *what; /* "cannot WHAT ROOT" */
    const char *fix;
};

/* "." takes the right to search the directory itself. */
static bool can_search(int root_fd, const char *root)
{
    (void)root;
    int fd = openat(root_fd, ".", O_PATH | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool can_find(int root_fd, const char *root)
{
    (void)root_fd;
    struct stat status;
    return stat(root, &status) == 0;
}

static bool check_need(const struct privileges *privileges, const struct need *need, int root_fd,
                       const char *root, struct error *error)
{
    struct privileges_own own;
    if (!privileges->changes) {
        return true;
    }
    if (!privileges_lay_down(privileges, &own)) {
        return refuse_user(privileges, error);
    }
    bool good = need->is_met(root_fd, root);
    privileges_take_up(&own);
    if (!good) {
        error_set(error, "user %s cannot %s %s: %s; %s", privileges->user, need->what, root,
                  strerror(errno), need->fix);
    }
    return good;
}

bool privileges_check_root(const struct privileges *privileges, int root_fd, const char *root,
                           struct error *error)
{
    const struct need need = {can_search, "search the document root",
                              "open it to that user, or choose another with --root"};
    return check_need(privileges, &need, root_fd, root, error);
}

bool privileges_check_root_path(const struct privileges *privileges, const char *root,
                                struct error *error)
{
    const struct need need = {can_find, "look up the document root",
                              "what takes its place is served after a reload alone"};
    return check_need(privileges, &need, -1, root, error);
}

bool privileges_give_log(const struct privileges *privileges, int fd, const char *path,
                         struct error *error)
{
    struct stat status;
    if (!privileges->changes || fd < 0) {
        return true;
    }
    bool good = fstat(fd, &status) == 0;
    if (good && S_ISREG(status.st_mode) && status.st_nlink == 1 &&
        status.st_uid != privileges->uid) {
        good = fchown(fd, privileges->uid, (gid_t)-1) == 0;
    }
    if (!good) {
        error_set(error, "cannot give the log %s to user %s: %s; choose another place for it", path,
                  privileges->user, strerror(errno));
    }
    return good;
}
