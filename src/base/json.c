#include "base/json.h"

#include "base/eight.h"
#include "base/json_names.h"
#include "base/json_scan.h"
#include "base/json_tokens.h"

#include <stdio.h>

/*
 * A descent over the tokens. Each token is read to its end by the grammar of RFC 8259, and whatever stands between that end and the
 * next token must be white space, so every byte of the text is accounted for here. Within an opaque value the descent is the same, but
 * its nodes are forgotten as soon as they are read.
 */

#define PAIRWISE_MAX 16 /* members up to which names are compared each with each, as they come */
#define NO_NAME SIZE_MAX
#define NAME_SHOWN 256 /* bytes of a name: a longer one does not fit into a pointer */

struct level { /* a container that is being read */
    struct level *up;
    const struct json *container;
    struct json *last;
    size_t count;
    size_t name_at; /* place of the name of the member being read, in an object; or NO_NAME */
    size_t names;   /* where its names begin in the reader's */
    uint64_t seen;  /* a bit for each name by its length and ends: one that is not set says that the name is new */
};

struct reader {
    struct arena *arena;
    const struct json_rules *rules;
    struct str text;
    struct json_tokens tokens;
    struct json_names names;
    size_t nodes;
    bool opaque;       /* within an opaque value */
    uint32_t initials; /* a bit for what the names of opaque values begin with */
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

/* The name of the member being read, decoded into out; false if it is too long for a pointer, or there is none yet. */
static bool json_error_name(const struct reader *r, const struct level *level, char out[NAME_SHOWN + 4], struct str *ret) {
    char *to = out;
    if (level->name_at == NO_NAME) {
        return false;
    }
    for (const char *p = r->text.p + level->name_at + 1; *p != '"';) {
        if (to >= out + NAME_SHOWN) {
            return false;
        }
        if (*p == '\\') {
            p += json_unescape(p, 12, &to);
        } else {
            *to++ = *p++;
        }
    }
    *ret = str_n(out, (size_t) (to - out));
    return true;
}

/* The pointer of the value being read at this level; as much of it as fits. */
static bool json_error_place(struct reader *r, const struct level *level) {
    char text[NAME_SHOWN + 4];
    struct str name;
    if (!level) {
        return true;
    }
    if (!json_error_place(r, level->up)) {
        return false;
    }
    if (level->container->type == JSON_OBJECT) {
        return json_error_name(r, level, text, &name) && json_error_push(r->err, name);
    }
    snprintf(text, sizeof(text), "%zu", level->count);
    return json_error_push(r->err, str_of(text));
}

static int json_fail_here(struct reader *r, size_t offset, const char *detail) {
    json_error_place(r, r->top);
    r->err->by_rule = true;
    r->err->offset = offset;
    snprintf(r->err->detail, sizeof(r->err->detail), "%s", detail);
    return -1;
}

/* Says what the look for tokens found to be malformed, which it does not tell itself. */
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

/* ---- tokens ---- */

static size_t json_here(const struct reader *r) {
    return json_token_at(&r->tokens, 0);
}

/* The present token's first character; NUL behind the last one. */
static char json_peek(const struct reader *r) {
    return json_tokens_end(&r->tokens) ? '\0' : r->text.p[json_here(r)];
}

static bool json_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Ends the present token at end and goes on to the next one. */
static int json_advance(struct reader *r, size_t end) {
    size_t next = json_token_at(&r->tokens, 1);
    for (size_t i = end; i < next; i++) {
        if (!json_space(r->text.p[i])) {
            return json_fail(r, i, "an unexpected character stands");
        }
    }
    return json_tokens_next(&r->tokens) ? 0 : json_explain(r);
}

/* ---- strings ---- */

static int json_fail_escape(struct reader *r, size_t offset, int why) {
    return why == ESCAPE_LONE ? json_fail_here(r, offset, "a surrogate stands alone") : json_fail(r, offset, "an escape that does not exist stands");
}

/* Eight characters at a time: most strings are too short for a call to be quick. */
static bool has_escape(struct str s) {
    uint64_t found = 0;
    size_t i = 0;
    for (; s.len - i >= 8; i += 8) {
        found |= eight_have(eight_read(s.p + i), '\\');
    }
    for (; i < s.len; i++) {
        found |= s.p[i] == '\\';
    }
    return found;
}

/* Checks the escapes only. */
static int json_check_escapes(struct reader *r, struct str in, size_t offset) {
    for (const char *p = in.p, *end = in.p + in.len; (p = memchr(p, '\\', (size_t) (end - p)));) {
        char unused[4], *to = unused;
        int used = json_unescape(p, (size_t) (end - p), &to);
        if (used < 0) {
            return json_fail_escape(r, offset + (size_t) (p - in.p), used);
        }
        p += used;
    }
    return 0;
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
        if (used < 0) {
            return json_fail_escape(r, offset + i, used);
        }
        i += (size_t) used;
    }
    *ret = str_n(out, (size_t) (to - out));
    return 0;
}

