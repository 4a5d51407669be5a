#include "cli/text.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <wchar.h>

/* Decodes the character at s; its length, or 0 if it is malformed. */
static size_t utf8_take(struct str s, uint32_t *ret_code) {
    unsigned char c = (unsigned char) s.p[0];
    size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (len == 0 || len > s.len) {
        return 0;
    }
    uint32_t code = len == 1 ? c : c & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        unsigned char next = (unsigned char) s.p[i];
        if ((next & 0xc0) != 0x80) {
            return 0;
        }
        code = code << 6 | (next & 0x3f);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
        return 0;
    }
    *ret_code = code;
    return len;
}

static bool code_is_control(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
           c == 0xfeff || (c >= 0xe0000 && c <= 0xe007f);
}

void text_put_clean(struct buf *out, struct str s) {
    while (s.len) {
        uint32_t code;
        size_t len = utf8_take(s, &code);
        if (len == 0) {
            buf_char(out, '?');
        } else if (code_is_control(code)) {
            buf_char(out, ' ');
        } else {
            buf_put(out, s.p, len);
        }
        s = str_from(s, len ? len : 1);
    }
}

/* wcwidth knows only the characters of the locale. */
static void locale_once(void) {
    static bool done;
    if (!done) {
        done = true;
        setlocale(LC_CTYPE, "");
        if (!text_is_utf8()) {
            setlocale(LC_CTYPE, "C.UTF-8");
        }
    }
}

bool text_is_utf8(void) {
    static int is = -1;
    if (is < 0) {
        setlocale(LC_CTYPE, "");
        const char *codeset = nl_langinfo(CODESET);
        is = str_ieqz(str_of(codeset), "UTF-8") || str_ieqz(str_of(codeset), "utf8");
    }
    return is;
}

static int code_columns(uint32_t code) {
    if (code < 0x80) {
        return 1;
    }
    int columns = wcwidth((wchar_t) code);
    return columns < 0 ? 1 : columns;
}

int text_columns(struct str s) {
    locale_once();
    int columns = 0;
    while (s.len) {
        uint32_t code;
        size_t len = utf8_take(s, &code);
        columns += len ? code_columns(code) : 1;
        s = str_from(s, len ? len : 1);
    }
    return columns;
}

/* How many bytes of s fit into that many columns, characters that take none at the end included. */
static size_t bytes_that_fit(struct str s, int columns) {
    size_t at = 0;
    while (at < s.len) {
        uint32_t code;
        size_t len = utf8_take(str_from(s, at), &code);
        columns -= len ? code_columns(code) : 1;
        if (columns < 0) {
            break;
        }
        at += len ? len : 1;
    }
    return at;
}

void text_put_cut(struct buf *out, struct str s, int columns) {
    struct buf clean = {0};
    text_put_clean(&clean, s);
    struct str text = buf_view(&clean);
    if (columns > 0 && text_columns(text) <= columns) {
        buf_str(out, text);
    } else if (columns > 0) {
        const char *ellipsis = text_is_utf8() ? "\xe2\x80\xa6" : ".";
        buf_put(out, text.p, bytes_that_fit(text, columns - 1));
        buf_puts(out, ellipsis);
    }
    buf_fini(&clean);
}

void text_put_fit(struct buf *out, struct str s, int columns) {
    size_t before = out->len;
    text_put_cut(out, s, columns);
    if (out->failed) {
        return;
    }
    int taken = text_columns(str_n(out->data ? out->data + before : "", out->len - before));
    for (; taken < columns; taken++) {
        buf_char(out, ' ');
    }
}

int text_percent(double ratio) {
    int percent = (int) floor(ratio * 100 + 1e-9);
    return percent >= 100 && ratio < 1 ? 99 : percent;
}

void text_put_bar(struct buf *out, double ratio, int columns, bool utf8) {
    int full = isnan(ratio) ? 0 : (int) (ratio * columns);
    const char *empty = isnan(ratio) ? (utf8 ? "\xc2\xb7" : ".") : utf8 ? "\xe2\x96\x91" : "-";
    for (int i = 0; i < columns; i++) {
        buf_puts(out, i < full ? (utf8 ? "\xe2\x96\x88" : "#") : empty);
    }
}

void text_put_seconds(struct buf *out, double seconds) {
    if (!(seconds >= 0)) {
        return;
    }
    long long s = seconds > 1e9 ? 1000000000 : llround(seconds);
    if (s < 60) {
        buf_printf(out, "%lld s", s);
    } else if (s < 3600) {
        buf_printf(out, "%lld min %lld s", s / 60, s % 60);
    } else if (s < 86400) {
        buf_printf(out, "%lld h %lld min", s / 3600, s % 3600 / 60);
    } else {
        buf_printf(out, "%lld d %lld h", s / 86400, s % 86400 / 3600);
    }
}

void text_put_number(struct buf *out, double v) {
    double tenths = round(v * 10) / 10;
    if (fabs(tenths) >= 1e15 || tenths == floor(tenths)) {
        buf_printf(out, "%.0f", tenths);
    } else {
        buf_printf(out, "%.1f", tenths);
    }
}
