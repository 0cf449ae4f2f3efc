#include "server/master/commands.h"

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/json_writer.h"
#include "common/base/log.h"
#include "common/base/signal_name.h"
#include "common/scoreboard/slot_json.h"
#include "server/control/control_request.h"
#include "server/master/master_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* ---- list ---- */

static const char *phase_name(const struct master *master)
{
    static const char *const names[] = {
        [MASTER_STARTING] = "starting",       [MASTER_RUNNING] = "running",
        [MASTER_HANDED_OVER] = "handed over", [MASTER_DRAINING] = "draining",
        [MASTER_STOPPING] = "stopping",
    };
    return reload_is_under_way(master) ? "reloading" : names[master->phase];
}

static const char *child_state(const struct child *child)
{
    return child->retiring ? "retiring" : child->ready ? "ready" : "starting";
}

static void put_thread(struct json_writer *json, const struct worker_slot *slot, uint32_t index)
{
    struct request_copy current;
    json_object_begin(json);
    slot_json_put(json, slot, index);
    json_put_uint(json, "connections", atomic_load(&slot->connections_open));
    json_put_uint(json, "requests", atomic_load(&slot->counters.requests_handled));
    json_put_text(json, "current", slot_note_read(slot, &current) ? current.line : NULL);
    json_object_end(json);
}

static void put_process(struct json_writer *json, const struct master *master,
                        const struct child *child)
{
    json_object_begin(json);
    json_put_uint(json, "number", child->number);
    json_put_int(json, "pid", child->pid);
    json_put_uint(json, "generation", child->generation);
    json_put_text(json, "state", child_state(child));
    json_put_uint(json, "age_ms", (clock_monotonic_ns() - child->started_ns) / 1000000);
    json_key(json, "threads");
    json_array_begin(json);
    for (uint32_t i = 0; i < child->slot_count; i++) {
        uint32_t index = child->first_slot + i;
        const struct worker_slot *slot = &master->server->scoreboard->slots[index];
        if (atomic_load(&slot->tid) != 0 && /* its thread has begun */
            atomic_load(&slot->state) != SLOT_SPARE) {
            put_thread(json, slot, index);
        }
    }
    json_array_end(json);
    json_object_end(json);
}

/* What all deaths have cost. */
static void put_deaths(struct json_writer *json, const struct scoreboard *scoreboard)
{
    struct adoption_counts adoption;
    adoption_sum(scoreboard, &adoption);
    json_put_uint(json, "deaths", atomic_load(&scoreboard->deaths));
    json_put_uint(json, "requests_lost", adoption_loss(scoreboard).requests);
    adoption_put_json(json, "adoption", &adoption);
}

static bool list(struct master *master, const struct control_request *request,
                 struct json_writer *json, struct error *error)
{
    (void)request;
    (void)error;
    const struct scoreboard *scoreboard = master->server->scoreboard;
    const struct child *child;
    char addresses[LISTENERS_TEXT_BYTES];
    listeners_format(&master->server->listeners, addresses, sizeof(addresses));
    json_put_text(json, "server", scoreboard->server);
    json_put_text(json, "version", scoreboard->version);
    json_put_text(json, "model", scoreboard->model);
    json_put_int(json, "master_pid", getpid());
    json_put_text(json, "state", phase_name(master));
    json_put_text(json, "listen", addresses);
    json_put_uint(json, "wanted", master->seat_count);
    put_deaths(json, scoreboard);
    json_key(json, "processes");
    json_array_begin(json);
    TAILQ_FOREACH(child, &master->children, link)
    {
        put_process(json, master, child);
    }
    json_array_end(json);
    return true;
}

/* ---- The others ---- */

static bool resize(struct master *master, const struct control_request *request,
                   struct json_writer *json, struct error *error)
{
    int32_t count = (int32_t)request->count;
    if (!resize_by(master, request->command == CONTROL_ADD ? count : -count, error)) {
        return false;
    }
    json_put_uint(json, "wanted", master->seat_count);
    return true;
}

