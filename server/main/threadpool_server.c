#include "server/main/bootstrap.h"
#include "server/threadpool/threadpool.h"

int main(int argc, char **argv)
{
    static const struct server_kind threadpool_server = {
        .name = "threadpool-server",
        .server = CONFIG_SERVER_THREADPOOL,
        .run_threads = threadpool_run,
    };
    return bootstrap_main(&threadpool_server, argc, argv);
}
