#include "client/internal.h"

#include <math.h>

#define SERVER_JSON_DEPTH 64

/* ---- bodies ---- */

void body_begin(struct body *b) {
    buf_char(&b->text, '{');
}

void body_end(struct body *b) {
    buf_char(&b->text, '}');
}

void body_name(struct body *b, const char *name) {
    if (b->text.len && b->text.data[b->text.len - 1] != '{') {
        buf_char(&b->text, ',');
    }
    buf_json_str(&b->text, str_of(name));
    buf_char(&b->text, ':');
}

void body_text(struct body *b, const char *name, const char *text) {
    if (!text) {
        return;
    }
    struct str s = str_of(text);
    if (!utf8_valid(s)) {
        b->wrong = name;
        return;
    }
    body_name(b, name);
    buf_json_str(&b->text, s);
}

void body_words(struct body *b, const char *name, const char *text, size_t most) {
    struct buf mended = {0};
    if (!text) {
        return;
    }
    utf8_put(&mended, str_of(text));
    b->text.failed |= mended.failed;
    body_name(b, name);
    buf_json_str(&b->text, utf8_prefix(buf_view(&mended), most));
    buf_fini(&mended);
}

bool json_is_valid(struct str text) {
    struct arena arena = {0};
    struct json *root;
    struct json_error error;
    bool valid = json_parse(&arena, text, SERVER_JSON_DEPTH, &root, &error) == 0;
    arena_fini(&arena);
    return valid;
}

void body_json(struct body *b, const char *name, const char *json) {
    if (!json) {
        return;
    }
    if (!json_is_valid(str_of(json))) {
        b->wrong = name;
        return;
    }
    body_span(b, name, str_of(json));
}

void body_span(struct body *b, const char *name, struct str json) {
    if (json.p) {
        body_name(b, name);
        buf_str(&b->text, json);
    }
}

void body_seconds(struct body *b, const char *name, double value_s) {
    if (value_s == 0) {
        return;
    }
    if (!(value_s > 0 && isfinite(value_s)) && value_s != BOWLINE_ZERO) {
        b->wrong = name;
        return;
    }
    body_name(b, name);
    buf_json_num(&b->text, value_s > 0 ? value_s : 0);
}

void body_count(struct body *b, const char *name, uint64_t value) {
    if (value) {
        body_name(b, name);
        buf_u64(&b->text, value);
    }
}

void body_ref(struct body *b, const char *name, const struct bowline_session_ref *ref) {
    if (ref->id) {
        body_text(b, name, ref->id);
    } else if (ref->key) {
        body_name(b, name);
        body_begin(b);
        body_text(b, "key", ref->key);
        body_text(b, "user", ref->user);
        body_end(b);
    } else {
        b->wrong = name;
    }
}

int body_check(const struct body *b, struct bowline_problem *p) {
    if (b->text.failed) {
        return problem_local(p, BOWLINE_NO_MEMORY, NULL);
    }
    return b->wrong ? problem_argument(p, b->wrong, "is missing, not UTF-8, not JSON, or out of its bounds") : BOWLINE_OK;
}

/* ---- paths ---- */

void path_put(struct buf *path, const char *text) {
    static const char hex[] = "0123456789ABCDEF";
    for (const unsigned char *c = (const unsigned char *) text; *c; c++) {
        bool plain =
            (*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z') || *c == '-' || *c == '.' || *c == '_' || *c == '~';
        if (plain) {
            buf_char(path, (char) *c);
        } else {
            char triple[3] = {'%', hex[*c >> 4], hex[*c & 15]};
            buf_put(path, triple, 3);
        }
    }
}

void path_of(struct buf *path, const char *kind, const char *id, const char *tail) {
    buf_puts(path, "/v1/");
    buf_puts(path, kind);
    buf_char(path, '/');
    path_put(path, id);
    buf_puts(path, tail);
}

void query_put(struct buf *path, const char *name, const char *value) {
    if (!value) {
        return;
    }
    buf_char(path, path->len && memchr(path->data, '?', path->len) ? '&' : '?');
    buf_puts(path, name);
    buf_char(path, '=');
    path_put(path, value);
}
