#include "base/json_scan.h"

#include <stdlib.h>

/* ---- escapes ---- */

static int json_hex4(const char *p) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) {
            return -1;
        }
        v = v << 4 | d;
    }
    return v;
}

static char *json_put_code(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char) code;
    } else if (code < 0x800) {
        *to++ = (char) (0xc0 | code >> 6);
        *to++ = (char) (0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char) (0xe0 | code >> 12);
        *to++ = (char) (0x80 | (code >> 6 & 63));
        *to++ = (char) (0x80 | (code & 63));
    } else {
        *to++ = (char) (0xf0 | code >> 18);
        *to++ = (char) (0x80 | (code >> 12 & 63));
        *to++ = (char) (0x80 | (code >> 6 & 63));
        *to++ = (char) (0x80 | (code & 63));
    }
    return to;
}

int json_unescape(const char *p, size_t left, char **to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (left < 2) {
        return ESCAPE_BAD;
    }
    const char *simple = p[1] ? strchr(from, p[1]) : NULL;
    if (simple) {
        *(*to)++ = into[simple - from];
        return 2;
    }
    int code = p[1] == 'u' && left >= 6 ? json_hex4(p + 2) : -1;
    if (code < 0) {
        return ESCAPE_BAD;
    }
    if (code < 0xd800 || code > 0xdfff) {
        *to = json_put_code(*to, (unsigned) code);
        return 6;
    }
    int low = code < 0xdc00 && left >= 12 && p[6] == '\\' && p[7] == 'u' ? json_hex4(p + 8) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        return ESCAPE_LONE;
    }
    *to = json_put_code(*to, 0x10000u + (((unsigned) code - 0xd800) << 10) + ((unsigned) low - 0xdc00));
    return 12;
}

/* ---- numbers ---- */

static bool json_digit(const struct json_number *n) {
    return n->p < n->end && *n->p >= '0' && *n->p <= '9';
}

static bool json_digits(struct json_number *n, bool fraction) {
    const char *from = n->p;
    for (; json_digit(n); n->p++) {
        unsigned d = (unsigned) (*n->p - '0');
        if (n->digits > (UINT64_MAX - d) / 10) {
            n->exact = false;
            continue;
        }
        n->digits = n->digits * 10 + d;
        n->exponent10 -= fraction;
    }
    return n->p > from;
}

static bool json_exponent(struct json_number *n) {
    n->p++;
    bool minus = n->p < n->end && *n->p == '-';
    if (n->p < n->end && (*n->p == '-' || *n->p == '+')) {
        n->p++;
    }
    const char *from = n->p;
    int e = 0;
    for (; json_digit(n); n->p++) {
        e = e < 100000 ? e * 10 + (*n->p - '0') : e;
    }
    n->exponent10 += minus ? -e : e;
    return n->p > from;
}

bool json_number_scan(struct json_number *n) {
    n->plain = n->exact = true;
    if (n->p < n->end && *n->p == '-') {
        n->negative = true;
        n->p++;
    }
    if (n->p < n->end && *n->p == '0') {
        n->p++;
    } else if (!json_digits(n, false)) {
        return false;
    }
    if (n->p < n->end && *n->p == '.') {
        n->plain = false;
        n->p++;
        if (!json_digits(n, true)) {
            return false;
        }
    }
    if (n->p < n->end && (*n->p == 'e' || *n->p == 'E')) {
        n->plain = false;
        return json_exponent(n);
    }
    return true;
}

bool json_number_integer(const struct json_number *n, int64_t *ret_integer) {
    uint64_t most = (uint64_t) INT64_MAX + n->negative;
    if (!n->plain || !n->exact || n->digits > most) {
        return false;
    }
    *ret_integer = (int64_t) (n->negative ? 0 - n->digits : n->digits);
    return true;
}

static bool json_long_double(struct str text, double *ret) {
    char few[64], *z = few;
    if (text.len >= sizeof(few) && !(z = malloc(text.len + 1))) {
        return false;
    }
    memcpy(z, text.p, text.len);
    z[text.len] = '\0';
    *ret = strtod(z, NULL);
    if (z != few) {
        free(z);
    }
    return true;
}

/* Digits and a power of ten that a double holds exactly give the correctly rounded value in one operation. */
bool json_number_double(const struct json_number *n, struct str text, double *ret_value) {
    static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (!n->exact || n->digits > 1ull << 53 || n->exponent10 < -22 || n->exponent10 > 22) {
        return json_long_double(text, ret_value);
    }
    double v = (double) n->digits;
    v = n->exponent10 < 0 ? v / ten[-n->exponent10] : v * ten[n->exponent10];
    *ret_value = n->negative ? -v : v;
    return true;
}
