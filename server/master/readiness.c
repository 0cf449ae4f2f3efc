#include "server/master/readiness.h"

#include "common/base/check.h"

#include <sys/socket.h>
#include <unistd.h>

bool readiness_open(struct readiness *readiness)
{
    int ends[2];
    *readiness = (struct readiness){-1, -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return false;
    }
    *readiness = (struct readiness){ends[0], ends[1]};
    return true;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void readiness_close(struct readiness *readiness)
{
    close_fd(&readiness->heard_fd);
    close_fd(&readiness->told_fd);
}

int readiness_fd(const struct readiness *readiness)
{
    CHECK(readiness->heard_fd >= 0); /* the master's; a forked process has none */
    return readiness->heard_fd;
}

bool readiness_next(struct readiness *readiness, struct readiness_news *news)
{
    return recv(readiness->heard_fd, news, sizeof(*news), MSG_DONTWAIT) == (ssize_t)sizeof(*news);
}

void readiness_forget(struct readiness *readiness)
{
    close_fd(&readiness->heard_fd);
}

/* Waits while the queue is full; a master that is gone takes its processes with it. */
void readiness_tell(struct readiness *readiness, const struct readiness_news *news)
{
    CHECK(readiness->told_fd >= 0 && readiness->heard_fd < 0); /* once, and not in the master */
    ssize_t ignored = send(readiness->told_fd, news, sizeof(*news), MSG_NOSIGNAL);
    (void)ignored;
    close_fd(&readiness->told_fd);
}
