/* The whole connection state machine: a worker on this thread, up to three clients, and what the
 * clients get back checked against what the parser says of what they have sent.
 *
 * Each byte of the first line is an action, again from the front when they are used up, until the
 * rest of the input has been sent:
 *
 *   0-9  sends 2^n bytes, and turns the loop once
 *   s    the next piece goes without a turn
 *   h    requests go to another thread from now on
 *   i    or are handled inline
 *   o    or find the queue full
 *   c    the other thread finishes one, C: the last
 *   k    another client sends now
 *   w    this client shuts its sending side down
 *   x    this client goes away
 *   t    time passes: every deadline is over
 *   q    the clients stop reading, or read again
 *   f    the big file shrinks, or is whole again
 *   d    the server drains, g: says so only
 *   z    the worker stops at the end, come what may
 *   b    at the front: small socket buffers
 *   j    at the front: the access log is JSON
 *
 * Any other byte sends as many bytes as its value. */
#include "tests/fuzz/fuzz.h"

#include "common/base/memory.h"
#include "common/handlers/handlers.h"
#include "common/net/connection.h"
#include "common/net/worker_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    CLIENTS = 3,
    PENDING = 8,
    FDS = 64,
    LONG_MS = 1000000000,
    QUIET_TURNS = 3,
    MOST_TURNS = 20000,
    MOST_ACTIONS = 2000,
    SMALL_BUFFER_BYTES = 2048,
    READ_BYTES = 65536,
    BIG_FILE_BYTES = 40000,
    SHRUNK_BYTES = 1000,
    CACHED_FILES = 8,
    MOST_REQUESTS = 512
};

struct client {
    int fd; /* -1: none */
    struct buffer sent;
    struct buffer received;
    bool opened;
    bool gone;  /* it went away: what it got may be cut anywhere */
    bool shut;  /* sends no more */
    bool ended; /* the server has closed */
};

/* What the reference says of one client's requests. */
struct request_list {
    size_t complete; /* requests */
    enum http_method methods[MOST_REQUESTS];
    size_t body_ends[MOST_REQUESTS]; /* where each one's body ends in bodies */
    struct buffer bodies;
    unsigned refusal; /* of the one behind them; 0: none, or not yet */
    enum http_method unfinished;
    bool in_body; /* the one behind them has a good head */
};

static char root[PATH_MAX]; /* a folder below TMPDIR */
static int root_fd;
static struct document_root *document_root;
static int log_fd;
static struct router *router;

static struct config config;
static struct scoreboard *scoreboard;
static struct handler_context context, other_context;
static struct worker *worker;
static int listen_fd;
static struct sockaddr_un listen_address;
static socklen_t listen_address_bytes;
static struct client clients[CLIENTS];
static size_t current;
static struct http_exchange *pending[PENDING];
static size_t pending_count;
static char mode;
static bool reading;
static bool timed_out, drained, stopped, overloaded;
static bool is_shrunk, has_shrunk; /* the big file: now, and at any time */

/* ---- Once ---- */

static void write_file(const char *name, size_t bytes)
{
    int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char block[1000];
    FUZZ_CHECK(fd >= 0);
    for (size_t i = 0; i < sizeof(block); i++) {
        block[i] = (char)('a' + i % 26);
    }
    for (size_t n = 0; bytes > 0; bytes -= n) {
        n = bytes < sizeof(block) ? bytes : sizeof(block);
        FUZZ_CHECK(write(fd, block, n) == (ssize_t)n);
    }
    close(fd);
}

static void restore_big_file(void)
{
    if (is_shrunk) {
        write_file("big.bin", BIG_FILE_BYTES);
        is_shrunk = false;
    }
}

static void shrink_big_file(void)
{
    int fd = openat(root_fd, "big.bin", O_WRONLY | O_CLOEXEC);
    FUZZ_CHECK(fd >= 0 && ftruncate(fd, SHRUNK_BYTES) == 0);
    close(fd);
    is_shrunk = has_shrunk = true;
}

static const char *const file_names[] = {"index.html", "text.txt", "text.txt.gz",   "text.txt.br",
                                         "big.bin",    ".hidden",  "dir/index.html"};

static void remove_files(void)
{
    for (size_t i = 0; i < sizeof(file_names) / sizeof(file_names[0]); i++) {
        unlinkat(root_fd, file_names[i], 0);
    }
    unlinkat(root_fd, "dir", AT_REMOVEDIR);
    rmdir(root);
}

