/* Users and groups, as --user names them. */
#ifndef TWINHTTPD_SERVER_SETUP_ACCOUNT_H
#define TWINHTTPD_SERVER_SETUP_ACCOUNT_H

#include "common/base/error.h"

#include <stdbool.h>
#include <sys/types.h>

enum { ACCOUNT_GROUPS = 64, ACCOUNT_NAME_BYTES = 128 };

struct account {
    uid_t uid;
    gid_t gid;
    gid_t groups[ACCOUNT_GROUPS]; /* gid and the supplementary ones */
    int group_count;
};

/* Looks up "user" or "user:group", each a name or a number. A number needs no entry in the user
 * database: the user is then in one group, which without a group has the same number. A name that
 * consists of digits comes before the number. False with one line in error. */
bool account_find(struct account *account, const char *text, struct error *error);

#endif
