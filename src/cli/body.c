#include "cli/body.h"

#include "base/crypto.h"
#include "base/json.h"
#include "cli/exit.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define JSON_DEPTH 1000

void body_name(struct buf *b, const char *name) {
    if (b->len && b->data[b->len - 1] != '{') {
        buf_char(b, ',');
    }
    buf_json_str(b, str_of(name));
    buf_char(b, ':');
}

void body_text(struct buf *b, const char *name, const char *value) {
    if (value) {
        body_name(b, name);
        buf_json_str(b, str_of(value));
    }
}

void body_words(struct buf *b, const char *name, const char *value) {
    struct buf mended = {0};
    if (value) {
        utf8_put(&mended, str_of(value));
        body_text(b, name, buf_z(&mended));
    }
    buf_fini(&mended);
}

int body_exact(struct buf *b, const struct args *a, const char *what, const char *name, const char *value) {
    if (value && !utf8_valid(str_of(value))) {
        return args_wrong(a, "%s is not UTF-8", what);
    }
    body_text(b, name, value);
    return 0;
}

int file_read(const struct args *a, const char *path, struct buf *out) {
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!f) {
        return args_wrong(a, "%s: %s", path, strerror(errno));
    }
    while (!feof(f) && !ferror(f) && buf_reserve(out, 65536)) {
        out->len += fread(out->data + out->len, 1, 65536, f);
    }
    bool failed = ferror(f) || out->failed;
    int error = errno;
    if (f != stdin) {
        fclose(f);
    }
    return failed ? args_fail(a, BOWLINE_EXIT_FAILED, "%s: %s", path, out->failed ? "there is too little memory" : strerror(error)) : 0;
}

static struct str json_trim(struct str s) {
    while (s.len && strchr(" \t\r\n", s.p[0])) {
        s = str_from(s, 1);
    }
    while (s.len && strchr(" \t\r\n", s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

static int json_check(const struct args *a, const char *what, struct str text) {
    struct arena arena = {0};
    struct json *root;
    struct json_error error;
    int wrong = json_parse(&arena, text, JSON_DEPTH, &root, &error);
    if (wrong) {
        wrong = args_wrong(a, "%s is not JSON: %s%s", what, error.detail,
                           text.len && strchr("{[\"", text.p[0]) ? "" : "; a text wants quotes of its own, such as '\"done\"'");
    }
    arena_fini(&arena);
    return wrong;
}

int body_json(struct buf *b, const struct args *a, const char *what, const char *text) {
    struct buf file = {0};
    struct str value = str_of(text);
    int wrong = 0;
    if (strcmp(text, "-") == 0 || text[0] == '@') {
        wrong = file_read(a, text[0] == '@' ? text + 1 : text, &file);
        value = buf_view(&file);
    }
    value = json_trim(value);
    wrong = wrong ? wrong : json_check(a, what, value);
    if (!wrong) {
        buf_str(b, value);
    }
    buf_fini(&file);
    return wrong;
}

static int member_number(struct buf *b, const struct args *a, const char *flag, const char *text) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v)) {
        return args_wrong(a, "--%s: \"%s\" is not a number", flag, text);
    }
    buf_json_num(b, v);
    return 0;
}

static int member_put(struct buf *b, const struct args *a, const struct member *m, const char *value) {
    char what[64];
    snprintf(what, sizeof what, "--%s", m->flag);
    switch (m->type) {
    case MEMBER_TEXT: return body_exact(b, a, what, m->name, value);
    case MEMBER_WORDS: body_words(b, m->name, value); return 0;
    case MEMBER_NUMBER: body_name(b, m->name); return member_number(b, a, m->flag, value);
    case MEMBER_JSON: body_name(b, m->name); return body_json(b, a, what, value);
    }
    return 0;
}

int body_members(struct buf *b, const struct args *a, const struct member *members) {
    for (const struct member *m = members; m->flag; m++) {
        const char *value = args_get(a, m->flag);
        int wrong = value ? member_put(b, a, m, value) : 0;
        if (wrong) {
            return wrong;
        }
    }
    return 0;
}

int body_session(struct buf *b, const struct args *a) {
    const char *id = args_get(a, "session"), *key = args_get(a, "session-key"), *user = args_get(a, "user");
    if (id && key) {
        return args_wrong(a, "--session and --session-key: give one of them");
    }
    if (user && !key) {
        return args_wrong(a, "--user goes with --session-key");
    }
    if (!key) {
        return body_exact(b, a, "--session", "session", id);
    }
    body_name(b, "session");
    buf_char(b, '{');
    int wrong = body_exact(b, a, "--session-key", "key", key);
    wrong = wrong ? wrong : body_exact(b, a, "--user", "user", user);
    buf_char(b, '}');
    return wrong;
}

void body_output_data(struct buf *b, struct str data) {
    if (utf8_valid(data)) {
        body_name(b, "data");
        buf_json_str(b, data);
        return;
    }
    body_name(b, "data_base64");
    buf_char(b, '"');
    buf_base64(b, data.p, data.len);
    buf_char(b, '"');
}

size_t whole_characters_length(struct str data) {
    for (size_t back = 1; back <= 3 && back <= data.len; back++) {
        unsigned char c = (unsigned char) data.p[data.len - back];
        if (c >= 0xc0) {
            size_t wants = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            return wants > back ? data.len - back : data.len;
        }
        if (c < 0x80) {
            break;
        }
    }
    return data.len;
}
