/* Numbers from first on, without end. */
#ifndef TWINHTTPD_COMMON_BASE_NUMBER_RANGE_H
#define TWINHTTPD_COMMON_BASE_NUMBER_RANGE_H

#include <stdint.h>

struct number_range {
    uint64_t first;
    uint64_t end;
};

/* The last ones of so many things that were numbered from 0, of which places are remembered. */
static inline struct number_range number_range_last(uint64_t count, uint64_t places)
{
    return (struct number_range){count < places ? 0 : count - places, count};
}

#endif
