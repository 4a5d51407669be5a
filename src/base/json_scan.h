/* json_scan.h: what stands within one token: escapes of strings, numbers by the grammar of RFC 8259. Private to json.c. */
#ifndef BOWLINE_BASE_JSON_SCAN_H
#define BOWLINE_BASE_JSON_SCAN_H

#include "base/str.h"

#include <stdint.h>

enum { ESCAPE_BAD = -1, ESCAPE_LONE = -2 }; /* does not exist; a surrogate stands alone */

/* Reads the escape at p (from the backslash on at most `left` bytes of the string) into *to, which moves on by up to 4 bytes. Bytes read, or one of the above. */
int json_unescape(const char *p, size_t left, char **to);

struct json_number { /* p and end are the caller's */
    const char *p, *end;
    uint64_t digits; /* all digits as one number, as long as they fit */
    int exponent10;  /* that the fraction and the exponent make of it */
    bool negative, plain, exact;
};

/* number = [ "-" ] int [ frac ] [ exp ]; n->p is behind it, or where a digit is missing. */
bool json_number_scan(struct json_number *n) MUST_CHECK;
/* An integer that fits int64. */
bool json_number_integer(const struct json_number *n, int64_t *ret_integer);
/* Its value as the nearest double, infinite past all of them. text: all of the number. False when there is no memory. */
bool json_number_double(const struct json_number *n, struct str text, double *ret_value) MUST_CHECK;

#endif