static bool kill_child(struct master *master, const struct control_request *request,
                       struct json_writer *json, struct error *error)
{
    char name[SIGNAL_NAME_BYTES];
    const struct child *child;
    TAILQ_FOREACH(child, &master->children, link)
    {
        if (child->pid == request->pid) {
            break;
        }
    }
    if (child == NULL) {
        return error_set(error, "%d is no process of this server; list shows them",
                         (int)request->pid);
    }
    if (kill(child->pid, request->signal) != 0) {
        return error_set(error, "cannot send a signal to %d: %s; it may have died just now",
                         (int)child->pid, strerror(errno));
    }
    signal_name(request->signal, name);
    json_put_int(json, "pid", child->pid);
    json_put_text(json, "signal", name);
    return true;
}

static bool recycle(struct master *master, const struct control_request *request,
                    struct json_writer *json, struct error *error)
{
    if (master->phase != MASTER_RUNNING || master->on_trial) {
        return error_set(error,
                         "the server is starting, reloading or about to end; ask again later");
    }
    if (!request->all && request->number >= master->seat_count) {
        return error_set(error, "there is no process %u; take a number from 0 to %u, or all",
                         request->number, master->seat_count - 1);
    }
    if (request->all) {
        rolling_replace_all(master);
    } else {
        rolling_replace(master, request->number);
    }
    json_put_uint(json, "recycling", request->all ? master->seat_count : 1);
    return true;
}

static bool drain(struct master *master, const struct control_request *request,
                  struct json_writer *json, struct error *error)
{
    (void)request;
    (void)error;
    master_drain(master);
    json_put_text(json, "state", phase_name(master));
    return true;
}

static bool stop(struct master *master, const struct control_request *request,
                 struct json_writer *json, struct error *error)
{
    (void)request;
    (void)error;
    master_stop(master);
    json_put_text(json, "state", phase_name(master));
    return true;
}

static bool reload(struct master *master, const struct control_request *request,
                   struct json_writer *json, struct error *error)
{
    (void)request;
    (void)json;
    return orders_give(master, SIGHUP, error);
}

static bool reopen_logs(struct master *master, const struct control_request *request,
                        struct json_writer *json, struct error *error)
{
    (void)request;
    (void)json;
    (void)error;
    master_reopen_logs(master);
    return true;
}

static bool upgrade(struct master *master, const struct control_request *request,
                    struct json_writer *json, struct error *error)
{
    (void)request;
    if (!upgrade_begin(master, error)) {
        return false;
    }
    json_put_int(json, "pid", master->upgrade.pid);
    return true;
}

static bool fault(struct master *master, const struct control_request *request,
                  struct json_writer *json, struct error *error)
{
    if (!fault_request(master, request->target, error)) {
        return false;
    }
    json_put_text(json, "path", request->target);
    return true;
}

/* ---- Requests ---- */

/* Adds what it has to say to an answer that begins with "ok". False with the reason in error. */
typedef bool (*command_fn)(struct master *master, const struct control_request *request,
                           struct json_writer *json, struct error *error);

static const command_fn commands[] = {
    [CONTROL_LIST] = list,       [CONTROL_ADD] = resize,
    [CONTROL_REMOVE] = resize,   [CONTROL_KILL] = kill_child,
    [CONTROL_RECYCLE] = recycle, [CONTROL_DRAIN] = drain,
    [CONTROL_STOP] = stop,       [CONTROL_RELOAD] = reload,
    [CONTROL_UPGRADE] = upgrade, [CONTROL_REOPEN_LOGS] = reopen_logs,
    [CONTROL_FAULT] = fault,
};

/* While a new program is on trial it has the say, but the old one can still be ended. */
static bool is_answered_here(const struct master *master, enum control_command command)
{
    return master->phase != MASTER_HANDED_OVER || command == CONTROL_LIST ||
           command == CONTROL_STOP || command == CONTROL_DRAIN;
}

