#include "base/json.h"

#include "base/json_index.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * A descent over the tokens that json_index found. Each token is read to its end by the grammar of RFC 8259, and whatever stands
 * between that end and the next token must be white space, so every byte of the text is accounted for here.
 */

#define PAIRWISE_MAX 16 /* members up to which names are compared each with each */

struct level { /* a container that is being read */
    struct level *up;
    const struct json *container;
    struct json *last;
    size_t count;
    struct str name; /* of the member being read, in an object */
};

struct reader {
    struct arena *arena;
    struct str text;
    const uint32_t *at; /* of each token */
    size_t tokens, i;
    unsigned max_depth;
    struct level *top;
    struct json_error *err;
};

static int json_read_value(struct reader *r, struct json *n, unsigned depth);

/* ---- errors ---- */

static int json_fail(struct reader *r, size_t offset, const char *detail) {
    r->err->offset = offset;
    snprintf(r->err->detail, sizeof(r->err->detail), "%s at byte %zu", detail, offset);
    return -1;
}

static int json_no_memory(struct reader *r) {
    snprintf(r->err->detail, sizeof(r->err->detail), "there is no memory to read the JSON text");
    r->err->no_memory = true;
    return -1;
}

void json_pointer_push(struct buf *b, struct str token) {
    buf_char(b, '/');
    for (size_t i = 0; i < token.len; i++) {
        if (token.p[i] == '~' || token.p[i] == '/') {
            buf_put(b, token.p[i] == '~' ? "~0" : "~1", 2);
        } else {
            buf_char(b, token.p[i]);
        }
    }
}

/* Appends the token to the error's pointer; false, and nothing appended, when it does not fit there as a C string. */
static bool json_error_push(struct json_error *err, struct str token) {
    struct buf b = {0};
    json_pointer_push(&b, token);
    size_t have = strlen(err->pointer);
    bool fits = !b.failed && have + b.len < sizeof(err->pointer) && !memchr(b.data, '\0', b.len);
    if (fits) {
        memcpy(err->pointer + have, b.data, b.len);
        err->pointer[have + b.len] = '\0';
    }
    buf_fini(&b);
    return fits;
}

/* The pointer of the value being read at this level; as much of it as fits. */
static bool json_error_place(struct json_error *err, const struct level *level) {
    if (!level) {
        return true;
    }
    if (!json_error_place(err, level->up)) {
        return false;
    }
    if (level->container->type == JSON_OBJECT) {
        return level->name.p ? json_error_push(err, level->name) : false;
    }
    char index[24];
    snprintf(index, sizeof(index), "%zu", level->count);
    return json_error_push(err, str_of(index));
}

static int json_fail_here(struct reader *r, size_t offset, const char *detail) {
    json_error_place(r->err, r->top);
    r->err->offset = offset;
    snprintf(r->err->detail, sizeof(r->err->detail), "%s", detail);
    return -1;
}

/* ---- tokens ---- */

static size_t json_at(const struct reader *r, size_t i) {
    return i < r->tokens ? r->at[i] : r->text.len;
}

/* The present token's first character; NUL behind the last one. */
static char json_peek(const struct reader *r) {
    return r->i < r->tokens ? r->text.p[r->at[r->i]] : '\0';
}

static bool json_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Ends the present token at end and goes on to the next one. */
static int json_advance(struct reader *r, size_t end) {
    size_t next = json_at(r, r->i + 1);
    for (size_t i = end; i < next; i++) {
        if (!json_space(r->text.p[i])) {
            return json_fail(r, i, "an unexpected character stands");
        }
    }
    r->i++;
    return 0;
}

/* ---- strings ---- */

static int json_hex4(const char *p) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) {
            return -1;
        }
        v = v << 4 | d;
    }
    return v;
}

