/* str.h: a span of bytes that somebody else owns; never NUL-terminated by promise. */
#ifndef BOWLINE_BASE_STR_H
#define BOWLINE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct str {
    const char *p; /* NULL means "none"; an empty text has p != NULL and len 0 */
    size_t len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
#define STR_FMT(s) (int) (s).len, ((s).p ? (s).p : "") /* for "%.*s" */

#define MUST_CHECK __attribute__((warn_unused_result))

static inline struct str str_of(const char *z) {
    return (struct str){z, z ? strlen(z) : 0};
}
static inline struct str str_n(const char *p, size_t len) {
    return (struct str){p, len};
}
static inline bool str_eq(struct str a, struct str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}
/* As memcmp, the shorter of two with the same beginning first. */
static inline int str_cmp(struct str a, struct str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}
/* A loop of its own, unless the length is known when it is compiled: most names differ in their first letters. */
static inline __attribute__((always_inline)) bool str_eqz(struct str a, const char *z) {
    if (!z) {
        return a.len == 0;
    }
    if (__builtin_constant_p(strlen(z))) {
        return a.len == strlen(z) && memcmp(a.p ? a.p : "", z, strlen(z)) == 0;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (a.p[i] != z[i] || !z[i]) {
            return false;
        }
    }
    return !z[a.len];
}
/* ASCII case-insensitive, for header names and the like. */
static inline bool str_ieqz(struct str a, const char *z) {
    return a.len == strlen(z) && strncasecmp(a.p ? a.p : "", z, a.len) == 0;
}
static inline bool str_starts(struct str a, const char *z) {
    size_t n = strlen(z);
    return a.len >= n && (n == 0 || memcmp(a.p, z, n) == 0);
}
static inline struct str str_from(struct str a, size_t at) {
    return at >= a.len ? (struct str){a.p ? a.p + a.len : NULL, 0} : (struct str){a.p + at, a.len - at};
}
static inline bool char_is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}
/* Without the spaces, tabs and carriage returns at either end. */
static inline struct str str_trim(struct str s) {
    while (s.len && char_is_blank(s.p[0])) {
        s = str_from(s, 1);
    }
    while (s.len && char_is_blank(s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

#endif
