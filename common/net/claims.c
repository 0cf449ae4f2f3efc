#include "common/net/claims.h"

#include "common/base/check.h"
#include "common/base/memory.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#define OFFERED      UINT32_MAX
#define SERIAL_MASK  0xffffffU
#define PLACE_SHIFT  24
#define HOLDER_SHIFT 32

/* What bounds the memory is each process's own. */
struct claims {
    uint32_t first_id;
    uint32_t givers;
    _Atomic uint64_t (*words)[CLAIMS_UNDER_WAY]; /* holder << 32 | serial */
};

static size_t bytes_for(uint32_t givers)
{
    return (size_t)givers * CLAIMS_UNDER_WAY * sizeof(uint64_t);
}

struct claims *claims_create(uint32_t first_id, uint32_t givers)
{
    CHECK(first_id > 0 && givers > 0);
    void *memory =
        mmap(NULL, bytes_for(givers), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    struct claims *claims = memory_alloc_zeroed(1, sizeof(*claims));
    *claims = (struct claims){.first_id = first_id, .givers = givers, .words = memory};
    return claims;
}

void claims_destroy(struct claims *claims)
{
    if (claims != NULL) {
        munmap((void *)claims->words, bytes_for(claims->givers));
        free(claims);
    }
}

static uint64_t held(uint32_t holder, uint32_t serial)
{
    return (uint64_t)holder << HOLDER_SHIFT | serial;
}

static bool is_offered(uint64_t word)
{
    return word >> HOLDER_SHIFT == OFFERED;
}

static uint32_t serial_of(uint64_t word)
{
    return (uint32_t)word & SERIAL_MASK;
}

static uint32_t next_serial(uint64_t word)
{
    return (serial_of(word) + 1) & SERIAL_MASK;
}

/* NULL: it is no claim of these. */
static _Atomic uint64_t *word_of(const struct claims *claims, uint64_t claim)
{
    uint32_t giver_id = (uint32_t)(claim >> HOLDER_SHIFT);
    uint32_t place = (uint32_t)claim >> PLACE_SHIFT;
    if (giver_id < claims->first_id || giver_id - claims->first_id >= claims->givers ||
        place >= CLAIMS_UNDER_WAY) {
        return NULL;
    }
    return &claims->words[giver_id - claims->first_id][place];
}

/* The giver's words are written by others when they are offered, and then alone. */
uint64_t claims_choose(const struct claims *claims, uint32_t giver_id)
{
    CHECK(giver_id >= claims->first_id && giver_id - claims->first_id < claims->givers);
    const _Atomic uint64_t *words = claims->words[giver_id - claims->first_id];
    for (uint32_t place = 0; place < CLAIMS_UNDER_WAY; place++) {
        uint64_t word = atomic_load(&words[place]);
        if (!is_offered(word)) {
            return (uint64_t)giver_id << HOLDER_SHIFT | place << PLACE_SHIFT | next_serial(word);
        }
    }
    return 0;
}

void claims_offer(struct claims *claims, uint64_t claim)
{
    _Atomic uint64_t *word = word_of(claims, claim);
    CHECK(word != NULL);
    atomic_store(word, held(OFFERED, serial_of(claim)));
}

/* Whether nobody has taken it. One that its giver has chosen and not offered any more has the next
 * number. */
static bool is_free(uint64_t word, uint32_t serial)
{
    return serial == (is_offered(word) ? serial_of(word) : next_serial(word));
}

bool claims_take(struct claims *claims, uint64_t claim, uint32_t generation)
{
    _Atomic uint64_t *word = word_of(claims, claim);
    const uint64_t mine = held(generation, serial_of(claim));
    CHECK(generation != 0 && generation != OFFERED);
    if (word == NULL) {
        return false;
    }
    uint64_t found = atomic_load(word);
    bool taken =
        is_free(found, serial_of(claim)) && atomic_compare_exchange_strong(word, &found, mine);
    return taken || found == mine;
}
