#include "server/threadpool/threadpool.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/wake.h"
#include "server/threadpool/queue.h"
#include "server/threadpool/recovery.h"
#include "server/threadpool/spare_threads.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

enum {
    HEARTBEAT_MS = 500,       /* a pool thread without work wakes so often to say that it lives */
    HANDLER_PATIENCE_MS = 300 /* for handlers to finish in a stop */
};

struct threadpool;

/* A place for a thread, and who may change it. */
enum place_state {
    PLACE_EMPTY,   /* of a spare thread that is not there: the main thread fills it */
    PLACE_TAKEN,   /* its thread leaves it */
    PLACE_RETIRED, /* its thread has left it, and is to have a successor from the main thread */
    PLACE_LEFT,    /* its thread has left it, and is to be joined by the main thread */
    PLACE_STATES
};

struct pool_member {
    pthread_t thread;
    struct threadpool *pool;
    uint32_t slot; /* in the process, and index of members: loops, pool threads, spare threads */
    struct handler_context context;
    struct worker *worker;      /* of a loop thread */
    struct queue_chain pending; /* of a loop thread: what this turn hands over */
    _Atomic int place;          /* enum place_state */
    bool comes_later;           /* the others run already */
};

/* A thread that has a successor in its place, and may still be telling why. */
struct retired_thread {
    LIST_ENTRY(retired_thread) link;
    pthread_t thread;
};

struct threadpool {
    struct process *process;
    struct queue *queue; /* request dispatch only */
    struct pool_member *members;
    struct worker **workers; /* of the loop threads */
    uint32_t count;          /* of members that are always there */
    uint32_t places;         /* of members, with those for spare threads */
    uint32_t loops;
    LIST_HEAD(retired_threads, retired_thread) retired;
    struct spare_threads spares;
    pthread_barrier_t started;
    _Atomic uint32_t loops_ended;
    int ended_fd; /* eventfd: a loop thread has ended, or a pool thread has retired */
};

static enum place_state place_of(const struct pool_member *member)
{
    return (enum place_state)atomic_load(&member->place);
}

static void set_place(struct pool_member *member, enum place_state state)
{
    static const bool may_follow[PLACE_STATES][PLACE_STATES] = {
        [PLACE_EMPTY] = {[PLACE_TAKEN] = true},
        [PLACE_TAKEN] = {[PLACE_EMPTY] = true, [PLACE_RETIRED] = true, [PLACE_LEFT] = true},
        [PLACE_RETIRED] = {[PLACE_TAKEN] = true},
        [PLACE_LEFT] = {[PLACE_EMPTY] = true},
    };
    int before = atomic_exchange(&member->place, (int)state);
    CHECK(may_follow[before][state]);
}

static bool is_for_spare_thread(const struct pool_member *member)
{
    return member->slot >= member->pool->count;
}

/* ---- What a request is handed over by ---- */

static enum dispatch_result dispatch(void *data, struct http_exchange *exchange)
{
    struct pool_member *member = data;
    struct threadpool *pool = member->pool;
    if (pool->process->server->config.offload == CONFIG_OFFLOAD_BLOCKING &&
        !exchange->route->blocks) {
        return DISPATCH_INLINE;
    }
    if (!queue_reserve(pool->queue)) {
        return DISPATCH_FULL;
    }
    CHECK(member->pending.count < QUEUE_BATCH);
    queue_chain_add(&member->pending, exchange);
    if (member->pending.count == QUEUE_BATCH) { /* a thread may begin while the turn goes on */
        queue_push(pool->queue, &member->pending);
    }
    return DISPATCH_TAKEN;
}

static void on_turn_end(void *data)
{
    struct pool_member *member = data;
    queue_push(member->pool->queue, &member->pending);
}

/* ---- Threads ---- */

static void *run_loop_thread(void *argument)
{
    struct pool_member *member = argument;
    struct threadpool *pool = member->pool;
    CHECK(member->slot < pool->loops);
    process_enter(pool->process, member->slot, SLOT_LOOP, &member->context);
    struct worker_dispatch to_pool = {dispatch, on_turn_end, member};
    struct worker_dispatch inline_only = {0};
    member->worker = process_create_worker(pool->process, &member->context, member->slot,
                                           pool->queue == NULL ? &inline_only : &to_pool);
    slot_set_state(member->context.slot, SLOT_READY);
    pthread_barrier_wait(&pool->started);
    if (member->worker != NULL) {
        worker_run(member->worker);
    }
    slot_set_state(member->context.slot, SLOT_ENDED);
    uint32_t ended_before = atomic_fetch_add(&pool->loops_ended, 1);
    CHECK(ended_before < pool->loops);
    wake(pool->ended_fd);
    return NULL;
}

