#include "server/main/bootstrap.h"
#include "server/prefork/prefork.h"
#include "server/threadpool/threadpool.h"

int main(int argc, char **argv)
{
    static const struct server_kind prefork_server = {
        .name = "prefork-server",
        .server = CONFIG_SERVER_PREFORK,
        .run_single = prefork_run,
        .run_threads = threadpool_run, /* the hybrid */
    };
    return bootstrap_main(&prefork_server, argc, argv);
}
