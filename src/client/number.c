/* As base/number.cc, without C++. */
#include "base/number.h"

#include <stdio.h>
#include <stdlib.h>

size_t number_text(double v, char out[NUMBER_TEXT_MAX]) {
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(out, NUMBER_TEXT_MAX, "%.*g", digits, v);
        if (strtod(out, NULL) == v) {
            break;
        }
    }
    return (size_t) len;
}
