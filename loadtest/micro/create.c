/* What it costs to start and end a process or a thread, by how much memory the starting process has
 * touched; and what a request costs that is handed to one that is there already. */
#include "loadtest/micro/micro.h"

#include "common/base/clock.h"

#include <errno.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KIB = 1024, GAMES = 5 };

static char program[] = "/bin/true";
static char *arguments[] = {program, NULL};

/* ---- Starting and ending ---- */

static void by_fork(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    micro_need(pid > 0, "cannot fork");
    micro_reap(pid);
}

static void by_vfork(void)
{
    pid_t pid = vfork(); /* NOLINT: what it costs is the question */
    if (pid == 0) {
        _exit(0);
    }
    micro_need(pid > 0, "cannot vfork");
    micro_reap(pid);
}

static void by_fork_and_exec(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        execv(program, arguments);
        _exit(1);
    }
    micro_need(pid > 0, "cannot fork");
    micro_reap(pid);
}

static void by_spawn(void)
{
    pid_t pid;
    micro_need_zero(posix_spawn(&pid, program, NULL, NULL, arguments, environ), "cannot spawn");
    micro_reap(pid);
}

static void *end_at_once(void *argument)
{
    return argument;
}

static void by_thread(void)
{
    pthread_t thread;
    micro_thread(&thread, end_at_once, NULL);
    micro_join(thread);
}

struct way {
    void (*once)(void);
};

static void go(const void *argument)
{
    const struct way *way = argument;
    way->once();
}

static void measure_way(const void *subject, double *values)
{
    values[0] = micro_call_ns(go, subject, micro_budget_ns(6000, 35000)) / 1000;
}

/* ---- Requests ---- */

/* Lies in shared memory. The same semaphores for both kinds of worker: what differs is only whose
 * memory they run in. */
struct desk {
    sem_t asked, answered;
    bool closed;
    uint64_t handled;
};

static struct desk *desk;

static void handle(void)
{
    desk->handled++;
}

static void wait_on(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
        micro_need(errno == EINTR, "cannot wait on a semaphore");
    }
}

static void *serve(void *argument)
{
    for (wait_on(&desk->asked); !desk->closed; wait_on(&desk->asked)) {
        handle();
        sem_post(&desk->answered);
    }
    return argument;
}

static void ask(void)
{
    sem_post(&desk->asked);
    wait_on(&desk->answered);
}

static void *handle_in_thread(void *argument)
{
    handle();
    return argument;
}

static void ask_new_thread(void)
{
    pthread_t thread;
    micro_thread(&thread, handle_in_thread, NULL);
    micro_join(thread);
}

static void ask_new_process(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        handle();
        _exit(0);
    }
    micro_need(pid > 0, "cannot fork");
    micro_reap(pid);
}

enum pool { NO_POOL, POOL_THREAD, POOL_PROCESS };

struct service {
    enum pool pool;
    void (*request)(void);
};

static uint64_t requests;

static void request_once(const void *argument)
{
    const struct service *service = argument;
    service->request();
    requests++;
}

static void measure_service(const void *subject, double *values)
{
    const struct service *service = subject;
    pthread_t thread = 0;
    pid_t pid = 0;
    desk->closed = false;
    desk->handled = 0;
    requests = 0;
    if (service->pool == POOL_THREAD) {
        micro_thread(&thread, serve, NULL);
    } else if (service->pool == POOL_PROCESS) {
        pid = micro_fork();
        if (pid == 0) {
            serve(NULL);
            _exit(0);
        }
    }
    double request_ns = micro_call_ns(request_once, service, micro_budget_ns(6000, 35000));
    errno = EIO;
    micro_need(desk->handled == requests, "a request was not handled once");
    if (service->pool != NO_POOL) {
        desk->closed = true;
        sem_post(&desk->asked);
    }
    if (service->pool == POOL_THREAD) {
        micro_join(thread);
    } else if (service->pool == POOL_PROCESS) {
        micro_reap(pid);
    }
    values[0] = request_ns / 1000;
}

/* ---- Series ---- */

static void run_ways(size_t touched_kib)
{
    static const struct way ways[] = {
        {by_fork}, {by_thread}, {by_vfork}, {by_fork_and_exec}, {by_spawn}};
    const char *no_program = access(program, X_OK) == 0 ? NULL : "there is no /bin/true";
    const struct micro_variant variants[] = {{"process", measure_way, &ways[0], NULL},
                                             {"thread", measure_way, &ways[1], NULL},
                                             {"vfork", measure_way, &ways[2], NULL},
                                             {"fork-exec", measure_way, &ways[3], no_program},
                                             {"spawn", measure_way, &ways[4], no_program}};
    char key[32];
    char *heap = touched_kib > 0 ? micro_touched(touched_kib * KIB) : NULL;
    snprintf(key, sizeof(key), "touched-%zu-kib", touched_kib);
    micro_series(&(struct micro_metric){key, "us"}, 1,
                 json_pack("{s:i}", "touched_kib", (int)touched_kib), variants, 5);
    if (heap != NULL) {
        micro_unmap(heap, touched_kib * KIB);
    }
}

static void run_services(const char *key, size_t touched_kib)
{
    static const struct service services[] = {{POOL_THREAD, ask},
                                              {POOL_PROCESS, ask},
                                              {NO_POOL, ask_new_thread},
                                              {NO_POOL, ask_new_process}};
    static const struct micro_variant variants[] = {
        {"pool-thread", measure_service, &services[0], NULL},
        {"pool-process", measure_service, &services[1], NULL},
        {"thread-per-request", measure_service, &services[2], NULL},
        {"fork-per-request", measure_service, &services[3], NULL}};
    char *heap = touched_kib > 0 ? micro_touched(touched_kib * KIB) : NULL;
    micro_series(&(struct micro_metric){key, "us"}, 1,
                 json_pack("{s:i, s:i}", "touched_kib", (int)touched_kib, "cpus", 1), variants, 4);
    if (heap != NULL) {
        micro_unmap(heap, touched_kib * KIB);
    }
}

int main(int argc, char **argv)
{
    micro_start("create", argc, argv);
    desk = micro_shared(sizeof(*desk));
    micro_need(sem_init(&desk->asked, 1, 0) == 0 && sem_init(&desk->answered, 1, 0) == 0,
               "cannot make semaphores");
    micro_games(GAMES);
    run_ways(0);
    run_ways(1024);
    run_ways(16384);
    run_ways(102400);
    /* On one CPU, as the price of waking an idle one would hide that of a thread. */
    micro_pin(micro_cpus() - 1);
    run_services("request", 0);
    run_services("request-touched-16384-kib", 16384);
    return micro_finish();
}
