/* Preloaded into a server: the user database does not answer. */
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

struct passwd *getpwnam(const char *name)
{
    dprintf(STDERR_FILENO, "asked for %s\n", name);
    while (1) {
        sleep(1);
    }
    return NULL;
}
