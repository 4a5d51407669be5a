/*
 * base/json.h for the library, in plain C, so that whoever links it needs neither C++ nor simdjson. Two differences: a name given twice is not looked for
 * (the server does, and answers are its own), and the error says the place alone. A recursive descent, bounded by max_depth.
 */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct reader {
    struct arena *arena;
    const char *p, *end;
    const char *text;
    unsigned max_depth;
    struct json_error *err;
};

static bool value_read(struct reader *r, struct json *n, unsigned depth);

static bool fail(struct reader *r, const char *what) {
    r->err->offset = (size_t) (r->p - r->text);
    snprintf(r->err->detail, sizeof r->err->detail, "%s at byte %zu", what, r->err->offset);
    return false;
}

static bool no_memory(struct reader *r) {
    r->err->no_memory = true;
    return fail(r, "there is no memory");
}

static void space_skip(struct reader *r) {
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t')) {
        r->p++;
    }
}

/* The next character that is no space; NUL at the end. */
static char peek(struct reader *r) {
    space_skip(r);
    return r->p < r->end ? *r->p : 0;
}

/* ---- strings ---- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits at p; -1 if they are none. */
static int code_unit(const char *p, const char *end) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int d = p + i < end ? hex_digit(p[i]) : -1;
        if (d < 0) {
            return -1;
        }
        v = v << 4 | d;
    }
    return v;
}

static char *code_put(char *to, unsigned code) {
    if (code < 0x80) {
        *to++ = (char) code;
        return to;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char) (lead[more] | code >> (6 * more));
    while (more--) {
        *to++ = (char) (0x80 | (code >> (6 * more) & 63));
    }
    return to;
}

/* \uXXXX, or two of them for a pair of surrogates; p stands at the first digit. */
static bool unicode_read(struct reader *r, char **to) {
    int unit = code_unit(r->p, r->end);
    if (unit < 0) {
        return fail(r, "four hexadecimal digits are expected");
    }
    r->p += 4;
    unsigned code = (unsigned) unit;
    if (unit >= 0xd800 && unit <= 0xdfff) {
        int low = unit < 0xdc00 && r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u' ? code_unit(r->p + 2, r->end) : -1;
        if (low < 0xdc00 || low > 0xdfff) {
            return fail(r, "a lone surrogate stands");
        }
        code = 0x10000 + (((unsigned) unit & 0x3ff) << 10 | ((unsigned) low & 0x3ff));
        r->p += 6;
    }
    *to = code_put(*to, code);
    return true;
}

static bool escape_read(struct reader *r, char **to) {
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    char c = r->p < r->end ? *r->p : 0;
    const char *at = c ? strchr(from, c) : NULL;
    if (c == 'u') {
        r->p++;
        return unicode_read(r, to);
    }
    if (!at) {
        return fail(r, "an escape that does not exist stands");
    }
    r->p++;
    *(*to)++ = into[at - from];
    return true;
}

/* The closing quote, or NULL; *ret_escaped tells whether there is anything to decode. */
static const char *quote_find(const struct reader *r, bool *ret_escaped) {
    for (const char *p = r->p; p < r->end; p++) {
        if (*p == '"') {
            return p;
        }
        if (*p == '\\') {
            *ret_escaped = true;
            p++;
        }
    }
    return NULL;
}

/* p stands at the opening quote. Decoded text is never longer than its source. */
static bool string_read(struct reader *r, struct str *ret_string) {
    bool escaped = false;
    const char *start = ++r->p;
    const char *end = quote_find(r, &escaped);
    if (!end) {
        return fail(r, "a string without an end stands");
    }
    char *copy = escaped ? arena_alloc(r->arena, (size_t) (end - start) + 1) : NULL, *to = copy;
    if (escaped && !copy) {
        return no_memory(r);
    }
    while (r->p < end) {
        unsigned char c = (unsigned char) *r->p++;
        if (c < 0x20) {
            return fail(r, "a control character stands in a string");
        }
        if (c == '\\') {
            if (!escape_read(r, &to)) {
                return false;
            }
        } else if (escaped) {
            *to++ = (char) c;
        }
    }
    *ret_string = escaped ? str_n(copy, (size_t) (to - copy)) : str_n(start, (size_t) (end - start));
    r->p = end + 1;
    return true;
}

/* ---- numbers and words ---- */

static bool digits_skip(struct reader *r) {
    const char *start = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
        r->p++;
    }
    return r->p > start;
}

static bool number_grammar(struct reader *r, bool *ret_plain) {
    *ret_plain = true;
    if (*r->p == '-') {
        r->p++;
    }
    bool zero = r->p < r->end && *r->p == '0';
    if (zero) {
        r->p++;
    } else if (!digits_skip(r)) {
        return false;
    }
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        *ret_plain = false;
        if (!digits_skip(r)) {
            return false;
        }
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        *ret_plain = false;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-')) {
            r->p++;
        }
        return digits_skip(r);
    }
    return true;
}

