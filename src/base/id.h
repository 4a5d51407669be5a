/*
 * id.h: names of sessions and tasks. A ULID (github.com/ulid/spec): 48 bits of milliseconds, 80 bits that are
 * random and, within one millisecond or when the clock steps back, one more than the last, so ids made by one generator always rise.
 * As text: "ses_" or "tsk_" and 26 characters of Crockford base32, upper case.
 */
#ifndef BOWLINE_BASE_ID_H
#define BOWLINE_BASE_ID_H

#include "base/str.h"

#include <stdint.h>

#define ID_TEXT_LEN 30 /* with its prefix, without a NUL */

struct id {
    uint8_t b[16];
};

enum id_kind { ID_SESSION, ID_TASK };

struct id_maker {
    struct id last;
    /* Fills len bytes; a parameter so that the simulation repeats. */
    void (*random)(void *arg, void *out, size_t len);
    void *random_arg;
};

struct id id_make(struct id_maker *m, int64_t wall_ms);
/* Writes ID_TEXT_LEN characters and a NUL. */
void id_format(struct id id, enum id_kind kind, char out[ID_TEXT_LEN + 1]);
/* False (ret_id untouched) unless it is exactly the prefix of kind and a canonical ULID (upper case, first digit 0 to 7). */
bool id_parse(struct str text, enum id_kind kind, struct id *ret_id) MUST_CHECK;

static inline bool id_eq(struct id a, struct id b) {
    return memcmp(a.b, b.b, 16) == 0;
}
static inline int id_cmp(struct id a, struct id b) {
    return memcmp(a.b, b.b, 16);
}
static inline bool id_is_none(struct id a) {
    static const struct id none;
    return id_eq(a, none);
}

#endif
