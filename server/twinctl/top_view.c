#include "server/twinctl/top_view.h"

#include "common/base/memory.h"
#include "server/twinctl/top_format.h"
#include "server/twinctl/top_story.h"
#include "server/twinctl/top_table.h"

/* Functions instead of macros: these have arguments of their own types. */
#define NCURSES_NOMACROS
#include <curses.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

/* Heights from which on there is room for all lines above the grid, or for some. */
enum { WHOLE_HEAD_HEIGHT = 18, SHORT_HEAD_HEIGHT = 10, LATENCY_FIRST = 3, LATENCY_END = 7 };
enum { COLOUR_BAD = 1, COLOUR_CHANGING = 2, ESCAPE_PATIENCE_MS = 25, SLICE_MS = 100 };

struct top_view {
    SCREEN *screen;
    struct buffer text; /* what is written next */
    int y;              /* where */
    sigset_t ends;      /* Ctrl-C and SIGTERM */
    sigset_t signals_before;
};

/* ---- The terminal ---- */

/* A dumb terminal would be filled with lines that nobody can read. */
static bool can_place_cursor(struct error *error)
{
    const char *name = getenv("TERM");
    int error_number = 0;
    bool can = false;
    if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
        return error_set(error, "top needs a terminal; for pipes and files use --batch");
    }
    if (setupterm(NULL, STDOUT_FILENO, &error_number) == OK) {
        const char *place = tigetstr("cup");
        can = place != NULL && place != (const char *)-1;
        del_curterm(cur_term);
    }
    return can || error_set(error,
                            "the terminal \"%.40s\" cannot place its cursor; use --batch, or set "
                            "TERM to what it is",
                            name == NULL ? "" : name);
}

static void choose_colours(void)
{
    if (getenv("NO_COLOR") == NULL && has_colors() && start_color() == OK &&
        use_default_colors() == OK) {
        init_pair(COLOUR_BAD, COLOR_RED, -1);
        init_pair(COLOUR_CHANGING, COLOR_YELLOW, -1);
    }
}

/* What ncurses would do in a signal handler is more than a handler may do. */
static void await_signals(struct top_view *view)
{
    sigemptyset(&view->ends);
    sigaddset(&view->ends, SIGINT);
    sigaddset(&view->ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &view->ends, &view->signals_before);
}

static bool is_told_to_end(const struct top_view *view)
{
    const struct timespec at_once = {0};
    return sigtimedwait(&view->ends, NULL, &at_once) > 0;
}

struct top_view *top_view_open(struct error *error)
{
    if (!can_place_cursor(error)) {
        return NULL;
    }
    SCREEN *screen = newterm(NULL, stdout, stdin);
    if (screen == NULL) {
        error_set(error, "ncurses cannot use this terminal; use --batch");
        return NULL;
    }
    struct top_view *view = memory_alloc_zeroed(1, sizeof(*view));
    view->screen = screen;
    await_signals(view);
    set_term(screen);
    set_escdelay(ESCAPE_PATIENCE_MS);
    cbreak();
    noecho();
    keypad(stdscr, true);
    curs_set(0);
    choose_colours();
    return view;
}

void top_view_close(struct top_view *view)
{
    endwin();
    delscreen(view->screen);
    while (is_told_to_end(view)) { /* it does */
    }
    sigprocmask(SIG_SETMASK, &view->signals_before, NULL);
    buffer_free(&view->text);
    free(view);
}

/* ---- Keys ---- */

static int key_of(int code)
{
    switch (code) {
    case KEY_UP:
        return TOP_KEY_UP;
    case KEY_DOWN:
        return TOP_KEY_DOWN;
    case KEY_PPAGE:
        return TOP_KEY_PAGE_UP;
    case KEY_NPAGE:
        return TOP_KEY_PAGE_DOWN;
    case KEY_HOME:
        return TOP_KEY_HOME;
    case KEY_END:
        return TOP_KEY_END;
    case KEY_BACKSPACE:
    case '\b':
    case 0x7f:
        return TOP_KEY_BACKSPACE;
    case KEY_ENTER:
    case '\r':
        return TOP_KEY_ENTER;
    default:
        return code >= KEY_MIN ? TOP_KEY_OTHER : code;
    }
}

