/*
 * http_text.h: the header fields of RFC 9110, 7240 and 6265 that the api reads. Pure functions over a request's headers.
 * What a field's grammar does not allow is passed over, as those documents ask for.
 */
#ifndef BOWLINE_API_HTTP_TEXT_H
#define BOWLINE_API_HTTP_TEXT_H

#include "net/http.h"

/* Next element of a comma-separated list (quoted strings are respected, white space trimmed, empty elements passed over). */
bool list_next(struct str *rest, struct str *ret_item);
/* The same for any separator, such as the parameters behind an element. */
bool list_next_by(struct str *rest, char separator, struct str *ret_item);

/* How welcome a media type is. */
struct accept {
    int q;        /* thousandths; 0: not acceptable */
    int specific; /* 0 no range matched, 1 star/star, 2 type/star, 3 named */
};
/* Accept (RFC 9110 section 12.5.1). Without the field everything is welcome: {1000, 1}. */
struct accept accept_of(const struct http_request *r, const char *type, const char *subtype);
/* Accept-Encoding (RFC 9110 section 12.5.3): how welcome a coding is, in thousandths; 0 without the field. */
int accept_coding(const struct http_request *r, const char *name);
bool accept_gzip(const struct http_request *r);

enum media { MEDIA_NONE, MEDIA_JSON, MEDIA_NDJSON, MEDIA_OTHER };
/* Content-Type; one with a charset other than utf-8, a Content-Encoding, or several Content-Types count as MEDIA_OTHER. */
enum media media_of(const struct http_request *r);

/* Prefer: wait=N (RFC 7240 section 4.3) in ms, at most 60000; -1 without. */
int64_t prefer_wait_ms(const struct http_request *r);

#define ETAGS_MAX 16
struct etags {
    bool any;       /* "*" */
    unsigned count; /* of versions; others are passed over */
    uint64_t version[ETAGS_MAX];
    uint64_t newest; /* the greatest of them, 0 if none */
};
/* If-None-Match (RFC 9110 section 13.1.2), whose tags are versions of tasks. */
void etags_read(const struct http_request *r, struct etags *ret);
bool etags_match(const struct etags *e, uint64_t version);

/* If-None-Match against one tag (without quotes), compared weakly (RFC 9110 section 8.8.3.2); "*" matches any. */
bool if_none_match(const struct http_request *r, struct str tag);

/* How many cookies of that name there are (RFC 6265 section 4.2.1); the first one's value, without quotes around it. */
unsigned cookie_find(const struct http_request *r, const char *name, struct str *ret_value);

/* Decimal digits only. False if empty, anything else, or past most. */
bool digits_parse(struct str s, uint64_t most, uint64_t *ret);

#endif
