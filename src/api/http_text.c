#include "api/http_text.h"

bool list_next_by(struct str *rest, char separator, struct str *ret_item) {
    while (rest->len) {
        size_t end = 0;
        bool quoted = false;
        for (; end < rest->len && (quoted || rest->p[end] != separator); end++) {
            if (quoted && rest->p[end] == '\\' && end + 1 < rest->len) {
                end++;
            } else if (rest->p[end] == '"') {
                quoted = !quoted;
            }
        }
        struct str item = str_trim(str_n(rest->p, end));
        *rest = str_from(*rest, end + 1);
        if (item.len) {
            *ret_item = item;
            return true;
        }
    }
    return false;
}

bool list_next(struct str *rest, struct str *ret_item) {
    return list_next_by(rest, ',', ret_item);
}

bool digits_parse(struct str s, uint64_t most, uint64_t *ret) {
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        uint64_t digit = (uint64_t) (s.p[i] - '0');
        if (v > (most - digit) / 10 || digit > most) {
            return false;
        }
        v = v * 10 + digit;
    }
    if (s.len) {
        *ret = v;
    }
    return s.len > 0;
}

/* "0.5" in thousandths; -1 if it is none (RFC 9110 section 12.4.2). */
static int quality_parse(struct str s) {
    if (s.len < 1 || s.len > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.len > 1 && s.p[1] != '.')) {
        return -1;
    }
    int q = (s.p[0] - '0') * 1000, unit = 100;
    for (size_t i = 2; i < s.len; i++, unit /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return -1;
        }
        q += (s.p[i] - '0') * unit;
    }
    return q > 1000 ? -1 : q;
}

/* Cuts an element into what comes before its first ';' and its q, 1000 without; -1 if q is malformed. */
static int element_quality(struct str item, struct str *ret_range) {
    int q = 1000;
    struct str part;
    *ret_range = STR("");
    for (bool first = true; list_next_by(&item, ';', &part); first = false) {
        if (first) {
            *ret_range = part;
        } else if (part.len > 2 && (part.p[0] == 'q' || part.p[0] == 'Q') && part.p[1] == '=') {
            q = quality_parse(str_from(part, 2));
        }
    }
    return q;
}

static int range_specific(struct str range, const char *type, const char *subtype) {
    size_t type_len = strlen(type);
    if (str_eqz(range, "*/*")) {
        return 1;
    }
    if (range.len < type_len + 2 || range.p[type_len] != '/' || !str_ieqz(str_n(range.p, type_len), type)) {
        return 0;
    }
    struct str sub = str_from(range, type_len + 1);
    return str_eqz(sub, "*") ? 2 : str_ieqz(sub, subtype) ? 3 : 0;
}

struct accept accept_of(const struct http_request *r, const char *type, const char *subtype) {
    struct accept best = {0, 0};
    bool said = false;
    for (unsigned i = 0; i < r->header_count; i++) {
        if (!str_ieqz(r->headers[i].name, "accept")) {
            continue;
        }
        struct str rest = r->headers[i].value, item, range;
        while (list_next(&rest, &item)) {
            said = true;
            int q = element_quality(item, &range);
            int specific = q < 0 ? 0 : range_specific(range, type, subtype);
            if (specific > best.specific || (specific == best.specific && specific && q > best.q)) {
                best = (struct accept){q, specific};
            }
        }
    }
    return said ? best : (struct accept){1000, 1};
}

int accept_coding(const struct http_request *r, const char *name) {
    const char *also = strcmp(name, "gzip") == 0 ? "x-gzip" : name;
    int named = -1, star = -1;
    for (unsigned i = 0; i < r->header_count; i++) {
        if (!str_ieqz(r->headers[i].name, "accept-encoding")) {
            continue;
        }
        struct str rest = r->headers[i].value, item, coding;
        while (list_next(&rest, &item)) {
            int q = element_quality(item, &coding);
            if (str_ieqz(coding, name) || str_ieqz(coding, also)) {
                named = q > named ? q : named;
            } else if (str_eqz(coding, "*")) {
                star = q;
            }
        }
    }
    return named >= 0 ? named : star > 0 ? star : 0;
}

bool accept_gzip(const struct http_request *r) {
    return accept_coding(r, "gzip") > 0;
}

static bool charset_is_utf8(struct str item) {
    struct str part;
    for (bool first = true; list_next_by(&item, ';', &part); first = false) {
        if (first || part.len < 8 || !str_ieqz(str_n(part.p, 8), "charset=")) {
            continue;
        }
        struct str value = str_from(part, 8);
        if (value.len >= 2 && value.p[0] == '"' && value.p[value.len - 1] == '"') {
            value = str_n(value.p + 1, value.len - 2);
        }
        if (!str_ieqz(value, "utf-8") && !str_ieqz(value, "utf8")) {
            return false;
        }
    }
    return true;
}

