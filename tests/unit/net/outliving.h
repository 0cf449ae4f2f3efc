/* What tests of connections that outlive their process have in common: settings, a client, memory,
 * and which instructions are tried. */
#ifndef TWINHTTPD_TESTS_UNIT_NET_OUTLIVING_H
#define TWINHTTPD_TESTS_UNIT_NET_OUTLIVING_H

#include "common/config/config.h"
#include "common/net/worker.h"
#include "tests/unit/listen_at.h"
#include "tests/unit/patience.h"
#include "tests/unit/stepping.h"

#include <netinet/in.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OUTLIVING_LONG_MS = 60000 };

/* Nothing is late. */
static const struct config outliving_config = {.max_request_line_bytes = 8192,
                                               .max_header_bytes = 32768,
                                               .max_headers = 100,
                                               .max_body_bytes = 1 << 20,
                                               .header_timeout_ms = OUTLIVING_LONG_MS,
                                               .body_timeout_ms = OUTLIVING_LONG_MS,
                                               .idle_timeout_ms = OUTLIVING_LONG_MS,
                                               .send_timeout_ms = OUTLIVING_LONG_MS,
                                               .linger_timeout_ms = OUTLIVING_LONG_MS,
                                               .max_linger_ms = OUTLIVING_LONG_MS,
                                               .max_linger_bytes = 10000000,
                                               .drain_timeout_ms = OUTLIVING_LONG_MS};

/* Of whom nobody knows why it died. */
static const struct worker_end outliving_killed = {.by_itself = false};

/* Memory that all processes share. */
static inline void *outliving_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

/* A client of the listener; receive_bytes 0: with as large a buffer as the kernel likes. */
static inline int outliving_connect(const struct listener *listener, int receive_bytes)
{
    struct sockaddr_in address;
    socklen_t bytes = sizeof(address);
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    assert_int_equal(getsockname(listener_fd(listener, 0), (struct sockaddr *)&address, &bytes), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_bytes > 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, bytes), 0);
    return fd;
}

/* The server's end of it. */
static inline int outliving_accept(const struct listener *listener)
{
    int fd;
    while ((fd = accept4(listener_fd(listener, 0), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
    }
    return fd;
}

/* The client leaves, with a reset. */
static inline void outliving_reset(int client_fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(client_fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(client_fd);
}

/* For a thread. */
static inline void *outliving_run(void *worker)
{
    worker_run(worker);
    return NULL;
}

/* How far apart the instructions are that are tried, of so many. */
static inline uint64_t outliving_step(uint64_t instructions, uint64_t samples)
{
    return instructions / stepping_samples(samples) + 1;
}

#endif
