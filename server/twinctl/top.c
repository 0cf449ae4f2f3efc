#include "server/twinctl/top.h"

#include "common/base/clock.h"
#include "server/twinctl/conversation.h"
#include "server/twinctl/exit_status.h"
#include "server/twinctl/top_batch.h"
#include "server/twinctl/top_format.h"
#include "server/twinctl/top_view.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    PATIENCE_MS = 2000,         /* with an observer: keys wait as long */
    PATIENCE_S = 2,             /* with a master */
    MASTER_HEARD_MAX_MS = 3000, /* what the observer itself calls silent */
    NEWS_BYTES = 768
};

struct top {
    const struct top_options *options;
    struct top_model model;
    struct top_input input;
    char news[NEWS_BYTES];
    char notice[NEWS_BYTES];
    uint64_t reached_ms; /* when the observer answered last; 0: never */
};

/* ---- The state ---- */

static void arrange(struct top *top)
{
    top_model_sort(&top->model, top->input.sort);
    top_input_follow(&top->input, &top->model);
}

/* False with a line in news: nobody answers. */
static bool fetch(struct top *top)
{
    struct error error;
    json_t *state = top_client_fetch(&top->options->observer, PATIENCE_MS, &error);
    if (state == NULL) {
        snprintf(top->news, sizeof(top->news), "observer %s not reached: %s",
                 top->options->observer.host, error.text);
        return false;
    }
    top_model_set(&top->model, state);
    top->news[0] = '\0';
    top->reached_ms = clock_monotonic_ms();
    return true;
}

/* The picture stays, and how old it is. */
static void tell_how_old(struct top *top)
{
    char age[TOP_CELL_BYTES];
    char why[NEWS_BYTES];
    snprintf(why, sizeof(why), "%s", top->news);
    if (top->reached_ms == 0) {
        snprintf(top->news, sizeof(top->news), "%s; trying again", why);
        return;
    }
    top_format_time((double)(clock_monotonic_ms() - top->reached_ms) * 1000, age);
    snprintf(top->news, sizeof(top->news), "for %s %s; trying again", age, why);
}

static void tell_of_master(struct top *top)
{
    double heard_ms = top_number_in(top->model.state, "master", "heard_ms");
    if (heard_ms > MASTER_HEARD_MAX_MS) {
        snprintf(top->news, sizeof(top->news),
                 "the master is silent for %.0f s: nobody is replaced, and no command is obeyed",
                 heard_ms / 1000);
    }
}

static void look_again(struct top *top)
{
    if (fetch(top)) {
        arrange(top);
        tell_of_master(top);
    } else {
        tell_how_old(top);
    }
}

/* ---- Signals ---- */

static void tell_answer(struct top *top, const struct buffer *answer)
{
    json_t *root = json_loadb(answer->data, answer->len, 0, NULL);
    char reason[NEWS_BYTES / 2];
    top_text(root, "error", reason, sizeof(reason));
    if (json_is_true(json_object_get(root, "ok"))) {
        snprintf(top->notice, sizeof(top->notice), "%s was sent to pid %lld", top->input.signal,
                 top->input.pid);
    } else {
        snprintf(top->notice, sizeof(top->notice), "refused: %s",
                 reason[0] == '\0' ? "no reason was given" : reason);
    }
    json_decref(root);
}

static void send_signal(struct top *top)
{
    struct buffer answer = {0};
    struct error error;
    json_t *request = json_pack("{s:s, s:I, s:s}", "command", "kill", "pid",
                                (json_int_t)top->input.pid, "signal", top->input.signal);
    if (conversation_ask(top->options->control, request, PATIENCE_S, &answer, &error)) {
        tell_answer(top, &answer);
    } else {
        snprintf(top->notice, sizeof(top->notice), "cannot reach the master: %s", error.text);
    }
    top->input.notice = top->notice;
    buffer_free(&answer);
    json_decref(request);
}

/* ---- In the terminal ---- */

/* Milliseconds from now until then, in pieces that an int holds. */
static int wait_ms(const struct top *top, uint64_t next_ms)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (top->input.paused) {
        return (int)top->options->interval_ms;
    }
    return next_ms > now_ms ? (int)(next_ms - now_ms) : 0;
}

static void watch(struct top *top, struct top_view *view)
{
    uint64_t next_ms = 0;
    for (;;) {
        if (!top->input.paused && clock_monotonic_ms() >= next_ms) {
            look_again(top);
            next_ms = clock_monotonic_ms() + top->options->interval_ms;
        }
        top_view_draw(view, &(struct top_scene){&top->model, &top->input, top->news});
        int key = top_view_key(view, wait_ms(top, next_ms));
        if (key == TOP_NO_KEY) {
            continue;
        }
        enum top_action action =
            key == TOP_HANG_UP ? TOP_ACT_QUIT : top_input_key(&top->input, &top->model, key);
        if (action == TOP_ACT_QUIT) {
            return;
        }
        if (action == TOP_ACT_SIGNAL) {
            send_signal(top);
            next_ms = 0; /* what has become of it? */
        }
        arrange(top);
    }
}

static int run_in_terminal(struct top *top)
{
    struct error error;
    struct top_view *view = top_view_open(&error);
    if (view == NULL) {
        fprintf(stderr, "twinctl: %s\n", error.text);
        return EXIT_USAGE;
    }
    watch(top, view);
    top_view_close(view);
    return EXIT_OK;
}

/* ---- As plain text ---- */

static void rest(uint64_t ms)
{
    struct timespec end = clock_after(CLOCK_MONOTONIC, ms);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) != 0) {
    }
}

/* Returns how the last table went. */
static int run_batch(struct top *top)
{
    int status = EXIT_OK;
    for (uint64_t done = 0; top->options->tables == 0 || done < top->options->tables; done++) {
        if (done > 0) {
            rest(top->options->interval_ms);
            putchar('\n');
        }
        if (fetch(top)) {
            top_batch_print(stdout, &top->model);
            status = EXIT_OK;
        } else {
            fprintf(stderr, "twinctl: %s\n", top->news);
            status = EXIT_UNREACHABLE;
        }
        if (fflush(stdout) != 0) {
            return EXIT_UNREACHABLE;
        }
    }
    return status;
}

int top_run(const struct top_options *options)
{
    struct top top = {.options = options, .input = {.may_signal = options->control != NULL}};
    int status = options->batch ? run_batch(&top) : run_in_terminal(&top);
    top_model_free(&top.model);
    return status;
}
