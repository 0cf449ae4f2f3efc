/* Facts about pipes, shared memory and mapped files. */
#ifndef TWINHTTPD_LOADTEST_MICRO_IPC_FACTS_H
#define TWINHTTPD_LOADTEST_MICRO_IPC_FACTS_H

void ipc_tell_facts(void);

#endif
