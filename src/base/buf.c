#include "base/buf.h"

#include "base/eight.h"
#include "base/number.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_fini(struct buf *b) {
    free(b->data);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b) {
    b->len = 0;
    b->failed = false;
}

/* Nothing fits any more, so that nothing is appended. */
static bool buf_fail(struct buf *b) {
    b->failed = true;
    b->cap = b->len;
    return false;
}

bool buf_reserve(struct buf *b, size_t more) {
    if (b->failed) {
        return false;
    }
    if (b->cap - b->len >= more && (b->data || !more)) {
        return true;
    }
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->len < more) {
        if (cap > SIZE_MAX / 2) {
            return buf_fail(b);
        }
        cap *= 2;
    }
    char *data = realloc(b->data, cap);
    if (!data) {
        return buf_fail(b);
    }
    b->data = data;
    b->cap = cap;
    return true;
}

static const char digit_pairs[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354555657585960616263646566676869"
    "707172737475767778798081828384858687888990919293949596979899";

void digits_two(char out[2], unsigned v) {
    memcpy(out, digit_pairs + 2 * (size_t) v, 2);
}

unsigned digits_count(uint64_t v) {
    unsigned n = 1;
    for (uint64_t most = 10; v >= most && n < DIGITS_MAX; most *= 10) { /* the last product overflows, and is not looked at */
        n++;
    }
    return n;
}

char *digits_write(char *out, uint64_t v, unsigned count) {
    char *at = out + count;
    for (; v >= 100; v /= 100) {
        at -= 2;
        digits_two(at, (unsigned) (v % 100));
    }
    if (v >= 10) {
        digits_two(at - 2, (unsigned) v);
    } else {
        at[-1] = (char) ('0' + v);
    }
    return out + count;
}

void buf_u64(struct buf *b, uint64_t v) {
    unsigned n = digits_count(v);
    if ((b->data && b->cap - b->len >= n) || buf_reserve(b, n)) {
        b->len = (size_t) (digits_write(b->data + b->len, v, n) - b->data);
    }
}

void buf_i64(struct buf *b, int64_t v) {
    if (v < 0) {
        buf_char(b, '-');
        buf_u64(b, 0 - (uint64_t) v);
    } else {
        buf_u64(b, (uint64_t) v);
    }
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (need < 0) {
        buf_fail(b);
    } else if (buf_reserve(b, (size_t) need + 1)) {
        vsnprintf(b->data + b->len, (size_t) need + 1, fmt, again);
        b->len += (size_t) need;
    }
    va_end(again);
}

const char *buf_z(struct buf *b) {
    if (!buf_reserve(b, 1)) {
        return "";
    }
    b->data[b->len] = '\0';
    return b->data;
}

void buf_drop_front(struct buf *b, size_t n) {
    if (n) {
        memmove(b->data, b->data + n, b->len - n);
        b->len -= n;
    }
}

static void blank_out(struct buf *b, size_t from, char c) {
    for (char *at; from < b->len && (at = memchr(b->data + from, c, b->len - from)); from = (size_t) (at - b->data) + 1) {
        *at = ' ';
    }
}

void buf_one_line(struct buf *b, size_t from) {
    blank_out(b, from, '\n');
    blank_out(b, from, '\r');
}

/* Whether one of eight bytes is a control character, a quotation mark or a backslash. */
static bool eight_need_escape(const char *p) {
    uint64_t v = eight_read(p);
    return eight_below(v, 0x20) | eight_have(v, '"') | eight_have(v, '\\');
}

static bool needs_escape(unsigned char c) {
    return c < 0x20 || c == '"' || c == '\\';
}

/* How many bytes at the front need none. */
static size_t plain_run(struct str s) {
    size_t i = 0;
    while (s.len - i >= 8 && !eight_need_escape(s.p + i)) {
        i += 8;
    }
    while (i < s.len && !needs_escape((unsigned char) s.p[i])) {
        i++;
    }
    return i;
}

static void put_escaped(struct buf *b, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"': buf_put(b, "\\\"", 2); break;
    case '\\': buf_put(b, "\\\\", 2); break;
    case '\n': buf_put(b, "\\n", 2); break;
    case '\r': buf_put(b, "\\r", 2); break;
    case '\t': buf_put(b, "\\t", 2); break;
    default: {
        char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        buf_put(b, u, 6);
    }
    }
}

void buf_json_str(struct buf *b, struct str s) {
    if (!s.p) {
        buf_put(b, "null", 4);
        return;
    }
    buf_char(b, '"');
    for (;;) {
        size_t plain = plain_run(s);
        buf_put(b, s.p, plain);
        if (plain == s.len) {
            break;
        }
        put_escaped(b, (unsigned char) s.p[plain]);
        s = str_from(s, plain + 1);
    }
    buf_char(b, '"');
}

#define MILLION 1000000

/* A number with up to six decimals, which most are: n / 1e6 rounds correctly, so the decimal text reads back as that very number. */
static void buf_millionths(struct buf *b, long long n) {
    unsigned long long all = n < 0 ? 0 - (unsigned long long) n : (unsigned long long) n;
    unsigned part = (unsigned) (all % MILLION);
    char decimals[7] = {'.'};
    size_t len = sizeof(decimals);
    digits_two(decimals + 1, part / 10000);
    digits_two(decimals + 3, part / 100 % 100);
    digits_two(decimals + 5, part % 100);
    while (decimals[len - 1] == '0') {
        len--;
    }
    if (n < 0) {
        buf_char(b, '-');
    }
    buf_u64(b, all / MILLION);
    buf_put(b, decimals, len);
}

void buf_json_num(struct buf *b, double v) {
    if (!isfinite(v)) {
        buf_put(b, "null", 4);
        return;
    }
    if (fabs(v) < 9007199254740992.0 && v == (double) (int64_t) v) {
        buf_i64(b, (int64_t) v);
        return;
    }
    long long millionths = fabs(v) < 1e9 ? (long long) (v * MILLION + (v < 0 ? -0.5 : 0.5)) : 0;
    if (millionths && (double) millionths / MILLION == v) {
        buf_millionths(b, millionths);
        return;
    }
    char text[NUMBER_TEXT_MAX];
    buf_put(b, text, number_text(v, text));
}
