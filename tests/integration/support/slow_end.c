/* Preloaded into a server: each of its threads takes longer to end than the server has patience for
 * a handler, and says so. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct start {
    void *(*run)(void *argument);
    void *argument;
};

static void *run_and_linger(void *data)
{
    struct start start = *(struct start *)data;
    free(data);
    void *result = start.run(start.argument);
    dprintf(STDERR_FILENO, "slow_end: a thread takes its time\n");
    usleep(800000);
    return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*run)(void *argument), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(
            RTLD_NEXT, "pthread_create");
    struct start *start = malloc(sizeof(*start));
    *start = (struct start){run, argument};
    return real(thread, attributes, run_and_linger, start);
}
