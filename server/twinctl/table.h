/* Answers of the master, for people. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TABLE_H
#define TWINHTTPD_SERVER_TWINCTL_TABLE_H

#include <jansson.h>
#include <stdio.h>

/* A list becomes a table, a row for each thread; any other answer one line. */
void table_print(FILE *out, json_t *answer);

#endif
