/* What keys do to the picture: which page, which order, which row, and the question for a signal.
 * Knows no terminal. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_INPUT_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_INPUT_H

#include "server/twinctl/top_model.h"

enum top_page { TOP_GRID, TOP_DEATHS, TOP_HELP };

/* Keys that write something are that. */
enum { TOP_KEY_ENTER = '\n', TOP_KEY_ESCAPE = 27, TOP_KEY_FIRST = 1000 };

/* The others. */
enum top_key {
    TOP_KEY_UP = TOP_KEY_FIRST,
    TOP_KEY_DOWN,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_BACKSPACE,
    TOP_KEY_OTHER
};

/* What is left for the caller to do. */
enum top_action { TOP_ACT_DRAW, TOP_ACT_QUIT, TOP_ACT_SIGNAL };

/* Zero-initialised is the start: the grid, by process, its first row. */
struct top_input {
    enum top_page page;
    enum top_sort sort;
    bool paused;
    bool may_signal; /* there is a control socket */

    /* The row that is marked: by what it shows, as others come and go. */
    long long process, slot;
    size_t row;
    size_t death; /* on the page of deaths; 0 is the latest */

    /* The question, while it is asked. The pid stays whose it was. */
    bool asking;
    long long pid;
    char signal[TOP_WORD_BYTES];

    const char *notice; /* what the last key could not do; "" or NULL: nothing */
};

/* Rows of a page, by which the keys for pages move. */
enum { TOP_PAGE_ROWS = 10 };

enum top_action top_input_key(struct top_input *input, const struct top_model *model, int key);

/* Finds the marked row again, after the model or its order has changed. */
void top_input_follow(struct top_input *input, const struct top_model *model);

#endif
