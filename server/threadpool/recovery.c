/* A fault is a sign of a bug, and a bug that has written to one wild address may have written to
 * others. Going on is sound only if the handler has touched nothing but its own request, response
 * and thread: memory of others may be damaged. And the handler is left in the middle of whatever it
 * did:
 *
 * - a lock that it held stays locked: all who want it hang (/fault/segv-holding-lock shows it), and
 *   if it is malloc's, everybody;
 * - a heap that it has damaged stays damaged, and somebody who has done nothing wrong dies of it
 * later
 *   (/fault/segv-damaged-heap shows it);
 * - what it has half written stays half written, and what it has allocated or opened is lost;
 * - a library that it was in may be of no more use.
 *
 * That is why the default is to die, which costs what the process had in flight, and leaves nothing
 * broken behind. */
#include "server/threadpool/recovery.h"

#include "server/crash/crash_report.h"

bool recovery_run(struct http_exchange *exchange, struct handler_context *context)
{
    struct crash_landing landing;
    landing.note = &context->slot->crash;
    if (sigsetjmp(landing.point, 0) == 0) {
        crash_report_land_at(&landing);
        http_exchange_run(exchange, context);
        crash_report_land_at(NULL);
        return true;
    }
    struct http_response *response = &exchange->response;
    http_response_reset(response);
    http_response_error(response, 500);
    response->close = true;
    slot_add(&context->slot->counters.requests_handled, 1);
    slot_add(&context->slot->counters.faults_recovered, 1);
    return false;
}
