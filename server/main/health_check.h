/* Asks a running server whether it serves: what a container's health check runs. */
#ifndef TWINHTTPD_SERVER_MAIN_HEALTH_CHECK_H
#define TWINHTTPD_SERVER_MAIN_HEALTH_CHECK_H

/* Sends HEAD / to the address (as in struct config; "*" means this host) and prints one line about
 * the answer. 0: within two seconds it answered with a status below 500; 1: it did not. */
int health_check(const char *address);

#endif
