/* How long a test waits for what must come. Only a test that fails waits so long: on a machine that
 * has much else to do, everything comes in the end. */
#ifndef TWINHTTPD_TESTS_UNIT_PATIENCE_H
#define TWINHTTPD_TESTS_UNIT_PATIENCE_H

enum { PATIENCE_S = 120, PATIENCE_MS = PATIENCE_S * 1000 };

#endif
