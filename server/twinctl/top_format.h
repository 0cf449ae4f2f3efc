/* Cells of a narrow table: numbers in at most five or six characters, and texts of strangers. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_FORMAT_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_FORMAT_H

#include <stddef.h>

enum { TOP_CELL_BYTES = 32 };

/* NAN or less than 0 is what is not known: "-". */
void top_format_time(double us, char out[TOP_CELL_BYTES]); /* "87us", "2.1ms", "60s", "3h" */
void top_format_rate(double per_second, char out[TOP_CELL_BYTES]); /* "0.3", "28540", "120k" */
void top_format_share(double share, char out[TOP_CELL_BYTES]);     /* of 1: "2.5%", "100%" */
void top_format_memory(double kib, char out[TOP_CELL_BYTES]);      /* "512K", "5.0M", "1.2G" */
void top_format_count(double count, char out[TOP_CELL_BYTES]);     /* "1,234,567" */

/* Copies what a client may have sent, so that it cannot drive a terminal: what is no visible ASCII
 * becomes '?', and what does not fit is cut. NULL is an empty text. */
void top_format_harmless(const char *text, char *out, size_t out_bytes);

/* How many bytes of the text stand in its first line on a screen so wide: up to a line end, or else
 * to the last space before the edge, or else to the edge. At *next the second line begins. */
size_t top_format_fold(const char *text, size_t bytes, size_t width, size_t *next);

#endif