/* strtod reads a locale's decimal point, JSON has but one: digits and exponent are gathered here, and only the scaling is left to the library. */
static double number_value(const char *p, const char *end) {
    double v = 0;
    int exponent = 0, sign = 1;
    bool negative = *p == '-', fraction = false;
    for (p += negative; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        v = v * 10 + (*p - '0');
        exponent -= fraction;
    }
    if (p < end) {
        p++;
        sign = *p == '-' ? -1 : 1;
        p += *p == '-' || *p == '+';
        int given = 0;
        for (; p < end; p++) {
            given = given > 100000 ? given : given * 10 + (*p - '0');
        }
        exponent += sign * given;
    }
    /* A power below the smallest double's would be 0 although the digits make up for it. */
    v = exponent < -300 ? v / 1e300 / pow(10, -exponent - 300) : exponent < 0 ? v / pow(10, -exponent) : v * pow(10, exponent);
    return negative ? -v : v;
}

static bool number_read(struct reader *r, struct json *n) {
    const char *start = r->p;
    bool plain;
    if (!number_grammar(r, &plain)) {
        return fail(r, "a digit is expected");
    }
    n->type = JSON_NUMBER;
    n->num = number_value(start, r->p);
    char digits[24];
    size_t len = (size_t) (r->p - start);
    if (plain && len < sizeof digits) {
        memcpy(digits, start, len);
        digits[len] = 0;
        errno = 0;
        n->integer = strtoll(digits, NULL, 10);
        n->is_integer = errno == 0;
    }
    return true;
}

static bool word_read(struct reader *r, const char *word) {
    size_t len = strlen(word);
    if ((size_t) (r->end - r->p) < len || memcmp(r->p, word, len) != 0) {
        return fail(r, "a value is expected");
    }
    r->p += len;
    return true;
}

/* ---- containers ---- */

static bool member_name(struct reader *r, struct json *child) {
    if (peek(r) != '"') {
        return fail(r, "a name is expected");
    }
    if (!string_read(r, &child->name)) {
        return false;
    }
    if (peek(r) != ':') {
        return fail(r, "a colon is expected");
    }
    r->p++;
    return true;
}

static bool container_read(struct reader *r, struct json *n, unsigned depth) {
    char close = n->type == JSON_OBJECT ? '}' : ']';
    struct json **last = &n->child;
    r->p++;
    if (depth >= r->max_depth) {
        r->err->too_deep = true;
        return fail(r, "the text is too deep");
    }
    if (peek(r) == close) {
        r->p++;
        return true;
    }
    for (;;) {
        struct json *child = arena_alloc(r->arena, sizeof *child);
        if (!child) {
            return no_memory(r);
        }
        if ((n->type == JSON_OBJECT && !member_name(r, child)) || !value_read(r, child, depth + 1)) {
            return false;
        }
        *last = child;
        last = &child->next;
        n->count++;
        char c = peek(r);
        if (c != ',' && c != close) {
            return fail(r, "a comma or the end is expected");
        }
        r->p++;
        if (c == close) {
            return true;
        }
    }
}

static bool value_read(struct reader *r, struct json *n, unsigned depth) {
    char c = peek(r);
    const char *start = r->p;
    bool ok;
    if (c == '{' || c == '[') {
        n->type = c == '{' ? JSON_OBJECT : JSON_ARRAY;
        ok = container_read(r, n, depth);
    } else if (c == '"') {
        n->type = JSON_STRING;
        ok = string_read(r, &n->string);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        ok = number_read(r, n);
    } else {
        n->type = c == 'n' ? JSON_NULL : JSON_BOOL;
        n->boolean = c == 't';
        ok = word_read(r, c == 't' ? "true" : c == 'f' ? "false" : "null");
    }
    n->raw = str_n(start, (size_t) (r->p - start));
    return ok;
}

int json_parse(struct arena *a, struct str text, unsigned max_depth, struct json **ret_root, struct json_error *err) {
    struct reader r = {.arena = a, .text = text.p, .p = text.p, .end = text.p + text.len, .max_depth = max_depth, .err = err};
    *err = (struct json_error){0};
    size_t valid = utf8_valid_length(text);
    if (valid < text.len) {
        r.p += valid;
        fail(&r, "the text is not UTF-8");
        return -1;
    }
    struct json *root = arena_alloc(a, sizeof *root);
    if (!root) {
        no_memory(&r);
        return -1;
    }
    if (!value_read(&r, root, 0)) {
        return -1;
    }
    space_skip(&r);
    if (r.p < r.end) {
        fail(&r, "something stands behind the value,");
        return -1;
    }
    *ret_root = root;
    return 0;
}

const struct json *json_get(const struct json *obj, const char *name) {
    for (const struct json *m = obj && obj->type == JSON_OBJECT ? obj->child : NULL; m; m = m->next) {
        if (str_eqz(m->name, name)) {
            return m;
        }
    }
    return NULL;
}
