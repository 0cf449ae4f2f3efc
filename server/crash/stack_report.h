/* A living thread's stack, told on demand: whoever has put a question into the thread's slot
 * (struct stack_inquiry in scoreboard.h) sends the thread STACK_SIGNAL, and it writes its stack
 * there and goes on. */
#ifndef TWINHTTPD_SERVER_CRASH_STACK_REPORT_H
#define TWINHTTPD_SERVER_CRASH_STACK_REPORT_H

#include "common/scoreboard/slot.h"

#include <signal.h>

/* By default it is ignored, so that one which comes too early or too late does no harm; the kernel
 * sends it to nobody who has not asked for it (F_SETOWN), and debuggers let it pass. */
enum { STACK_SIGNAL = SIGURG };

/* Installs the handler in this process. */
void stack_report_open(void);

/* The calling thread answers in this slot from now on. */
void stack_report_enter_thread(struct worker_slot *slot);

#endif
