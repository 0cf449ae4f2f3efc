/* LD_PRELOAD: a host name of which a part stands for what a name server does.
 * slow...: it does not answer; lost...: it has no such name; all others are this machine. */
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include <dlfcn.h>

typedef int (*getaddrinfo_fn)(const char *, const char *, const struct addrinfo *,
                              struct addrinfo **);

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    getaddrinfo_fn real = (getaddrinfo_fn)dlsym(RTLD_NEXT, "getaddrinfo");
    while (strncmp(host, "slow", 4) == 0) {
        pause();
    }
    return strncmp(host, "lost", 4) == 0 ? EAI_NONAME : real("127.0.0.1", service, hints, found);
}
