/*
 * json.h: JSON in (RFC 8259, I-JSON's rules on names and surrogates from RFC 7493). One call checks the whole
 * text and gives a tree of nodes whose spans point into it, so that opaque values can be kept to the letter.
 * Refused: malformed UTF-8, lone surrogates (also inside opaque values), a name twice in one object, a depth above max_depth,
 * anything behind the value. Numbers of any size are accepted; `num` and `integer` say what fits.
 * Thread-safe; behind it stands simdjson (json.cc).
 */
#ifndef BOWLINE_BASE_JSON_H
#define BOWLINE_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_type type;
    bool boolean;
    bool is_integer; /* a number without fraction or exponent that fits int64 */
    int64_t integer;
    double num;         /* may be infinite for numbers past a double */
    struct str raw;     /* the exact text of the value, into the text given */
    struct str string;  /* decoded; into the arena (or the text). May hold NUL characters (\u0000) */
    struct str name;    /* decoded member name, when this is a member of an object */
    struct json *child; /* first element or member */
    struct json *next;  /* next sibling */
    size_t count;       /* of children */
};

struct json_error {
    size_t offset;     /* byte in the text where it was noticed, as near as can be said */
    char detail[160];  /* a sentence without a full stop */
    char pointer[256]; /* RFC 6901; "" the whole text. Set for duplicate names, surrogates and depth */
    bool by_rule;      /* it is JSON as far as it was read, but breaks a rule of ours: names, surrogates, depth or max_nodes */
    bool too_deep;     /* the depth limit was the reason */
    bool too_many;     /* max_nodes was */
    bool no_memory;    /* there was no memory: 503, not 400 */
};

/*
 * Parses the text. The nodes live in the arena; raw spans in text, which must
 * outlive them. 0 or -1 with *err filled. depth: an array or object is one level; "1" has depth 0.
 */
int json_parse(struct arena *a, struct str text, unsigned max_depth, struct json **ret_root, struct json_error *err) MUST_CHECK;

struct json_rules {
    unsigned max_depth;              /* an array or object is one level; "1" has depth 0 */
    size_t max_nodes;                /* in the tree; 0: any number */
    const char *const *opaque;       /* names up to NULL, or NULL: members called so have opaque values, wherever they stand outside of one */
    const char *const *opaque_parts; /* the same, but only where the value is an array or an object */
};

/*
 * The same by rules. An opaque value is checked like any other, but makes no nodes: its type, raw text and count are set, its child, string and number are not.
 * Beside the arena a text costs at most 8 bytes (12 while their array grows) for each name of the objects that are open at a time, and 32 KiB.
 */
int json_parse_by(struct arena *a, struct str text, const struct json_rules *rules, struct json **ret_root, struct json_error *err) MUST_CHECK;

/* Member by name; NULL if obj is NULL, no object, or has none. */
const struct json *json_get(const struct json *obj, const char *name);

/* Number of code points in valid UTF-8. */
size_t utf8_count(struct str s);
/* Its first code points, at most so many. */
struct str utf8_prefix(struct str s, size_t most);
/* True for well-formed UTF-8 (RFC 3629). */
bool utf8_valid(struct str s);
/* Bytes up to the first that is not well-formed; s.len when all are. */
size_t utf8_valid_length(struct str s);
/* Appends the text with U+FFFD for each byte that is not well-formed. */
void utf8_put(struct buf *b, struct str s);
/* Appends one reference token to a JSON pointer (escapes ~ and /). */
void json_pointer_push(struct buf *b, struct str token);

#ifdef __cplusplus
}
#endif
#endif
