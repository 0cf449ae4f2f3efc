/* For tests that kill a process behind some of its instructions, to which they step it. */
#ifndef TWINHTTPD_TESTS_UNIT_STEPPING_H
#define TWINHTTPD_TESTS_UNIT_STEPPING_H

#include <sched.h>
#include <stdint.h>
#include <stdlib.h>

/* Behind how many instructions: TWINHTTPD_TEST_SAMPLES, or as many as usual, or all there are. */
static inline uint64_t stepping_samples(uint64_t usual)
{
    if (getenv("TWINHTTPD_TEST_EVERY_INSTRUCTION") != NULL) {
        return UINT64_MAX;
    }
    const char *text = getenv("TWINHTTPD_TEST_SAMPLES");
    uint64_t wanted = text != NULL ? strtoull(text, NULL, 10) : 0;
    return wanted > 0 ? wanted : usual;
}

/* The caller, and whom it forks from now on, stay on the CPU on which it runs. Who steps and who is
 * stepped take turns: on one CPU that is a switch, on two each turn has to wake the other one.
 * Where the CPU may not be chosen they only take longer. */
static inline void stepping_on_one_cpu(void)
{
    cpu_set_t one;
    int cpu = sched_getcpu();
    if (cpu >= 0 && cpu < CPU_SETSIZE) {
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        (void)sched_setaffinity(0, sizeof(one), &one);
    }
}

#endif
