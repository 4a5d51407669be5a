#include "api/decode.h"

#include "base/clock.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

bool name_valid(struct str s) {
    if (s.len < 1 || s.len > 64) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || (c != '.' && c != '_' && c != '-'))) {
            return false;
        }
    }
    return true;
}

bool user_valid(struct str s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char) s.p[i];
        if (c < 0x20 || c == 0x7f || (c == 0xc2 && i + 1 < s.len && (unsigned char) s.p[i + 1] < 0xa0)) {
            return false;
        }
    }
    return s.len >= 1 && s.len <= 256 && utf8_valid(s);
}

struct str decode_pointer(const struct decode *d, const char *name) {
    struct buf b = {0};
    buf_str(&b, d->at);
    json_pointer_push(&b, str_of(name));
    struct str kept = arena_str(d->arena, buf_view(&b));
    buf_fini(&b);
    return kept.p ? kept : STR("");
}

void decode_refuse(struct decode *d, enum err err, const char *name, const char *fmt, ...) {
    if (d->problem->places == PROBLEM_PLACES) {
        return;
    }
    char text[400];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t) n < sizeof text ? (size_t) n : sizeof text - 1;
    struct str detail = arena_str(d->arena, str_n(text, len));
    problem_add(d->problem, d->arena, err, name ? decode_pointer(d, name) : d->at, detail.p ? detail : STR("is not valid"));
}

static void refuse_unknown(struct decode *d, struct str name, const char *const *names, unsigned count) {
    if (d->problem->places == PROBLEM_PLACES) {
        return;
    }
    struct buf pointer = {0};
    buf_str(&pointer, d->at);
    json_pointer_push(&pointer, name);
    struct decode at = *d;
    at.at = arena_str(d->arena, buf_view(&pointer));
    buf_fini(&pointer);
    const char *near = name.len < 64 ? nearest_name(name, names, count) : NULL;
    if (near) {
        decode_refuse(&at, ERR_INVALID_REQUEST, NULL, "is not known here; perhaps \"%s\" was meant", near);
    } else {
        decode_refuse(&at, ERR_INVALID_REQUEST, NULL, "is not known here");
    }
}

bool decode_members(struct decode *d, const char *const *names, unsigned count) {
    if (!d->obj || d->obj->type != JSON_OBJECT) {
        decode_refuse(d, ERR_INVALID_REQUEST, NULL, "must be an object");
        return false;
    }
    unsigned next = 0; /* most members come in the order of the names */
    for (const struct json *m = d->obj->child; m; m = m->next) {
        unsigned tried = 0;
        while (tried < count && !str_eqz(m->name, names[next])) {
            next = next + 1 < count ? next + 1 : 0;
            tried++;
        }
        if (tried == count) {
            refuse_unknown(d, m->name, names, count);
        }
    }
    return true;
}

const struct json *decode_get(const struct decode *d, const char *name) {
    const struct json *v = json_get(d->obj, name);
    return v && v->type != JSON_NULL ? v : NULL;
}

const struct json *decode_need(struct decode *d, const char *name) {
    const struct json *v = decode_get(d, name);
    if (!v) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "is required");
    }
    return v;
}

static const struct json *get_string(struct decode *d, const char *name) {
    const struct json *v = decode_get(d, name);
    if (v && v->type != JSON_STRING) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be a string");
        return NULL;
    }
    return v;
}

static bool text_within(struct decode *d, const char *name, const char *unit, size_t len, size_t least, size_t most) {
    if (len >= least && len <= most) {
        return true;
    }
    decode_refuse(d, ERR_INVALID_REQUEST, name, "must have %zu to %zu %s", least, most, unit);
    return false;
}

bool decode_chars(struct decode *d, const char *name, size_t least, size_t most, struct str *ret) {
    const struct json *v = get_string(d, name);
    if (!v || !text_within(d, name, "characters", utf8_count(v->string), least, most)) {
        return false;
    }
    if (v->string.len && memchr(v->string.p, 0, v->string.len)) { /* it would end there wherever it is kept as a C string */
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must not contain U+0000");
        return false;
    }
    *ret = v->string;
    return true;
}

bool decode_bytes(struct decode *d, const char *name, size_t least, size_t most, struct str *ret) {
    const struct json *v = get_string(d, name);
    if (!v || !text_within(d, name, "bytes", v->string.len, least, most)) {
        return false;
    }
    *ret = v->string;
    return true;
}

bool decode_user(struct decode *d, const char *name, struct str *ret) {
    const struct json *v = get_string(d, name);
    if (v && !user_valid(v->string)) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must have 1 to 256 bytes and no control characters");
        return false;
    }
    if (v) {
        *ret = v->string;
    }
    return v != NULL;
}

bool decode_name(struct decode *d, const char *name, struct str *ret) {
    const struct json *v = get_string(d, name);
    if (v && !name_valid(v->string)) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must match ^[a-z0-9][a-z0-9._-]{0,63}$");
        return false;
    }
    if (v) {
        *ret = v->string;
    }
    return v != NULL;
}

