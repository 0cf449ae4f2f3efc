#include "server/setup/service_manager.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKETS_AT_MOST = 4096, RETRY_MS = 100 };

/* ---- The environment ---- */

/* Decimal digits alone; false: the variable is not set, or holds something else. */
static bool read_number(const char *name, uint64_t *number)
{
    const char *text = getenv(name);
    char *end;
    if (text == NULL || *text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

/* The variables are inherited by everybody: those meant for another process are not ours. */
static bool is_for_us(const char *name, bool if_missing)
{
    uint64_t pid;
    if (getenv(name) == NULL) {
        return if_missing;
    }
    return read_number(name, &pid) && pid == (uint64_t)getpid();
}

static uint64_t count_sockets(void)
{
    uint64_t count = 0;
    bool passed = is_for_us("LISTEN_PID", false) && read_number("LISTEN_FDS", &count);
    return passed && count <= SOCKETS_AT_MOST ? count : 0;
}

bool service_manager_passes_sockets(void)
{
    return count_sockets() > 0;
}

size_t service_manager_take_sockets(void)
{
    uint64_t count = count_sockets();
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return (size_t)count;
}

/* ---- Telling ---- */

/* A path, or "@name" in the abstract namespace. */
static int connect_to(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t bytes = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || bytes >= sizeof(address.sun_path)) {
        errno = EINVAL;
        return -1;
    }
    memcpy(address.sun_path, name, bytes);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, address_bytes) != 0) {
        int saved_errno = errno;
        close(fd);
        errno = saved_errno;
        return -1;
    }
    return fd;
}

void service_manager_open(struct service_manager *manager)
{
    uint64_t timeout_us;
    const char *name = getenv("NOTIFY_SOCKET");
    *manager = (struct service_manager){.notify_fd = -1};
    if (name == NULL) {
        return;
    }
    manager->notify_fd = connect_to(name);
    if (manager->notify_fd < 0) {
        log_write(LOG_WARN, "cannot reach the service manager at %s: %m; going on without", name);
        return;
    }
    if (is_for_us("WATCHDOG_PID", true) && read_number("WATCHDOG_USEC", &timeout_us) &&
        timeout_us > 0) {
        manager->beat_interval_ms = timeout_us / 2000 > 0 ? timeout_us / 2000 : 1;
        manager->beat_at_ms = clock_monotonic_ms();
        unsetenv(
            "WATCHDOG_PID"); /* a program that replaces this one in an upgrade is to beat, too */
    }
}

void service_manager_close(struct service_manager *manager)
{
    if (manager->notify_fd >= 0) {
        close(manager->notify_fd);
        manager->notify_fd = -1;
    }
    manager->beat_interval_ms = 0;
}

/* Never waits: a service manager that does not listen must not stop the server. False: it has no
 * room for more just now. */
static bool tell(struct service_manager *manager, const char *message)
{
    if (manager->notify_fd < 0) {
        return true;
    }
    bool good =
        send(manager->notify_fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    const bool is_full = !good && (errno == EAGAIN || errno == ENOBUFS);
    if (!good && !manager->failed) {
        log_write(LOG_WARN, "cannot tell the service manager: %m; going on");
    }
    manager->failed = !good;
    return !is_full;
}

static bool has_untold(const struct service_manager *manager)
{
    return manager->untold_main_pid != 0 || manager->untold_state[0] != '\0';
}

static void tell_untold(struct service_manager *manager)
{
    char main_pid[32];
    snprintf(main_pid, sizeof(main_pid), "MAINPID=%d\n", manager->untold_main_pid);
    if (manager->untold_main_pid != 0 && tell(manager, main_pid)) {
        manager->untold_main_pid = 0;
    }
    if (manager->untold_state[0] != '\0' && tell(manager, manager->untold_state)) {
        manager->untold_state[0] = '\0';
    }
    manager->retry_at_ms = clock_monotonic_ms() + RETRY_MS;
}

static void tell_state(struct service_manager *manager, const char *state, const char *status)
{
    snprintf(manager->untold_state, sizeof(manager->untold_state), "%s\nSTATUS=%s\n", state,
             status);
    tell_untold(manager);
}

void service_manager_ready(struct service_manager *manager, const char *status)
{
    tell_state(manager, "READY=1", status);
}

/* The time tells systemd this reload's end from an earlier one's. */
void service_manager_reloading(struct service_manager *manager, const char *status)
{
    char state[64];
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)(clock_monotonic_ns() / 1000));
    tell_state(manager, state, status);
}

void service_manager_stopping(struct service_manager *manager, const char *status)
{
    tell_state(manager, "STOPPING=1", status);
}

void service_manager_name_main(struct service_manager *manager, int pid)
{
    manager->untold_main_pid = pid;
    tell_untold(manager);
}

/* ---- The watchdog ---- */

void service_manager_beat(struct service_manager *manager)
{
    const uint64_t now_ms = clock_monotonic_ms();
    if (has_untold(manager) && now_ms >= manager->retry_at_ms) {
        tell_untold(manager);
    }
    if (manager->beat_interval_ms == 0 || now_ms < manager->beat_at_ms) {
        return;
    }
    if (!has_untold(manager)) { /* else the room that there is is for that */
        tell(manager, "WATCHDOG=1\n");
    }
    manager->beat_at_ms = now_ms + manager->beat_interval_ms;
}

static int earlier(uint64_t due_ms, int wait_ms)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    return wait_ms < 0 || left_ms < (uint64_t)wait_ms ? (int)left_ms : wait_ms;
}

int service_manager_wait_ms(const struct service_manager *manager, int wait_ms)
{
    if (has_untold(manager)) {
        wait_ms = earlier(manager->retry_at_ms, wait_ms);
    }
    return manager->beat_interval_ms != 0 ? earlier(manager->beat_at_ms, wait_ms) : wait_ms;
}
