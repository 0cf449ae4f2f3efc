/* Stacks and requests as JSON: what everybody who shows one says in the same words, and none of
 * what is not for everybody. */
#ifndef TWINHTTPD_COMMON_SCOREBOARD_STACK_JSON_H
#define TWINHTTPD_COMMON_SCOREBOARD_STACK_JSON_H

#include "common/base/json_writer.h"
#include "common/scoreboard/deaths.h"

/* The members "frames_left_out" and "frames". */
void stack_json_put(struct json_writer *json, const struct stack_story *stack);

/* A request line up to its query string, which may hold what only client and handler are to know:
 * "GET /sleep" of "GET /sleep?token=x HTTP/1.1". */
void stack_json_put_line(struct json_writer *json, const char *key, const char *line);

/* The member "request": an object, or null for NULL. */
void stack_json_put_request(struct json_writer *json, const struct request_copy *request);

/* "0x10": as text, since not every reader of JSON keeps 64 bits of a number. */
void stack_json_put_hexadecimal(struct json_writer *json, const char *key, uint64_t number);

/* "" is null. */
void stack_json_put_text(struct json_writer *json, const char *key, const char *text);

#endif
