#include "server/observe/commands.h"

#include "common/base/json_writer.h"
#include "server/control/control.h"
#include "server/control/control_request.h"
#include "server/observe/guard.h"
#include "server/observe/petitions.h"

#include <string.h>

#define PATH "/api/v1/commands"

static void answer_json(struct http_response *response, unsigned status, struct span json)
{
    response->status = status;
    response->content_type = "application/json";
    response->no_store = true;
    buffer_clear(&response->text);
    buffer_append_span(&response->text, json);
    buffer_append_span(&response->text, SPAN("\n"));
}

static void refuse(struct http_response *response, unsigned status, const char *text)
{
    struct buffer answer = {0};
    struct json_writer json;
    json_init(&json, &answer);
    json_object_begin(&json);
    json_put_bool(&json, "ok", false);
    json_put_text(&json, "error", text);
    json_object_end(&json);
    answer_json(response, status, (struct span){answer.data, answer.len});
    buffer_free(&answer);
}

/* Whether the master may be asked; else the response says why not. */
static bool is_acceptable(const struct observer_environment *environment,
                          const struct http_request *request, struct http_response *response)
{
    struct control_request parsed;
    struct error error;
    const struct span body = {request->body.data, request->body.len};
    if (environment->petitions == NULL) {
        refuse(response, 404, "no commands are taken; start with --observe-control on");
        return false;
    }
    if (!guard_has_token(request, bulletin_token(environment->bulletin))) {
        refuse(response, 403,
               "a command takes the token that the server has printed; send "
               "Authorization: Bearer TOKEN");
        return false;
    }
    if (body.len >= CONTROL_LINE_BYTES) {
        refuse(response, 413, "the command is too long");
        return false;
    }
    if (!control_request_parse(body, &parsed, &error)) {
        refuse(response, 400, error.text);
        return false;
    }
    return true;
}

/* Between the members of an object lines may end; in a string of JSON they cannot. */
static void make_one_line(struct buffer *body)
{
    for (size_t i = 0; i < body->len; i++) {
        if (body->data[i] == '\n' || body->data[i] == '\r') {
            body->data[i] = ' ';
        }
    }
}

static void on_answer(void *data, struct span answer)
{
    static const struct span good = {"{\"ok\":true", 10};
    struct http_exchange *exchange = data;
    struct http_response *response = &exchange->response;
    if (answer.ptr == NULL) {
        refuse(response, 504, "the master does not answer; the command may still be carried out");
    } else {
        const bool done = answer.len >= good.len && memcmp(answer.ptr, good.ptr, good.len) == 0;
        answer_json(response, done ? 200 : 409, answer);
    }
    guard_add_headers(response);
    exchange->complete(exchange);
}

bool commands_take(struct observer_environment *environment, struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    if (!span_equal(request->path, SPAN(PATH)) ||
        guard_refusal(request, environment->server->config.observe_names) != NULL ||
        !is_acceptable(environment, request, &exchange->response)) {
        return false; /* the handler says why */
    }
    make_one_line(&request->body);
    const struct span line = {request->body.data, request->body.len};
    return petitions_send(environment->petitions, line, on_answer, exchange);
}

/* What commands_take has left. */
static void explain(const struct http_request *request, struct http_response *response,
                    struct handler_context *context, void *data)
{
    (void)context;
    if (is_acceptable(data, request, response)) {
        refuse(response, 503, "too many commands wait for the master; try again");
        http_response_add_header(response, "Retry-After", "1");
    }
}

void commands_register(struct router *router, struct observer_environment *environment)
{
    observer_route(router, environment,
                   &(struct route){.path = PATH,
                                   .methods = METHOD_BIT(METHOD_POST),
                                   .wants_body = true,
                                   .handler = explain,
                                   .data = environment});
}
