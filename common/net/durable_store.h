/* How what outlives a process is read and written: by single stores, in the order of the program.
 */
#ifndef TWINHTTPD_COMMON_NET_DURABLE_STORE_H
#define TWINHTTPD_COMMON_NET_DURABLE_STORE_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t durable_field;

static inline uint64_t durable_get(const durable_field *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

/* Whoever reads it later does so when this process is gone: the processor need not be told. */
static inline void durable_set(durable_field *at, uint64_t value)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(at, value, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
}

#endif
