/* on_fault: recover. A pool thread whose handler faults answers 500 and retires, and the process
 * goes on. When that is unsound: recovery.c. */
#ifndef TWINHTTPD_SERVER_THREADPOOL_RECOVERY_H
#define TWINHTTPD_SERVER_THREADPOOL_RECOVERY_H

#include "common/http/exchange.h"

/* Runs the exchange's handler, as http_exchange_run. False: it has faulted. The response is then a
 * 500 that ends the connection, the slot's note still holds the request, and its crash note what
 * happened. */
bool recovery_run(struct http_exchange *exchange, struct handler_context *context);

#endif