static void make_root(void)
{
    const char *parent = getenv("TMPDIR");
    int length = snprintf(root, sizeof(root), "%s/fuzz-connection-XXXXXX",
                          parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
    FUZZ_CHECK(length > 0 && (size_t)length < sizeof(root) && mkdtemp(root) != NULL);
    root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FUZZ_CHECK(root_fd >= 0 && mkdirat(root_fd, "dir", 0755) == 0);
    for (size_t i = 0; i < sizeof(file_names) / sizeof(file_names[0]); i++) {
        bool is_big = strcmp(file_names[i], "big.bin") == 0;
        write_file(file_names[i], is_big ? BIG_FILE_BYTES : 100 + i);
    }
    struct error error;
    document_root = document_root_open(root, &error);
    FUZZ_CHECK(document_root != NULL);
    atexit(remove_files);
}

static void prepare(void)
{
    static bool prepared;
    if (prepared) {
        return;
    }
    prepared = true;
    make_root();
    log_fd = memfd_create("access", MFD_CLOEXEC);
    FUZZ_CHECK(log_fd >= 0);
    log_set_level(LOG_ERROR);
    router = router_create();
    static_files_register(router, NULL);
    plaintext_register(router, NULL);
    json_register(router, NULL);
    echo_register(router, NULL);
    scoreboard = scoreboard_create(2);
    FUZZ_CHECK(scoreboard != NULL);
}

/* Which descriptors are open, as a bit each. */
static uint64_t open_descriptors(void)
{
    struct pollfd fds[FDS];
    uint64_t open = 0;
    for (int i = 0; i < FDS; i++) {
        fds[i] = (struct pollfd){.fd = i};
    }
    FUZZ_CHECK(poll(fds, FDS, 0) >= 0);
    for (int i = 0; i < FDS; i++) {
        open |= (uint64_t)((fds[i].revents & POLLNVAL) == 0) << i;
    }
    return open;
}

/* ---- The other thread, which is this one ---- */

static enum dispatch_result dispatch(void *data, struct http_exchange *exchange)
{
    (void)data;
    if (mode == 'o') {
        overloaded = true;
        return DISPATCH_FULL;
    }
    if (mode == 'h' && pending_count < PENDING) {
        pending[pending_count++] = exchange;
        return DISPATCH_TAKEN;
    }
    return DISPATCH_INLINE;
}

static void complete(bool last)
{
    if (pending_count == 0) {
        return;
    }
    size_t index = last ? pending_count - 1 : 0;
    struct http_exchange *exchange = pending[index];
    pending_count--;
    memmove(pending + index, pending + index + 1, (pending_count - index) * sizeof(pending[0]));
    handler_context_next_turn(&other_context);
    http_exchange_run(exchange, &other_context);
    exchange->complete(exchange);
}

/* ---- The server ---- */

static void open_listener(void)
{
    listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(listen_fd >= 0);
    listen_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    listen_address_bytes = sizeof(sa_family_t); /* the kernel chooses a name */
    FUZZ_CHECK(bind(listen_fd, (struct sockaddr *)&listen_address, listen_address_bytes) == 0);
    listen_address_bytes = sizeof(listen_address);
    FUZZ_CHECK(getsockname(listen_fd, (struct sockaddr *)&listen_address, &listen_address_bytes) ==
               0);
    FUZZ_CHECK(listen(listen_fd, CLIENTS) == 0);
}

static void start(bool json_log)
{
    config = (struct config){.max_request_line_bytes = 200,
                             .max_header_bytes = 800,
                             .max_headers = 12,
                             .max_body_bytes = 600,
                             .header_timeout_ms = LONG_MS,
                             .body_timeout_ms = LONG_MS,
                             .idle_timeout_ms = LONG_MS,
                             .send_timeout_ms = LONG_MS,
                             .linger_timeout_ms = LONG_MS,
                             .max_linger_ms = LONG_MS,
                             .max_linger_bytes = 10000000,
                             .drain_timeout_ms = LONG_MS,
                             .access_log_format =
                                 json_log ? CONFIG_ACCESS_LOG_JSON : CONFIG_ACCESS_LOG_COMBINED};
    atomic_store(&scoreboard->slots[0].draining, false);
    memset(scoreboard->slots, 0, 2 * sizeof(scoreboard->slots[0]));
    context = (struct handler_context){
        .slot = &scoreboard->slots[0],
        .files = file_cache_create(document_root, CACHED_FILES, FILE_ETAG_PORTABLE)};
    other_context = (struct handler_context){
        .slot = &scoreboard->slots[1],
        .slot_index = 1,
        .files = file_cache_create(document_root, CACHED_FILES, FILE_ETAG_PORTABLE)};
    open_listener();
    struct worker_options options = {.config = &config,
                                     .router = router,
                                     .context = &context,
                                     .listen_fds = {listen_fd},
                                     .listen_count = 1,
                                     .access_log_fd = log_fd,
                                     .max_connections = CLIENTS,
                                     .dispatch = {.take = dispatch}};
    worker = worker_create(&options);
    FUZZ_CHECK(worker != NULL);
    pending_count = 0;
    mode = 'i';
    reading = true;
    timed_out = drained = stopped = overloaded = false;
    restore_big_file();
    has_shrunk = false;
}

static void receive(struct client *client)
{
    while (client->fd >= 0 && !client->ended) {
        buffer_reserve(&client->received, READ_BYTES);
        ssize_t n = recv(client->fd, client->received.data + client->received.len, READ_BYTES,
                         MSG_DONTWAIT);
        if (n > 0) {
            client->received.len += (size_t)n;
            continue;
        }
        client->ended = n == 0 || (errno != EAGAIN && errno != EINTR);
        return;
    }
}

static void turn(void)
{
    handler_context_next_turn(&context);
    FUZZ_CHECK(event_base_loop(worker->loop.base, EVLOOP_NONBLOCK) >= 0);
    for (size_t i = 0; reading && i < CLIENTS; i++) {
        receive(&clients[i]);
    }
}

/* Turns until nothing comes any more. */
static void settle(void)
{
    size_t before = 0, quiet = 0;
    reading = true;
    for (unsigned turns = 0; quiet < QUIET_TURNS; turns++) {
        size_t now = 0;
        FUZZ_CHECK(turns < MOST_TURNS);
        while (pending_count > 0) {
            complete(false);
            quiet = 0;
        }
        turn();
        for (size_t i = 0; i < CLIENTS; i++) {
            now += clients[i].received.len + clients[i].ended;
        }
        quiet = now == before ? quiet + 1 : 0;
        before = now;
    }
}

static void sweep(const struct connection_list *list, uint64_t now_ms)
{
    struct connection *c = TAILQ_FIRST(list);
    while (c != NULL) {
        struct connection *next = connection_next(c);
        connection_sweep(c, now_ms);
        c = next;
    }
}

static void pass_time(void)
{
    uint64_t later_ms = loop_now_ms(&worker->loop) + 2 * (uint64_t)LONG_MS;
    timed_out = true;
    for (int place = 0; place < CONNECTION_PLACES; place++) {
        sweep(&worker->loop.places[place], later_ms);
    }
}

/* ---- Clients ---- */

static void open_pair(struct client *client)
{
    int fds[2], small = SMALL_BUFFER_BYTES;
    struct client_address address = client_address_pack((struct sockaddr *)&listen_address);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    FUZZ_CHECK(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0);
    client->fd = fds[0];
    connection_create(&worker->loop, fds[1], &address);
}

static void open_client(struct client *client, bool small)
{
    client->opened = true;
    if (small) {
        open_pair(client);
        return;
    }
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(client->fd >= 0);
    if (connect(client->fd, (struct sockaddr *)&listen_address, listen_address_bytes) != 0) {
        FUZZ_CHECK(drained); /* refused, then */
        close(client->fd);
        client->fd = -1;
        return;
    }
    turn(); /* accepted */
}

static void next_client(bool small)
{
    current = (current + 1) % CLIENTS;
    if (!clients[current].opened) {
        open_client(&clients[current], small);
    }
}

static void leave(struct client *client)
{
    if (client->fd >= 0) {
        close(client->fd);
        client->fd = -1;
        client->gone = true;
    }
}

/* Sends a piece; what cannot be sent any more is left out. */
static size_t send_piece(struct client *client, struct span text, size_t bytes)
{
    bytes = bytes < text.len ? bytes : text.len;
    if (client->fd >= 0 && !client->shut && bytes > 0) {
        ssize_t n = send(client->fd, text.ptr, bytes, MSG_NOSIGNAL);
        if (n > 0) {
            buffer_append(&client->sent, text.ptr, (size_t)n);
            return (size_t)n;
        }
    }
    return bytes;
}

static void shut(struct client *client)
{
    if (client->fd >= 0 && !client->shut) {
        shutdown(client->fd, SHUT_WR);
        client->shut = true;
    }
}

static void act(char action, bool small)
{
    struct client *client = &clients[current];
    switch (action) {
    case 'h':
    case 'i':
    case 'o':
        mode = action;
        return;
    case 'c':
    case 'C':
        complete(action == 'C');
        break;
    case 'k':
        next_client(small);
        return;
    case 'w':
        shut(client);
        break;
    case 'x':
        leave(client);
        break;
    case 't':
        pass_time();
        break;
    case 'q':
        reading = !reading;
        return;
    case 'f':
        if (is_shrunk) {
            restore_big_file();
        } else {
            shrink_big_file();
        }
        return;
    case 'd':
        worker_drain(worker);
        drained = true;
        break;
    case 'g':
        scoreboard_mark_draining(scoreboard, 0, 1);
        break;
    case 'z':
        stopped = true;
        return;
    default:
        return;
    }
    turn();
}

static bool is_action(char byte)
{
    return byte != '\0' && strchr("hiocCkwxtqfdgzsbj", byte) != NULL;
}

static void play(struct span script, struct span text, bool small)
{
    bool keeps = false;
    for (size_t i = 0; i < MOST_ACTIONS && (text.len > 0 || i < script.len); i++) {
        char action = script.len == 0 ? '9' : script.ptr[i % script.len];
        if (action == 's') {
            keeps = true;
            continue;
        }
        if (is_action(action)) {
            act(action, small);
            continue;
        }
        size_t bytes = (unsigned char)action;
        if (action >= '0' && action <= '9') {
            bytes = (size_t)1 << (action - '0');
        }
        size_t sent = send_piece(&clients[current], text, bytes);
        text = (struct span){text.ptr + sent, text.len - sent};
        if (!keeps) {
            turn();
        }
        keeps = false;
    }
}

/* ---- What came back ---- */

/* What the parser makes of all that a client has sent. */
static void read_requests(struct span text, struct request_list *list)
{
    struct http_exchange *exchange = http_exchange_create(&worker->loop.limits);
    struct http_request *request = &exchange->request;
    *list = (struct request_list){0};
    while (text.len > 0 && list->complete < MOST_REQUESTS) {
        size_t used = 0;
        enum http_parse_result result =
            http_parser_feed_head(exchange->parser, request, text.ptr, text.len);
        list->in_body = false;
        list->unfinished = request->method;
        if (result == HTTP_PARSE_HEAD) {
            used = request->head_bytes;
            result = HTTP_PARSE_DONE;
            if (request->has_body) {
                request->body_wanted = true;
                size_t body_used = 0;
                list->in_body = true;
                result = HTTP_PARSE_MORE;
                if (text.len > used) {
                    result = http_parser_feed_body(exchange->parser, request, text.ptr + used,
                                                   text.len - used, &body_used);
                }
                used += body_used;
            }
        }
        if (result == HTTP_PARSE_REFUSED) {
            list->refusal = http_parser_refusal(exchange->parser).status;
        }
        if (result != HTTP_PARSE_DONE) {
            break;
        }
        buffer_append(&list->bodies, request->body.data, request->body.len);
        list->body_ends[list->complete] = list->bodies.len;
        list->methods[list->complete++] = request->method;
        list->in_body = false;
        list->unfinished = METHOD_GET;
        text = (struct span){text.ptr + used, text.len - used};
        http_exchange_reset(exchange);
    }
    http_exchange_destroy(exchange);
}

struct reply {
    unsigned status;
    bool closes;
    bool has_length;
    size_t length;
    unsigned dates;
    unsigned allows;
    struct span boundary; /* of several parts; empty: none */
};

static bool is_token_byte(char byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || byte == '-';
}

static void read_field(struct reply *reply, struct span line)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    FUZZ_CHECK(colon != NULL && colon > line.ptr);
    struct span name = {line.ptr, (size_t)(colon - line.ptr)};
    struct span value = span_trim((struct span){colon + 1, line.len - name.len - 1});
    for (size_t i = 0; i < name.len; i++) {
        FUZZ_CHECK(is_token_byte(name.ptr[i]));
    }
    for (size_t i = 0; i < value.len; i++) {
        unsigned char byte = (unsigned char)value.ptr[i];
        FUZZ_CHECK((byte >= 0x20 && byte != 0x7f) || byte == '\t');
    }
    const struct span parts = SPAN("multipart/byteranges; boundary=");
    if (span_equal(name, SPAN("Content-Type")) && value.len > parts.len &&
        memcmp(value.ptr, parts.ptr, parts.len) == 0) {
        reply->boundary = (struct span){value.ptr + parts.len, value.len - parts.len};
    }
    reply->dates += span_equal(name, SPAN("Date"));
    reply->allows += span_equal(name, SPAN("Allow"));
    reply->closes |= span_equal(name, SPAN("Connection")) && span_equal(value, SPAN("close"));
    FUZZ_CHECK(!span_equal(name, SPAN("Transfer-Encoding")));
    if (span_equal(name, SPAN("Content-Length"))) {
        FUZZ_CHECK(!reply->has_length && value.len > 0 && value.len < 10);
        reply->has_length = true;
        for (size_t i = 0; i < value.len; i++) {
            FUZZ_CHECK(value.ptr[i] >= '0' && value.ptr[i] <= '9');
            reply->length = reply->length * 10 + (size_t)(value.ptr[i] - '0');
        }
    }
}

