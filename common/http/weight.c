#include "common/http/weight.h"

#include <string.h>

/* qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ), in thousandths. */
int weight_parse(struct span text)
{
    if (text.len == 0 || text.len > 5 || (text.ptr[0] != '0' && text.ptr[0] != '1') ||
        (text.len > 1 && text.ptr[1] != '.')) {
        return WEIGHT_INVALID;
    }
    int weight = (text.ptr[0] - '0') * WEIGHT_ONE;
    int place = WEIGHT_ONE / 10;
    for (size_t i = 2; i < text.len; i++, place /= 10) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return WEIGHT_INVALID;
        }
        weight += (text.ptr[i] - '0') * place;
    }
    return weight <= WEIGHT_ONE ? weight : WEIGHT_INVALID;
}

struct span weight_cut(struct span *rest, char separator)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->ptr, separator, rest->len);
    size_t len = end == NULL ? rest->len : (size_t)(end - rest->ptr);
    struct span part = {rest->ptr, len};
    size_t step = end == NULL ? len : len + 1;
    *rest = (struct span){rest->ptr + step, rest->len - step};
    return span_trim(part);
}
