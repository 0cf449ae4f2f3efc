#include "common/base/decimal.h"

#include <stddef.h>

bool decimal_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
    uint64_t parsed = 0;
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        uint64_t digit = (uint64_t)(*text - '0');
        if (parsed > (UINT64_MAX - digit) / 10) {
            return false;
        }
        parsed = parsed * 10 + digit;
    }
    *number = parsed;
    return parsed >= min && parsed <= max;
}
