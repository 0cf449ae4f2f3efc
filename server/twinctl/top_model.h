/* What an observer has said (GET /api/v1/state), as rows: one for each thread that serves, and one
 * for a process that has none yet. Nothing of it is taken on trust: what is missing or of another
 * type is not known, and texts are harmless to a terminal. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_MODEL_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { TOP_WORD_BYTES = 24, TOP_REQUEST_BYTES = 256, TOP_NO_SLOT = -1 };

/* Numbers are NAN where they are not known. */
struct top_row {
    long long process; /* its number, which its successor has, too */
    long long slot;    /* or TOP_NO_SLOT */
    long long pid;
    char state[TOP_WORD_BYTES];
    char stuck[TOP_WORD_BYTES];      /* "" : it moves */
    char current[TOP_REQUEST_BYTES]; /* "": none */
    double heartbeat_us;
    double per_second, p50_us, p99_us;           /* of the last 10 s */
    double memory_kib, cpu_share, waiting_share; /* of the process */
};

enum top_sort {
    TOP_SORT_PROCESS,
    TOP_SORT_STUCK,
    TOP_SORT_HEARTBEAT,
    TOP_SORT_RATE,
    TOP_SORT_P99,
    TOP_SORT_MEMORY,
    TOP_SORT_CPU,
    TOP_SORT_WAITING,
    TOP_SORTS
};

/* Zero-initialised is empty. */
struct top_model {
    json_t *state;
    struct top_row *rows;
    size_t row_count;
};

/* Shows another state from now on, which the model owns then; the rows stand in no order. */
void top_model_set(struct top_model *model, json_t *state);

void top_model_free(struct top_model *model);

/* The largest, or by process and slot the smallest, first. What is not known comes last. */
void top_model_sort(struct top_model *model, enum top_sort sort);

/* How many deaths it tells of, and one of them: 0 is the latest. NULL: there is none. */
size_t top_model_deaths(const struct top_model *model);
const json_t *top_model_death(const struct top_model *model, size_t index);

/* A number in the state, by the keys that lead to it; NAN: not known. */
double top_number(const json_t *object, const char *key);
double top_number_in(const json_t *object, const char *outer, const char *key);

/* A whole number; 0: not known. */
long long top_integer(const json_t *object, const char *key);

/* A text as the terminal may have it; what is no text is "". */
void top_text(const json_t *object, const char *key, char *out, size_t out_bytes);

#endif
