/* A successor's side: one request at a time, in batches, and everything that is not its answer is
 * thrown away. */
#include "common/base/clock.h"
#include "server/adoption/keeper.h"
#include "server/adoption/keeper_internal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct conversation {
    int asking;
    unsigned timeout_ms;
    uint64_t deadline_ms;
    uint64_t nonce; /* of the last request: a random number, and one more each time */
    struct error *error;
};

/* A message from the pair. */
struct parcel {
    struct keeper_answer answer;
    size_t bytes;
    int descriptors[KEEPER_BATCH]; /* the successor's own */
    size_t count;
};

static bool fail_as_gone(const struct conversation *talk)
{
    return error_set(talk->error, "the keeper of a dead process's connections is gone");
}

static bool fail_by_errno(const struct conversation *talk)
{
    return errno == EPIPE || errno == ECONNRESET
               ? fail_as_gone(talk)
               : error_set(talk->error, "cannot ask for a dead process's connections: %m");
}

static bool begin(struct conversation *talk, int asking, unsigned timeout_ms, struct error *error)
{
    *talk = (struct conversation){.asking = asking,
                                  .timeout_ms = timeout_ms,
                                  .deadline_ms = clock_monotonic_ms() + timeout_ms,
                                  .error = error};
    return getrandom(&talk->nonce, sizeof(talk->nonce), 0) == sizeof(talk->nonce) ||
           fail_by_errno(talk);
}

/* Until it is possible to read or write. *events are those that are there. */
static bool wait_for(const struct conversation *talk, short *events)
{
    struct pollfd end = {.fd = talk->asking, .events = *events};
    int ready;
    do {
        uint64_t now_ms = clock_monotonic_ms();
        uint64_t left_ms = now_ms < talk->deadline_ms ? talk->deadline_ms - now_ms : 0;
        ready = left_ms == 0 ? 0 : poll(&end, 1, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) {
        return error_set(talk->error,
                         "the keeper of a dead process's connections has not answered within %u ms",
                         talk->timeout_ms);
    }
    *events = end.revents;
    return ready > 0 || fail_by_errno(talk);
}

static bool send_request(const struct conversation *talk, const struct keeper_request *request)
{
    for (;;) {
        short events = POLLOUT;
        if (!wait_for(talk, &events)) {
            return false;
        }
        if (send(talk->asking, request, sizeof(*request), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            return true;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return fail_by_errno(talk);
        }
    }
}

static void add_descriptors(struct parcel *parcel, struct msghdr *message)
{
    parcel->count = 0;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each != NULL;
         each = CMSG_NXTHDR(message, each)) {
        size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (each->cmsg_level == SOL_SOCKET && each->cmsg_type == SCM_RIGHTS &&
            count <= KEEPER_BATCH - parcel->count) {
            memcpy(parcel->descriptors + parcel->count, CMSG_DATA(each), count * sizeof(int));
            parcel->count += count;
        }
    }
}

/* The next message, of whatever kind. An empty one is junk unless the other side is closed. */
static bool receive(const struct conversation *talk, struct parcel *parcel)
{
    union keeper_control control;
    struct iovec part = {.iov_base = &parcel->answer, .iov_len = sizeof(parcel->answer)};
    for (;;) {
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control)};
        short events = POLLIN | POLLRDHUP;
        if (!wait_for(talk, &events)) {
            return false;
        }
        ssize_t bytes =
            recvmsg(talk->asking, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT | MSG_TRUNC);
        if (bytes >= 0) {
            parcel->bytes = (size_t)bytes;
            add_descriptors(parcel, &message);
            bool is_end = bytes == 0 && (events & (POLLHUP | POLLRDHUP)) != 0;
            return !is_end || fail_as_gone(talk);
        }
        if (errno != EAGAIN && errno != EINTR) {
            return fail_by_errno(talk);
        }
    }
}

static void discard(struct parcel *parcel)
{
    for (size_t i = 0; i < parcel->count; i++) {
        close(parcel->descriptors[i]);
    }
    parcel->count = 0;
}

static bool is_answer(const struct parcel *parcel, const struct keeper_request *request)
{
    return parcel->bytes == sizeof(parcel->answer) && parcel->answer.nonce == request->nonce &&
           parcel->answer.count == request->count;
}

