#include "base/eight.h"
#include "base/json.h"

/* Length of the well-formed sequence at p (n bytes left), or 0. Table 3-7 of the Unicode standard. */
static size_t utf8_sequence(const unsigned char *p, size_t n) {
    unsigned char c = p[0];
    if (c < 0x80) {
        return 1;
    }
    size_t len = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (len == 0 || n < len) {
        return 0;
    }
    unsigned char least = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < least || p[1] > most) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

size_t utf8_valid_length(struct str s) {
    const unsigned char *p = (const unsigned char *) s.p;
    size_t at = 0;
    while (at < s.len) {
        if (s.len - at >= 8 && (eight_read(s.p + at) & EIGHT_TOPS) == 0) {
            at += 8;
            continue;
        }
        size_t len = utf8_sequence(p + at, s.len - at);
        if (len == 0) {
            break;
        }
        at += len;
    }
    return at;
}

void utf8_put(struct buf *b, struct str s) {
    while (s.len) {
        size_t good = utf8_valid_length(s);
        buf_put(b, s.p, good);
        if (good == s.len) {
            break;
        }
        buf_puts(b, "\xef\xbf\xbd");
        s = str_from(s, good + 1);
    }
}

bool utf8_valid(struct str s) {
    return utf8_valid_length(s) == s.len;
}

size_t utf8_count(struct str s) {
    size_t count = 0, i = 0;
    for (; s.len - i >= 8 && (eight_read(s.p + i) & EIGHT_TOPS) == 0; i += 8) {
        count += 8;
    }
    for (; i < s.len; i++) {
        count += ((unsigned char) s.p[i] & 0xc0) != 0x80;
    }
    return count;
}

struct str utf8_prefix(struct str s, size_t most) {
    size_t i = 0;
    for (size_t count = 0; i < s.len; i++) {
        count += ((unsigned char) s.p[i] & 0xc0) != 0x80;
        if (count > most) {
            break;
        }
    }
    return str_n(s.p, i);
}