/* Where a fault ends the process. */
static bool run_or_die(struct http_exchange *exchange, struct handler_context *context)
{
    http_exchange_run(exchange, context);
    return true;
}

/* False: a handler has faulted, and the thread is to retire; the story tells of it. */
static bool run_batch(struct pool_member *member, struct http_exchange *batch,
                      struct crash_story *story)
{
    const struct config *config = &member->pool->process->server->config;
    bool (*run)(struct http_exchange *exchange, struct handler_context *context) =
        config->on_fault == CONFIG_ON_FAULT_RECOVER ? recovery_run : run_or_die;
    bool sound = true;
    while (batch != NULL) {
        struct http_exchange *exchange = batch;
        batch = exchange->next;
        if (!run(exchange, &member->context)) {
            deaths_take_crash(member->pool->process->server->scoreboard, member->context.slot_index,
                              story);
            sound = false;
        }
        exchange->complete(exchange); /* from here on it is the loop's again */
    }
    return sound;
}

/* Leaves the place to a successor, which the main thread starts, and tells why. */
static void retire(struct pool_member *member, const struct crash_story *story)
{
    const struct threadpool *pool = member->pool;
    const struct process *process = pool->process;
    log_write(LOG_ERROR, "process %u: a handler has faulted: this thread answers 500 and retires",
              process->number);
    set_place(member, PLACE_RETIRED);
    wake(pool->ended_fd);
    process_tell_crash(process, story);
}

static void leave_spare_place(struct pool_member *member)
{
    CHECK(is_for_spare_thread(member));
    log_write(LOG_NOTICE, "this spare thread ends: it is not needed any more");
    set_place(member, PLACE_LEFT);
    wake(member->pool->ended_fd);
}

static void *run_pool_thread(void *argument)
{
    struct pool_member *member = argument;
    struct threadpool *pool = member->pool;
    struct worker_slot *slot;
    struct crash_story story;
    bool closed = false, sound = true, needed = true;
    CHECK(member->slot >= pool->loops && member->slot < pool->places);
    process_enter(pool->process, member->slot, SLOT_POOL, &member->context);
    slot = member->context.slot;
    slot_set_state(slot, SLOT_READY);
    if (!member->comes_later) {
        pthread_barrier_wait(&pool->started);
    }
    while (!closed && sound && needed) {
        struct http_exchange *batch = queue_pop(pool->queue, HEARTBEAT_MS, &closed);
        handler_context_next_turn(&member->context);
        member->context.now_ms = clock_monotonic_ms();
        slot_beat(slot, member->context.now_ms, SLOT_READY);
        file_cache_follow_root(member->context.files, member->context.now_ms);
        sound = run_batch(member, batch, &story);
        needed = !sound || !is_for_spare_thread(member) || !spare_threads_may_end(&pool->spares);
    }
    /* The last word in a slot that a successor may take over. */
    slot_set_state(slot, needed ? SLOT_ENDED : SLOT_SPARE);
    if (!sound) {
        retire(member, &story);
    }
    if (!needed) {
        leave_spare_place(member);
    }
    return NULL;
}

/* ---- Life ---- */

static void open_pool(struct threadpool *pool, struct process *process)
{
    const struct plan *plan = &process->server->plan;
    *pool = (struct threadpool){.process = process,
                                .count = plan->loops + plan->pool_threads,
                                .places = plan->slots_per_process,
                                .loops = plan->loops};
    CHECK(pool->loops > 0 && pool->loops <= pool->count && pool->count <= pool->places);
    CHECK(pool->count - pool->loops == plan->pool_threads);
    pool->members = memory_alloc_zeroed(pool->places, sizeof(*pool->members));
    spare_threads_open(&pool->spares, &process->server->scoreboard->slots[process->first_slot],
                       pool->count, pool->places);
    pool->workers = (struct worker **)memory_alloc_zeroed(pool->loops, sizeof(struct worker *));
    pool->ended_fd = wake_open();
    pthread_barrier_init(&pool->started, NULL, pool->count + 1);
    if (plan->pool_threads > 0) {
        pool->queue = queue_create(process->server->config.queue_length);
    }
}

