#include "base/crypto.h"

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Returns where it ends. */
static char *base64_write(char *out, const void *data, size_t len, const char *digits, bool pad) {
    const uint8_t *p = data;
    for (; len >= 3; p += 3, len -= 3) {
        uint32_t v = (uint32_t) p[0] << 16 | (uint32_t) p[1] << 8 | p[2];
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = digits[v >> 6 & 63];
        *out++ = digits[v & 63];
    }
    if (len) {
        uint32_t v = (uint32_t) p[0] << 16 | (len == 2 ? (uint32_t) p[1] << 8 : 0);
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        if (len == 2) {
            *out++ = digits[v >> 6 & 63];
        }
        for (size_t i = len; pad && i < 3; i++) {
            *out++ = '=';
        }
    }
    return out;
}

static void base64_append(struct buf *b, const void *data, size_t len, const char *digits, bool pad) {
    if (buf_reserve(b, (len / 3 + 1) * 4)) {
        b->len = (size_t) (base64_write(b->data + b->len, data, len, digits, pad) - b->data);
    }
}

void base64url_write(const void *data, size_t len, char *out) {
    (void) base64_write(out, data, len, base64url_digits, false);
}

void buf_base64url(struct buf *b, const void *data, size_t len) {
    base64_append(b, data, len, base64url_digits, false);
}

void buf_base64(struct buf *b, const void *data, size_t len) {
    base64_append(b, data, len, base64_digits, true);
}

static int base64_value(char c, const char *last_two) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == last_two[0] ? 62 : c == last_two[1] ? 63 : -1;
}

/* text without its padding */
static bool base64_read(struct str text, const char *last_two, struct buf *out) {
    size_t start = out->len;
    if (text.len % 4 == 1 || !buf_reserve(out, text.len / 4 * 3 + 3)) {
        return false;
    }
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int v = base64_value(text.p[i], last_two);
        if (v < 0) {
            out->len = start;
            return false;
        }
        acc = acc << 6 | (uint32_t) v;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out->data[out->len++] = (char) (acc >> bits);
            acc &= (1u << bits) - 1;
        }
    }
    if (acc) {
        out->len = start;
        return false;
    }
    return true;
}

bool base64url_decode(struct str text, struct buf *out) {
    return base64_read(text, "-_", out);
}

bool base64_decode(struct str text, struct buf *out) {
    if (text.len % 4) {
        return false;
    }
    for (int pad = 0; pad < 2 && text.len && text.p[text.len - 1] == '='; pad++) {
        text.len--;
    }
    return base64_read(text, "+/", out);
}
