#include "api/decode.h"

#include <stdio.h>

#define DAY_S 86400.0

static const char *const end_names[] = {[END_KEEP] = "keep", [END_CANCEL] = "cancel", [END_HANDOVER] = "handover"};

static void read_defaults(struct task_new *t) {
    *t = (struct task_new){
        .metadata = STR("{}"),
        .lease_ms = 60 * SEC,
        .deadline_ms = 7 * DAY,
        .backoff_ms = 1 * SEC,
        .ttl_ms = 1 * DAY,
        .cancel_unwatched_ms = -1,
        .max_attempts = 1,
    };
}

/* How it is run: everything that a kind of session_kinds can settle as well. */
static void read_policy(struct decode *d, struct task_new *t) {
    int end = (int) t->on_session_end;
    uint64_t attempts = t->max_attempts;
    (void) decode_chars(d, "title", 1, 200, &t->title);
    (void) decode_name(d, "queue", &t->queue);
    (void) decode_raw(d, "input", d->options->max_input, &t->input);
    (void) decode_choice(d, "on_session_end", end_names, 3, &end);
    (void) decode_duration(d, "lease", 0, 30 * DAY_S, &t->lease_ms);
    (void) decode_duration(d, "timeout", 0, 30 * DAY_S, &t->timeout_ms);
    if (decode_duration(d, "deadline", 0, 3650 * DAY_S, &t->deadline_ms) && t->deadline_ms == 0) {
        decode_refuse(d, ERR_INVALID_REQUEST, "deadline", "must be above 0");
    }
    (void) decode_count(d, "max_attempts", 1, 100, &attempts);
    (void) decode_duration(d, "backoff", 0, 3600, &t->backoff_ms);
    (void) decode_time(d, "not_before", &t->not_before_ms);
    (void) decode_duration(d, "ttl", 0, 3650 * DAY_S, &t->ttl_ms);
    (void) decode_duration(d, "cancel_unwatched", 0, 30 * DAY_S, &t->cancel_unwatched_ms);
    (void) decode_raw_object(d, "metadata", d->options->max_metadata, &t->metadata);
    t->on_session_end = (enum on_session_end) end;
    t->max_attempts = (unsigned) attempts;
    if (decode_get(d, "webhook")) {
        decode_refuse(d, ERR_INVALID_REQUEST, "webhook", "is not supported");
    }
    if (!decode_get(d, "queue") && t->max_attempts != 1) {
        decode_refuse(d, ERR_INVALID_REQUEST, "max_attempts", "must be 1 without a queue");
    }
    if (!decode_get(d, "queue") && decode_get(d, "not_before")) {
        decode_refuse(d, ERR_INVALID_REQUEST, "not_before", "must be left out without a queue");
    }
}

#define POLICY_MEMBERS                                                                                                                               \
    "title", "queue", "input", "on_session_end", "lease", "timeout", "deadline", "max_attempts", "backoff", "not_before", "ttl", "cancel_unwatched", \
        "webhook", "metadata"

static void read_new(struct cmd *c, struct decode *d) {
    read_defaults(&c->task_new);
    if (!DECODE_MEMBERS(d, "session", "kind", POLICY_MEMBERS)) {
        return;
    }
    decode_session_ref(d, "session", &c->ref);
    if (decode_need(d, "kind")) {
        (void) decode_name(d, "kind", &c->task_new.kind);
    }
    read_policy(d, &c->task_new);
}

static const struct session_kind *kind_find(const struct session_kinds *kinds, struct str kind) {
    for (unsigned i = 0; kinds && i < kinds->count; i++) {
        if (str_eq(kinds->at[i].kind, kind)) {
            return &kinds->at[i];
        }
    }
    return NULL;
}

/* It is a kind, but none that is configured: whatever else the body holds, nothing is said of it. */
static bool kind_forbidden(const struct decode *d, const struct session_kinds *kinds) {
    const struct json *kind = decode_get(d, "kind");
    return kind && kind->type == JSON_STRING && name_valid(kind->string) && !kind_find(kinds, kind->string);
}

