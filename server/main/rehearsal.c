#include "server/main/rehearsal.h"

#include "server/control/control.h"
#include "server/listen/lookup.h"
#include "server/setup/pid_file.h"
#include "server/setup/risks.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Files ---- */

/* Whether a file could be made there. Sets errno. */
static bool can_make(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy)) {
        errno = ENAMETOOLONG;
        return false;
    }
    return faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) == 0;
}

/* Opening it would be more exact, and would wake whoever reads from a pipe. Sets errno. */
static bool can_write(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        return errno == ENOENT && can_make(path);
    }
    if (S_ISDIR(status.st_mode)) {
        errno = EISDIR;
        return false;
    }
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

static bool try_log(const char *path, const char *name, struct error *error)
{
    if (path == NULL || can_write(path)) {
        return true;
    }
    return error_set(error, "cannot open the %s log %s: %s; choose another with --%s-log", name,
                     path, strerror(errno), name);
}

static bool try_pid_file(const char *path, struct error *error)
{
    if (path == NULL) {
        return true;
    }
    if (!can_make(path)) {
        return error_set(error, "cannot write the pid file %s: %s; choose another with --pid-file",
                         path, strerror(errno));
    }
    return pid_file_try(path, error);
}

static bool try_control(const char *path, struct error *error)
{
    struct stat status;
    if (path == NULL) {
        return true;
    }
    if (strlen(path) > CONTROL_PATH_BYTES_MAX) {
        errno = ENAMETOOLONG;
    } else if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode)) {
        errno = EEXIST;
    } else if (can_make(path)) {
        return true;
    }
    return error_set(error, "control: cannot make a socket at %s: %s; name another path", path,
                     strerror(errno));
}

/* ---- Addresses ---- */

/* Binds without listening: that disturbs nobody who shares or takes the address. */
static int try_bind(const struct endpoint *endpoint)
{
    const int on = 1, only_v6 = !endpoint->takes_both;
    const sa_family_t family = endpoint->address.any.sa_family;
    int result = 0;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        (family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6)) != 0) ||
        bind(fd, &endpoint->address.any, endpoint->bytes) != 0) {
        result = errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return result;
}

/* Whether the start would do without that address. */
static bool may_lack(const struct endpoint *endpoint, int failure)
{
    return (endpoint->may_lack || endpoint->is_all) &&
           (failure == EADDRNOTAVAIL || failure == EAFNOSUPPORT);
}

static bool try_endpoint(const struct endpoint *endpoint, const char *option, FILE *out,
                         struct error *error)
{
    char address[ENDPOINT_TEXT_BYTES];
    int failure = try_bind(endpoint);
    endpoint_format(endpoint, address);
    if (failure == EADDRINUSE) {
        fprintf(out, "%s is in use now; that is well if it is by the server to be reloaded\n",
                address);
    } else if (failure != 0 && !may_lack(endpoint, failure)) {
        return failure == EACCES
                   ? error_set(error,
                               "cannot listen on %s: %s; ports below 1024 need root or "
                               "CAP_NET_BIND_SERVICE",
                               address, strerror(failure))
                   : error_set(error,
                               "cannot listen on %s: %s; choose an address of this machine with %s",
                               address, strerror(failure), option);
    }
    return true;
}

static bool try_listen(const char *listen, FILE *out, struct error *error)
{
    struct endpoints endpoints = {0};
    bool interrupted = false;
    bool good = lookup_wait(listen, &endpoints, -1, &interrupted, error);
    for (size_t i = 0; i < endpoints.count && good; i++) {
        good = try_endpoint(&endpoints.list[i], "--listen", out, error);
    }
    return good;
}

static bool try_observe(const char *observe, FILE *out, struct error *error)
{
    struct endpoint endpoint;
    return observe == NULL || !server_observing_endpoint(observe, &endpoint) ||
           try_endpoint(&endpoint, "--observe", out, error);
}

/* ---- All of it ---- */

bool rehearsal_run(const struct server_kind *kind, struct config *config, FILE *out,
                   struct error *error)
{
    struct server server;
    if (!server_try(&server, kind, config, error)) {
        return false;
    }
    const struct config *tried = &server.config;
    bool good = try_listen(tried->listen, out, error) && try_observe(tried->observe, out, error) &&
                try_log(tried->access_log, "access", error) &&
                try_log(tried->error_log, "error", error) && try_pid_file(tried->pid_file, error) &&
                try_control(tried->bare ? NULL : tried->control, error);
    if (good) {
        risks_print(&server, stderr);
    }
    server_close(&server);
    return good;
}
