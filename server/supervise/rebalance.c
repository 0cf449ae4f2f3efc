#include "server/supervise/rebalance.h"

#include "common/base/memory.h"
#include "server/supervise/balance.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

uint32_t rebalance_descriptors(uint32_t loops)
{
    return loops < 2 ? 0 : loops + loops % 2;
}

bool rebalance_open(struct rebalance *rebalance, const struct scoreboard *scoreboard,
                    uint32_t loops, const struct rebalance *predecessor)
{
    uint32_t count = rebalance_descriptors(loops);
    *rebalance = (struct rebalance){
        .scoreboard = scoreboard,
        .first_id = predecessor != NULL ? predecessor->first_id + predecessor->count : 1,
        .inboxes = memory_alloc_zeroed(count, sizeof(int)),
    };
    for (; rebalance->count < count; rebalance->count += 2) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
                       &rebalance->inboxes[rebalance->count]) != 0) {
            return false;
        }
    }
    return true;
}

void rebalance_close(struct rebalance *rebalance)
{
    for (uint32_t i = 0; i < rebalance->count; i++) {
        close(rebalance->inboxes[i]);
    }
    free(rebalance->inboxes);
    *rebalance = (struct rebalance){.first_id = rebalance->first_id};
}

bool rebalance_is_sound(const struct rebalance *rebalance)
{
    for (uint32_t i = 0; i < rebalance->count; i++) {
        struct pollfd inbox = {.fd = rebalance->inboxes[i], .events = POLLRDHUP};
        if (poll(&inbox, 1, 0) > 0) {
            return false;
        }
    }
    return true;
}

uint32_t rebalance_inbox_id(const struct rebalance *rebalance, uint32_t loop)
{
    return loop < rebalance->count ? rebalance->first_id + loop : 0;
}

static bool has_inbox(const struct rebalance *rebalance, uint32_t id)
{
    return id >= rebalance->first_id && id - rebalance->first_id < rebalance->count;
}

int rebalance_inbox(const struct rebalance *rebalance, uint32_t id)
{
    return has_inbox(rebalance, id) ? rebalance->inboxes[id - rebalance->first_id] : -1;
}

/* Two inboxes are the ends of one pair: what is sent to the other end arrives in this one. */
static int way_to(const struct rebalance *rebalance, uint32_t id)
{
    return rebalance->inboxes[(id - rebalance->first_id) ^ 1];
}

/* Whoever has not fetched the last ones yet gets no more: they are missing in its gauge. */
static bool is_empty(int inbox)
{
    int bytes = 0;
    return ioctl(inbox, FIONREAD, &bytes) == 0 && bytes == 0;
}

static void give(const struct rebalance *rebalance, struct worker *worker, uint64_t now_ms,
                 const struct balance_share *share)
{
    const struct scoreboard *scoreboard = rebalance->scoreboard;
    uint32_t id = scoreboard->slots[share->slot_index].inbox;
    int inbox = rebalance_inbox(rebalance, id);
    if (inbox < 0 || !is_empty(inbox)) {
        return;
    }
    worker_hand_over(worker, way_to(rebalance, id), share->connections);
    if (!balance_is_taking(scoreboard, share->slot_index, now_ms)) { /* it may have looked before */
        worker_take_over(worker, inbox);
    }
}

/* What a loop was given and does not fetch, since it hangs in a handler, waits no longer. */
static void rescue(const struct rebalance *rebalance, struct worker *worker, uint64_t now_ms,
                   uint32_t slot_index)
{
    const struct scoreboard *scoreboard = rebalance->scoreboard;
    const struct worker_slot *slot = &scoreboard->slots[slot_index];
    int inbox = rebalance_inbox(rebalance, slot->inbox);
    if (inbox >= 0 && slot->state == SLOT_READY &&
        !balance_is_taking(scoreboard, slot_index, now_ms)) {
        worker_take_over(worker, inbox);
    }
}

void rebalance_tick(const void *data, struct worker *worker, uint32_t slot_index)
{
    const struct rebalance *rebalance = data;
    const struct scoreboard *scoreboard = rebalance->scoreboard;
    uint64_t now_ms = scoreboard->slots[slot_index].heartbeat_ms;
    struct balance_share shares[BALANCE_NEIGHBOURS];
    size_t share_count = balance_shares(scoreboard, slot_index, shares);
    for (size_t i = 0; i < share_count; i++) {
        give(rebalance, worker, now_ms, &shares[i]);
    }
    uint32_t neighbours[BALANCE_NEIGHBOURS];
    uint32_t count = balance_neighbours(scoreboard, slot_index, neighbours);
    for (uint32_t i = 0; i < count; i++) {
        rescue(rebalance, worker, now_ms, neighbours[i]);
    }
}
