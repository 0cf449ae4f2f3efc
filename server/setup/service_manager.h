/* What systemd, or another service manager that speaks its protocol, passes to a server and wants
 * to hear from it: sockets, readiness, signs of life.
 *
 * The protocol is three environment variables and datagrams of a line or two, and it is stable
 * (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)). libsystemd, which speaks it, too, would
 * bring compression and encryption libraries into every process. */
#ifndef TWINHTTPD_SERVER_SETUP_SERVICE_MANAGER_H
#define TWINHTTPD_SERVER_SETUP_SERVICE_MANAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SERVICE_MANAGER_FIRST_SOCKET = 3,
    SERVICE_MANAGER_STATUS_BYTES = 384,
    SERVICE_MANAGER_MESSAGE_BYTES = 512
};

struct service_manager {
    int notify_fd;             /* -1: nobody wants to know */
    bool failed;               /* reported once until a message arrives */
    uint64_t beat_interval_ms; /* half of what the watchdog waits; 0: there is none */
    uint64_t beat_at_ms;
    /* What it has no room for just now is told again: a unit whose readiness was lost would be
     * ended by its service manager. Of two states the later one counts. */
    char untold_state[SERVICE_MANAGER_MESSAGE_BYTES]; /* "": nothing */
    int untold_main_pid;                              /* 0: nothing */
    uint64_t retry_at_ms;
};

/* Takes the number of listening sockets out of the environment that are passed to this process:
 * descriptors SERVICE_MANAGER_FIRST_SOCKET and on. 0: none are. */
size_t service_manager_take_sockets(void);

/* Whether there are any, still. */
bool service_manager_passes_sockets(void);

/* Connects to the service manager if there is one; reports when that fails and goes on without.
 * Closed by service_manager_close. */
void service_manager_open(struct service_manager *manager);
void service_manager_close(struct service_manager *manager);

/* What the server is about, with a line of text for people: it serves (at the start, and when a
 * reload is done), reloads its settings, stops. */
void service_manager_ready(struct service_manager *manager, const char *status);
void service_manager_reloading(struct service_manager *manager, const char *status);
void service_manager_stopping(struct service_manager *manager, const char *status);

/* Which process the service is from now on: in an upgrade the new program, or this one again. */
void service_manager_name_main(struct service_manager *manager, int pid);

/* At each turn of the master's loop: tells the watchdog that it turns, when that is due, and again
 * what could not be told. */
void service_manager_beat(struct service_manager *manager);

/* How long the master may wait until it has something to tell: wait_ms or less; -1 stands for any
 * time. */
int service_manager_wait_ms(const struct service_manager *manager, int wait_ms);

#endif
