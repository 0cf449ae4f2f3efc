/* What the tests of the handlers share: a request goes through the real router to its handler. */
#ifndef TWINHTTPD_TESTS_UNIT_HANDLERS_HANDLERS_TESTING_H
#define TWINHTTPD_TESTS_UNIT_HANDLERS_HANDLERS_TESTING_H

#include "common/handlers/handlers.h"
#include "common/http/exchange.h"
#include "common/scoreboard/ledger.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* cmocka.h relies on the four standard headers before it. */
#include <cmocka.h>

#include "tests/unit/client_at.h"

enum { HEAD_BYTES = 4096 };

static const struct http_limits limits = {
    .request_line_bytes = 8192, .header_bytes = 32768, .headers = 100, .body_bytes = 1000};
static struct scoreboard *scoreboard;
static struct ledger *ledger;
static struct shared_cell process_cell, shared_cell;
static struct handler_environment environment;
static struct handler_context context;
static struct router *router;
static struct http_exchange *exchange;
static struct client_address client;

static inline void come_from(const char *ip)
{
    client = client_at(ip, 4711);
}

/* The test's thread is the one that runs handlers (again). */
static inline void come_back(void)
{
    slot_enter(context.slot, 0, 3, SLOT_LOOP);
}

static inline int open_handlers(void **state)
{
    (void)state;
    come_from("127.0.0.1");
    scoreboard = scoreboard_create(4);
    ledger = ledger_create(scoreboard);
    ledger_claim(ledger, 4);
    shared_cell_init(&process_cell, SHARED_CELL_THREADS);
    shared_cell_init(&shared_cell, SHARED_CELL_THREADS);
    environment = (struct handler_environment){.scoreboard = scoreboard,
                                               .process_cell = &process_cell,
                                               .shared_cell = &shared_cell,
                                               .bench = true};
    router = router_create();
    handlers_register(router, &environment);
    context = (struct handler_context){
        .slot = &scoreboard->slots[1], .slot_index = 1, .turn = 1, .now_ms = 1000};
    come_back();
    exchange = http_exchange_create(&limits);
    exchange->client = &client;
    return 0;
}

static inline int close_handlers(void **state)
{
    (void)state;
    http_exchange_destroy(exchange);
    router_destroy(router);
    ledger_destroy(ledger);
    scoreboard_destroy(scoreboard);
    return 0;
}

/* fields: lines with their CRLF. The answer is in exchange->response. */
static inline unsigned ask(const char *method, const char *target, const char *fields,
                           const char *body)
{
    static char head[HEAD_BYTES];
    snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, target, fields);
    http_exchange_reset(exchange);
    assert_int_equal(
        http_parser_feed_head(exchange->parser, &exchange->request, head, strlen(head)),
        HTTP_PARSE_HEAD);
    http_exchange_route(exchange, router);
    buffer_append_span(&exchange->request.body, span_of(body));
    if (exchange->route != NULL) {
        http_exchange_run(exchange, &context);
    }
    return exchange->response.status;
}

static inline unsigned get(const char *target)
{
    return ask("GET", target, "", "");
}

/* NUL-terminated, until the next call. */
static inline const char *body(void)
{
    static char text[65536];
    const struct http_response *response = &exchange->response;
    struct span span = response->text.len > 0
                           ? (struct span){response->text.data, response->text.len}
                           : response->body;
    assert_in_range(span.len, 0, sizeof(text) - 1);
    snprintf(text, sizeof(text), "%.*s", (int)span.len, span.len > 0 ? span.ptr : "");
    return text;
}

static inline const char *headers(void)
{
    static char text[4096];
    const struct buffer *lines = &exchange->response.headers;
    snprintf(text, sizeof(text), "%.*s", (int)lines->len, lines->len > 0 ? lines->data : "");
    return text;
}

static inline void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    }
}

#endif