/* What lies in the pair from before the request goes, as well. */
static bool ask(struct conversation *talk, struct keeper_request *request, struct parcel *parcel)
{
    request->nonce = ++talk->nonce;
    if (!send_request(talk, request)) {
        return false;
    }
    while (receive(talk, parcel)) {
        if (is_answer(parcel, request)) {
            return true;
        }
        discard(parcel);
    }
    return false;
}

/* ---- Taking ---- */

/* Gives the descriptors to the numbers that are open, as far as they reach. */
static bool hand_out(const struct conversation *talk, struct parcel *parcel, int *taken,
                     size_t count)
{
    size_t given = 0, open = 0;
    for (size_t i = 0; i < count; i++) {
        if (parcel->answer.is_open[i]) {
            open++;
            taken[i] = given < parcel->count ? parcel->descriptors[given++] : -1;
        }
    }
    for (; given < parcel->count; given++) {
        close(parcel->descriptors[given]);
    }
    return parcel->count >= open ||
           error_set(talk->error,
                     "cannot take %zu descriptors more: the limit of descriptors is "
                     "reached; raise it (ulimit -n, LimitNOFILE)",
                     open - parcel->count);
}

static void want(struct keeper_request *request, enum keeper_wish wish, const int *numbers,
                 size_t count)
{
    *request = (struct keeper_request){.wish = wish, .count = (uint32_t)count};
    memcpy(request->numbers, numbers, count * sizeof(int));
}

/* There are descriptors that no message carries. */
static bool take_one(struct conversation *talk, int wanted, int *taken)
{
    struct keeper_request request;
    struct parcel parcel;
    want(&request, KEEPER_GIVE, &wanted, 1);
    if (!ask(talk, &request, &parcel)) {
        return false;
    }
    if (parcel.answer.error == EINVAL || parcel.answer.error == EBADF) {
        return true;
    }
    if (parcel.answer.error != 0) {
        return error_set(talk->error, "the keeper of a dead process's connections cannot send: %s",
                         strerror(parcel.answer.error));
    }
    return hand_out(talk, &parcel, taken, 1);
}

static bool take_batch(struct conversation *talk, const int *wanted, int *taken, size_t count)
{
    struct keeper_request request;
    struct parcel parcel;
    want(&request, KEEPER_GIVE, wanted, count);
    if (!ask(talk, &request, &parcel)) {
        return false;
    }
    if (parcel.answer.error == 0) {
        return hand_out(talk, &parcel, taken, count);
    }
    bool is_taken = true;
    for (size_t i = 0; i < count && is_taken; i++) {
        is_taken = take_one(talk, wanted[i], &taken[i]);
    }
    return is_taken;
}

static size_t batch_of(size_t left)
{
    return left < KEEPER_BATCH ? left : KEEPER_BATCH;
}

bool keeper_take(int asking, const int *wanted, int *taken, size_t count, unsigned timeout_ms,
                 struct error *error)
{
    struct conversation talk;
    bool is_good = begin(&talk, asking, timeout_ms, error);
    for (size_t i = 0; i < count; i++) {
        taken[i] = -1;
    }
    for (size_t i = 0; i < count && is_good; i += KEEPER_BATCH) {
        is_good = take_batch(&talk, wanted + i, taken + i, batch_of(count - i));
    }
    return is_good;
}

/* ---- Listing ---- */

static bool list_batch(struct conversation *talk, int first, size_t batch, int *numbers,
                       size_t *count)
{
    struct keeper_request request = {.wish = KEEPER_TELL, .count = (uint32_t)batch};
    struct parcel parcel;
    for (size_t i = 0; i < batch; i++) {
        request.numbers[i] = first + (int)i;
    }
    if (!ask(talk, &request, &parcel)) {
        return false;
    }
    discard(&parcel);
    for (size_t i = 0; i < batch; i++) {
        if (parcel.answer.is_open[i]) {
            numbers[(*count)++] = first + (int)i;
        }
    }
    return true;
}

bool keeper_list(int asking, int first, int end, int *numbers, size_t *count, unsigned timeout_ms,
                 struct error *error)
{
    struct conversation talk;
    bool is_good = begin(&talk, asking, timeout_ms, error);
    *count = 0;
    for (; first < end && is_good; first += KEEPER_BATCH) {
        is_good = list_batch(&talk, first, batch_of((size_t)(end - first)), numbers, count);
    }
    return is_good;
}
