/* Lists of what a client takes, with weights (RFC 9110, 12.4.2). */
#ifndef TWINHTTPD_COMMON_HTTP_WEIGHT_H
#define TWINHTTPD_COMMON_HTTP_WEIGHT_H

#include "common/base/span.h"

enum { WEIGHT_ONE = 1000, WEIGHT_INVALID = -2 };

/* A weight in thousandths: "0.8" is 800. WEIGHT_INVALID: it is none. */
int weight_parse(struct span text);

/* Cuts the text before the first separator off, without the blanks around it; the rest begins
 * behind that. */
struct span weight_cut(struct span *rest, char separator);

#endif
