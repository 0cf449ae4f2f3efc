#include "server/setup/account.h"

#include "common/base/decimal.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const uint64_t id_most = UINT32_MAX - 1; /* the next one means "leave it" to the kernel */

static bool parse_id(const char *text, uint32_t *id)
{
    uint64_t number;
    if (!decimal_parse(text, 0, id_most, &number)) {
        return false;
    }
    *id = (uint32_t)number;
    return true;
}

/* Databases tell of an entry that is missing in several ways. */
static bool fail_lookup(const char *what, const char *name, struct error *error)
{
    bool user = strcmp(what, "user") == 0;
    if (errno == 0 || errno == ENOENT || errno == ESRCH || errno == EBADF || errno == EPERM) {
        error_set(error,
                  "there is no %s \"%s\"; add it (%s --system), or name another with --user, also "
                  "by number",
                  what, name, user ? "useradd" : "groupadd");
    } else {
        error_set(error, "cannot look up the %s \"%s\": %s; name it by its number with --user",
                  what, name, strerror(errno));
    }
    return false;
}

/* *login stays "" where the user has no entry. */
static bool find_user(struct account *account, const char *name, char login[ACCOUNT_NAME_BYTES],
                      struct error *error)
{
    errno = 0;
    const struct passwd *entry = getpwnam(name);
    if (entry == NULL) {
        int saved_errno = errno;
        if (!parse_id(name, &account->uid)) {
            errno = saved_errno;
            return fail_lookup("user", name, error);
        }
        account->gid = account->uid;
        entry = getpwuid(account->uid);
    }
    if (entry != NULL) {
        account->uid = entry->pw_uid;
        account->gid = entry->pw_gid;
        snprintf(login, ACCOUNT_NAME_BYTES, "%s", entry->pw_name);
    }
    return true;
}

static bool find_group(struct account *account, const char *name, struct error *error)
{
    errno = 0;
    const struct group *entry = getgrnam(name);
    if (entry != NULL) {
        account->gid = entry->gr_gid;
        return true;
    }
    int saved_errno = errno;
    if (parse_id(name, &account->gid)) {
        return true;
    }
    errno = saved_errno;
    return fail_lookup("group", name, error);
}

static bool find_groups(struct account *account, const char *login, struct error *error)
{
    account->groups[0] = account->gid;
    account->group_count = 1;
    if (login[0] == '\0') {
        return true;
    }
    account->group_count = ACCOUNT_GROUPS;
    if (getgrouplist(login, account->gid, account->groups, &account->group_count) < 0) {
        return error_set(error,
                         "user %s is in more than %d groups; name one with fewer with --user",
                         login, (int)ACCOUNT_GROUPS);
    }
    return true;
}

bool account_find(struct account *account, const char *text, struct error *error)
{
    char name[ACCOUNT_NAME_BYTES];
    char login[ACCOUNT_NAME_BYTES] = "";
    *account = (struct account){0};
    if (snprintf(name, sizeof(name), "%s", text) >= (int)sizeof(name)) {
        return error_set(error, "no user has a name this long: %.40s...; name another with --user",
                         text);
    }
    char *group = strchr(name, ':');
    if (group != NULL) {
        *group++ = '\0';
    }
    return find_user(account, name, login, error) &&
           (group == NULL || find_group(account, group, error)) &&
           find_groups(account, login, error);
}
