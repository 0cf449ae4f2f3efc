/* The command "fault": somebody wants a worker to crash or to hang, and asks the master, who has
 * nothing of the kind. So it asks the server's own address, as any client could, sends the request
 * and leaves: it reads no answer, and waits for nobody. */
#include "server/master/commands.h"

#include "server/control/control_request.h"
#include "server/master/master_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_BYTES = CONTROL_TARGET_BYTES + ENDPOINT_TEXT_BYTES + 64 };

/* On this machine a connection is there at once, unless the queue of the listening socket is full.
 */
static bool send_request(int fd, const struct endpoint *endpoint, const char *target)
{
    char text[REQUEST_BYTES];
    char host[ENDPOINT_TEXT_BYTES];
    endpoint_format(endpoint, host);
    int bytes = snprintf(text, sizeof(text),
                         "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host);
    if (connect(fd, &endpoint->address.any, endpoint->bytes) != 0 && errno != EINPROGRESS) {
        return false;
    }
    return send(fd, text, (size_t)bytes, MSG_NOSIGNAL | MSG_DONTWAIT) == bytes;
}

bool fault_request(const struct master *master, const char *target, struct error *error)
{
    const struct server *server = reload_in_force(master);
    struct endpoint endpoint;
    if (!server->config.faults) {
        return error_set(error, "the server serves no faults; start it with --faults on");
    }
    if (server->listeners.count == 0) {
        return error_set(error, "the server does not listen any more");
    }
    endpoint_make_reachable(&server->listeners.list[0].bound, &endpoint);
    int fd = socket(endpoint.address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool sent = fd >= 0 && send_request(fd, &endpoint, target);
    int cause = errno;
    if (fd >= 0) {
        close(fd);
    }
    return sent ||
           error_set(error, "cannot ask the server for %s: %s; try again", target, strerror(cause));
}
