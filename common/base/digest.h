/* A digest of bytes, to tell whether what is made again is the same. Not against attackers. */
#ifndef TWINHTTPD_COMMON_BASE_DIGEST_H
#define TWINHTTPD_COMMON_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_EMPTY UINT64_C(0x9e3779b97f4a7c15)
#define DIGEST_NONE  UINT64_C(0) /* of what cannot be made again; stays so whatever is added */

/* Of all that came before, and these bytes. */
uint64_t digest_add(uint64_t digest, const void *data, size_t bytes);

#endif