/* Whether the terminal has said something in that time, or is gone. */
static bool has_news(const struct top_view *view, int timeout_ms, struct pollfd *terminal)
{
    for (int left_ms = timeout_ms; left_ms >= 0; left_ms -= SLICE_MS) {
        if (poll(terminal, 1, left_ms < SLICE_MS ? left_ms : SLICE_MS) != 0) {
            return true; /* or the size has changed, which interrupts the wait */
        }
        if (is_told_to_end(view)) {
            terminal->revents = POLLHUP;
            return true;
        }
    }
    return false;
}

int top_view_key(struct top_view *view, int timeout_ms)
{
    struct pollfd terminal = {.fd = STDIN_FILENO, .events = POLLIN};
    timeout(0);
    int code = getch(); /* it may have read more than it has given */
    if (code == ERR && has_news(view, timeout_ms, &terminal)) {
        if ((terminal.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
            return TOP_HANG_UP;
        }
        code = getch();
    }
    return code == ERR ? TOP_NO_KEY : key_of(code);
}

/* ---- Lines ---- */

static void put_line(struct top_view *view, const char *text, size_t bytes, attr_t attributes)
{
    if (view->y < LINES) {
        attr_on(attributes, NULL);
        mvaddnstr(view->y, 0, text, bytes < (size_t)COLS ? (int)bytes : COLS);
        attr_off(attributes, NULL);
    }
    view->y++;
}

/* The gathered text in one line, which is cut at the edge. */
static void put_text(struct top_view *view, attr_t attributes)
{
    put_line(view, view->text.data, view->text.len, attributes);
    buffer_clear(&view->text);
}

static size_t width_of_screen(void)
{
    return COLS > 0 ? (size_t)COLS : 1;
}

/* The gathered text in as many lines as it takes. */
static void put_folded(struct top_view *view, attr_t attributes)
{
    size_t next;
    for (size_t at = 0; at < view->text.len; at += next) {
        const char *start = view->text.data + at;
        size_t bytes = top_format_fold(start, view->text.len - at, width_of_screen(), &next);
        put_line(view, start, bytes, attributes);
    }
    buffer_clear(&view->text);
}

static int folded_height(const struct buffer *text)
{
    int height = 0;
    size_t next;
    for (size_t at = 0; at < text->len; at += next, height++) {
        top_format_fold(text->data + at, text->len - at, width_of_screen(), &next);
    }
    return height;
}

/* Why the picture is old, or an empty line. */
static void put_news(struct top_view *view, const char *news)
{
    buffer_append(&view->text, news, strlen(news));
    buffer_append(&view->text, "\n", 1);
    put_folded(view, news[0] == '\0' ? A_NORMAL : A_REVERSE | A_BOLD);
}

static attr_t look_of(enum top_mood mood)
{
    switch (mood) {
    case TOP_BAD:
        return A_BOLD | (attr_t)COLOR_PAIR(COLOUR_BAD);
    case TOP_CHANGING:
        return (attr_t)COLOR_PAIR(COLOUR_CHANGING);
    case TOP_FINE:
        break;
    }
    return A_NORMAL;
}

/* ---- The grid ---- */

static bool has_room_for(int line)
{
    bool latency = line >= LATENCY_FIRST && line < LATENCY_END;
    return LINES >= WHOLE_HEAD_HEIGHT || (LINES >= SHORT_HEAD_HEIGHT && !latency);
}

static void draw_head(struct top_view *view, const struct top_model *model)
{
    struct buffer head = {0};
    top_table_head(model, &head);
    const char *line = head.data;
    for (int i = 0; i < TOP_HEAD_LINES; i++) {
        const char *end = memchr(line, '\n', head.len - (size_t)(line - head.data));
        if (end == NULL) {
            break;
        }
        if (has_room_for(i)) {
            put_line(view, line, (size_t)(end - line), i == 0 ? A_BOLD : A_NORMAL);
        }
        line = end + 1;
    }
    buffer_free(&head);
}

static void draw_titles(struct top_view *view, enum top_sort sort)
{
    int y = view->y;
    struct top_mark mark = top_table_titles(&view->text, COLS, sort);
    while (view->text.len < (size_t)COLS) {
        buffer_append(&view->text, " ", 1);
    }
    put_text(view, A_REVERSE);
    if (mark.end > mark.first && mark.end <= COLS && y < LINES) {
        mvchgat(y, mark.first, mark.end - mark.first, A_REVERSE | A_UNDERLINE | A_BOLD, 0, NULL);
    }
}

static void draw_rows(struct top_view *view, const struct top_scene *scene, int until_y)
{
    const struct top_model *model = scene->model;
    size_t room = until_y > view->y ? (size_t)(until_y - view->y) : 0;
    size_t first = scene->input->row + 1 > room ? scene->input->row + 1 - room : 0;
    for (size_t i = first; i < model->row_count && i < first + room; i++) {
        const struct top_row *row = &model->rows[i];
        top_table_row(row, i == first ? NULL : row - 1, COLS, &view->text);
        put_text(view,
                 look_of(top_table_mood(row)) | (i == scene->input->row ? A_STANDOUT : A_NORMAL));
    }
}

static void draw_grid(struct top_view *view, const struct top_scene *scene)
{
    draw_head(view, scene->model);
    put_news(view, scene->news);
    draw_titles(view, scene->input->sort);
    draw_rows(view, scene, LINES - 1);
}

/* ---- The other pages ---- */

static void draw_deaths(struct top_view *view, const struct top_scene *scene)
{
    const struct top_model *model = scene->model;
    size_t chosen = scene->input->death;
    size_t room = LINES > 6 ? (size_t)(LINES - 4) / 2 : 1;
    size_t first = chosen + 1 > room ? chosen + 1 - room : 0;
    top_story_titles(&view->text);
    put_text(view, A_REVERSE);
    for (size_t i = first; i < top_model_deaths(model) && i < first + room; i++) {
        top_story_row(top_model_death(model, i), &view->text);
        put_text(view, i == chosen ? A_STANDOUT : A_NORMAL);
    }
    put_news(view, scene->news);
    if (top_model_death(model, chosen) != NULL) {
        top_story_sentence(top_model_death(model, chosen), &view->text);
        buffer_append(&view->text, "\n", 1);
        top_story_details(top_model_death(model, chosen), &view->text);
        put_folded(view, A_NORMAL);
    } else {
        put_line(view, "no process has died", strlen("no process has died"), A_NORMAL);
    }
}

static void draw_help(struct top_view *view)
{
    static const char text[] =
        "q          quit\n"
        "s, S       sort by the next, the previous column\n"
        "d          deaths, each with its story; again: the grid\n"
        "k          send a signal to the marked process (with --control PATH)\n"
        "space      pause, go on\n"
        "arrows, Page Up, Page Down, Home, End: mark another row\n"
        "\n"
        "BEAT       since the last heartbeat of the thread\n"
        "REQ/S, P50, P99: of the last 10 seconds; a request takes from its first byte\n"
        "           to the last byte of its answer that the kernel has taken\n"
        "MEM        proportional memory of the process (resident where that is unknown)\n"
        "CPU        share of one CPU that the process uses\n"
        "WAIT       share of the time for which the process waits for a CPU\n"
        "!blocked   a thread that is stuck: blocked, spinning or stopped\n"
        "-          not known, or none\n";
    buffer_append(&view->text, text, sizeof(text) - 1);
    put_folded(view, A_NORMAL);
}

/* ---- The last line, and all of it ---- */

/* What stands at the foot; its look is returned. */
static attr_t write_foot(struct buffer *text, const struct top_input *input)
{
    if (input->asking) {
        buffer_printf(text, "signal for process %lld, pid %lld (Enter alone: TERM, Esc: none): %s_",
                      input->process, input->pid, input->signal);
        return A_BOLD;
    }
    if (input->notice != NULL && input->notice[0] != '\0') {
        buffer_append(text, input->notice, strlen(input->notice));
        return A_BOLD;
    }
    buffer_printf(text, "q quit  s sort  d deaths  k signal  space %s  ? help",
                  input->paused ? "go on (paused)" : "pause");
    return A_NORMAL;
}

/* Over what stands there, in as many lines as it takes. */
static void draw_foot(struct top_view *view, const struct top_input *input)
{
    attr_t look = write_foot(&view->text, input);
    int height = folded_height(&view->text);
    view->y = LINES > height ? LINES - height : 0;
    move(view->y, 0);
    clrtobot();
    put_folded(view, look);
}

void top_view_draw(struct top_view *view, const struct top_scene *scene)
{
    erase();
    view->y = 0;
    if (scene->input->page == TOP_HELP) {
        draw_help(view);
    } else if (scene->model->state == NULL) {
        put_news(view, scene->news);
    } else if (scene->input->page == TOP_DEATHS) {
        draw_deaths(view, scene);
    } else {
        draw_grid(view, scene);
    }
    draw_foot(view, scene->input);
    refresh();
}
