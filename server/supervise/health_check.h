/* Asks a running server whether it serves: what a container's health check runs. */
#ifndef TWINHTTPD_SERVER_SUPERVISE_HEALTH_CHECK_H
#define TWINHTTPD_SERVER_SUPERVISE_HEALTH_CHECK_H

/* Sends GET /plaintext to the address (as in struct config; "*" means this host) and prints one
 * line about the answer. 0: it answered 200 within two seconds; 1: it did not. */
int health_check(const char *address);

#endif
