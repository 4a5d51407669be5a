/*
 * buf.h: a growing run of bytes. Appending never fails in the middle of a line: an allocation that cannot be
 * had sets `failed`, later appends do nothing, and the owner asks once at the end. Zero-initialise; one thread.
 */
#ifndef BOWLINE_BASE_BUF_H
#define BOWLINE_BASE_BUF_H

#include "base/str.h"

#include <stdint.h>

struct buf {
    char *data; /* not NUL-terminated, except after buf_z */
    size_t len, cap;
    bool failed;
};

void buf_fini(struct buf *b);                 /* frees and zeroes */
void buf_clear(struct buf *b);                /* keeps the memory */
bool buf_reserve(struct buf *b, size_t more); /* false when there is no memory; sets failed */
void buf_u64(struct buf *b, uint64_t v);
void buf_i64(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *buf_z(struct buf *b);             /* the text with a NUL behind it (not counted); "" when failed */
void buf_drop_front(struct buf *b, size_t n); /* n <= len */
/* CR and LF from there on become spaces: for JSON text, which has them between its tokens only. from <= len */
void buf_one_line(struct buf *b, size_t from);

/* Inline, so that the length of a literal is known when it is compiled. A buffer that has failed has no room. */
static inline void buf_put(struct buf *b, const void *p, size_t len) {
    if (len && ((b->data && b->cap - b->len >= len) || buf_reserve(b, len))) {
        memcpy(b->data + b->len, p, len);
        b->len += len;
    }
}
static inline void buf_str(struct buf *b, struct str s) {
    buf_put(b, s.p, s.len);
}
static inline void buf_char(struct buf *b, char c) {
    buf_put(b, &c, 1);
}
static inline void buf_puts(struct buf *b, const char *z) {
    buf_put(b, z, strlen(z));
}

#define DIGITS_MAX 20
void digits_two(char out[2], unsigned v);                  /* v < 100 */
unsigned digits_count(uint64_t v);                         /* how many decimal digits v has: 1 to DIGITS_MAX */
char *digits_write(char *out, uint64_t v, unsigned count); /* count of them; returns where they end */

static inline struct str buf_view(const struct buf *b) {
    return (struct str){b->data ? b->data : "", b->len};
}

/* JSON text. Strings come out escaped and quoted; STR_NONE comes out as null. */
void buf_json_str(struct buf *b, struct str s);
/* A number as JSON: integers without a point, others with up to six decimals or in the shortest form that reads back; NaN and infinite as null. */
void buf_json_num(struct buf *b, double v);

#endif