enum media media_of(const struct http_request *r) {
    struct str coding = http_header(r, "content-encoding");
    if ((coding.len && !str_ieqz(coding, "identity")) || http_header_count(r, "content-type") > 1) {
        return MEDIA_OTHER;
    }
    struct str value = http_header(r, "content-type");
    if (!value.len || str_eqz(value, "application/json")) {
        return value.len ? MEDIA_JSON : MEDIA_NONE;
    }
    struct str rest = value, type;
    if (!list_next_by(&rest, ';', &type) || !charset_is_utf8(value)) {
        return MEDIA_OTHER;
    }
    return str_ieqz(type, "application/json")                                               ? MEDIA_JSON
           : str_ieqz(type, "application/x-ndjson") || str_ieqz(type, "application/ndjson") ? MEDIA_NDJSON
                                                                                            : MEDIA_OTHER;
}

/* "wait=N" or "wait="N"" (RFC 7240 section 2) in ms, or -1. A number too large for anything counts as the most. */
static int64_t wait_parse(struct str pref) {
    const char *equals = memchr(pref.p, '=', pref.len);
    uint64_t seconds;
    if (!equals || !str_ieqz(str_trim(str_n(pref.p, (size_t) (equals - pref.p))), "wait")) {
        return -1;
    }
    struct str value = str_trim(str_from(pref, (size_t) (equals - pref.p) + 1));
    if (value.len >= 2 && value.p[0] == '"' && value.p[value.len - 1] == '"') {
        value = str_n(value.p + 1, value.len - 2);
    }
    if (digits_parse(value, 60, &seconds)) {
        return (int64_t) seconds * 1000;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.p[i] < '0' || value.p[i] > '9') {
            return -1;
        }
    }
    return value.len ? 60 * 1000 : -1;
}

int64_t prefer_wait_ms(const struct http_request *r) {
    for (unsigned i = 0; i < r->header_count; i++) {
        struct str rest = r->headers[i].value, item, pref;
        while (str_ieqz(r->headers[i].name, "prefer") && list_next(&rest, &item)) {
            int64_t wait_ms = list_next_by(&item, ';', &pref) ? wait_parse(pref) : -1;
            if (wait_ms >= 0) {
                return wait_ms;
            }
        }
    }
    return -1;
}

static void etag_read(struct etags *e, struct str tag) {
    uint64_t version;
    if (str_eqz(tag, "*")) {
        e->any = true;
        return;
    }
    if (str_starts(tag, "W/")) {
        tag = str_from(tag, 2);
    }
    if (tag.len > 2 && tag.p[0] == '"' && tag.p[tag.len - 1] == '"' && digits_parse(str_n(tag.p + 1, tag.len - 2), INT64_MAX, &version) &&
        e->count < ETAGS_MAX) {
        e->version[e->count++] = version;
        e->newest = version > e->newest ? version : e->newest;
    }
}

void etags_read(const struct http_request *r, struct etags *ret) {
    *ret = (struct etags){0};
    for (unsigned i = 0; i < r->header_count; i++) {
        struct str rest = r->headers[i].value, item;
        while (str_ieqz(r->headers[i].name, "if-none-match") && list_next(&rest, &item)) {
            etag_read(ret, item);
        }
    }
}

bool etags_match(const struct etags *e, uint64_t version) {
    bool match = e->any;
    for (unsigned i = 0; i < e->count; i++) {
        match |= e->version[i] == version;
    }
    return match;
}

bool if_none_match(const struct http_request *r, struct str tag) {
    for (unsigned i = 0; i < r->header_count; i++) {
        struct str rest = r->headers[i].value, item;
        while (str_ieqz(r->headers[i].name, "if-none-match") && list_next(&rest, &item)) {
            struct str given = str_starts(item, "W/") ? str_from(item, 2) : item;
            bool same = given.len == tag.len + 2 && given.p[0] == '"' && given.p[given.len - 1] == '"' && memcmp(given.p + 1, tag.p, tag.len) == 0;
            if (same || str_eqz(item, "*")) {
                return true;
            }
        }
    }
    return false;
}

/* The quotes that may stand around a cookie's value are no part of it. */
static struct str cookie_value(struct str text) {
    bool quoted = text.len >= 2 && text.p[0] == '"' && text.p[text.len - 1] == '"';
    return quoted ? str_n(text.p + 1, text.len - 2) : text;
}

unsigned cookie_find(const struct http_request *r, const char *name, struct str *ret_value) {
    unsigned found = 0;
    size_t name_len = strlen(name);
    for (unsigned i = 0; i < r->header_count; i++) {
        struct str rest = r->headers[i].value;
        if (!str_ieqz(r->headers[i].name, "cookie")) {
            continue;
        }
        while (rest.len) {
            const char *end = memchr(rest.p, ';', rest.len);
            size_t len = end ? (size_t) (end - rest.p) : rest.len;
            struct str pair = str_trim(str_n(rest.p, len));
            rest = str_from(rest, len + 1);
            if (pair.len > name_len && pair.p[name_len] == '=' && memcmp(pair.p, name, name_len) == 0 && found++ == 0) {
                *ret_value = cookie_value(str_from(pair, name_len + 1));
            }
        }
    }
    return found;
}
