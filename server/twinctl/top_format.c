#include "server/twinctl/top_format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is below limit is shown in this unit. A limit lies where rounding would need a digit more.
 */
struct step {
    double limit;
    double unit;
    int decimals;
    const char *name;
};

static void put(double number, const struct step *steps, char out[TOP_CELL_BYTES])
{
    if (!isfinite(number) || number < 0) {
        snprintf(out, TOP_CELL_BYTES, "-");
        return;
    }
    while (number >= steps->limit) {
        steps++;
    }
    snprintf(out, TOP_CELL_BYTES, "%.*f%s", steps->decimals, number / steps->unit, steps->name);
}

#define MS   1e3
#define S    1e6
#define MIN  60e6
#define HOUR 3600e6
#define DAY  86400e6

void top_format_time(double us, char out[TOP_CELL_BYTES])
{
    static const struct step steps[] = {
        {999.5, 1, 0, "us"},          {9.95 * MS, MS, 1, "ms"}, {999.5 * MS, MS, 0, "ms"},
        {9.95 * S, S, 1, "s"},        {999.5 * S, S, 0, "s"},   {999.5 * MIN, MIN, 0, "m"},
        {999.5 * HOUR, HOUR, 0, "h"}, {INFINITY, DAY, 0, "d"},
    };
    put(us, steps, out);
}

void top_format_rate(double per_second, char out[TOP_CELL_BYTES])
{
    static const struct step steps[] = {
        {99.95, 1, 1, ""}, {99999.5, 1, 0, ""}, {99999.5e3, 1e3, 0, "k"}, {INFINITY, 1e6, 0, "M"}};
    put(per_second, steps, out);
}

void top_format_share(double share, char out[TOP_CELL_BYTES])
{
    static const struct step steps[] = {{0.0995, 0.01, 1, "%"}, {INFINITY, 0.01, 0, "%"}};
    put(share, steps, out);
}

#define MIB 1024.0
#define GIB 1048576.0

void top_format_memory(double kib, char out[TOP_CELL_BYTES])
{
    static const struct step steps[] = {
        {999.5, 1, 0, "K"},        {9.95 * MIB, MIB, 1, "M"}, {999.5 * MIB, MIB, 0, "M"},
        {9.95 * GIB, GIB, 1, "G"}, {INFINITY, GIB, 0, "G"},
    };
    put(kib, steps, out);
}

/* A comma between each three digits. */
static void group_digits(const char *digits, size_t len, char out[TOP_CELL_BYTES])
{
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            out[used++] = ',';
        }
        out[used++] = digits[i];
    }
    out[used] = '\0';
}

void top_format_count(double count, char out[TOP_CELL_BYTES])
{
    enum { DIGITS_MAX = 20 };
    char digits[DIGITS_MAX + 1];
    int len = isfinite(count) && count >= 0 ? snprintf(digits, sizeof(digits), "%.0f", count) : 0;
    if (len <= 0 || len > DIGITS_MAX) {
        snprintf(out, TOP_CELL_BYTES, "-");
    } else {
        group_digits(digits, (size_t)len, out);
    }
}

void top_format_harmless(const char *text, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (; text != NULL && *text != '\0' && used + 1 < out_bytes; text++) {
        out[used++] = (char)(*text >= ' ' && *text <= '~' ? *text : '?');
    }
    out[used] = '\0';
}

size_t top_format_fold(const char *text, size_t bytes, size_t width, size_t *next)
{
    const char *end = memchr(text, '\n', bytes);
    size_t line = end == NULL ? bytes : (size_t)(end - text);
    if (line <= width) {
        *next = end == NULL ? line : line + 1;
        return line;
    }
    const char *space = memrchr(text, ' ', width + 1);
    line = space == NULL || space == text ? width : (size_t)(space - text);
    *next = space == NULL || space == text ? line : line + 1;
    return line;
}
