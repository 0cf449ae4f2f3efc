/* What the kernel denies by itself to a process in a domain: to trace any process outside of it,
 * which is the right that opening /proc/PID/mem, /proc/PID/environ or /proc/PID/fd/N takes, too. A
 * domain must handle something, so it handles what serving never does. No path is excepted, so no
 * rule is needed.
 *
 * The headers of a build may be older than the kernel: what they lack is defined here. */
#include "server/process/seclusion.h"

#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As far as any version of the kernel knows them (struct landlock_ruleset_attr). */
struct ruleset {
    uint64_t files;
    uint64_t network;
    uint64_t scopes;
};

enum { FIRST_WITH_TRUNCATE = 3, FIRST_WITH_NETWORK = 4, FIRST_WITH_SCOPES = 6 };

#define FILES_OF_ALL_VERSIONS                                                                      \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
     LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK |   \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define FILES_TRUNCATE                     (UINT64_C(1) << 14)
#define NETWORK_BIND_AND_CONNECT           UINT64_C(3) /* of TCP */
#define SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS UINT64_C(3)

static struct ruleset ruleset_of(long version)
{
    return (struct ruleset){
        .files = FILES_OF_ALL_VERSIONS | (version >= FIRST_WITH_TRUNCATE ? FILES_TRUNCATE : 0),
        .network = version >= FIRST_WITH_NETWORK ? NETWORK_BIND_AND_CONNECT : 0,
        .scopes = version >= FIRST_WITH_SCOPES ? SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS : 0,
    };
}

/* An old kernel takes a longer description as long as what it does not know is 0. */
bool seclusion_enter(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        return false;
    }
    const struct ruleset ruleset = ruleset_of(version);
    long fd = syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
    if (fd < 0) {
        return false;
    }
    bool entered = syscall(SYS_landlock_restrict_self, fd, 0) == 0;
    close((int)fd);
    return entered;
}
