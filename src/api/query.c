#include "api/query.h"

#include "base/json.h"

#include <ctype.h>
#include <stdio.h>

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of an escape at s.p[i], or -1. */
static int escape_at(struct str s, size_t i) {
    if (s.p[i] != '%' || i + 2 >= s.len) {
        return -1;
    }
    int high = hex_digit(s.p[i + 1]), low = hex_digit(s.p[i + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

struct str path_decode(struct arena *a, struct str raw) {
    if (!raw.len || !memchr(raw.p, '%', raw.len)) {
        return raw;
    }
    char *out = arena_alloc(a, raw.len);
    size_t n = 0;
    for (size_t i = 0; out && i < raw.len; i++) {
        int c = escape_at(raw, i);
        if (c > 0 && c < 0x80 && (isalnum(c) || strchr("-._~", c))) {
            out[n++] = (char) c;
            i += 2;
        } else {
            out[n++] = raw.p[i];
        }
    }
    return str_n(out, n);
}

static bool query_decode(struct arena *a, struct str raw, struct str *ret) {
    char *out = arena_alloc(a, raw.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < raw.len; i++) {
        int c = raw.p[i] == '+' ? ' ' : (unsigned char) raw.p[i];
        if (c == '%') {
            c = escape_at(raw, i);
            i += 2;
        }
        if (c < 0) {
            return false;
        }
        out[n++] = (char) c;
    }
    *ret = str_n(out, n);
    return out && utf8_valid(*ret);
}

static bool query_add(struct query *q, struct query_parameter added, struct arena *a, struct problem *p) {
    struct str name = added.name;
    p->err = ERR_INVALID_REQUEST;
    if (query_get(q, name.p ? name.p : "").p) {
        char text[128];
        int n = snprintf(text, sizeof text, "The query parameter %.*s is given twice", name.len > 60 ? 60 : (int) name.len, name.p);
        p->detail = arena_str(a, str_n(text, (size_t) n));
        return false;
    }
    if (q->count == QUERY_MAX) {
        p->detail = STR("There are too many query parameters");
        return false;
    }
    q->at = q->at ? q->at : arena_take(a, QUERY_MAX * sizeof *q->at);
    if (!q->at) {
        p->err = ERR_UNAVAILABLE;
        return false;
    }
    q->at[q->count++] = added;
    p->err = ERR_NONE;
    return true;
}

bool query_parse(struct arena *a, struct str raw, struct query *ret, struct problem *p) {
    *ret = (struct query){0};
    while (raw.len) {
        const char *end = memchr(raw.p, '&', raw.len);
        struct str pair = str_n(raw.p, end ? (size_t) (end - raw.p) : raw.len);
        raw = str_from(raw, pair.len + 1);
        if (!pair.len) {
            continue;
        }
        const char *equals = memchr(pair.p, '=', pair.len);
        struct str name = str_n(pair.p, equals ? (size_t) (equals - pair.p) : pair.len), raw_value = str_from(pair, name.len + 1);
        struct query_parameter added = {0};
        if (!query_decode(a, name, &added.name)) {
            *p = (struct problem){.err = ERR_INVALID_REQUEST, .detail = QUERY_MALFORMED};
            return false;
        }
        if (!query_decode(a, raw_value, &added.value)) {
            added.undecoded = true;
            added.value = raw_value;
        }
        if (!query_add(ret, added, a, p)) {
            return false;
        }
    }
    return true;
}

struct str query_get(const struct query *q, const char *name) {
    for (unsigned i = 0; i < q->count; i++) {
        if (str_eqz(q->at[i].name, name)) {
            return q->at[i].value;
        }
    }
    return STR_NONE;
}
