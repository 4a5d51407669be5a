/*
 * The part of the parser that finds boundaries: where the head ends, and what belongs to the body. The head is looked at line by line with
 * memchr and taken apart only once it is whole (http1_head.c). Limits are judged by position, never by what one call happened to bring.
 */
#include "net/http1.h"

#define SIZE_DIGITS_MAX 15      /* hexadecimal; fits 60 bits */
#define REQUEST_LINE_BESIDES 64 /* of a request line, what is not the target */

#define VALUE (HTTP1_TEXT | HTTP1_TARGET)
#define HOST (VALUE | HTTP1_HOST)
#define TOKEN (VALUE | HTTP1_TOKEN) /* that no host has */
#define ALL (HOST | HTTP1_TOKEN)

const uint8_t http1_classes[256] = {
    ['\t'] = HTTP1_TEXT,
    [' '] = HTTP1_TEXT,
    ['!'] = ALL,
    ['"'] = VALUE,
    ['#'] = HTTP1_TEXT | HTTP1_TOKEN,
    ['$' ... '\''] = ALL,
    ['(' ... ')'] = HOST,
    ['*' ... '+'] = ALL,
    [','] = HOST,
    ['-' ... '.'] = ALL,
    ['/'] = VALUE,
    ['0' ... '9'] = ALL,
    [':' ... ';'] = HOST,
    ['<'] = VALUE,
    ['='] = HOST,
    ['>' ... '@'] = VALUE,
    ['A' ... 'Z'] = ALL,
    ['['] = HOST,
    ['\\'] = VALUE,
    [']'] = HOST,
    ['^'] = TOKEN,
    ['_'] = ALL,
    ['`'] = TOKEN,
    ['a' ... 'z'] = ALL,
    ['{'] = VALUE,
    ['|'] = TOKEN,
    ['}'] = VALUE,
    ['~'] = ALL,
    [0x80 ... 0xff] = HTTP1_TEXT,
};

bool http1_fail(struct http1 *p, enum err err, const char *detail) {
    p->phase = HTTP1_BROKEN;
    p->err = (uint16_t) err;
    p->detail = detail;
    return false;
}

static enum http1_event fail(struct http1 *p, enum err err, const char *detail) {
    http1_fail(p, err, detail);
    return HTTP1_ERROR;
}

unsigned http1_head_lines(const struct http1 *p) {
    return p->lines ? p->lines - 1 : 0;
}

uint64_t http1_body_left(const struct http1 *p) {
    if (p->phase == HTTP1_IN_LENGTH) {
        return p->left;
    }
    return http1_in_body(p) ? UINT64_MAX : 0;
}

/* Empty lines before a request are passed over (RFC 9112 section 2.2). */
static enum http1_event next_start(struct http1 *p, const char *data, size_t len, size_t *used) {
    while (*used < len && data[*used] == '\r') {
        if (len - *used < 2) {
            return HTTP1_MORE;
        }
        if (data[*used + 1] != '\n') {
            return fail(p, ERR_INVALID_REQUEST, "A carriage return must be followed by a line feed");
        }
        if (++p->blank_lines > HTTP1_BLANK_LINES_MAX) {
            return fail(p, ERR_INVALID_REQUEST, "There are too many empty lines before the request line");
        }
        *used += 2;
    }
    if (*used == len) {
        return HTTP1_MORE;
    }
    if (!http1_is(HTTP1_TOKEN, data[*used])) {
        return fail(p, ERR_INVALID_REQUEST, "The request line does not begin with a method");
    }
    *p = (struct http1){.phase = HTTP1_IN_HEAD};
    return HTTP1_HEAD;
}

static enum http1_event head_limit(struct http1 *p, const struct http1_limits *limits, size_t upto) {
    size_t line_max = limits->max_target + REQUEST_LINE_BESIDES;
    if (p->lines == 0 && line_max <= limits->max_head) {
        return upto > line_max ? fail(p, ERR_URI_TOO_LONG, "The request line is too long") : HTTP1_MORE;
    }
    return upto > limits->max_head ? fail(p, ERR_HEADERS_TOO_LARGE, "The header block is too large") : HTTP1_MORE;
}