static bool run_command(struct master *master, const struct control_request *request,
                        struct json_writer *json, struct error *error)
{
    CHECK((size_t)request->command < sizeof(commands) / sizeof(commands[0]));
    if (!is_answered_here(master, request->command)) {
        return error_set(error, "the new program (pid %d) has taken over; ask again to reach it",
                         (int)master->upgrade.pid);
    }
    return commands[request->command](master, request, json, error);
}

static void put_refusal(struct buffer *answer, const char *error)
{
    struct json_writer json;
    json_init(&json, answer);
    json_object_begin(&json);
    json_put_bool(&json, "ok", false);
    json_put_text(&json, "error", error);
    json_object_end(&json);
}

static void log_command(const struct ucred *peer, const struct control_request *request,
                        const char *error)
{
    const char *command = control_command_name(request->command);
    error = error == NULL ? "done" : error;
    if (request->command == CONTROL_LIST) {
        return;
    }
    if (peer == NULL) {
        log_write(LOG_NOTICE, "control: the observer asked for %s: %s", command, error);
    } else {
        log_write(LOG_NOTICE, "control: process %d of user %u asked for %s: %s", (int)peer->pid,
                  (unsigned)peer->uid, command, error);
    }
}

static bool is_put_off(const struct master *master, const struct control_request *request)
{
    return request->command == CONTROL_RELOAD && master->orders.reload;
}

void control_answer_request(void *data, const struct ucred *peer, struct span line,
                            struct buffer *answer)
{
    struct control_request request;
    struct json_writer json;
    struct error error;
    if (!control_request_parse(line, &request, &error)) {
        put_refusal(answer, error.text);
        return;
    }
    json_init(&json, answer);
    json_object_begin(&json);
    json_put_bool(&json, "ok", true);
    if (!run_command(data, &request, &json, &error)) {
        buffer_clear(answer);
        put_refusal(answer, error.text);
        log_command(peer, &request, error.text);
    } else if (is_put_off(data, &request)) {
        buffer_clear(answer); /* control_answer_reload gives it */
        log_command(peer, &request, "put off");
    } else {
        json_object_end(&json);
        log_command(peer, &request, NULL);
    }
}

void control_answer_reload(struct master *master, const char *error)
{
    struct buffer answer = {0};
    if (error != NULL) {
        put_refusal(&answer, error);
    } else {
        buffer_append_span(&answer, SPAN("{\"ok\":true}"));
    }
    control_answer_waiting(master->control, (struct span){answer.data, answer.len});
    observation_answer_waiting(master, (struct span){answer.data, answer.len});
    buffer_free(&answer);
}

/* ---- Life ---- */

static void close_control(struct master *master)
{
    struct buffer answer = {0};
    put_refusal(&answer, "it is put off, and the socket goes; see the log");
    control_answer_waiting(master->control, (struct span){answer.data, answer.len});
    buffer_free(&answer);
    control_destroy(master->control);
    master->control = NULL;
}

static bool open_control(struct master *master, const char *path)
{
    struct error error;
    struct control *control = control_create(path, control_answer_request, master, &error);
    if (control == NULL) {
        log_write(LOG_ERROR, "%s", error.text);
        return false;
    }
    close_control(master);
    CHECK(master->control == NULL);
    master->control = control;
    return true;
}

bool control_start(struct master *master)
{
    const char *path = master->server->config.control;
    return path == NULL || open_control(master, path);
}

void control_follow(struct master *master)
{
    const char *path = master->server->config.control;
    const char *old_path = control_path(master->control);
    if (path == NULL) {
        close_control(master);
    } else if ((old_path == NULL || strcmp(path, old_path) != 0) && open_control(master, path)) {
        control_publish(master->control);
    }
}

void control_take_back(struct master *master)
{
    const char *path = master->server->config.control;
    if (path != NULL && !control_is_at_its_path(master->control) && open_control(master, path)) {
        control_publish(master->control);
    }
}