/* The head of a response; its bytes, or 0: it is cut off. */
static size_t read_head(struct reply *reply, struct span text)
{
    const char *end = memmem(text.ptr, text.len, "\r\n\r\n", 4);
    size_t start = SPAN("HTTP/1.1 200 ").len;
    *reply = (struct reply){0};
    if (end == NULL) {
        return 0;
    }
    FUZZ_CHECK(memcmp(text.ptr, "HTTP/1.1 ", 9) == 0 && (size_t)(end - text.ptr) > start);
    for (size_t i = 9; i < 12; i++) {
        FUZZ_CHECK(text.ptr[i] >= '0' && text.ptr[i] <= '9');
        reply->status = reply->status * 10 + (unsigned)(text.ptr[i] - '0');
    }
    FUZZ_CHECK(reply->status >= 100 && reply->status < 600 && text.ptr[12] == ' ');
    const char *line = memmem(text.ptr, text.len, "\r\n", 2);
    while (line != end) {
        line += 2;
        const char *next = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        FUZZ_CHECK(next != NULL);
        read_field(reply, (struct span){line, (size_t)(next - line)});
        line = next;
    }
    return (size_t)(end - text.ptr) + 4;
}

static bool has_body(const struct reply *reply, enum http_method method)
{
    return method != METHOD_HEAD && reply->status != 204 && reply->status != 304;
}

