/* A dying thread's own report: signal handlers for the signals that a fault ends in, which write a
 * crash note (scoreboard.h) and then let the signal do what it would have done without them. */
#ifndef TWINHTTPD_SERVER_CRASH_CRASH_REPORT_H
#define TWINHTTPD_SERVER_CRASH_CRASH_REPORT_H

#include "common/scoreboard/slot.h"

#include <setjmp.h>

/* Installs the handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT in this process, and gives
 * the calling thread a signal stack. The note must outlive the process. tell, unless NULL, is
 * called in the handler once the note is written: for a process that has nobody to read it. */
void crash_report_open(struct crash_note *note, void (*tell)(void *data), void *data);

/* Gives the calling thread a signal stack of its own, so that even an overflow of the other one can
 * be reported; the stack goes with the thread. The thread's faults are noted under this slot. */
void crash_report_enter_thread(uint32_t slot);

/* Where a thread lands that has caught its own fault. */
struct crash_landing {
    sigjmp_buf point; /* of sigsetjmp(point, 0) */
    struct crash_note *note;
};

/* Until it is told NULL: a SIGSEGV, SIGBUS or SIGFPE that the calling thread causes itself is noted
 * in its own slot's note, and the thread jumps to the landing's point. */
void crash_report_land_at(struct crash_landing *landing);

#endif
