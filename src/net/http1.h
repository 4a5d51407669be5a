/*
 * http1.h: a strict parser of HTTP/1.1 messages from clients (RFC 9112). It does no I/O and keeps no bytes: the caller shows it what has
 * arrived, and any split of the same input gives the same events. What is ambiguous is refused, never repaired: bare CR or LF, folded lines,
 * space before a colon, Transfer-Encoding beside Content-Length, several of either, any coding but "chunked", a missing or second Host.
 *
 * A request is HTTP1_HEAD, then any number of HTTP1_BODY, then HTTP1_END. After HTTP1_HEAD the caller must call http1_head_parse, which tells the
 * parser how the body is delimited. After HTTP1_ERROR there is nothing more to be had from that connection.
 */
#ifndef BOWLINE_NET_HTTP1_H
#define BOWLINE_NET_HTTP1_H

#include "net/http.h"

#define HTTP1_EXTENSION_MAX 256 /* bytes behind one chunk's size */
#define HTTP1_BLANK_LINES_MAX 4 /* empty lines before a request line (RFC 9112 section 2.2) */

struct http1_limits {
    size_t max_head; /* request line and header lines, with the empty line; also the trailers */
    size_t max_target;
};

enum http1_event { HTTP1_MORE, HTTP1_HEAD, HTTP1_BODY, HTTP1_END, HTTP1_ERROR };

enum http1_phase {
    HTTP1_AT_START,
    HTTP1_IN_HEAD,
    HTTP1_HEAD_GIVEN, /* waits for http1_head_parse */
    HTTP1_IN_LENGTH,
    HTTP1_IN_SIZE,
    HTTP1_IN_SIZE_SPACE,
    HTTP1_IN_EXTENSION,
    HTTP1_SIZE_LF,
    HTTP1_IN_CHUNK,
    HTTP1_CHUNK_CR,
    HTTP1_CHUNK_LF,
    HTTP1_TRAILER_START,
    HTTP1_TRAILER_NAME,
    HTTP1_TRAILER_VALUE,
    HTTP1_TRAILER_LF,
    HTTP1_LAST_LF,
    HTTP1_AT_END,
    HTTP1_BROKEN
};

/* Zero-initialise. Small, since every open connection has one. */
struct http1 {
    uint8_t phase; /* enum http1_phase */
    uint8_t blank_lines, digits;
    uint16_t err;       /* enum err, with HTTP1_ERROR */
    uint32_t scanned;   /* bytes of the head seen */
    uint32_t line_at;   /* where its present line begins */
    uint32_t lines;     /* complete lines in it; behind the head: bytes of extension or trailers */
    uint64_t left;      /* bytes of the body or chunk still to come */
    const char *detail; /* a sentence, with HTTP1_ERROR */
};

struct http1_head {
    enum http_method method;
    struct str method_text, path, query, host;
    struct http_header *headers;
    unsigned header_count;
    uint64_t content_length; /* 0 with chunked */
    bool chunked, http10, keep_alive, expects_continue, websocket;
};

/*
 * Looks at data[0..len): what was left unused by the last call, with what has arrived since behind it. *ret_used says how much of it is done with.
 * HTTP1_MORE: nothing further in it. HTTP1_HEAD: *ret_piece is the whole header block. HTTP1_BODY: *ret_piece is the next piece of the body.
 * HTTP1_END: the request is complete. HTTP1_ERROR: p->err and p->detail. While a head is incomplete it stays unused.
 */
enum http1_event http1_next(struct http1 *p, const struct http1_limits *limits, const char *data, size_t len, size_t *ret_used,
                            struct str *ret_piece) MUST_CHECK;

/* After HTTP1_HEAD: header lines in the block, for the size of the array given to http1_head_parse. */
unsigned http1_head_lines(const struct http1 *p);

/*
 * Takes a header block apart; all spans point into it (or at literals). headers has room for http1_head_lines. False: p->err and p->detail, as with HTTP1_ERROR.
 */
bool http1_head_parse(struct http1 *p, const struct http1_limits *limits, struct str block, struct http_header *headers,
                      struct http1_head *ret_head) MUST_CHECK;

/* True between requests, with nothing of the next one seen. */
static inline bool http1_idle(const struct http1 *p) {
    return p->phase == HTTP1_AT_START;
}
/* True while a body is arriving. */
static inline bool http1_in_body(const struct http1 *p) {
    return p->phase >= HTTP1_IN_LENGTH && p->phase <= HTTP1_LAST_LF;
}
/* Bytes of a body with a known length that are still to come; UINT64_MAX if that is not known. */
uint64_t http1_body_left(const struct http1 *p);

/* Takes the next item off the front of a field's list, without the white space around it (RFC 9110 section 5.6.1). False: there is none left. */
bool http1_list_next(struct str *list, struct str *ret_item);

/* For both halves of the parser. */
bool http1_fail(struct http1 *p, enum err err, const char *detail); /* false */
/* What a byte may be part of (RFC 9110 section 5.6.2, RFC 9112 section 3). */
enum http1_class { HTTP1_TOKEN = 1, HTTP1_TEXT = 2, HTTP1_TARGET = 4, HTTP1_HOST = 8 }; /* TEXT: of a field's value */
extern const uint8_t http1_classes[256];
static inline bool http1_is(enum http1_class class, char c) {
    return http1_classes[(unsigned char) c] & class;
}
/* How many bytes at the front of s are of that class. */
static inline size_t http1_run(enum http1_class class, struct str s) {
    size_t n = 0;
    while (n < s.len && http1_is(class, s.p[n])) {
        n++;
    }
    return n;
}
/* Whether all of s is, four bytes at a time. */
static inline bool http1_all(enum http1_class class, struct str s) {
    const unsigned char *p = (const unsigned char *) s.p;
    size_t n = 0;
    while (s.len - n >= 4 && http1_classes[p[n]] & http1_classes[p[n + 1]] & http1_classes[p[n + 2]] & http1_classes[p[n + 3]] & class) {
        n += 4;
    }
    return n + http1_run(class, str_from(s, n)) == s.len;
}

#endif
