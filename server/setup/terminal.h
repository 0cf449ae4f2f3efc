/* The terminal from which a server was started. A process that has it as its controlling terminal
 * can push input into it, which the shell there would then read as typed (TIOCSTI); whoever holds a
 * descriptor that can be read may read what is typed. */
#ifndef TWINHTTPD_SERVER_SETUP_TERMINAL_H
#define TWINHTTPD_SERVER_SETUP_TERMINAL_H

/* Gives up the controlling terminal of this process, unless it leads the session (process 1 of a
 * container has a terminal of its own). Session and process group stay, so Ctrl-C and Ctrl-Z still
 * reach it. */
void terminal_leave(void);

/* For a process that is about to serve: the same, and standard streams that lead to a terminal
 * become write-only, standard input becomes empty. To be called before it changes its user. */
void terminal_leave_to_serve(void);

#endif