static enum http1_event next_head(struct http1 *p, const struct http1_limits *limits, const char *data, size_t len, size_t *used, struct str *piece) {
    for (;;) {
        const char *lf = p->scanned < len ? memchr(data + p->scanned, '\n', len - p->scanned) : NULL;
        size_t upto = lf ? (size_t) (lf - data) + 1 : len;
        if (head_limit(p, limits, upto) == HTTP1_ERROR) {
            return HTTP1_ERROR;
        }
        p->scanned = (uint32_t) upto;
        if (!lf) {
            return HTTP1_MORE;
        }
        if (upto - p->line_at < 2 || lf[-1] != '\r') {
            return fail(p, ERR_INVALID_REQUEST, "Lines must end with a carriage return and a line feed");
        }
        if (upto - p->line_at == 2) {
            p->phase = HTTP1_HEAD_GIVEN;
            *piece = str_n(data, upto);
            *used = upto;
            return HTTP1_HEAD;
        }
        p->lines++;
        p->line_at = (uint32_t) upto;
    }
}

/* A run of body bytes: of a known length, or of one chunk. */
static enum http1_event next_run(struct http1 *p, const char *data, size_t len, size_t *used, struct str *piece) {
    size_t take = len - *used < p->left ? len - *used : (size_t) p->left;
    if (!take) {
        return HTTP1_MORE;
    }
    *piece = str_n(data + *used, take);
    *used += take;
    p->left -= take;
    if (p->left == 0 && p->phase == HTTP1_IN_CHUNK) {
        p->phase = HTTP1_CHUNK_CR;
    }
    return HTTP1_BODY;
}

