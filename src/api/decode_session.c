#include "api/decode.h"

#define LONGEST_S (3650.0 * 86400)

static void session_new(struct cmd *c, struct decode *d) {
    struct session_new *s = &c->session_new;
    s->idle_timeout_ms = d->options->idle_timeout;
    s->max_age_ms = d->options->max_age;
    s->metadata = STR("{}");
    if (!DECODE_MEMBERS(d, "key", "user", "idle_timeout", "max_age", "metadata")) {
        return;
    }
    (void) decode_bytes(d, "key", 1, 512, &s->key);
    (void) decode_user(d, "user", &s->user);
    (void) decode_duration(d, "idle_timeout", 0, LONGEST_S, &s->idle_timeout_ms);
    (void) decode_duration(d, "max_age", 0, LONGEST_S, &s->max_age_ms);
    (void) decode_raw_object(d, "metadata", d->options->max_metadata, &s->metadata);
}

static void session_rotate(struct cmd *c, struct decode *d) {
    if (DECODE_MEMBERS(d, "key", "user")) {
        (void) decode_bytes(d, "key", 1, 512, &c->session_new.key);
        (void) decode_user(d, "user", &c->session_new.user);
    }
}

void decode_session(struct cmd *c, enum body_rule rule, struct decode *d) {
    if (rule == BODY_SESSION_NEW) {
        session_new(c, d);
    } else if (rule == BODY_ROTATE) {
        session_rotate(c, d);
    } else if (DECODE_MEMBERS(d, "into") && decode_need(d, "into")) {
        (void) decode_id(d, "into", ID_SESSION, &c->into);
    }
}

void decode_session_ref(struct decode *d, const char *name, struct session_ref *ret) {
    const struct json *v = decode_need(d, name);
    ret->pointer = decode_pointer(d, name);
    if (!v) {
        return;
    }
    if (v->type == JSON_STRING) {
        (void) decode_id(d, name, ID_SESSION, &ret->id);
        return;
    }
    if (v->type != JSON_OBJECT) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be the id of a session, or an object with its key");
        return;
    }
    struct decode in = *d;
    in.obj = v;
    in.at = ret->pointer;
    if (DECODE_MEMBERS(&in, "key", "user") && decode_need(&in, "key")) {
        (void) decode_bytes(&in, "key", 1, 512, &ret->key);
    }
    (void) decode_user(&in, "user", &ret->user);
}
