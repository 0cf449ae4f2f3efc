/* The page that shows a server live, as one document without a reference to another. Its sources
 * lie in this folder; CMake puts them together (assemble.cmake). */
#ifndef TWINHTTPD_SERVER_OBSERVE_PAGE_PAGE_H
#define TWINHTTPD_SERVER_OBSERVE_PAGE_PAGE_H

#include "common/base/buffer.h"
#include "common/base/span.h"

#include <stdbool.h>

/* Appends the page. `table` is HTML for those without JavaScript, in which everything that came
 * from elsewhere is escaped; at most a few KiB. With gzip it is a whole gzip member (RFC 1952):
 * what never changes was compressed when the page was built, and only the checksum is made here. */
void page_render(struct span table, bool gzip, struct buffer *out);

/* The value of Content-Security-Policy: this page's style and script alone, and nothing from
 * elsewhere. A constant. */
const char *page_content_security_policy(void);

#endif