bool decode_duration(struct decode *d, const char *name, double least_s, double most_s, int64_t *ret_ms) {
    const struct json *v = decode_get(d, name);
    if (!v) {
        return false;
    }
    if (v->type != JSON_NUMBER || !(v->num >= least_s) || !(v->num <= most_s)) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be a number of seconds from %g to %.15g", least_s, most_s);
        return false;
    }
    /* what is above nothing stays above nothing: 0 often means never */
    int64_t ms = llround(v->num * 1000);
    *ret_ms = ms == 0 && v->num > 0 ? 1 : ms;
    return true;
}

bool decode_count(struct decode *d, const char *name, uint64_t least, uint64_t most, uint64_t *ret) {
    const struct json *v = decode_get(d, name);
    if (!v) {
        return false;
    }
    bool whole = v->type == JSON_NUMBER && v->num >= 0 && (v->is_integer || (v->num == floor(v->num) && v->num < 9007199254740992.0));
    uint64_t n = !whole ? 0 : v->is_integer ? (uint64_t) v->integer : (uint64_t) v->num;
    if (!whole || n < least || n > most) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be a whole number from %llu to %llu", (unsigned long long) least,
                      (unsigned long long) most);
        return false;
    }
    *ret = n;
    return true;
}

bool decode_bool(struct decode *d, const char *name, bool *ret) {
    const struct json *v = decode_get(d, name);
    if (v && v->type != JSON_BOOL) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be true or false");
        return false;
    }
    if (v) {
        *ret = v->boolean;
    }
    return v != NULL;
}

bool decode_time(struct decode *d, const char *name, int64_t *ret_ms) {
    const struct json *v = get_string(d, name);
    if (v && !time_parse(v->string, ret_ms)) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be a time as in RFC 3339 before the year 10000, such as 2030-01-31T12:00:00Z");
        return false;
    }
    return v != NULL;
}

bool decode_id(struct decode *d, const char *name, enum id_kind kind, struct id *ret) {
    const struct json *v = get_string(d, name);
    if (v && !id_parse(v->string, kind, ret)) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be the id of a %s", kind == ID_SESSION ? "session" : "task");
        return false;
    }
    return v != NULL;
}

bool decode_choice(struct decode *d, const char *name, const char *const *names, unsigned count, int *ret) {
    const struct json *v = decode_get(d, name);
    if (!v) {
        return false;
    }
    for (unsigned i = 0; v->type == JSON_STRING && i < count; i++) {
        if (str_eqz(v->string, names[i])) {
            *ret = (int) i;
            return true;
        }
    }
    char list[200] = "";
    for (unsigned i = 0; i < count; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s\"%s\"", i ? ", " : "", names[i]);
    }
    decode_refuse(d, ERR_INVALID_REQUEST, name, "must be one of %s", list);
    return false;
}

bool decode_raw(struct decode *d, const char *name, int64_t most_bytes, struct str *ret) {
    const struct json *v = decode_get(d, name);
    if (v && v->raw.len > (size_t) most_bytes) {
        decode_refuse(d, ERR_TOO_LARGE, name, "must have at most %lld bytes", (long long) most_bytes);
        return false;
    }
    if (v) {
        *ret = v->raw;
    }
    return v != NULL;
}

bool decode_raw_object(struct decode *d, const char *name, int64_t most_bytes, struct str *ret) {
    const struct json *v = decode_get(d, name);
    if (v && v->type != JSON_OBJECT) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be an object");
        return false;
    }
    return decode_raw(d, name, most_bytes, ret);
}

/* Kept as text and never looked into here. */
static const char *const opaque_members[] = {"input", "result", "metadata", "detail", "answer", "schema", NULL};

static const char *const opaque_parts[] = {"data", NULL}; /* a text there is output */

static struct json *body_parse(struct cmd *c, const struct options *o) {
    struct json *root = NULL;
    struct json_error err = {0};
    struct str text = c->body.len ? c->body : STR("{}");
    struct json_rules rules = {(unsigned) o->max_json_depth, BODY_NODES_MAX, opaque_members, opaque_parts};
    if (json_parse_by(&c->arena, text, &rules, &root, &err) == 0) {
        return root;
    }
    if (err.no_memory) {
        c->early.err = ERR_UNAVAILABLE;
        return NULL;
    }
    enum err what = err.too_many ? ERR_TOO_LARGE : ERR_INVALID_REQUEST;
    problem_add(&c->early, &c->arena, what, arena_str(&c->arena, str_of(err.pointer)), arena_str(&c->arena, str_of(err.detail)));
    return NULL;
}

void decode_body(struct cmd *c, enum body_rule rule, const struct decode_env *env) {
    struct decode d = {.arena = &c->arena, .options = env->options, .problem = &c->early, .at = STR("")};
    d.obj = body_parse(c, env->options);
    if (!d.obj) {
        return;
    }
    switch (rule) {
    case BODY_SESSION_NEW:
    case BODY_ROTATE:
    case BODY_MERGE: decode_session(c, rule, &d); break;
    case BODY_TASK_NEW:
    case BODY_TASK_START:
    case BODY_CANCEL:
    case BODY_ANSWER:
    case BODY_BIND: decode_task(c, rule, &d, env); break;
    case BODY_REPORTS:
    case BODY_REPORT_LINE:
    case BODY_CLAIM:
    case BODY_RELEASE: decode_worker(c, rule, &d, env); break;
    case BODY_NONE:
    case BODY_RULES: (void) decode_members(&d, NULL, 0); break;
    }
}
