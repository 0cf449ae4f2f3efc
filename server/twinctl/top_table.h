/* A state as text: the lines above the grid, the grid's titles, and its rows. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_TABLE_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_TABLE_H

#include "common/base/buffer.h"
#include "server/twinctl/top_model.h"

enum { TOP_ANY_WIDTH = 10000, TOP_HEAD_LINES = 8 };

/* Appends TOP_HEAD_LINES lines: the server, its master, requests, three windows of latency, and the
 * last death. */
void top_table_head(const struct top_model *model, struct buffer *out);

/* Columns of a line of titles, from first up to end; both 0: none. */
struct top_mark {
    int first, end;
};

/* Appends the titles of the columns for which a screen so wide has room, without a line end, and
 * says where the one stands by which the rows are sorted. */
struct top_mark top_table_titles(struct buffer *out, int width, enum top_sort sort);

/* Appends a row, without a line end. What belongs to the process is left out if the row above is of
 * the same process (above may be NULL). */
void top_table_row(const struct top_row *row, const struct top_row *above, int width,
                   struct buffer *out);

/* How a row looks at a glance. */
enum top_mood { TOP_FINE, TOP_CHANGING, TOP_BAD };
enum top_mood top_table_mood(const struct top_row *row);

#endif