static int hex_digit(unsigned char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool size_byte(struct http1 *p, unsigned char c) {
    int digit = hex_digit(c);
    if (digit >= 0) {
        if (++p->digits > SIZE_DIGITS_MAX) {
            return http1_fail(p, ERR_INVALID_REQUEST, "A chunk's size has too many digits");
        }
        p->left = p->left << 4 | (unsigned) digit;
        return true;
    }
    if (!p->digits) {
        return http1_fail(p, ERR_INVALID_REQUEST, "A chunk must begin with its size in hexadecimal");
    }
    switch (c) {
    case '\r': p->phase = HTTP1_SIZE_LF; return true;
    case ';': p->phase = HTTP1_IN_EXTENSION; return true;
    case ' ':
    case '\t': p->phase = HTTP1_IN_SIZE_SPACE; return true;
    default: return http1_fail(p, ERR_INVALID_REQUEST, "A chunk's size is not a hexadecimal number");
    }
}

static bool extension_byte(struct http1 *p, unsigned char c) {
    if (++p->lines > HTTP1_EXTENSION_MAX) {
        return http1_fail(p, ERR_INVALID_REQUEST, "A chunk's extensions are too long");
    }
    if (p->phase == HTTP1_IN_SIZE_SPACE) {
        if (c == ';') {
            p->phase = HTTP1_IN_EXTENSION;
        } else if (c != ' ' && c != '\t') {
            return http1_fail(p, ERR_INVALID_REQUEST, "A chunk's size is followed by white space");
        }
        return true;
    }
    if (c == '\r') {
        p->phase = HTTP1_SIZE_LF;
        return true;
    }
    return http1_is(HTTP1_TEXT, (char) c) || http1_fail(p, ERR_INVALID_REQUEST, "A chunk's extension has a control character");
}

static bool trailer_byte(struct http1 *p, const struct http1_limits *limits, unsigned char c) {
    if (++p->lines > limits->max_head) {
        return http1_fail(p, ERR_HEADERS_TOO_LARGE, "The trailers are too large");
    }
    switch (p->phase) {
    case HTTP1_TRAILER_START:
        if (c == '\r') {
            p->phase = HTTP1_LAST_LF;
            return true;
        }
        p->phase = HTTP1_TRAILER_NAME;
        return http1_is(HTTP1_TOKEN, (char) c) || http1_fail(p, ERR_INVALID_REQUEST, "A trailer does not begin with a name");
    case HTTP1_TRAILER_NAME:
        if (c == ':') {
            p->phase = HTTP1_TRAILER_VALUE;
            return true;
        }
        return http1_is(HTTP1_TOKEN, (char) c) || http1_fail(p, ERR_INVALID_REQUEST, "A trailer's name has an invalid character");
    default:
        if (c == '\r') {
            p->phase = HTTP1_TRAILER_LF;
            return true;
        }
        return http1_is(HTTP1_TEXT, (char) c) || http1_fail(p, ERR_INVALID_REQUEST, "A trailer's value has a control character");
    }
}

static void size_done(struct http1 *p) {
    p->lines = 0;
    p->digits = 0;
    p->phase = p->left ? HTTP1_IN_CHUNK : HTTP1_TRAILER_START;
}

static void chunk_done(struct http1 *p) {
    p->left = 0;
    p->phase = HTTP1_IN_SIZE;
}

/* One byte of what stands between the chunks. */
static bool framing_byte(struct http1 *p, const struct http1_limits *limits, unsigned char c) {
    static const char *const bare = "A line within a chunked body must end with a carriage return and a line feed";
    switch (p->phase) {
    case HTTP1_IN_SIZE: return size_byte(p, c);
    case HTTP1_IN_SIZE_SPACE:
    case HTTP1_IN_EXTENSION: return extension_byte(p, c);
    case HTTP1_CHUNK_CR: p->phase = HTTP1_CHUNK_LF; return c == '\r' || http1_fail(p, ERR_INVALID_REQUEST, "A chunk is longer than its size");
    case HTTP1_TRAILER_START:
    case HTTP1_TRAILER_NAME:
    case HTTP1_TRAILER_VALUE: return trailer_byte(p, limits, c);
    default: break;
    }
    if (c != '\n') {
        return http1_fail(p, ERR_INVALID_REQUEST, bare);
    }
    switch (p->phase) {
    case HTTP1_SIZE_LF: size_done(p); break;
    case HTTP1_CHUNK_LF: chunk_done(p); break;
    case HTTP1_TRAILER_LF: p->phase = HTTP1_TRAILER_START; break;
    default: p->phase = HTTP1_AT_END; break;
    }
    return true;
}

static enum http1_event next_chunked(struct http1 *p, const struct http1_limits *limits, const char *data, size_t len, size_t *used,
                                     struct str *piece) {
    for (;;) {
        if (p->phase == HTTP1_IN_CHUNK) {
            return next_run(p, data, len, used, piece);
        }
        if (p->phase == HTTP1_AT_END) {
            return HTTP1_END;
        }
        if (*used == len) {
            return HTTP1_MORE;
        }
        if (!framing_byte(p, limits, (unsigned char) data[(*used)++])) {
            return HTTP1_ERROR;
        }
    }
}

static enum http1_event next_body(struct http1 *p, const struct http1_limits *limits, const char *data, size_t len, size_t *used, struct str *piece) {
    enum http1_event ev;
    if (p->phase == HTTP1_AT_END || (p->phase == HTTP1_IN_LENGTH && p->left == 0)) {
        ev = HTTP1_END;
    } else if (p->phase == HTTP1_IN_LENGTH) {
        ev = next_run(p, data, len, used, piece);
    } else {
        ev = next_chunked(p, limits, data, len, used, piece);
    }
    if (ev == HTTP1_END) {
        *p = (struct http1){.phase = HTTP1_AT_START};
    }
    return ev;
}

enum http1_event http1_next(struct http1 *p, const struct http1_limits *limits, const char *data, size_t len, size_t *ret_used,
                            struct str *ret_piece) {
    *ret_used = 0;
    *ret_piece = STR_NONE;
    switch (p->phase) {
    case HTTP1_AT_START: {
        enum http1_event ev = next_start(p, data, len, ret_used);
        if (ev != HTTP1_HEAD) {
            return ev;
        }
        size_t blank = *ret_used;
        ev = next_head(p, limits, data + blank, len - blank, ret_used, ret_piece);
        *ret_used = ev == HTTP1_HEAD ? blank + ret_piece->len : blank;
        return ev;
    }
    case HTTP1_IN_HEAD: return next_head(p, limits, data, len, ret_used, ret_piece);
    case HTTP1_BROKEN: return HTTP1_ERROR;
    default: return next_body(p, limits, data, len, ret_used, ret_piece);
    }
}
