#include "server/supervise/confinement.h"

#include "common/base/log.h"

bool confinement_enter(const struct server *server)
{
    char error[PRIVILEGES_ERROR_BYTES];
    if (!privileges_drop(&server->privileges, error)) {
        log_write(LOG_ERROR, "%s", error);
        return false;
    }
    return true;
}