/* The string token at hand: *ret_raw with its quotes, *ret decoded, unless it is part of an opaque value: then *ret is what stands between the quotes. */
static int json_read_string(struct reader *r, struct str *ret_raw, struct str *ret) {
    size_t from = json_here(r), end = json_token_at(&r->tokens, 1);
    while (end > from + 1 && json_space(r->text.p[end - 1])) {
        end--;
    }
    if (end < from + 2 || r->text.p[end - 1] != '"') {
        return json_fail(r, end, "an unexpected character stands");
    }
    struct str inner = str_n(r->text.p + from + 1, end - from - 2);
    *ret_raw = str_n(r->text.p + from, end - from);
    *ret = inner;
    if (has_escape(inner)) {
        int rc = r->opaque ? json_check_escapes(r, inner, from + 1) : json_decode(r, inner, from + 1, ret);
        if (rc != 0) {
            return -1;
        }
    }
    return json_tokens_next(&r->tokens) ? 0 : json_explain(r);
}

static int json_read_text(struct reader *r, struct json *n) {
    struct str string;
    n->type = JSON_STRING;
    if (json_read_string(r, &n->raw, &string) != 0) {
        return -1;
    }
    n->string = r->opaque ? STR_NONE : string;
    return 0;
}

/* ---- numbers and words ---- */

static int json_number_value(struct reader *r, const struct json_number *s, struct json *n) {
    n->is_integer = json_number_integer(s, &n->integer);
    if (n->is_integer) {
        n->num = s->negative ? -(double) s->digits : (double) s->digits;
        return 0;
    }
    return json_number_double(s, n->raw, &n->num) ? 0 : json_no_memory(r);
}

static int json_read_number(struct reader *r, struct json *n) {
    size_t from = json_here(r);
    struct json_number s = {.p = r->text.p + from, .end = r->text.p + r->text.len};
    if (!json_number_scan(&s)) {
        return json_fail(r, (size_t) (s.p - r->text.p), "a digit is missing");
    }
    n->type = JSON_NUMBER;
    n->raw = str_n(r->text.p + from, (size_t) (s.p - r->text.p) - from);
    if (json_advance(r, from + n->raw.len) != 0) {
        return -1;
    }
    return r->opaque ? 0 : json_number_value(r, &s, n);
}

static int json_read_word(struct reader *r, struct json *n, const char *word) {
    size_t from = json_here(r);
    if (!str_starts(str_from(r->text, from), word)) {
        return json_fail(r, from, "a value is expected");
    }
    n->type = word[0] == 'n' ? JSON_NULL : JSON_BOOL;
    n->boolean = word[0] == 't';
    n->raw = str_n(r->text.p + from, strlen(word));
    return json_advance(r, from + n->raw.len);
}

/* ---- containers ---- */

static int json_fail_twice(struct reader *r, size_t place) {
    r->top->name_at = place;
    return json_fail_here(r, place, "the name stands twice");
}

