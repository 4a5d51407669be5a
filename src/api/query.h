/* query.h: paths and query strings (RFC 3986), decoded. */
#ifndef BOWLINE_API_QUERY_H
#define BOWLINE_API_QUERY_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

#define QUERY_MAX 16
#define QUERY_MALFORMED STR("The query holds a malformed escape or is not UTF-8")

struct query {
    unsigned count;
    struct query_parameter {
        struct str name, value; /* decoded */
        bool undecoded;         /* the value cannot be, and stands as it came */
    } * at;                     /* QUERY_MAX of them, in the arena; NULL while there is none */
};

/*
 * Splits and decodes raw (may be none). Names given twice, and in names malformed escapes and what is no UTF-8, are a problem; in values that is for query_known to
 * judge. "+" is a space.
 * False with *p filled, whose texts lie in the arena.
 */
bool query_parse(struct arena *a, struct str raw, struct query *ret, struct problem *p) MUST_CHECK;
/* The value, or STR_NONE. */
struct str query_get(const struct query *q, const char *name);

/* A path with its escaped unreserved characters decoded; all other escapes stay as they are, so an encoded slash never separates. */
struct str path_decode(struct arena *a, struct str raw) MUST_CHECK;

#endif
