/* The access log: a line a response, collected and written in batches. One for each event loop; all
 * append to the same file, whole lines at a time. */
#ifndef TWINHTTPD_COMMON_NET_ACCESS_LOG_H
#define TWINHTTPD_COMMON_NET_ACCESS_LOG_H

#include "common/base/config.h"
#include "common/http/exchange.h"

struct access_log;

/* fd: opened for appending, owned by the caller. */
struct access_log *access_log_create(int fd, enum config_access_log_format format);

/* Writes what is left. */
void access_log_destroy(struct access_log *log);

/* Adds the line of a rendered response. In the combined format ("%h - - [%t] \"%r\" %s %b
 * \"%{Referer}i\"
 * \"%{User-Agent}i\"") bytes that could forge a line stand as \xHH. The size is that of the body.
 */
void access_log_write(struct access_log *log, const struct http_exchange *exchange);

/* Writes the batch; to be called from a tick. */
void access_log_flush(struct access_log *log);

#endif
