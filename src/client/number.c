/* As base/number.cc, without C++. */
#include "base/number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* printf writes a locale's decimal point, which may be several bytes; JSON has but one. */
static size_t point_of_json(char *text, size_t len) {
    size_t digits = strspn(text, "-0123456789"), behind = digits + strcspn(text + digits, "0123456789e");
    if (text[digits] && text[digits] != 'e') {
        text[digits] = '.';
        memmove(text + digits + 1, text + behind, len - behind + 1);
        len -= behind - digits - 1;
    }
    return len;
}

size_t number_text(double v, char out[NUMBER_TEXT_MAX]) {
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(out, NUMBER_TEXT_MAX, "%.*g", digits, v);
        if (strtod(out, NULL) == v) {
            break;
        }
    }
    return point_of_json(out, (size_t) len);
}
