// The floor under every HTTP server: worker processes with an epoll loop each that do the system
// calls of a server and nothing else. They count the blank lines that end requests, and answer each
// with the same bytes. No parsing, no routes, no timeouts: whatever a real server costs beyond this
// is its own.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_WORKERS = 512,
    MAX_DESCRIPTORS = 65536,
    BACKLOG = 4096,
    EVENTS = 256,
    ACCEPTS = 16, // at one time, so that the other workers get some
    READ_BYTES = 16384,
    BATCH_BYTES = 65536
};

static const char usage_text[] =
    "Usage: floor [--option value]...\n"
    "  --port N      on 127.0.0.1; default 0: the kernel chooses\n"
    "  --workers N   processes; default 2\n"
    "  --reuseport   a listening socket for each worker; default: one for all\n"
    "  --bytes N     answer with a body of N bytes; default 13\n"
    "  --file PATH   answer with this file's content, read at the start\n"
    "  --close       answer with Connection: close, and close\n";

struct options {
    unsigned port;
    unsigned workers;
    unsigned body_bytes;
    const char *file;
    bool reuseport;
    bool close;
};

// The response, as often as fits into BATCH_BYTES (at least once): several answers are one write.
struct batch {
    char *bytes;
    size_t response_bytes;
    size_t responses;
};

struct connection {
    size_t owed;             // responses not yet sent in full
    size_t sent_bytes;       // of the first of them
    unsigned char end_match; // bytes of "\r\n\r\n" seen last
    uint32_t awaited;        // epoll events; 0: not in epoll
};

// Indexed by file descriptor; the kernel gives memory only for those that are in use.
static struct connection connections[MAX_DESCRIPTORS];

struct worker {
    int epoll_fd;
    int listen_fd;
    bool close;
    struct batch batch;
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

_Noreturn static void fail_usage(const char *what)
{
    fprintf(stderr, "floor: %s; see --help\n", what);
    exit(2);
}

static unsigned number(const char *text, const char *option, unsigned low, unsigned high)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < low || value > high) {
        fprintf(stderr, "floor: --%s must be from %u to %u; see --help\n", option, low, high);
        exit(2);
    }
    return (unsigned)value;
}

static struct options parse_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", required_argument, NULL, 'p'}, {"workers", required_argument, NULL, 'w'},
        {"reuseport", no_argument, NULL, 'r'},  {"bytes", required_argument, NULL, 'b'},
        {"file", required_argument, NULL, 'f'}, {"close", no_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
    };
    struct options options = {.workers = 2, .body_bytes = 13};
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p':
            options.port = number(optarg, "port", 0, 65535);
            break;
        case 'w':
            options.workers = number(optarg, "workers", 1, MAX_WORKERS);
            break;
        case 'r':
            options.reuseport = true;
            break;
        case 'b':
            options.body_bytes = number(optarg, "bytes", 0, 1U << 30);
            break;
        case 'f':
            options.file = optarg;
            break;
        case 'c':
            options.close = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(0);
        default:
            fail_usage("unknown option, or one without its value");
        }
    }
    if (optind < argc) {
        fail_usage("only options are understood");
    }
    return options;
}

static void read_whole(int fd, char *to, size_t size_bytes)
{
    for (size_t done = 0; done < size_bytes;) {
        ssize_t got = read(fd, to + done, size_bytes - done);
        if (got <= 0) {
            errno = got == 0 ? EIO : errno;
            fail("cannot read the file");
        }
        done += (size_t)got;
    }
}

// Header and body in one piece. It names what real servers name: about as many bytes travel.
static struct batch make_batch(const struct options *options)
{
    size_t body_bytes = options->body_bytes;
    int fd = -1;
    if (options->file != NULL) {
        struct stat status;
        fd = open(options->file, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) != 0) {
            fail(options->file);
        }
        body_bytes = (size_t)status.st_size;
    }
    char header[256];
    int header_bytes = snprintf(header, sizeof(header),
                                "HTTP/1.1 200 OK\r\nServer: floor\r\n"
                                "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                                "Content-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n",
                                body_bytes, options->close ? "Connection: close\r\n" : "");
    struct batch batch = {.response_bytes = (size_t)header_bytes + body_bytes, .responses = 1};
    if (batch.response_bytes < BATCH_BYTES) {
        batch.responses = BATCH_BYTES / batch.response_bytes;
    }
    batch.bytes = malloc(batch.responses * batch.response_bytes);
    if (batch.bytes == NULL) {
        fail("no memory for the response");
    }
    memcpy(batch.bytes, header, (size_t)header_bytes);
    if (fd >= 0) {
        read_whole(fd, batch.bytes + header_bytes, body_bytes);
        close(fd);
    } else {
        memset(batch.bytes + header_bytes, 'x', body_bytes);
    }
    for (size_t i = 1; i < batch.responses; i++) {
        memcpy(batch.bytes + i * batch.response_bytes, batch.bytes, batch.response_bytes);
    }
    return batch;
}

static int listen_on(unsigned port, bool reuseport)
{
    const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // Connections inherit TCP_NODELAY from their listener: no system call for each.
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, BACKLOG) != 0) {
        fail("cannot listen on 127.0.0.1");
    }
    return fd;
}

static unsigned port_of(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t length = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        fail("getsockname");
    }
    return ntohs(address.sin_port);
}

