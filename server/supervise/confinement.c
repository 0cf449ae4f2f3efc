#include "server/supervise/confinement.h"

#include "common/base/log.h"
#include "server/supervise/sandbox.h"

bool confinement_enter(const struct server *server)
{
    char error[SERVER_ERROR_BYTES];
    if (!privileges_drop(&server->privileges, error) ||
        !sandbox_enter(server->config.seccomp, error)) {
        log_write(LOG_ERROR, "%s", error);
        return false;
    }
    return true;
}
