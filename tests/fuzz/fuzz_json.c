/* Any bytes: refused with a sentence, or a tree of which each value's text, read alone, is the same value again.
 * As an opaque value, and far into a large text, it is taken or refused alike. */
#include "base/json.h"
#include "base/json_index.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEPTH = 32, REREAD_MAX = 2048 };

static void check_same(const struct json *a, const struct json *b) {
    assert(a->type == b->type && a->boolean == b->boolean && a->is_integer == b->is_integer && a->integer == b->integer);
    assert(a->num == b->num && !isnan(a->num) && a->count == b->count);
    assert(str_eq(a->raw, b->raw) && str_eq(a->string, b->string));
    const struct json *x = a->child, *y = b->child;
    for (; x && y; x = x->next, y = y->next) {
        assert(str_eq(x->name, y->name));
        check_same(x, y);
    }
    assert(!x && !y);
}

static void check_reread(const struct json *n) {
    struct arena a = {0};
    struct json *again;
    struct json_error err;
    int rc = json_parse(&a, n->raw, DEPTH, &again, &err);
    assert(rc == 0);
    check_same(n, again);
    arena_fini(&a);
}

static void check_text(struct str decoded) {
    struct arena a = {0};
    struct buf b = {0};
    struct json *again;
    struct json_error err;
    assert(utf8_valid(decoded) && utf8_count(decoded) <= decoded.len);
    buf_json_str(&b, decoded);
    int rc = json_parse(&a, buf_view(&b), 0, &again, &err);
    assert(rc == 0 && again->type == JSON_STRING && str_eq(again->string, decoded));
    buf_fini(&b);
    arena_fini(&a);
}

static void check_node(const struct json *n, struct str text, unsigned depth) {
    assert(depth <= DEPTH && n->raw.len && n->raw.p >= text.p && n->raw.p + n->raw.len <= text.p + text.len);
    if (text.len <= REREAD_MAX) {
        check_reread(n);
    }
    if (n->type == JSON_STRING) {
        check_text(n->string);
    }
    size_t count = 0;
    for (const struct json *m = n->child; m; m = m->next, count++) {
        assert(n->type == JSON_ARRAY || n->type == JSON_OBJECT);
        check_node(m, n->raw, depth + 1);
        for (const struct json *other = m->next; n->type == JSON_OBJECT && text.len <= REREAD_MAX && other; other = other->next) {
            assert(!str_eq(m->name, other->name));
        }
    }
    assert(count == n->count);
}

static void check_opaque(struct str text, bool good) {
    static const char *const names[] = {"o", NULL};
    static const struct json_rules rules = {.max_depth = DEPTH + 1, .max_nodes = 2, .opaque = names};
    struct arena a = {0};
    struct buf b = {0};
    struct json *root;
    struct json_error err;
    buf_puts(&b, "{\"o\":");
    buf_str(&b, text);
    buf_char(&b, '}');
    bool now_good = json_parse_by(&a, buf_view(&b), &rules, &root, &err) == 0;
    assert(!good || now_good); /* what is bad alone may be good there: 1,"p":2 */
    assert(!now_good || !good || (root->count == 1 && !root->child->child));
    buf_fini(&b);
    arena_fini(&a);
}

static void check_large(struct str text, bool good) {
    struct arena a = {0};
    struct json *root;
    struct json_error err;
    char *large = malloc(JSON_INDEX_MAX + text.len);
    memset(large, ' ', JSON_INDEX_MAX);
    if (text.len) {
        memcpy(large + JSON_INDEX_MAX, text.p, text.len);
    }
    bool now_good = json_parse(&a, str_n(large, JSON_INDEX_MAX + text.len), DEPTH, &root, &err) == 0;
    assert(good == now_good || str_starts(text, "\xef\xbb\xbf"));
    arena_fini(&a);
    free(large);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena a = {0};
    struct json *root;
    struct json_error err;
    char *copy = malloc(size ? size : 1); /* its own allocation, so that a read past the end is seen */
    if (size) {
        memcpy(copy, data, size);
    }
    struct str text = str_n(copy, size);
    bool good = json_parse(&a, text, DEPTH, &root, &err) == 0;
    if (good) {
        assert(utf8_valid(text));
        check_node(root, text, 0);
    } else {
        assert(!err.no_memory && !err.too_many && err.offset <= size && memchr(err.detail, '\0', sizeof(err.detail)) && err.detail[0]);
        assert(memchr(err.pointer, '\0', sizeof(err.pointer)) && (err.pointer[0] == '\0' || err.pointer[0] == '/'));
    }
    check_opaque(text, good);
    if (size % 16 == 0) {
        check_large(text, good);
    }
    arena_fini(&a);
    free(copy);
    return 0;
}