/* Starts all threads and waits until each of them serves. */
static bool start_threads(struct threadpool *pool)
{
    for (uint32_t i = 0; i < pool->count; i++) {
        struct pool_member *member = &pool->members[i];
        member->pool = pool;
        member->slot = i;
        set_place(member, PLACE_TAKEN);
        int error = pthread_create(&member->thread, NULL,
                                   i < pool->loops ? run_loop_thread : run_pool_thread, member);
        if (error != 0) {
            log_write(LOG_ERROR, "cannot start thread %u of %u: %s; ask for fewer threads", i + 1,
                      pool->count, strerror(error));
            return false;
        }
    }
    pthread_barrier_wait(&pool->started);
    for (uint32_t i = 0; i < pool->loops; i++) {
        pool->workers[i] = pool->members[i].worker;
        if (pool->workers[i] == NULL) {
            return false;
        }
    }
    return true;
}

static void forget_retired_thread(struct retired_thread *retired)
{
    LIST_REMOVE(retired, link);
    free(retired);
}

/* Those that have ended meanwhile. */
static void join_ended_threads(struct threadpool *pool)
{
    struct retired_thread *next;
    for (struct retired_thread *retired = LIST_FIRST(&pool->retired); retired != NULL;
         retired = next) {
        next = LIST_NEXT(retired, link);
        if (pthread_tryjoin_np(retired->thread, NULL) == 0) {
            forget_retired_thread(retired);
        }
    }
}

/* Who has retired does not use its place any more. */
static void replace_retired_threads(struct threadpool *pool)
{
    for (uint32_t i = pool->loops; i < pool->places; i++) {
        struct pool_member *member = &pool->members[i];
        if (place_of(member) != PLACE_RETIRED) {
            continue;
        }
        struct retired_thread *retired = memory_alloc_zeroed(1, sizeof(*retired));
        retired->thread = member->thread;
        LIST_INSERT_HEAD(&pool->retired, retired, link);
        process_leave(&member->context);
        member->comes_later = true;
        set_place(member, PLACE_TAKEN);
        int error = pthread_create(&member->thread, NULL, run_pool_thread, member);
        if (error != 0) { /* rather a new process than one with too few threads */
            log_write(LOG_ERROR, "cannot replace a thread that has retired: %s", strerror(error));
            _exit(1);
        }
    }
}

/* Its thread is at its end, so that joining it takes no time. */
static void clear_spare_place(struct pool_member *member)
{
    if (place_of(member) == PLACE_LEFT) {
        pthread_join(member->thread, NULL);
        process_leave(&member->context);
        set_place(member, PLACE_EMPTY);
    }
}

static void start_spare_thread(struct pool_member *member)
{
    member->comes_later = true;
    set_place(member, PLACE_TAKEN);
    int error = pthread_create(&member->thread, NULL, run_pool_thread, member);
    if (error != 0) { /* the pool goes on with less */
        set_place(member, PLACE_EMPTY);
        spare_threads_failed(&member->pool->spares);
        log_write(LOG_ERROR, "cannot start a spare thread: %s", strerror(error));
    }
}

/* A thread that has no place yet gets one when another ends, which wakes the main thread. */
static void adjust_spare_threads(struct threadpool *pool)
{
    for (uint32_t i = pool->count; i < pool->places; i++) {
        struct pool_member *member = &pool->members[i];
        clear_spare_place(member);
        if (place_of(member) == PLACE_EMPTY && spare_threads_may_start(&pool->spares)) {
            member->pool = pool;
            member->slot = i;
            start_spare_thread(member);
        }
    }
}

/* How long the loops may take to end after an order. A loop that is stuck in a handler never does.
 */
static uint64_t patience_ms(const struct threadpool *pool, enum process_order order)
{
    uint64_t drain_ms = pool->process->server->config.drain_timeout_ms;
    return order == PROCESS_STOP ? HANDLER_PATIENCE_MS : drain_ms + HANDLER_PATIENCE_MS;
}

/* Waits for a signal or the end of a loop, at most until the deadline (0: none). */
static void wait_for_news(const struct threadpool *pool, uint64_t deadline_ms)
{
    struct pollfd watched[] = {
        {.fd = pool->process->signal_fd, .events = POLLIN},
        {.fd = pool->ended_fd, .events = POLLIN},
    };
    uint64_t now_ms = clock_monotonic_ms();
    int timeout_ms = deadline_ms == 0 ? -1 : deadline_ms > now_ms ? (int)(deadline_ms - now_ms) : 0;
    if (poll(watched, 2, timeout_ms) < 0 && errno != EINTR) {
        log_write(LOG_ERROR, "poll: %m");
    }
    uint64_t count;
    ssize_t ignored = read(pool->ended_fd, &count, sizeof(count));
    (void)ignored;
}

