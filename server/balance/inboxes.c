#include "server/balance/inboxes.h"

#include "common/base/memory.h"
#include "common/net/claims.h"
#include "server/balance/shares.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

uint32_t inboxes_descriptors(uint32_t loops)
{
    return loops < 2 ? 0 : loops + loops % 2;
}

bool inboxes_open(struct inboxes *inboxes, const struct scoreboard *scoreboard, uint32_t loops,
                  const struct inboxes *predecessor)
{
    uint32_t count = inboxes_descriptors(loops);
    *inboxes = (struct inboxes){
        .scoreboard = scoreboard,
        .first_id = predecessor != NULL ? predecessor->first_id + predecessor->count : 1,
        .fds = memory_alloc_zeroed(count, sizeof(int)),
    };
    for (; inboxes->count < count; inboxes->count += 2) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                       &inboxes->fds[inboxes->count]) != 0) {
            return false;
        }
    }
    inboxes->claims = count > 0 ? claims_create(inboxes->first_id, count) : NULL;
    return count == 0 || inboxes->claims != NULL;
}

void inboxes_close(struct inboxes *inboxes)
{
    for (uint32_t i = 0; i < inboxes->count; i++) {
        close(inboxes->fds[i]);
    }
    free(inboxes->fds);
    claims_destroy(inboxes->claims);
    *inboxes = (struct inboxes){.first_id = inboxes->first_id};
}

bool inboxes_is_sound(const struct inboxes *inboxes)
{
    for (uint32_t i = 0; i < inboxes->count; i++) {
        struct pollfd inbox = {.fd = inboxes->fds[i], .events = POLLRDHUP};
        if (poll(&inbox, 1, 0) > 0) {
            return false;
        }
    }
    return true;
}

uint32_t inboxes_id(const struct inboxes *inboxes, uint32_t loop)
{
    return loop < inboxes->count ? inboxes->first_id + loop : 0;
}

static bool has_inbox(const struct inboxes *inboxes, uint32_t id)
{
    return id >= inboxes->first_id && id - inboxes->first_id < inboxes->count;
}

int inboxes_find(const struct inboxes *inboxes, uint32_t id)
{
    return has_inbox(inboxes, id) ? inboxes->fds[id - inboxes->first_id] : -1;
}

/* Two inboxes are the ends of one pair: what is sent to the other end arrives in this one. */
static int way_to(const struct inboxes *inboxes, uint32_t id)
{
    return inboxes->fds[(id - inboxes->first_id) ^ 1];
}

/* A loop that has not fetched the last connections yet gets no more: its gauge does not count them.
 */
static bool is_empty(int inbox)
{
    int bytes = 0;
    return ioctl(inbox, FIONREAD, &bytes) == 0 && bytes == 0;
}

static void give(const struct inboxes *inboxes, struct worker *worker, uint64_t now_ms,
                 const struct share *share)
{
    const struct scoreboard *scoreboard = inboxes->scoreboard;
    uint32_t id = scoreboard->slots[share->slot_index].inbox;
    int inbox = inboxes_find(inboxes, id);
    if (inbox < 0 || !is_empty(inbox)) {
        return;
    }
    worker_hand_over(worker, way_to(inboxes, id), share->connections);
    if (!shares_is_taking(scoreboard, share->slot_index, now_ms)) { /* it may have looked before */
        worker_take_over(worker, inbox);
    }
}

/* Takes over what another loop was given and does not fetch, since it hangs in a handler. */
static void rescue(const struct inboxes *inboxes, struct worker *worker, uint64_t now_ms,
                   uint32_t slot_index)
{
    const struct scoreboard *scoreboard = inboxes->scoreboard;
    const struct worker_slot *slot = &scoreboard->slots[slot_index];
    int inbox = inboxes_find(inboxes, slot->inbox);
    if (inbox >= 0 && slot->state == SLOT_READY &&
        !shares_is_taking(scoreboard, slot_index, now_ms)) {
        worker_take_over(worker, inbox);
    }
}

void inboxes_tick(const void *data, struct worker *worker, uint32_t slot_index)
{
    const struct inboxes *inboxes = data;
    const struct scoreboard *scoreboard = inboxes->scoreboard;
    uint64_t now_ms = scoreboard->slots[slot_index].heartbeat_ms;
    struct share shares[SHARES_NEIGHBOURS];
    size_t share_count = shares_to_give(scoreboard, slot_index, shares);
    for (size_t i = 0; i < share_count; i++) {
        give(inboxes, worker, now_ms, &shares[i]);
    }
    uint32_t neighbours[SHARES_NEIGHBOURS];
    uint32_t count = shares_neighbours(scoreboard, slot_index, neighbours);
    for (uint32_t i = 0; i < count; i++) {
        rescue(inboxes, worker, now_ms, neighbours[i]);
    }
}