static void check_reply(const struct reply *reply)
{
    FUZZ_CHECK(reply->dates == 1);
    FUZZ_CHECK(reply->has_length || reply->status == 204 || reply->status == 304);
    FUZZ_CHECK(reply->status != 405 || reply->allows == 1);
    FUZZ_CHECK(reply->status != 500 && (reply->status != 503 || overloaded));
    FUZZ_CHECK(reply->status != 408 || (timed_out && reply->closes));
}

/* Whether a response that is not all there has a good reason. */
static bool may_be_cut(const struct client *client)
{
    return client->gone || timed_out || stopped || has_shrunk;
}

static bool take(struct span *text, struct span expected)
{
    if (text->len < expected.len || memcmp(text->ptr, expected.ptr, expected.len) != 0) {
        return false;
    }
    *text = (struct span){text->ptr + expected.len, text->len - expected.len};
    return true;
}

static size_t take_number(struct span *text)
{
    size_t number = 0;
    FUZZ_CHECK(text->len > 0 && text->ptr[0] >= '0' && text->ptr[0] <= '9');
    for (; text->len > 0 && text->ptr[0] >= '0' && text->ptr[0] <= '9'; text->ptr++, text->len--) {
        number = number * 10 + (size_t)(text->ptr[0] - '0');
    }
    return number;
}

