/* Content codings that files may be stored in beside the plain file, and the client's choice among
 * them (Accept-Encoding, RFC 9110, 12.5.3). */
#ifndef TWINHTTPD_COMMON_HTTP_CONTENT_CODING_H
#define TWINHTTPD_COMMON_HTTP_CONTENT_CODING_H

#include "common/base/span.h"

/* In the order in which the server prefers them when the client does not care. */
enum content_coding { CODING_BR, CODING_ZSTD, CODING_GZIP, CODING_IDENTITY, CODINGS };
#define CODING_BIT(coding) (1u << (coding))

/* "br"; the token of Content-Encoding. */
const char *content_coding_name(enum content_coding coding);

/* ".br": what the name of a stored variant ends with; "" for identity. */
const char *content_coding_suffix(enum content_coding coding);

/* The coding whose suffix a file's name ends with; CODING_IDENTITY: none of them. */
enum content_coding content_coding_of_name(struct span name);

/* The best of the available codings (bits; identity always is) for the value of an Accept-Encoding
 * field (ptr NULL: absent, which means identity here). Weights count first, then the server's
 * preference. When nothing is acceptable, identity: better an answer than 406. A field that is
 * malformed counts as far as it can be read. */
enum content_coding content_coding_choose(struct span accept_encoding, unsigned available);

#endif
