/* twinctl top --batch: plain tables, for pipes and files. */
#ifndef TWINHTTPD_SERVER_TWINCTL_TOP_BATCH_H
#define TWINHTTPD_SERVER_TWINCTL_TOP_BATCH_H

#include "server/twinctl/top_model.h"

#include <stdio.h>

/* Prints one table, with all columns and every cell of a row. */
void top_batch_print(FILE *out, struct top_model *model);

#endif