/* The bytes of one part; which they are tells its head. Every file of the root has the same. Those
 * of a file that shrinks change even on their way through the socket. */
static void check_part(struct span *text)
{
    const char *end = memmem(text->ptr, text->len, "\r\n\r\n", 4);
    const struct span field = SPAN("\r\nContent-Range: bytes ");
    const char *range = memmem(text->ptr, text->len, field.ptr, field.len);
    FUZZ_CHECK(end != NULL && range != NULL && range < end);
    struct span numbers = {range + field.len, (size_t)(end - range) - field.len};
    size_t first = take_number(&numbers);
    FUZZ_CHECK(take(&numbers, SPAN("-")));
    size_t last = take_number(&numbers);
    FUZZ_CHECK(take(&numbers, SPAN("/")));
    FUZZ_CHECK(first <= last && last < take_number(&numbers) && numbers.len == 0);
    end += 4;
    *text = (struct span){end, text->len - (size_t)(end - text->ptr)};
    FUZZ_CHECK(text->len > last - first);
    for (size_t at = first; at <= last; at++, text->ptr++, text->len--) {
        FUZZ_CHECK(has_shrunk || *text->ptr == (char)('a' + at % 1000 % 26));
    }
}

/* A whole body of several parts. */
static void check_parts(struct span boundary, struct span text)
{
    size_t parts = 0;
    for (;; parts++) {
        FUZZ_CHECK(take(&text, SPAN("\r\n--")) && take(&text, boundary));
        if (take(&text, SPAN("--\r\n"))) {
            break;
        }
        check_part(&text);
    }
    FUZZ_CHECK(text.len == 0 && parts >= 2);
}

