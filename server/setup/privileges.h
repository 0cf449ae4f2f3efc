/* Who the serving processes are, and what they give up for good before they read the first byte of
 * a client. The master stays what it was started as: it still kills, replaces and watches them. */
#ifndef TWINHTTPD_SERVER_SETUP_PRIVILEGES_H
#define TWINHTTPD_SERVER_SETUP_PRIVILEGES_H

#include "common/base/error.h"
#include "server/setup/account.h"

#include <stdbool.h>
#include <sys/types.h>

enum { PRIVILEGES_GROUPS = ACCOUNT_GROUPS, PRIVILEGES_NAME_BYTES = ACCOUNT_NAME_BYTES };

/* Looked up once at the start: asking the user database again in every new process would cost time
 * when a dead one is replaced. */
struct privileges {
    bool changes;                     /* false: the processes stay who they are */
    char user[PRIVILEGES_NAME_BYTES]; /* as configured */
    uid_t uid;
    gid_t gid;
    gid_t groups[PRIVILEGES_GROUPS];
    int group_count;
};

/* user as in struct config: "user", "user:group", or NULL to stay. False with one line in error:
 * there is no such user, or this process may not become it. */
bool privileges_resolve(struct privileges *privileges, const char *user, struct error *error);

/* Whether the user can be become, and can then search the document root. root is its name, for the
 * error. */
bool privileges_check_root(const struct privileges *privileges, int root_fd, const char *root,
                           struct error *error);

/* Whether the user can look the document root up by its path, to see when that leads elsewhere:
 * tried for a moment as that user. */
bool privileges_check_root_path(const struct privileges *privileges, const char *root,
                                struct error *error);

/* Gives a log file to the user, so that serving processes can open it again by its name. Left alone
 * is what is no regular file, and one with a second name: that could be somebody else's file. path
 * is for the error. */
bool privileges_give_log(const struct privileges *privileges, int fd, const char *path,
                         struct error *error);

/* What privileges_take_up gives back. */
struct privileges_own {
    gid_t gid;
    gid_t groups[PRIVILEGES_GROUPS];
    int group_count;
    int dumpable;
};

/* The calling process, which has one thread, has the rights of the user to files and no more, until
 * it takes up its own. Others do not notice: the real user, which stays, decides which
 * processes may send it a signal. False with errno set. */
bool privileges_lay_down(const struct privileges *privileges, struct privileges_own *own);

/* The way back; errno is kept. It ends the process should there be none. */
void privileges_take_up(const struct privileges_own *own);

/* Drops, in the calling process: user and groups; unless it is still root then, every capability;
 * with a change of user the bounding set, too; and in any case the chance to gain something by an
 * exec (PR_SET_NO_NEW_PRIVS). Proves that there is no way back. False with one line in error.
 *
 * The kernel forgets PR_SET_PDEATHSIG when the user changes, and clears PR_SET_DUMPABLE: what a
 * process needs of these is to be set after this. To be called before any thread is started. */
bool privileges_drop(const struct privileges *privileges, struct error *error);

/* A process that stays root gives up CAP_SYS_PTRACE: else it could reach the memory of any other.
 * False with one line in error. */
bool privileges_drop_tracing(struct error *error);

#endif
