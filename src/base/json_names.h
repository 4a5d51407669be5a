/*
 * json_names.h: whether a name stands twice in an object, at eight bytes a name: the place of its opening quote and, in a large object, a hash under
 * a key drawn at start, so that nobody can choose names that fall together. Objects within objects are segments of one array. Private to json.c.
 */
#ifndef BOWLINE_BASE_JSON_NAMES_H
#define BOWLINE_BASE_JSON_NAMES_H

#include "base/str.h"

#include <stdint.h>

#define JSON_NAMES_FEW 48
#define JSON_NAMES_NONE SIZE_MAX

struct json_names {
    uint64_t *at;
    size_t count, cap;
    uint64_t *few; /* the caller's */
};

void json_names_init(struct json_names *n, uint64_t few[JSON_NAMES_FEW]);
/* Adds the name whose opening quote, behind which it is well-formed, stands at place. False when there is no memory. */
bool json_names_add(struct json_names *n, size_t place) MUST_CHECK;
/* Whether the name added last stands in the segment that begins at `from` already. Compares with each. */
bool json_names_again(const struct json_names *n, struct str text, size_t from) MUST_CHECK;
/* The first place in the segment from `from` on whose name stood before it, or JSON_NAMES_NONE. Sorts the segment. */
size_t json_names_twice(struct json_names *n, struct str text, size_t from) MUST_CHECK;
void json_names_fini(struct json_names *n);

#endif