static char *json_put_code(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char) code;
    } else if (code < 0x800) {
        *to++ = (char) (0xc0 | code >> 6);
        *to++ = (char) (0x80 | (code & 63));
    } else if (code < 0x10000) {
        *to++ = (char) (0xe0 | code >> 12);
        *to++ = (char) (0x80 | (code >> 6 & 63));
        *to++ = (char) (0x80 | (code & 63));
    } else {
        *to++ = (char) (0xf0 | code >> 18);
        *to++ = (char) (0x80 | (code >> 12 & 63));
        *to++ = (char) (0x80 | (code >> 6 & 63));
        *to++ = (char) (0x80 | (code & 63));
    }
    return to;
}

enum { ESCAPE_BAD = -1, ESCAPE_LONE = -2 };

/* Reads the escape at p (behind it at most `left` bytes of the string). Bytes read, or one of the above. */
static int json_unescape(const char *p, size_t left, char **to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (left < 2) {
        return ESCAPE_BAD;
    }
    const char *simple = p[1] ? strchr(from, p[1]) : NULL;
    if (simple) {
        *(*to)++ = into[simple - from];
        return 2;
    }
    int code = p[1] == 'u' && left >= 6 ? json_hex4(p + 2) : -1;
    if (code < 0) {
        return ESCAPE_BAD;
    }
    if (code < 0xd800 || code > 0xdfff) {
        *to = json_put_code(*to, (unsigned) code);
        return 6;
    }
    int low = code < 0xdc00 && left >= 12 && p[6] == '\\' && p[7] == 'u' ? json_hex4(p + 8) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        return ESCAPE_LONE;
    }
    *to = json_put_code(*to, 0x10000u + (((unsigned) code - 0xd800) << 10) + ((unsigned) low - 0xdc00));
    return 12;
}

static int json_decode(struct reader *r, struct str in, size_t offset, struct str *ret) {
    char *out = arena_alloc(r->arena, in.len);
    if (!out) {
        return json_no_memory(r);
    }
    char *to = out;
    for (size_t i = 0; i < in.len;) {
        const char *escape = memchr(in.p + i, '\\', in.len - i);
        size_t plain = escape ? (size_t) (escape - in.p) - i : in.len - i;
        memcpy(to, in.p + i, plain);
        to += plain;
        i += plain;
        if (!escape) {
            break;
        }
        int used = json_unescape(escape, in.len - i, &to);
        if (used == ESCAPE_LONE) {
            return json_fail_here(r, offset + i, "a surrogate stands alone");
        }
        if (used < 0) {
            return json_fail(r, offset + i, "an escape that does not exist stands");
        }
        i += (size_t) used;
    }
    *ret = str_n(out, (size_t) (to - out));
    return 0;
}

/* The string token at hand: *ret_raw with its quotes, *ret decoded. */
static int json_read_string(struct reader *r, struct str *ret_raw, struct str *ret) {
    size_t from = json_at(r, r->i), end = json_at(r, r->i + 1);
    while (end > from + 1 && json_space(r->text.p[end - 1])) {
        end--;
    }
    if (end < from + 2 || r->text.p[end - 1] != '"') {
        return json_fail(r, end, "an unexpected character stands");
    }
    struct str inner = str_n(r->text.p + from + 1, end - from - 2);
    *ret_raw = str_n(r->text.p + from, end - from);
    *ret = inner;
    if (inner.len && memchr(inner.p, '\\', inner.len) && json_decode(r, inner, from + 1, ret) != 0) {
        return -1;
    }
    r->i++;
    return 0;
}

/* ---- numbers and words ---- */

struct number {
    const char *p, *end;
    uint64_t digits; /* all digits as one number, as long as they fit */
    int exponent10;  /* that the fraction and the exponent make of it */
    bool negative, plain, exact;
};

static bool json_digit(const struct number *n) {
    return n->p < n->end && *n->p >= '0' && *n->p <= '9';
}