/* May a name like it have come before? Within opaque values names are not decoded: one with an escape may be any other. */
static bool name_may_be_again(struct reader *r, struct level *level, struct str name) {
    uint64_t bit = name.len ? (uint64_t) 1 << ((name.len * 11 + (unsigned char) name.p[0] * 5u + (unsigned char) name.p[name.len - 1]) & 63) : 1;
    bool any = r->opaque && has_escape(name), again = any || level->seen & bit;
    level->seen |= any ? UINT64_MAX : bit;
    return again;
}

/* The member's name and colon. */
static int json_read_name(struct reader *r, struct level *level, struct json *member) {
    struct str raw;
    level->name_at = NO_NAME;
    if (json_peek(r) != '"') {
        return json_fail(r, json_here(r), "a name in quotes is expected");
    }
    size_t from = json_here(r);
    if (json_read_string(r, &raw, &member->name) != 0) {
        return -1;
    }
    level->name_at = from;
    if (!json_names_add(&r->names, from)) {
        return json_no_memory(r);
    }
    if (name_may_be_again(r, level, member->name) && level->count < PAIRWISE_MAX && json_names_again(&r->names, r->text, level->names)) {
        return json_fail_twice(r, from);
    }
    if (json_peek(r) != ':') {
        return json_fail(r, json_here(r), "a colon is expected");
    }
    return json_advance(r, json_here(r) + 1);
}

static int json_check_names(struct reader *r, const struct level *level) {
    size_t twice = r->names.count - level->names > PAIRWISE_MAX ? json_names_twice(&r->names, r->text, level->names) : JSON_NAMES_NONE;
    r->names.count = level->names;
    return twice == JSON_NAMES_NONE ? 0 : json_fail_twice(r, twice);
}

/* Member by member, which is quicker than zeroing the whole. */
static void json_blank(struct json *n) {
    n->type = JSON_NULL;
    n->boolean = n->is_integer = false;
    n->integer = 0;
    n->num = 0;
    n->raw = n->string = n->name = STR_NONE;
    n->child = n->next = NULL;
    n->count = 0;
}

static struct json *json_node(struct reader *r) {
    struct json *n = NULL;
    if (r->rules->max_nodes && r->nodes == r->rules->max_nodes) {
        r->err->too_many = true;
        json_fail_here(r, json_here(r), "there are more values here than can be taken in");
    } else if (!(n = arena_take(r->arena, sizeof(*n)))) {
        json_no_memory(r);
    } else {
        json_blank(n);
    }
    r->nodes++;
    return n;
}

static bool name_among(struct str name, const char *const *names) {
    while (names && *names && !str_eqz(name, *names)) {
        names++;
    }
    return names && *names;
}

/* Of the member whose value comes next. */
static bool json_is_opaque(const struct reader *r, const struct json *member) {
    if (!member->name.len || !(r->initials >> (member->name.p[0] & 31) & 1)) {
        return false;
    }
    char c = json_peek(r);
    return name_among(member->name, r->rules->opaque) || ((c == '{' || c == '[') && name_among(member->name, r->rules->opaque_parts));
}

static int json_read_member(struct reader *r, struct level *level, struct json *member, unsigned depth) {
    if (json_read_name(r, level, member) != 0) {
        return -1;
    }
    bool begins = !r->opaque && json_is_opaque(r, member);
    r->opaque = r->opaque || begins;
    int rc = json_read_value(r, member, depth);
    r->opaque = r->opaque && !begins;
    return rc;
}

static int json_read_child(struct reader *r, struct level *level, struct json *n, unsigned depth) {
    bool kept = !r->opaque;
    struct json forgotten, *child = &forgotten;
    if (!kept) {
        json_blank(&forgotten);
    } else if (!(child = json_node(r))) {
        return -1;
    }
    if ((n->type == JSON_OBJECT ? json_read_member(r, level, child, depth) : json_read_value(r, child, depth)) != 0) {
        return -1;
    }
    level->count++;
    if (kept && level->last) {
        level->last->next = child;
    } else if (kept) {
        n->child = child;
    }
    level->last = kept ? child : NULL;
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
            return json_fail(r, json_here(r), close == '}' ? "a comma or } is expected" : "a comma or ] is expected");
        }
        if (json_advance(r, json_here(r) + 1) != 0) {
            return -1;
        }
    }
    n->count = level->count;
    return json_check_names(r, level);
}

