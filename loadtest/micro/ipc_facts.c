#include "loadtest/micro/ipc_facts.h"

#include "loadtest/micro/ipc_channel.h"
#include "loadtest/micro/micro.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, MAPPED_BYTES = 4 * 1024 * 1024, SECTOR_BYTES = 512 };

static unsigned runs(void)
{
    return micro_is_quick() ? 3 : 10;
}

static unsigned count_true(bool (*is_so)(void))
{
    unsigned observed = 0;
    for (unsigned run = 0; run < runs(); run++) {
        observed += is_so();
    }
    return observed;
}

/* ---- Mapped files and the disk ---- */

/* Bytes that the kernel books to this process as written, or to be written, to storage. */
static bool read_written_bytes(uint64_t *bytes)
{
    static const char name[] = "\nwrite_bytes: ";
    char text[512];
    if (!micro_read_text("/proc/self/io", text, sizeof(text))) {
        return false;
    }
    const char *found = strstr(text, name);
    if (found == NULL) {
        return false;
    }
    *bytes = strtoull(found + strlen(name), NULL, 10);
    return true;
}

/* Bytes written to the block device so far, by anybody; 0 where it is not to be seen. */
static uint64_t read_device_bytes(dev_t device)
{
    char path[96], text[256];
    unsigned long long sectors = 0;
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(device), minor(device));
    if (!micro_read_text(path, text, sizeof(text)) ||
        sscanf(text, "%*u %*u %*u %*u %*u %*u %llu", &sectors) != 1) { /* NOLINT */
        return 0;
    }
    return sectors * SECTOR_BYTES;
}

struct writing {
    uint64_t booked_bytes, device_bytes;
};

/* Changes each page of a mapped file by a store, without any call, and has the kernel do at once
 * what it else does within its dirty_expire_centisecs. */
static struct writing write_by_store(const char *directory)
{
    struct writing writing = {0};
    struct stat status;
    uint64_t before = 0, after = 0;
    int fd = channel_file(directory, MAPPED_BYTES);
    micro_need(fd >= 0 && fstat(fd, &status) == 0, "cannot make a file");
    char *mapped = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    micro_need(mapped != MAP_FAILED, "cannot map a file");
    uint64_t device_before = read_device_bytes(status.st_dev);
    micro_need(read_written_bytes(&before), "cannot read /proc/self/io");
    for (size_t at = 0; at < MAPPED_BYTES; at += PAGE_BYTES) {
        mapped[at] = 1;
    }
    micro_need(msync(mapped, MAPPED_BYTES, MS_SYNC) == 0, "cannot write a mapped file back");
    micro_need(read_written_bytes(&after), "cannot read /proc/self/io");
    writing.booked_bytes = after - before;
    writing.device_bytes = read_device_bytes(status.st_dev) - device_before;
    micro_unmap(mapped, MAPPED_BYTES);
    close(fd);
    return writing;
}

