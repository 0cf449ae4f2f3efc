/* What assemble.cmake has made of the page's sources. */
#ifndef TWINHTTPD_SERVER_OBSERVE_PAGE_PAGE_BYTES_H
#define TWINHTTPD_SERVER_OBSERVE_PAGE_PAGE_BYTES_H

#include <stddef.h>

extern const unsigned char page_before[]; /* the table */
extern const size_t page_before_bytes;
extern const unsigned char page_behind[]; /* the table */
extern const size_t page_behind_bytes;
extern const unsigned char page_behind_deflated[]; /* the same: blocks of RFC 1951, with the last */
extern const size_t page_behind_deflated_bytes;
extern const char page_policy[];

#endif