/* The main thread's work: to pass on what it is told, until the last loop has ended, or should
 * have. */
static void direct(struct threadpool *pool)
{
    uint64_t deadline_ms = 0;
    while (atomic_load(&pool->loops_ended) < pool->loops &&
           (deadline_ms == 0 || clock_monotonic_ms() < deadline_ms)) {
        wait_for_news(pool, deadline_ms);
        join_ended_threads(pool);
        replace_retired_threads(pool);
        adjust_spare_threads(pool);
        enum process_order order = process_pass_signals(pool->process, pool->workers, pool->loops);
        if (order != PROCESS_SERVE) {
            log_write(LOG_INFO, order == PROCESS_STOP ? "stopping" : "draining");
            deadline_ms = clock_monotonic_ms() + patience_ms(pool, order);
        }
    }
}

/* A thread that has left its slot has nothing to do but to end: it is awaited, however busy the
 * machine is. The patience is for handlers. */
static bool has_left(const struct pool_member *member)
{
    const struct process *process = member->pool->process;
    const struct worker_slot *slots = process->server->scoreboard->slots;
    return place_of(member) != PLACE_RETIRED &&
           atomic_load(&slots[process->first_slot + member->slot].state) == SLOT_ENDED;
}

static bool join_member(const struct pool_member *member, const struct timespec *until)
{
    return pthread_timedjoin_np(member->thread, NULL, until) == 0 ||
           (has_left(member) && pthread_join(member->thread, NULL) == 0);
}

static bool join_members(struct threadpool *pool, const struct timespec *until)
{
    uint32_t missing = 0, stuck = 0;
    for (uint32_t i = 0; i < pool->places; i++) {
        const struct pool_member *member = &pool->members[i];
        if (place_of(member) != PLACE_EMPTY && !join_member(member, until)) {
            missing++;
            stuck += place_of(member) != PLACE_RETIRED;
        }
    }
    if (stuck > 0) {
        log_write(LOG_WARN, "%u threads are still in a handler: leaving without them", stuck);
    }
    return missing == 0;
}

static bool join_retired_threads(struct threadpool *pool, const struct timespec *until)
{
    struct retired_thread *retired = LIST_FIRST(&pool->retired);
    while (retired != NULL) {
        struct retired_thread *next = LIST_NEXT(retired, link);
        if (pthread_timedjoin_np(retired->thread, NULL, until) != 0) {
            return false;
        }
        forget_retired_thread(retired);
        retired = next;
    }
    return true;
}

/* False: when the patience ends, some thread is still in a handler, or telling of its fault. */
static bool join_threads(struct threadpool *pool)
{
    struct timespec until = clock_after(CLOCK_REALTIME, HANDLER_PATIENCE_MS);
    return join_members(pool, &until) && join_retired_threads(pool, &until);
}

/* Every thread has been joined: nobody uses any of this. */
static void close_pool(struct threadpool *pool)
{
    CHECK(atomic_load(&pool->loops_ended) == pool->loops);
    CHECK(LIST_EMPTY(&pool->retired));
    for (uint32_t i = 0; i < pool->loops; i++) {
        worker_destroy(pool->workers[i]);
    }
    for (uint32_t i = 0; i < pool->places; i++) {
        if (place_of(&pool->members[i]) != PLACE_EMPTY) {
            process_leave(&pool->members[i].context);
        }
    }
    if (pool->queue != NULL) {
        queue_destroy(pool->queue);
    }
    pthread_barrier_destroy(&pool->started);
    close(pool->ended_fd);
    free((void *)pool->workers);
    free(pool->members);
}

int threadpool_run(struct process *process)
{
    struct threadpool pool;
    process_open(process);
    open_pool(&pool, process);
    if (!start_threads(&pool)) {
        _exit(PROCESS_EXIT_BOOT_FAILED); /* threads that did start may still be running */
    }
    process->ready(process->ready_data);
    direct(&pool);
    if (pool.queue != NULL) {
        queue_close(pool.queue);
    }
    if (!join_threads(&pool)) {
        _exit(0); /* a thread cannot be ended from outside, a process can */
    }
    close_pool(&pool);
    process_close(process);
    return 0;
}
