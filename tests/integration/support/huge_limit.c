/* Preloaded into a server: the limit of descriptors is what container managers with
 * LimitNOFILE=infinity give, some 2^30. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/resource.h>

enum { DESCRIPTORS = 1073741816 };

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    int (*real)(__rlimit_resource_t, struct rlimit *) =
        (int (*)(__rlimit_resource_t, struct rlimit *))dlsym(RTLD_NEXT, "getrlimit");
    int result = real(resource, limit);
    if (resource == RLIMIT_NOFILE) {
        limit->rlim_cur = limit->rlim_max = DESCRIPTORS;
    }
    return result;
}

int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *limit)
{
    return getrlimit(resource, (struct rlimit *)limit);
}
