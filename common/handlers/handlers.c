#include "common/handlers/handlers.h"

#define REGISTER(name) name##_register(router, environment);

void handlers_register(struct router *router, struct handler_environment *environment)
{
    SITE_HANDLERS(REGISTER)
    if (environment->bench) {
        BENCH_HANDLERS(REGISTER)
    }
    if (environment->faults) {
        LAB_HANDLERS(REGISTER)
    }
}