static bool json_digits(struct number *n, bool fraction) {
    const char *from = n->p;
    for (; json_digit(n); n->p++) {
        unsigned d = (unsigned) (*n->p - '0');
        if (n->digits > (UINT64_MAX - d) / 10) {
            n->exact = false;
            continue;
        }
        n->digits = n->digits * 10 + d;
        n->exponent10 -= fraction;
    }
    return n->p > from;
}

static bool json_exponent(struct number *n) {
    n->p++;
    bool minus = n->p < n->end && *n->p == '-';
    if (n->p < n->end && (*n->p == '-' || *n->p == '+')) {
        n->p++;
    }
    const char *from = n->p;
    int e = 0;
    for (; json_digit(n); n->p++) {
        e = e < 100000 ? e * 10 + (*n->p - '0') : e;
    }
    n->exponent10 += minus ? -e : e;
    return n->p > from;
}

/* number = [ "-" ] int [ frac ] [ exp ] (RFC 8259 section 6); n->p is behind it. */
static bool json_scan_number(struct number *n) {
    n->plain = n->exact = true;
    if (n->p < n->end && *n->p == '-') {
        n->negative = true;
        n->p++;
    }
    if (n->p < n->end && *n->p == '0') {
        n->p++;
    } else if (!json_digits(n, false)) {
        return false;
    }
    if (n->p < n->end && *n->p == '.') {
        n->plain = false;
        n->p++;
        if (!json_digits(n, true)) {
            return false;
        }
    }
    if (n->p < n->end && (*n->p == 'e' || *n->p == 'E')) {
        n->plain = false;
        return json_exponent(n);
    }
    return true;
}

static int json_long_double(struct reader *r, struct str raw, double *ret) {
    char few[64], *z = few;
    if (raw.len >= sizeof(few) && !(z = malloc(raw.len + 1))) {
        return json_no_memory(r);
    }
    memcpy(z, raw.p, raw.len);
    z[raw.len] = '\0';
    *ret = strtod(z, NULL);
    if (z != few) {
        free(z);
    }
    return 0;
}

/* Digits and a power of ten that a double holds exactly give the correctly rounded value in one operation. */
static int json_number_value(struct reader *r, const struct number *s, struct json *n) {
    static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t most = (uint64_t) INT64_MAX + s->negative;
    if (s->plain && s->exact && s->digits <= most) {
        n->is_integer = true;
        n->integer = (int64_t) (s->negative ? 0 - s->digits : s->digits);
        n->num = s->negative ? -(double) s->digits : (double) s->digits;
        return 0;
    }
    if (s->exact && s->digits <= 1ull << 53 && s->exponent10 >= -22 && s->exponent10 <= 22) {
        double v = (double) s->digits;
        v = s->exponent10 < 0 ? v / ten[-s->exponent10] : v * ten[s->exponent10];
        n->num = s->negative ? -v : v;
        return 0;
    }
    return json_long_double(r, n->raw, &n->num);
}

static int json_read_number(struct reader *r, struct json *n) {
    size_t from = json_at(r, r->i);
    struct number s = {.p = r->text.p + from, .end = r->text.p + r->text.len};
    if (!json_scan_number(&s)) {
        return json_fail(r, (size_t) (s.p - r->text.p), "a digit is missing");
    }
    n->type = JSON_NUMBER;
    n->raw = str_n(r->text.p + from, (size_t) (s.p - r->text.p) - from);
    if (json_advance(r, from + n->raw.len) != 0) {
        return -1;
    }
    return json_number_value(r, &s, n);
}

static int json_read_word(struct reader *r, struct json *n, const char *word) {
    size_t from = json_at(r, r->i);
    if (!str_starts(str_from(r->text, from), word)) {
        return json_fail(r, from, "a value is expected");
    }
    n->type = word[0] == 'n' ? JSON_NULL : JSON_BOOL;
    n->boolean = word[0] == 't';
    n->raw = str_n(r->text.p + from, strlen(word));
    return json_advance(r, from + n->raw.len);
}

/* ---- containers ---- */

