#include "loadtest/micro/ipc_channel.h"

#include "loadtest/micro/micro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    CACHE_LINE_BYTES = 64,
    RING_BYTES = 65536, /* as a pipe has */
    QUEUE_MESSAGES = 8,
    QUEUE_MESSAGE_BYTES = 8192 /* the usual limit of a message; larger ones go in pieces */
};

static const char tmpfs_directory[] = "/dev/shm";

struct ring {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t written; /* bytes so far, modulo 2^32 */
    _Atomic bool reader_sleeps;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t taken;
    _Atomic bool writer_sleeps;
    _Alignas(CACHE_LINE_BYTES) char bytes[RING_BYTES];
};

struct way {
    int ends[2]; /* [0] to read from, [1] to write to */
    mqd_t queue;
    char *slot; /* of the message that stays in place */
    sem_t full, empty;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_full;
    struct ring ring;
};

/* ---- Each side's own memory ---- */

static char *own_place(struct channel *channel, enum direction direction)
{
    return channel->own[direction];
}

static void keep(struct channel *channel, enum direction direction)
{
    (void)channel;
    (void)direction;
}

/* ---- Streams of bytes: pipe, socketpair, TCP ---- */

static void write_all(int fd, const char *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t put = write(fd, from + done, bytes - done);
        micro_need(put > 0 || errno == EINTR, "cannot write to a channel");
        done += put > 0 ? (size_t)put : 0;
    }
}

static void read_all(int fd, char *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t got = read(fd, to + done, bytes - done);
        micro_need(got > 0 || (got < 0 && errno == EINTR), "cannot read from a channel");
        done += got > 0 ? (size_t)got : 0;
    }
}

static void send_stream(struct channel *channel, enum direction direction, size_t bytes)
{
    write_all(channel->way[direction]->ends[1], channel->own[direction], bytes);
}

static char *receive_stream(struct channel *channel, enum direction direction, size_t bytes)
{
    read_all(channel->way[direction]->ends[0], channel->own[direction], bytes);
    return channel->own[direction];
}

static void open_pipes(struct channel *channel)
{
    micro_need(pipe(channel->way[THERE]->ends) == 0 && pipe(channel->way[BACK]->ends) == 0,
               "cannot make pipes");
}

/* One connection carries both directions. */
static void use_connection(struct channel *channel, const int *ends)
{
    *channel->way[THERE] = (struct way){.ends = {ends[1], ends[0]}};
    *channel->way[BACK] = (struct way){.ends = {ends[0], ends[1]}};
}

static void open_socketpair(struct channel *channel)
{
    int ends[2];
    micro_need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "cannot make a socket pair");
    use_connection(channel, ends);
}

static void open_tcp(struct channel *channel)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), ends[2] = {-1, -1};
    micro_need(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0 &&
                   listen(listener, 1) == 0 &&
                   getsockname(listener, (struct sockaddr *)&address, &length) == 0,
               "cannot listen on 127.0.0.1");
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    micro_need(ends[0] >= 0 && connect(ends[0], (struct sockaddr *)&address, length) == 0 &&
                   (ends[1] = accept(listener, NULL, NULL)) >= 0,
               "cannot connect to 127.0.0.1");
    close(listener);
    for (int i = 0; i < 2; i++) {
        micro_need(setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0,
                   "cannot set TCP_NODELAY");
    }
    use_connection(channel, ends);
}

static void close_pipes(struct channel *channel)
{
    for (int i = 0; i < 2; i++) {
        close(channel->way[THERE]->ends[i]);
        close(channel->way[BACK]->ends[i]);
    }
}

static void close_connection(struct channel *channel)
{
    close(channel->way[THERE]->ends[0]);
    close(channel->way[THERE]->ends[1]);
}

/* ---- Message queues ---- */

/* A queue without a name is left to us; (mqd_t)-1 with errno when there is none. */
static mqd_t nameless_queue(void)
{
    struct mq_attr attributes = {.mq_maxmsg = QUEUE_MESSAGES, .mq_msgsize = QUEUE_MESSAGE_BYTES};
    char name[48];
    snprintf(name, sizeof(name), "/micro-ipc-%d", getpid());
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue != (mqd_t)-1) {
        mq_unlink(name);
    }
    return queue;
}

static void open_queues(struct channel *channel)
{
    for (int i = 0; i < 2; i++) {
        channel->way[i]->queue = nameless_queue();
        micro_need(channel->way[i]->queue != (mqd_t)-1, "cannot make a message queue");
    }
}

static void close_queues(struct channel *channel)
{
    mq_close(channel->way[THERE]->queue);
    mq_close(channel->way[BACK]->queue);
}