static int json_read_container(struct reader *r, struct json *n, unsigned depth) {
    size_t from = json_here(r);
    if (depth >= r->rules->max_depth) {
        r->err->too_deep = true;
        return json_fail_here(r, from, "the value is nested too deeply");
    }
    n->type = r->text.p[from] == '{' ? JSON_OBJECT : JSON_ARRAY;
    struct level level = {.up = r->top, .container = n, .name_at = NO_NAME, .names = r->names.count};
    r->top = &level;
    int rc = json_advance(r, from + 1);
    if (rc == 0) {
        rc = json_read_children(r, &level, n, depth + 1);
    }
    r->top = level.up;
    if (rc != 0) {
        return -1;
    }
    size_t end = json_here(r) + 1;
    n->raw = str_n(r->text.p + from, end - from);
    return json_advance(r, end);
}

static int json_read_value(struct reader *r, struct json *n, unsigned depth) {
    switch (json_peek(r)) {
    case '{':
    case '[': return json_read_container(r, n, depth);
    case '"': return json_read_text(r, n);
    case 't': return json_read_word(r, n, "true");
    case 'f': return json_read_word(r, n, "false");
    case 'n': return json_read_word(r, n, "null");
    case '-':
    case '0' ... '9': return json_read_number(r, n);
    default: return json_fail(r, json_here(r), "a value is expected");
    }
}

/* ---- the whole ---- */

static int json_check_start(struct reader *r) {
    if (str_starts(r->text, "\xef\xbb\xbf")) {
        return json_fail(r, 0, "a byte order mark stands");
    }
    switch (json_tokens_open(&r->tokens, r->text)) {
    case JSON_INDEX_OK: return 0;
    case JSON_INDEX_NO_MEMORY: return json_no_memory(r);
    case JSON_INDEX_TOO_LARGE: return json_fail(r, 0, "a text that is too large begins");
    case JSON_INDEX_EMPTY: snprintf(r->err->detail, sizeof(r->err->detail), "the text is empty"); return -1;
    case JSON_INDEX_MALFORMED: break;
    }
    return json_explain(r);
}

static int json_read_root(struct reader *r, struct json **ret_root) {
    struct json *root = json_node(r);
    if (!root || json_check_start(r) != 0 || json_read_value(r, root, 0) != 0) {
        return -1;
    }
    if (!json_tokens_end(&r->tokens)) {
        return json_fail(r, json_here(r), "something stands behind the value,");
    }
    *ret_root = root;
    return 0;
}

static void json_initials(struct reader *r, const char *const *names) {
    for (; names && *names; names++) {
        r->initials |= 1u << ((*names)[0] & 31);
    }
}

int json_parse_by(struct arena *a, struct str text, const struct json_rules *rules, struct json **ret_root, struct json_error *err) {
    struct reader r = {.arena = a, .text = text, .rules = rules, .err = err};
    uint64_t few[JSON_NAMES_FEW];
    json_names_init(&r.names, few);
    json_initials(&r, rules->opaque);
    json_initials(&r, rules->opaque_parts);
    err->offset = 0;
    err->detail[0] = err->pointer[0] = '\0';
    err->by_rule = err->too_deep = err->too_many = err->no_memory = false;
    int rc = json_read_root(&r, ret_root);
    json_tokens_close(&r.tokens);
    json_names_fini(&r.names);
    return rc;
}

int json_parse(struct arena *a, struct str text, unsigned max_depth, struct json **ret_root, struct json_error *err) {
    struct json_rules rules = {.max_depth = max_depth};
    return json_parse_by(a, text, &rules, ret_root, err);
}

const struct json *json_get(const struct json *obj, const char *name) {
    if (!obj || obj->type != JSON_OBJECT) {
        return NULL;
    }
    for (const struct json *m = obj->child; m; m = m->next) {
        if (str_eqz(m->name, name)) {
            return m;
        }
    }
    return NULL;
}
