#include "server/process/descriptor_table.h"

#include "common/base/check.h"
#include "common/base/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { RESERVED_MOST = 16384 /* descriptors: 8 bytes of the kernel's memory each */ };

void descriptor_table_grow(uint64_t descriptors)
{
    int last = (int)(descriptors < RESERVED_MOST ? descriptors : RESERVED_MOST) - 1;
    int copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, last);
    if (copy < 0) {
        log_write(LOG_WARN, "cannot reserve %d descriptors: %m; accepting will pause at times",
                  last);
        return;
    }
    close(copy);
}

void descriptor_table_limit(uint64_t descriptors)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > descriptors) {
        limit.rlim_cur = limit.rlim_max = descriptors;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            log_write(LOG_WARN, "cannot lower the limit of open files: %m");
        }
    }
}

static int compare(const void *one, const void *other)
{
    const int a = *(const int *)one, b = *(const int *)other;
    return (a > b) - (a < b);
}

void descriptor_table_keep(const int *kept, size_t count)
{
    int sorted[DESCRIPTORS_KEPT_MOST];
    int first = STDERR_FILENO + 1; /* of those that have not been looked at */
    CHECK(count <= DESCRIPTORS_KEPT_MOST);
    for (size_t i = 0; i < count; i++) {
        sorted[i] = kept[i];
    }
    qsort(sorted, count, sizeof(sorted[0]), compare);
    for (size_t i = 0; i < count; i++) {
        for (; first < sorted[i]; first++) {
            close(first);
        }
        first = sorted[i] >= first ? sorted[i] + 1 : first;
    }
    closefrom(first);
}
