/* How many descriptors this process has open: equal before and after, nothing has leaked. */
#ifndef TWINHTTPD_TESTS_UNIT_OPEN_DESCRIPTORS_H
#define TWINHTTPD_TESTS_UNIT_OPEN_DESCRIPTORS_H

#include <dirent.h>
#include <stdlib.h>

static inline size_t open_descriptors(void)
{
    size_t count = 0;
    DIR *descriptors = opendir("/proc/self/fd");
    if (descriptors == NULL) {
        abort();
    }
    while (readdir(descriptors) != NULL) {
        count++;
    }
    closedir(descriptors);
    return count;
}

#endif