static int json_name_cmp(const void *a, const void *b) {
    const struct json *x = *(const struct json *const *) a, *y = *(const struct json *const *) b;
    if (x->name.len != y->name.len) {
        return x->name.len < y->name.len ? -1 : 1;
    }
    int c = x->name.len ? memcmp(x->name.p, y->name.p, x->name.len) : 0;
    return c ? c : x->raw.p < y->raw.p ? -1 : x->raw.p > y->raw.p;
}

static int json_fail_twice(struct reader *r, const struct json *again) {
    r->top->name = again->name;
    return json_fail_here(r, (size_t) (again->raw.p - r->text.p), "the name stands twice");
}

/* For large objects: sorted, equal names are neighbours. */
static int json_check_names(struct reader *r, const struct json *obj) {
    const struct json **sorted = malloc(obj->count * sizeof(struct json *));
    if (!sorted) {
        return json_no_memory(r);
    }
    size_t n = 0;
    for (const struct json *m = obj->child; m; m = m->next) {
        sorted[n++] = m;
    }
    qsort(sorted, n, sizeof(struct json *), json_name_cmp);
    const struct json *again = NULL;
    for (size_t i = 1; i < n; i++) {
        if (str_eq(sorted[i]->name, sorted[i - 1]->name) && (!again || sorted[i]->raw.p < again->raw.p)) {
            again = sorted[i];
        }
    }
    free(sorted);
    return again ? json_fail_twice(r, again) : 0;
}

/* The member's name and colon. */
static int json_read_name(struct reader *r, struct level *level, struct json *member) {
    struct str raw;
    level->name = STR_NONE;
    if (json_peek(r) != '"') {
        return json_fail(r, json_at(r, r->i), "a name in quotes is expected");
    }
    size_t from = json_at(r, r->i);
    if (json_read_string(r, &raw, &member->name) != 0) {
        return -1;
    }
    level->name = member->name;
    if (level->count < PAIRWISE_MAX) {
        for (const struct json *m = level->container->child; m; m = m->next) {
            if (str_eq(m->name, member->name)) {
                return json_fail_here(r, from, "the name stands twice");
            }
        }
    }
    if (json_peek(r) != ':') {
        return json_fail(r, json_at(r, r->i), "a colon is expected");
    }
    return json_advance(r, json_at(r, r->i) + 1);
}

static int json_read_child(struct reader *r, struct level *level, struct json *n, unsigned depth) {
    struct json *child = arena_alloc(r->arena, sizeof(*child));
    if (!child) {
        return json_no_memory(r);
    }
    if (n->type == JSON_OBJECT && json_read_name(r, level, child) != 0) {
        return -1;
    }
    if (json_read_value(r, child, depth) != 0) {
        return -1;
    }
    if (level->last) {
        level->last->next = child;
    } else {
        n->child = child;
    }
    level->last = child;
    level->count++;
    return 0;
}

static int json_read_children(struct reader *r, struct level *level, struct json *n, unsigned depth) {
    char close = n->type == JSON_OBJECT ? '}' : ']';
    if (json_peek(r) == close) {
        return 0;
    }
    for (;;) {
        if (json_read_child(r, level, n, depth) != 0) {
            return -1;
        }
        char c = json_peek(r);
        if (c == close) {
            break;
        }
        if (c != ',') {
            return json_fail(r, json_at(r, r->i), close == '}' ? "a comma or } is expected" : "a comma or ] is expected");
        }
        if (json_advance(r, json_at(r, r->i) + 1) != 0) {
            return -1;
        }
    }
    n->count = level->count;
    return n->type == JSON_OBJECT && n->count > PAIRWISE_MAX ? json_check_names(r, n) : 0;
}

