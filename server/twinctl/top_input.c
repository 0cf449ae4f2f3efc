#include "server/twinctl/top_input.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- Rows ---- */

static void mark(struct top_input *input, const struct top_model *model, size_t row)
{
    if (model->row_count == 0) {
        input->row = 0;
        return;
    }
    input->row = row < model->row_count ? row : model->row_count - 1;
    input->process = model->rows[input->row].process;
    input->slot = model->rows[input->row].slot;
}

void top_input_follow(struct top_input *input, const struct top_model *model)
{
    for (size_t i = 0; i < model->row_count; i++) {
        if (model->rows[i].process == input->process && model->rows[i].slot == input->slot) {
            input->row = i;
            return;
        }
    }
    mark(input, model, input->row);
}

/* Where a key leads to from a place among so many. */
static size_t moved(size_t place, size_t count, int key)
{
    size_t last = count == 0 ? 0 : count - 1;
    size_t step = key == TOP_KEY_PAGE_UP || key == TOP_KEY_PAGE_DOWN ? TOP_PAGE_ROWS : 1;
    switch (key) {
    case TOP_KEY_UP:
    case TOP_KEY_PAGE_UP:
        return place > step ? place - step : 0;
    case TOP_KEY_DOWN:
    case TOP_KEY_PAGE_DOWN:
        return place + step < last ? place + step : last;
    case TOP_KEY_HOME:
        return 0;
    case TOP_KEY_END:
        return last;
    default:
        return place;
    }
}

static void move(struct top_input *input, const struct top_model *model, int key)
{
    if (input->page == TOP_DEATHS) {
        input->death = moved(input->death, top_model_deaths(model), key);
    } else {
        mark(input, model, moved(input->row, model->row_count, key));
    }
}

/* ---- The question for a signal ---- */

static void begin_question(struct top_input *input, const struct top_model *model)
{
    if (!input->may_signal) {
        input->notice = "to send signals, start twinctl top with --control PATH";
    } else if (input->page != TOP_GRID || input->row >= model->row_count) {
        input->notice = "no process is marked";
    } else {
        input->asking = true;
        input->pid = model->rows[input->row].pid;
        input->process = model->rows[input->row].process;
        input->signal[0] = '\0';
    }
}

static enum top_action answer_question(struct top_input *input, int key)
{
    size_t len = strlen(input->signal);
    if (key == TOP_KEY_ENTER) {
        input->asking = false;
        if (len == 0) {
            snprintf(input->signal, sizeof(input->signal), "TERM");
        }
        return TOP_ACT_SIGNAL;
    }
    if (key == TOP_KEY_ESCAPE) {
        input->asking = false;
    } else if (key == TOP_KEY_BACKSPACE && len > 0) {
        input->signal[len - 1] = '\0';
    } else if (key > 0 && key < 0x80 && isalnum(key) && len + 1 < sizeof(input->signal)) {
        input->signal[len] = (char)toupper(key);
        input->signal[len + 1] = '\0';
    }
    return TOP_ACT_DRAW;
}

/* ---- Keys ---- */

static void turn_to(struct top_input *input, enum top_page page)
{
    input->page = input->page == page ? TOP_GRID : page;
}

static void sort_by(struct top_input *input, int step)
{
    input->sort = (enum top_sort)(((int)input->sort + step + TOP_SORTS) % TOP_SORTS);
}

enum top_action top_input_key(struct top_input *input, const struct top_model *model, int key)
{
    input->notice = "";
    if (input->asking) {
        return answer_question(input, key);
    }
    switch (key) {
    case 'q':
        return TOP_ACT_QUIT;
    case 's':
        sort_by(input, 1);
        break;
    case 'S':
        sort_by(input, -1);
        break;
    case 'd':
        turn_to(input, TOP_DEATHS);
        break;
    case '?':
    case 'h':
        turn_to(input, TOP_HELP);
        break;
    case TOP_KEY_ESCAPE:
        input->page = TOP_GRID;
        break;
    case ' ':
        input->paused = !input->paused;
        break;
    case 'k':
        begin_question(input, model);
        break;
    default:
        move(input, model, key);
        break;
    }
    return TOP_ACT_DRAW;
}