static bool is_tmpfs(const char *directory)
{
    struct statfs status;
    return statfs(directory, &status) == 0 &&
           (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}

static bool can_make_file(const char *directory)
{
    int fd = channel_file(directory, 1);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static const char *no_disk(void)
{
    uint64_t bytes;
    if (!read_written_bytes(&bytes)) {
        return "this kernel does not count the bytes that a process writes (/proc/self/io)";
    }
    if (!can_make_file(channel_directory()) || is_tmpfs(channel_directory())) {
        return "TMPDIR or /var/tmp is not a directory on a disk that may be written to";
    }
    return NULL;
}

static const char *no_tmpfs(void)
{
    uint64_t bytes;
    if (!read_written_bytes(&bytes)) {
        return "this kernel does not count the bytes that a process writes (/proc/self/io)";
    }
    return can_make_file("/dev/shm") && is_tmpfs("/dev/shm") ? NULL : "/dev/shm is no tmpfs";
}

static void tell_of_writing(const char *key, const char *statement, const char *directory,
                            bool expected, const char *unavailable)
{
    unsigned observed = 0;
    struct writing writing = {0};
    if (unavailable != NULL) {
        micro_fact_unavailable(key, statement, unavailable);
        return;
    }
    for (unsigned run = 0; run < runs(); run++) {
        writing = write_by_store(directory);
        observed += expected ? writing.booked_bytes >= MAPPED_BYTES : writing.booked_bytes == 0;
    }
    micro_fact(key, statement, observed, runs(),
               "last run: %d KiB changed in %s, %llu KiB booked as written to storage, %llu KiB "
               "more written to its device",
               MAPPED_BYTES / 1024, directory, (unsigned long long)writing.booked_bytes / 1024,
               (unsigned long long)writing.device_bytes / 1024);
}

/* ---- Pipes ---- */

static bool pipe_is_one_way(void)
{
    int ends[2];
    char byte = 1;
    micro_need(pipe(ends) == 0, "cannot make a pipe");
    bool no_way_back = write(ends[0], &byte, 1) < 0 && errno == EBADF;
    bool no_way_there = read(ends[1], &byte, 1) < 0 && errno == EBADF;
    close(ends[0]);
    close(ends[1]);
    return no_way_back && no_way_there;
}

static bool socketpair_is_two_way(void)
{
    int ends[2];
    char there = 1, back = 2, got_there = 0, got_back = 0;
    micro_need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "cannot make a socket pair");
    bool both = write(ends[0], &there, 1) == 1 && write(ends[1], &back, 1) == 1 &&
                read(ends[1], &got_there, 1) == 1 && read(ends[0], &got_back, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return both && got_there == there && got_back == back;
}

/* ---- Named shared memory ---- */

static const char *name_of_memory(void)
{
    static char name[48];
    if (name[0] == '\0') {
        snprintf(name, sizeof(name), "/micro-ipc-%d", getpid());
    }
    return name;
}

static int make_memory(void)
{
    return shm_open(name_of_memory(), O_RDWR | O_CREAT | O_EXCL, 0600);
}

static _Atomic int *map_memory(int fd)
{
    void *mapped = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    micro_need(mapped != MAP_FAILED, "cannot map shared memory");
    close(fd);
    return mapped;
}

static bool store_works(bool with_size)
{
    int fd = make_memory();
    micro_need(fd >= 0, "cannot make shared memory");
    shm_unlink(name_of_memory());
    micro_need(!with_size || ftruncate(fd, PAGE_BYTES) == 0, "cannot size shared memory");
    pid_t pid = micro_fork();
    if (pid == 0) {
        atomic_store(map_memory(fd), 1);
        _exit(0);
    }
    int status = micro_reap(pid);
    close(fd);
    if (with_size) {
        return status == 0;
    }
    return !(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

static bool needs_a_size(void)
{
    return !store_works(false) && store_works(true);
}

/* A child opens the memory by its name and stores there after a while. */
static pid_t start_producer(unsigned delay_ms)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        int fd = shm_open(name_of_memory(), O_RDWR, 0);
        micro_need(fd >= 0, "cannot open shared memory by its name");
        micro_sleep_ms(delay_ms);
        atomic_store(map_memory(fd), 42);
        _exit(0);
    }
    return pid;
}

static _Atomic int *begin_exchange(void)
{
    int fd = make_memory();
    micro_need(fd >= 0 && ftruncate(fd, PAGE_BYTES) == 0, "cannot make shared memory");
    return map_memory(fd);
}

static bool named_memory_works(void)
{
    _Atomic int *value = begin_exchange();
    micro_need(micro_reap(start_producer(0)) == 0, "the producer failed");
    bool arrived = atomic_load(value) == 42;
    shm_unlink(name_of_memory());
    micro_unmap((void *)value, PAGE_BYTES);
    return arrived;
}

/* The consumer sleeps for as long as the producer usually needs; this time that is too short. */
static bool sleep_is_no_synchronisation(void)
{
    _Atomic int *value = begin_exchange();
    pid_t producer = start_producer(60);
    micro_sleep_ms(10);
    bool too_early = atomic_load(value) == 0;
    micro_need(micro_reap(producer) == 0, "the producer failed");
    bool arrived_later = atomic_load(value) == 42;
    shm_unlink(name_of_memory());
    micro_unmap((void *)value, PAGE_BYTES);
    return too_early && arrived_later;
}

static bool stale_name_stays(void)
{
    pid_t pid = micro_fork();
    if (pid == 0) {
        micro_need(shm_open(name_of_memory(), O_RDWR | O_CREAT | O_EXCL, 0600) >= 0,
                   "cannot make shared memory");
        raise(SIGKILL);
    }
    micro_reap(pid);
    bool is_in_the_way = make_memory() < 0 && errno == EEXIST;
    micro_need(shm_unlink(name_of_memory()) == 0, "cannot remove shared memory");
    return is_in_the_way;
}

static void tell_of_named_memory(void)
{
    static const struct {
        const char *key, *statement;
        bool (*is_so)(void);
    } facts[] = {
        {"shared-memory-needs-a-size",
         "new shared memory has no bytes: a store ends in SIGBUS until ftruncate gives it a size",
         needs_a_size},
        {"named-shared-memory-works",
         "what a process stores in shared memory that it opened by name, another one reads",
         named_memory_works},
        {"stale-name-stays",
         "the name of shared memory outlives a killed maker, and is in the next one's way",
         stale_name_stays},
        {"sleep-is-no-synchronisation",
         "a consumer that sleeps instead of waiting reads too early when the producer is late",
         sleep_is_no_synchronisation},
    };
    int fd = make_memory();
    if (fd >= 0) {
        close(fd);
        shm_unlink(name_of_memory());
    }
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        if (fd < 0) {
            micro_fact_unavailable(facts[i].key, facts[i].statement,
                                   "shm_open is not allowed here");
        } else {
            micro_fact(facts[i].key, facts[i].statement, count_true(facts[i].is_so), runs(),
                       "shm_open, mmap");
        }
    }
}

void ipc_tell_facts(void)
{
    tell_of_writing("mapped-file-is-written-to-disk",
                    "pages of a mapped file that were changed by stores are written to the disk",
                    channel_directory(), true, no_disk());
    tell_of_writing("tmpfs-is-not-written-to-disk",
                    "the same on tmpfs, where POSIX shared memory lies, writes nothing to a disk",
                    "/dev/shm", false, no_tmpfs());
    micro_fact("pipe-is-one-way",
               "a POSIX pipe cannot be written at its reading end, nor read at its writing end",
               count_true(pipe_is_one_way), runs(), "EBADF");
    micro_fact("socketpair-is-two-way", "each end of a socket pair sends and receives",
               count_true(socketpair_is_two_way), runs(), "AF_UNIX, SOCK_STREAM");
    tell_of_named_memory();
}
