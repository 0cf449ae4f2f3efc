#include "common/net/reader_pace.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

/* What the kernel holds for the client, sent or not. */
static uint64_t unacknowledged_bytes(int socket_fd)
{
    int bytes = 0;
    return ioctl(socket_fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (uint64_t)bytes : 0;
}

static uint64_t next_deadline_ms(const struct reader_pace *pace, const struct config *config,
                                 uint64_t now_ms)
{
    uint64_t deadline_ms = now_ms + config->send_timeout_ms;
    if (config->min_send_bytes_per_s == 0) {
        return deadline_ms;
    }
    uint64_t rate_deadline_ms = pace->since_ms + config->send_timeout_ms +
                                pace->taken_bytes * 1000 / config->min_send_bytes_per_s;
    return rate_deadline_ms < deadline_ms ? rate_deadline_ms : deadline_ms;
}

uint64_t reader_pace_begin(struct reader_pace *pace, int socket_fd, const struct config *config,
                           uint64_t now_ms)
{
    *pace =
        (struct reader_pace){.since_ms = now_ms, .given_bytes = unacknowledged_bytes(socket_fd)};
    return next_deadline_ms(pace, config, now_ms);
}

uint64_t reader_pace_extend(struct reader_pace *pace, int socket_fd, const struct config *config,
                            uint64_t now_ms, uint64_t sent_bytes, uint64_t deadline_ms)
{
    pace->given_bytes += sent_bytes;
    uint64_t taken_bytes = pace->given_bytes - unacknowledged_bytes(socket_fd);
    if (taken_bytes <= pace->taken_bytes) {
        return deadline_ms;
    }
    pace->taken_bytes = taken_bytes;
    return next_deadline_ms(pace, config, now_ms);
}
