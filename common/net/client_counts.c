#include "common/net/client_counts.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

enum { FAMILY, ADDRESS, KEY_WORDS }; /* of IPv6 the network, /64 */

struct client_count {
    uint64_t key[KEY_WORDS];
    uint64_t connections;
};

static int compare(const void *left, const void *right)
{
    const struct client_count *a = left;
    const struct client_count *b = right;
    return memcmp(a->key, b->key, sizeof(a->key));
}

static struct client_count entry_of(const struct client_address *client)
{
    return (struct client_count){.key = {client->words[0] >> 32, client->words[1]}};
}

static struct client_count *insert(struct client_counts *counts, const struct client_count *wanted)
{
    struct client_count *entry = memory_alloc_zeroed(1, sizeof(*entry));
    *entry = *wanted;
    void *inserted = tsearch(entry, &counts->tree, compare);
    CHECK(inserted != NULL); /* out of memory, which ends a process: see memory.h */
    return entry;
}

static struct client_count *find(struct client_counts *counts, const struct client_count *wanted)
{
    struct client_count *const *found =
        (struct client_count *const *)tfind(wanted, &counts->tree, compare);
    return found == NULL ? NULL : *found;
}

bool client_counts_enter(struct client_counts *counts, const struct client_address *client,
                         uint64_t most)
{
    struct client_count wanted = entry_of(client);
    struct client_count *entry = find(counts, &wanted);
    if (entry == NULL) {
        entry = insert(counts, &wanted);
    }
    CHECK(most > 0);
    if (entry->connections >= most) {
        return false;
    }
    entry->connections++;
    CHECK(entry->connections <= most);
    return true;
}

void client_counts_leave(struct client_counts *counts, const struct client_address *client)
{
    struct client_count wanted = entry_of(client);
    struct client_count *entry = find(counts, &wanted);
    CHECK(entry != NULL && entry->connections > 0);
    if (--entry->connections == 0) {
        tdelete(entry, &counts->tree, compare);
        free(entry);
    }
}