static int json_read_container(struct reader *r, struct json *n, unsigned depth) {
    size_t from = json_at(r, r->i);
    if (depth >= r->max_depth) {
        r->err->too_deep = true;
        return json_fail_here(r, from, "the value is nested too deeply");
    }
    n->type = r->text.p[from] == '{' ? JSON_OBJECT : JSON_ARRAY;
    struct level level = {.up = r->top, .container = n};
    r->top = &level;
    int rc = json_advance(r, from + 1);
    if (rc == 0) {
        rc = json_read_children(r, &level, n, depth + 1);
    }
    r->top = level.up;
    if (rc != 0) {
        return -1;
    }
    size_t end = json_at(r, r->i) + 1;
    n->raw = str_n(r->text.p + from, end - from);
    return json_advance(r, end);
}

static int json_read_value(struct reader *r, struct json *n, unsigned depth) {
    switch (json_peek(r)) {
    case '{':
    case '[': return json_read_container(r, n, depth);
    case '"': n->type = JSON_STRING; return json_read_string(r, &n->raw, &n->string);
    case 't': return json_read_word(r, n, "true");
    case 'f': return json_read_word(r, n, "false");
    case 'n': return json_read_word(r, n, "null");
    case '-':
    case '0' ... '9': return json_read_number(r, n);
    default: return json_fail(r, json_at(r, r->i), "a value is expected");
    }
}

/* ---- the whole ---- */

/* Says what json_index found to be malformed, which it does not tell itself. */
static int json_explain(struct reader *r) {
    size_t valid = utf8_valid_length(r->text);
    if (valid < r->text.len) {
        return json_fail(r, valid, "the text is not UTF-8");
    }
    bool in_string = false;
    size_t opened = 0;
    for (size_t i = 0; i < r->text.len; i++) {
        unsigned char c = (unsigned char) r->text.p[i];
        if (c == '"') {
            in_string = !in_string;
            opened = i;
        } else if (in_string && c < 0x20) {
            return json_fail(r, i, "a control character that is not escaped stands in a string");
        } else if (c == '\\') {
            i++;
        }
    }
    return json_fail(r, opened, "a string without an end begins");
}

static int json_check_start(struct reader *r) {
    if (str_starts(r->text, "\xef\xbb\xbf")) {
        return json_fail(r, 0, "a byte order mark stands");
    }
    switch (json_index(r->text.p, r->text.len, &r->at, &r->tokens)) {
    case JSON_INDEX_OK: return 0;
    case JSON_INDEX_NO_MEMORY: return json_no_memory(r);
    case JSON_INDEX_TOO_LARGE: return json_fail(r, 0, "a text that is too large begins");
    case JSON_INDEX_EMPTY: snprintf(r->err->detail, sizeof(r->err->detail), "the text is empty"); return -1;
    case JSON_INDEX_MALFORMED: break;
    }
    return json_explain(r);
}

static int json_read_root(struct reader *r, struct json **ret_root) {
    struct json *root = arena_alloc(r->arena, sizeof(*root));
    if (!root) {
        return json_no_memory(r);
    }
    if (json_read_value(r, root, 0) != 0) {
        return -1;
    }
    if (r->i < r->tokens) {
        return json_fail(r, json_at(r, r->i), "something stands behind the value,");
    }
    *ret_root = root;
    return 0;
}

int json_parse(struct arena *a, struct str text, unsigned max_depth, struct json **ret_root, struct json_error *err) {
    struct reader r = {.arena = a, .text = text, .max_depth = max_depth, .err = err};
    err->offset = 0;
    err->detail[0] = err->pointer[0] = '\0';
    err->too_deep = err->no_memory = false;
    if (json_check_start(&r) != 0) {
        return -1;
    }
    int rc = json_read_root(&r, ret_root);
    json_index_done();
    return rc;
}

const struct json *json_get(const struct json *obj, const char *name) {
    if (!obj || obj->type != JSON_OBJECT) {
        return NULL;
    }
    size_t len = strlen(name);
    for (const struct json *m = obj->child; m; m = m->next) {
        if (m->name.len == len && memcmp(m->name.p, name, len) == 0) {
            return m;
        }
    }
    return NULL;
}