/* The answer to a request that the parser found good: nothing was refused about its framing, and
 * what POST got, from /echo, is the request's body. */
static void check_answer(const struct reply *reply, const struct request_list *list, size_t index,
                         struct span text)
{
    static const unsigned statuses[] = {200, 204, 206, 301, 304, 400, 404,
                                        405, 408, 412, 416, 421, 503};
    bool is_known = false;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        is_known |= reply->status == statuses[i];
    }
    FUZZ_CHECK(is_known);
    if (list->methods[index] == METHOD_POST && reply->status == 200) {
        size_t start = index == 0 ? 0 : list->body_ends[index - 1];
        size_t bytes = list->body_ends[index] - start;
        size_t received = text.len < bytes ? text.len : bytes;
        FUZZ_CHECK(reply->length == bytes);
        FUZZ_CHECK(received == 0 || memcmp(list->bodies.data + start, text.ptr, received) == 0);
    }
}

static void check_replies(const struct client *client, const struct request_list *list)
{
    struct span text = {client->received.data, client->received.len};
    size_t replies = 0;
    bool closes = false;
    while (text.len > 0) {
        struct reply reply;
        FUZZ_CHECK(!closes); /* nothing behind the last response */
        size_t used = read_head(&reply, text);
        if (used == 0) {
            FUZZ_CHECK(may_be_cut(client));
            return;
        }
        text = (struct span){text.ptr + used, text.len - used};
        if (reply.status == 100) {
            FUZZ_CHECK(!reply.has_length);
            continue;
        }
        check_reply(&reply);
        bool is_complete = replies < list->complete;
        FUZZ_CHECK(is_complete || reply.closes); /* refused, or given up */
        FUZZ_CHECK(is_complete || list->refusal == 0 || reply.status == list->refusal ||
                   reply.status == 408 || list->in_body);
        if (is_complete) {
            check_answer(&reply, list, replies, text);
        }
        enum http_method method = is_complete ? list->methods[replies] : list->unfinished;
        if (has_body(&reply, method)) {
            if (text.len < reply.length) {
                FUZZ_CHECK(may_be_cut(client) || (method == METHOD_HEAD && timed_out));
                return;
            }
            if (reply.boundary.len > 0) {
                check_parts(reply.boundary, (struct span){text.ptr, reply.length});
            }
            text = (struct span){text.ptr + reply.length, text.len - reply.length};
        } else if (reply.status == 408 && text.len == reply.length) {
            text.len = 0; /* given up before it said HEAD */
        }
        closes = reply.closes;
        replies++;
    }
    FUZZ_CHECK(replies <= list->complete + 1);
    if (!closes && client->fd >= 0 && !may_be_cut(client) && !drained) {
        FUZZ_CHECK(replies == list->complete && list->refusal == 0);
        FUZZ_CHECK(client->ended == client->shut);
    }
    FUZZ_CHECK(!closes || client->fd < 0 || client->ended || stopped);
}

static void check_client(const struct client *client)
{
    struct request_list list;
    if (client->opened) {
        read_requests((struct span){client->sent.data, client->sent.len}, &list);
        check_replies(client, &list);
        buffer_free(&list.bodies);
    }
}