static void watch(int epoll_fd, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, operation, fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

static void wait_for(const struct worker *worker, int fd, uint32_t events)
{
    if (connections[fd].awaited != events) {
        watch(worker->epoll_fd, connections[fd].awaited == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd,
              events);
        connections[fd].awaited = events;
    }
}

static size_t count_request_ends(struct connection *connection, const char *bytes,
                                 size_t size_bytes)
{
    static const char end[] = "\r\n\r\n";
    size_t found = 0;
    unsigned char match = connection->end_match;
    for (size_t i = 0; i < size_bytes; i++) {
        if (bytes[i] == end[match]) {
            match++;
        } else {
            match = bytes[i] == '\r';
        }
        if (match == sizeof(end) - 1) {
            found++;
            match = 0;
        }
    }
    connection->end_match = match;
    return found;
}

// Returns false when the connection is at its end.
static bool send_owed(const struct worker *worker, int fd)
{
    struct connection *connection = &connections[fd];
    const struct batch *batch = &worker->batch;
    while (connection->owed > 0) {
        size_t responses =
            connection->owed < batch->responses ? connection->owed : batch->responses;
        ssize_t sent = write(fd, batch->bytes + connection->sent_bytes,
                             responses * batch->response_bytes - connection->sent_bytes);
        if (sent < 0 && errno == EAGAIN) {
            wait_for(worker, fd, EPOLLOUT);
            return true;
        }
        if (sent < 0) {
            return false;
        }
        size_t passed_bytes = connection->sent_bytes + (size_t)sent;
        connection->owed -= passed_bytes / batch->response_bytes;
        connection->sent_bytes = passed_bytes % batch->response_bytes;
    }
    if (worker->close) {
        return false;
    }
    wait_for(worker, fd, EPOLLIN);
    return true;
}

static bool read_requests(const struct worker *worker, int fd)
{
    char bytes[READ_BYTES];
    ssize_t got = read(fd, bytes, sizeof(bytes));
    size_t ends = got > 0 ? count_request_ends(&connections[fd], bytes, (size_t)got) : 0;
    if (ends > 0) {
        connections[fd].owed += ends;
        return send_owed(worker, fd);
    }
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        return false;
    }
    wait_for(worker, fd, EPOLLIN);
    return true;
}

static void serve(const struct worker *worker, int fd)
{
    bool goes_on = connections[fd].owed > 0 ? send_owed(worker, fd) : read_requests(worker, fd);
    if (!goes_on) {
        close(fd);
    }
}

// Reads at once: the request is often there already, and a connection that is closed after it never
// enters epoll.
static void accept_waiting(const struct worker *worker)
{
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(worker->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
                fail("accept4");
            }
            return;
        }
        if (fd >= MAX_DESCRIPTORS) {
            close(fd);
            return;
        }
        connections[fd] = (struct connection){0};
        serve(worker, fd);
    }
}

_Noreturn static void run_worker(struct worker *worker)
{
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (worker->epoll_fd < 0) {
        fail("epoll_create1");
    }
    watch(worker->epoll_fd, EPOLL_CTL_ADD, worker->listen_fd, EPOLLIN | EPOLLEXCLUSIVE);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(worker->epoll_fd, events, EVENTS, -1);
        if (count < 0 && errno != EINTR) {
            fail("epoll_wait");
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == worker->listen_fd) {
                accept_waiting(worker);
            } else {
                serve(worker, events[i].data.fd);
            }
        }
    }
}

static pid_t fork_worker(struct worker *worker, const sigset_t *signals)
{
    pid_t master = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        fail("fork");
    }
    if (pid > 0) {
        return pid;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || sigprocmask(SIG_UNBLOCK, signals, NULL) != 0) {
        fail("cannot start a worker");
    }
    if (getppid() != master) {
        exit(1);
    }
    run_worker(worker);
}

// Returns when a stop signal arrives (true) or a worker ends by itself (false).
static bool wait_for_stop(const sigset_t *signals)
{
    int signal_number = sigwaitinfo(signals, NULL);
    while (signal_number < 0 && errno == EINTR) {
        signal_number = sigwaitinfo(signals, NULL);
    }
    return signal_number == SIGTERM || signal_number == SIGINT;
}

static int run_master(const struct options *options)
{
    pid_t pids[MAX_WORKERS];
    int listen_fds[MAX_WORKERS];
    unsigned listeners = options->reuseport ? options->workers : 1;
    listen_fds[0] = listen_on(options->port, options->reuseport);
    unsigned port = port_of(listen_fds[0]);
    for (unsigned i = 1; i < listeners; i++) {
        listen_fds[i] = listen_on(port, true);
    }
    struct worker worker = {.close = options->close, .batch = make_batch(options)};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        fail("cannot set up signals");
    }
    for (unsigned i = 0; i < options->workers; i++) {
        worker.listen_fd = listen_fds[i % listeners];
        pids[i] = fork_worker(&worker, &signals);
    }
    printf("floor: listening on http://127.0.0.1:%u (model floor, %u workers, master pid %d)\n",
           port, options->workers, (int)getpid());
    if (fflush(stdout) != 0) {
        fail("cannot write to stdout");
    }
    bool was_told = wait_for_stop(&signals);
    for (unsigned i = 0; i < options->workers; i++) {
        kill(pids[i], SIGKILL);
    }
    while (wait(NULL) > 0) {
    }
    free(worker.batch.bytes);
    if (!was_told) {
        fputs("floor: a worker ended by itself; stopping\n", stderr);
    }
    return was_told ? 0 : 1;
}

int main(int argc, char **argv)
{
    const struct options options = parse_options(argc, argv);
    return run_master(&options);
}