static void send_queue(struct channel *channel, enum direction direction, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t piece = bytes - done < QUEUE_MESSAGE_BYTES ? bytes - done : QUEUE_MESSAGE_BYTES;
        int failed =
            mq_send(channel->way[direction]->queue, channel->own[direction] + done, piece, 0);
        micro_need(failed == 0 || errno == EINTR, "cannot send to a message queue");
        done += failed == 0 ? piece : 0;
    }
}

static char *receive_queue(struct channel *channel, enum direction direction, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        /* Room for a whole message is demanded, so own memory has some to spare. */
        ssize_t got = mq_receive(channel->way[direction]->queue, channel->own[direction] + done,
                                 QUEUE_MESSAGE_BYTES, NULL);
        micro_need(got > 0 || errno == EINTR, "cannot receive from a message queue");
        done += got > 0 ? (size_t)got : 0;
    }
    return channel->own[direction];
}

/* ---- A ring in shared memory, and the kernel only where one side has to sleep ---- */

static void sleep_while(_Atomic uint32_t *word, uint32_t value)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void wake_if(_Atomic bool *sleeps, _Atomic uint32_t *word)
{
    if (atomic_exchange(sleeps, false)) {
        (void)syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static void await_change(_Atomic uint32_t *word, uint32_t value, _Atomic bool *sleeps)
{
    atomic_store(sleeps, true); /* first: whoever changes the word then sees it */
    while (atomic_load(word) == value) {
        sleep_while(word, value);
        atomic_store(sleeps, true);
    }
    atomic_store(sleeps, false);
}

static size_t up_to_the_edge(uint32_t position, size_t bytes)
{
    size_t edge = RING_BYTES - position % RING_BYTES;
    return bytes < edge ? bytes : edge;
}

static void send_ring(struct channel *channel, enum direction direction, size_t bytes)
{
    struct ring *ring = &channel->way[direction]->ring;
    const char *from = channel->own[direction];
    for (size_t done = 0; done < bytes;) {
        uint32_t written = atomic_load(&ring->written), taken = atomic_load(&ring->taken);
        size_t room = RING_BYTES - (written - taken);
        if (room == 0) {
            await_change(&ring->taken, taken, &ring->writer_sleeps);
            continue;
        }
        size_t piece = up_to_the_edge(written, bytes - done < room ? bytes - done : room);
        memcpy(ring->bytes + written % RING_BYTES, from + done, piece);
        atomic_store(&ring->written, written + (uint32_t)piece);
        wake_if(&ring->reader_sleeps, &ring->written);
        done += piece;
    }
}

static char *receive_ring(struct channel *channel, enum direction direction, size_t bytes)
{
    struct ring *ring = &channel->way[direction]->ring;
    char *to = channel->own[direction];
    for (size_t done = 0; done < bytes;) {
        uint32_t taken = atomic_load(&ring->taken), written = atomic_load(&ring->written);
        size_t ready = written - taken;
        if (ready == 0) {
            await_change(&ring->written, written, &ring->reader_sleeps);
            continue;
        }
        size_t piece = up_to_the_edge(taken, bytes - done < ready ? bytes - done : ready);
        memcpy(to + done, ring->bytes + taken % RING_BYTES, piece);
        atomic_store(&ring->taken, taken + (uint32_t)piece);
        wake_if(&ring->writer_sleeps, &ring->taken);
        done += piece;
    }
    return to;
}

static void open_nothing(struct channel *channel)
{
    (void)channel;
}

/* ---- One slot that stays in place, with a lock around it ---- */

static void wait_on(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
        micro_need(errno == EINTR, "cannot wait on a semaphore");
    }
}

static void prepare_semaphores(struct way *way)
{
    micro_need(sem_init(&way->full, 1, 0) == 0 && sem_init(&way->empty, 1, 1) == 0,
               "cannot make semaphores");
}

static char *place_in_empty(struct channel *channel, enum direction direction)
{
    wait_on(&channel->way[direction]->empty);
    return channel->way[direction]->slot;
}

static void post_full(struct channel *channel, enum direction direction, size_t bytes)
{
    (void)bytes;
    sem_post(&channel->way[direction]->full);
}

static char *take_full(struct channel *channel, enum direction direction, size_t bytes)
{
    (void)bytes;
    wait_on(&channel->way[direction]->full);
    return channel->way[direction]->slot;
}

static void post_empty(struct channel *channel, enum direction direction)
{
    sem_post(&channel->way[direction]->empty);
}

static void open_shared_slots(struct channel *channel)
{
    for (int i = 0; i < 2; i++) {
        prepare_semaphores(channel->way[i]);
        channel->way[i]->slot = micro_shared(channel->bytes);
    }
}

static void close_slots(struct channel *channel)
{
    for (int i = 0; i < 2; i++) {
        micro_unmap(channel->way[i]->slot, channel->bytes);
    }
}

const char *channel_directory(void)
{
    const char *directory = getenv("TMPDIR");
    return directory != NULL && *directory != '\0' ? directory : "/var/tmp";
}

int channel_file(const char *directory, size_t bytes)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/micro-ipc-XXXXXX", directory);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    unlink(path);
    if (ftruncate(fd, (off_t)bytes) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void open_mapped_slots(struct channel *channel, const char *directory)
{
    for (int i = 0; i < 2; i++) {
        int fd = channel_file(directory, channel->bytes);
        micro_need(fd >= 0, "cannot make a file");
        prepare_semaphores(channel->way[i]);
        channel->way[i]->slot =
            mmap(NULL, channel->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        micro_need(channel->way[i]->slot != MAP_FAILED, "cannot map a file");
        close(fd);
    }
}

static void open_tmpfs_slots(struct channel *channel)
{
    open_mapped_slots(channel, tmpfs_directory);
}

static void open_disk_slots(struct channel *channel)
{
    open_mapped_slots(channel, channel_directory());
}

/* The same with a condition variable, which is what threads use. */

static void prepare_condition(struct way *way)
{
    pthread_condattr_t attributes;
    micro_shared_mutex(&way->mutex, false);
    micro_need_zero(pthread_condattr_init(&attributes), "cannot make a condition variable");
    micro_need_zero(pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED),
                    "cannot share a condition variable");
    micro_need_zero(pthread_cond_init(&way->changed, &attributes),
                    "cannot make a condition variable");
    pthread_condattr_destroy(&attributes);
}

static void await_fullness(struct way *way, bool is_full)
{
    micro_need_zero(pthread_mutex_lock(&way->mutex), "cannot lock a mutex");
    while (way->is_full != is_full) {
        pthread_cond_wait(&way->changed, &way->mutex);
    }
    pthread_mutex_unlock(&way->mutex);
}

static void set_fullness(struct way *way, bool is_full)
{
    micro_need_zero(pthread_mutex_lock(&way->mutex), "cannot lock a mutex");
    way->is_full = is_full;
    pthread_cond_signal(&way->changed); /* one side waits at a time */
    pthread_mutex_unlock(&way->mutex);
}

static char *place_when_empty(struct channel *channel, enum direction direction)
{
    await_fullness(channel->way[direction], false);
    return channel->way[direction]->slot;
}

static void mark_full(struct channel *channel, enum direction direction, size_t bytes)
{
    (void)bytes;
    set_fullness(channel->way[direction], true);
}

static char *take_when_full(struct channel *channel, enum direction direction, size_t bytes)
{
    (void)bytes;
    await_fullness(channel->way[direction], true);
    return channel->way[direction]->slot;
}

static void mark_empty(struct channel *channel, enum direction direction)
{
    set_fullness(channel->way[direction], false);
}

static void open_condition_slots(struct channel *channel)
{
    for (int i = 0; i < 2; i++) {
        prepare_condition(channel->way[i]);
        channel->way[i]->slot = micro_shared(channel->bytes);
    }
}

/* Threads need no shared mapping: a pointer into the heap will do. */
static void open_heap_slots(struct channel *channel)
{
    for (int i = 0; i < 2; i++) {
        prepare_condition(channel->way[i]);
        channel->way[i]->slot = channel->own[i];
    }
}

/* ---- A file that is written and read, with semaphores to say when ---- */

static void open_files(struct channel *channel)
{
    for (int i = 0; i < 2; i++) {
        prepare_semaphores(channel->way[i]);
        channel->way[i]->ends[0] = channel_file(channel_directory(), channel->bytes);
        micro_need(channel->way[i]->ends[0] >= 0, "cannot make a file");
    }
}

static void close_files(struct channel *channel)
{
    close(channel->way[THERE]->ends[0]);
    close(channel->way[BACK]->ends[0]);
}

static char *own_when_empty(struct channel *channel, enum direction direction)
{
    wait_on(&channel->way[direction]->empty);
    return channel->own[direction];
}

static void send_file(struct channel *channel, enum direction direction, size_t bytes)
{
    struct way *way = channel->way[direction];
    ssize_t put = pwrite(way->ends[0], channel->own[direction], bytes, 0);
    micro_need(put == (ssize_t)bytes, "cannot write to a file");
    sem_post(&way->full);
}

static char *receive_file(struct channel *channel, enum direction direction, size_t bytes)
{
    struct way *way = channel->way[direction];
    wait_on(&way->full);
    ssize_t got = pread(way->ends[0], channel->own[direction], bytes, 0);
    micro_need(got == (ssize_t)bytes, "cannot read from a file");
    return channel->own[direction];
}

/* ---- Signals with a value: eight bytes and not one more ---- */

static int signal_of(enum direction direction)
{
    return SIGRTMIN + (int)direction;
}

static void block_signals(struct channel *channel)
{
    sigset_t set;
    (void)channel;
    sigemptyset(&set);
    sigaddset(&set, signal_of(THERE));
    sigaddset(&set, signal_of(BACK));
    micro_need(sigprocmask(SIG_BLOCK, &set, NULL) == 0, "cannot block signals");
}

static void send_signal(struct channel *channel, enum direction direction, size_t bytes)
{
    union sigval value;
    memcpy((void *)&value.sival_ptr, channel->own[direction], bytes);
    pid_t receiver = channel->pids[direction == THERE ? BACK : THERE];
    micro_need(sigqueue(receiver, signal_of(direction), value) == 0, "cannot send a signal");
}

static char *receive_signal(struct channel *channel, enum direction direction, size_t bytes)
{
    siginfo_t info;
    sigset_t set;
    int got;
    sigemptyset(&set);
    sigaddset(&set, signal_of(direction));
    do {
        got = sigwaitinfo(&set, &info);
    } while (got < 0 && errno == EINTR);
    micro_need(got > 0, "cannot wait for a signal");
    memcpy(channel->own[direction], (const void *)&info.si_value.sival_ptr, bytes);
    return channel->own[direction];
}

/* ---- All of them ---- */

const struct channel_kind channel_kinds[] = {
    {"pipe", false, 0, true, open_pipes, close_pipes, own_place, send_stream, receive_stream, keep},
    {"socketpair", false, 0, true, open_socketpair, close_connection, own_place, send_stream,
     receive_stream, keep},
    {"mqueue", false, 0, true, open_queues, close_queues, own_place, send_queue, receive_queue,
     keep},
    {"tcp", false, 0, true, open_tcp, close_connection, own_place, send_stream, receive_stream,
     keep},
    {"ring", false, 0, true, open_nothing, open_nothing, own_place, send_ring, receive_ring, keep},
    {"semaphore", false, 0, true, open_shared_slots, close_slots, place_in_empty, post_full,
     take_full, post_empty},
    {"condition", false, 0, true, open_condition_slots, close_slots, place_when_empty, mark_full,
     take_when_full, mark_empty},
    {"mapped-tmpfs", false, 0, true, open_tmpfs_slots, close_slots, place_in_empty, post_full,
     take_full, post_empty},
    {"mapped-disk", false, 0, true, open_disk_slots, close_slots, place_in_empty, post_full,
     take_full, post_empty},
    {"file", false, 0, true, open_files, close_files, own_when_empty, send_file, receive_file,
     post_empty},
    {"signal", false, sizeof(void *), false, block_signals, open_nothing, own_place, send_signal,
     receive_signal, keep},
    {"thread", true, 0, true, open_heap_slots, open_nothing, place_when_empty, mark_full,
     take_when_full, mark_empty},
};
const size_t channel_kind_count = sizeof(channel_kinds) / sizeof(channel_kinds[0]);

static bool directory_works(const char *directory)
{
    int fd = channel_file(directory, 1);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

const char *channel_kind_unavailable(const struct channel_kind *kind)
{
    if (kind->open == open_queues) {
        mqd_t queue = nameless_queue();
        if (queue == (mqd_t)-1) {
            return "message queues of 8 x 8192 bytes are not allowed here";
        }
        mq_close(queue);
    }
    if (kind->open == open_tmpfs_slots && !directory_works(tmpfs_directory)) {
        return "no file can be made in /dev/shm";
    }
    if ((kind->open == open_disk_slots || kind->open == open_files) &&
        !directory_works(channel_directory())) {
        return "no file can be made in TMPDIR or /var/tmp";
    }
    return NULL;
}

void channel_open(struct channel *channel, const struct channel_kind *kind, size_t bytes)
{
    *channel = (struct channel){.kind = kind, .bytes = bytes, .pids = {getpid(), getpid()}};
    for (int i = 0; i < 2; i++) {
        channel->way[i] = micro_shared(sizeof(struct way));
        channel->own[i] = micro_touched(bytes + QUEUE_MESSAGE_BYTES);
    }
    kind->open(channel);
}

void channel_close(struct channel *channel)
{
    channel->kind->close(channel);
    for (int i = 0; i < 2; i++) {
        micro_unmap(channel->way[i], sizeof(struct way));
        micro_unmap(channel->own[i], channel->bytes + QUEUE_MESSAGE_BYTES);
    }
}