static void check_journal(void)
{
    const struct worker_slot *slot = &scoreboard->slots[0];
    FUZZ_CHECK(slot->counters.requests_started ==
               slot->counters.requests_finished + slot->counters.requests_aborted);
    FUZZ_CHECK(slot->connections_open == 0 && slot->connections_busy == 0 &&
               slot->connections_idle == 0);
}

/* A line for each answer, and one more for none: what was finished is not called aborted. */
static void check_lines(size_t lines, size_t aborted)
{
    const struct slot_counters *counters = &scoreboard->slots[0].counters;
    FUZZ_CHECK(lines <= counters->requests_started);
    FUZZ_CHECK(lines - aborted >= counters->requests_finished);
    FUZZ_CHECK(aborted <= counters->requests_aborted);
}

static bool ends_line(struct span line, struct span end)
{
    return line.len >= end.len && memcmp(line.ptr + line.len - end.len, end.ptr, end.len) == 0;
}

static void count_lines(bool json)
{
    struct stat status;
    FUZZ_CHECK(fstat(log_fd, &status) == 0);
    struct buffer all = {0};
    buffer_reserve(&all, (size_t)status.st_size + 1);
    FUZZ_CHECK(pread(log_fd, all.data, (size_t)status.st_size, 0) == status.st_size);
    struct span text = {all.data, (size_t)status.st_size};
    size_t lines = 0, aborted = 0;
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        FUZZ_CHECK(end != NULL);
        struct span line = {text.ptr, (size_t)(end - text.ptr)};
        aborted += ends_line(line, json ? SPAN(",\"aborted\":true}") : SPAN("\" aborted"));
        lines++;
        text = (struct span){end + 1, text.len - line.len - 1};
    }
    buffer_free(&all);
    check_lines(lines, aborted);
}

/* Whole lines: of printable ASCII, or of UTF-8 in JSON, which may also hold a 0x7f. */
static void check_access_log(bool json)
{
    count_lines(json);
    char text[4096];
    off_t offset = 0;
    ssize_t n = 0;
    unsigned char last = '\n';
    unsigned following = 0; /* bytes that must still come of a character */
    while ((n = pread(log_fd, text, sizeof(text), offset)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            unsigned char byte = (unsigned char)text[i];
            FUZZ_CHECK(byte == '\n' || (byte >= 0x20 && (json || byte < 0x7f)));
            FUZZ_CHECK((following > 0) == ((byte & 0xc0) == 0x80));
            FUZZ_CHECK(byte < 0xf5 && byte != 0xc0 && byte != 0xc1);
            if (following > 0) {
                following--;
            } else if (byte >= 0xc0) {
                following = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
            }
            FUZZ_CHECK(!json || last != '\n' || byte == '{');
            FUZZ_CHECK(!json || byte != '\n' || last == '}');
            last = byte;
        }
        offset += n;
    }
    FUZZ_CHECK(last == '\n');
    FUZZ_CHECK(ftruncate(log_fd, 0) == 0 && lseek(log_fd, 0, SEEK_SET) == 0);
}

/* Everybody leaves, and the worker must notice. */
static void end(void)
{
    if (!stopped) {
        settle();
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        check_client(&clients[i]);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        leave(&clients[i]);
    }
    if (!stopped) {
        settle();
        FUZZ_CHECK(worker->loop.connection_count == 0 && worker->loop.asking_count == 0);
        for (int place = 0; place < CONNECTION_PLACES; place++) {
            FUZZ_CHECK(TAILQ_EMPTY(&worker->loop.places[place]));
        }
        check_journal();
    }
    worker_destroy(worker);
    close(listen_fd);
    file_cache_destroy(context.files);
    file_cache_destroy(other_context.files);
    check_journal();
    check_access_log(config.access_log_format == CONFIG_ACCESS_LOG_JSON);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span script, text;
    prepare();
    uint64_t descriptors = open_descriptors();
    fuzz_split(data, size, &script, &text);
    bool small = script.len > 0 && script.ptr[0] == 'b';
    start(script.len > 0 && script.ptr[0] == 'j');
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.fd = -1};
    }
    current = 0;
    open_client(&clients[0], small);
    play(script, text, small);
    end();
    for (size_t i = 0; i < CLIENTS; i++) {
        buffer_free(&clients[i].sent);
        buffer_free(&clients[i].received);
    }
    FUZZ_CHECK(open_descriptors() == descriptors);
    return 0;
}
