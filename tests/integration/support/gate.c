/* Preloaded into a server: its event loops are made only as a test allows. In the directory GATE,
 * "closed" makes them wait until it is gone, or until there is a file "ticket" to take; "broken"
 * makes the process exit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int has(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", getenv("GATE"), name);
    return access(path, F_OK) == 0;
}

static int take_ticket(void)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/ticket", getenv("GATE"));
    return unlink(path) == 0;
}

int epoll_create1(int flags)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "epoll_create1");
    if (has("broken")) {
        usleep(150000); /* longer than a quick death takes */
        _exit(3);
    }
    while (has("closed") && !take_ticket()) {
        usleep(1000);
    }
    return real(flags);
}
