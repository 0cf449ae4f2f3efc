/* Decimal numbers in text that people write. */
#ifndef TWINHTTPD_COMMON_BASE_DECIMAL_H
#define TWINHTTPD_COMMON_BASE_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

/* Reads text that is digits alone: strtoull would also take a sign, white space, hexadecimal and
 * octal. False: it is not, or the number is not from min to max. */
bool decimal_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number);

#endif
