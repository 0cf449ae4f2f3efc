/* The crash story of a death, and other stacks, in /status. */
#ifndef TWINHTTPD_COMMON_HANDLERS_OBSERVE_STATUS_CRASH_H
#define TWINHTTPD_COMMON_HANDLERS_OBSERVE_STATUS_CRASH_H

#include "common/base/json_writer.h"
#include "common/scoreboard/deaths.h"

/* The member "crash": an object, or null where nothing was told. */
void status_put_crash(struct json_writer *json, const struct crash_story *story);

/* The members "frames_left_out" and "frames". */
void status_put_stack(struct json_writer *json, const struct stack_story *stack);

/* A request line up to its query string, which may hold what only client and handler are to know:
 * "GET /sleep" of "GET /sleep?token=x HTTP/1.1". */
void status_put_line(struct json_writer *json, const char *key, const char *line);

/* The member "request": an object, or null for NULL. */
void status_put_request(struct json_writer *json, const struct request_copy *request);

#endif