static void read_start(struct cmd *c, struct decode *d, const struct session_kinds *kinds) {
    struct str kind = STR_NONE;
    read_defaults(&c->task_new);
    if (kind_forbidden(d, kinds)) {
        d->problem->err = ERR_FORBIDDEN;
        d->problem->detail = STR("A session may not start tasks of this kind itself");
        return;
    }
    if (!DECODE_MEMBERS(d, "kind", "title", "input") || !decode_need(d, "kind") || !decode_name(d, "kind", &kind)) {
        return;
    }
    c->task_new = kind_find(kinds, kind)->task;
    c->task_new.kind = kind;
    (void) decode_chars(d, "title", 1, 200, &c->task_new.title);
    (void) decode_raw(d, "input", d->options->max_input, &c->task_new.input);
}

static void read_answer(struct cmd *c, struct decode *d) {
    if (!DECODE_MEMBERS(d, "request", "answer")) {
        return;
    }
    if (decode_need(d, "request")) {
        (void) decode_chars(d, "request", 1, 200, &c->request);
    }
    /* it is required, so null is an answer like any other */
    const struct json *answer = json_get(d->obj, "answer");
    if (answer && answer->type == JSON_NULL) {
        c->answer_value = answer->raw;
    } else if (decode_need(d, "answer")) {
        (void) decode_raw(d, "answer", d->options->max_input, &c->answer_value);
    }
}

void decode_task(struct cmd *c, enum body_rule rule, struct decode *d, const struct decode_env *env) {
    if (rule == BODY_TASK_NEW) {
        read_new(c, d);
    } else if (rule == BODY_TASK_START) {
        read_start(c, d, env->kinds);
    } else if (rule == BODY_ANSWER) {
        read_answer(c, d);
    } else if (rule == BODY_BIND) {
        if (DECODE_MEMBERS(d, "session")) {
            decode_session_ref(d, "session", &c->ref);
        }
    } else if (DECODE_MEMBERS(d, "reason")) {
        (void) decode_chars(d, "reason", 0, 200, &c->reason);
    }
}

/* ---- the option session_kinds ---- */

static void kinds_refuse(struct buf *err, const struct problem *p) {
    buf_puts(err, "session_kinds: ");
    for (unsigned i = 0; i < p->places; i++) {
        buf_printf(err, "%s%.*s %.*s", i ? "; " : "", STR_FMT(p->at[i].pointer), STR_FMT(p->at[i].detail));
    }
}

static void kind_read(struct session_kinds *kinds, const struct options *o, const struct json *m, struct problem *p) {
    struct decode d = {.arena = &kinds->arena, .options = o, .problem = p, .at = STR("")};
    struct session_kind *k = &kinds->at[kinds->count++];
    struct buf pointer = {0};
    json_pointer_push(&pointer, m->name);
    d.at = arena_str(&kinds->arena, buf_view(&pointer));
    buf_fini(&pointer);
    k->kind = m->name;
    read_defaults(&k->task);
    if (!name_valid(m->name)) {
        decode_refuse(&d, ERR_INVALID_REQUEST, NULL, "is no name of a kind: it must match ^[a-z0-9][a-z0-9._-]{0,63}$");
    }
    d.obj = m;
    if (DECODE_MEMBERS(&d, POLICY_MEMBERS)) {
        read_policy(&d, &k->task);
    }
}

int session_kinds_read(struct session_kinds *kinds, const struct options *o, struct buf *err) {
    struct json *root = NULL;
    struct json_error json_err = {0};
    struct problem p = {0};
    *kinds = (struct session_kinds){0};
    buf_puts(&kinds->text, o->session_kinds[0] ? o->session_kinds : "{}");
    if (json_parse(&kinds->arena, buf_view(&kinds->text), 64, &root, &json_err) < 0) {
        buf_printf(err, "session_kinds: %s", json_err.detail);
    } else if (root->type != JSON_OBJECT) {
        buf_puts(err, "session_kinds: must be a JSON object of kinds");
    } else if (root->count) {
        kinds->at = arena_alloc(&kinds->arena, root->count * sizeof *kinds->at);
        for (const struct json *m = root->child; kinds->at && m; m = m->next) {
            kind_read(kinds, o, m, &p);
        }
        if (p.err != ERR_NONE) {
            kinds_refuse(err, &p);
        }
    }
    if (err->len || kinds->text.failed) {
        session_kinds_fini(kinds);
        return -1;
    }
    return 0;
}

void session_kinds_fini(struct session_kinds *kinds) {
    arena_fini(&kinds->arena);
    buf_fini(&kinds->text);
    *kinds = (struct session_kinds){0};
}
