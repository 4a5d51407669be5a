#include "api/decode.h"
#include "domain/token.h"

#include <math.h>

#define NUMBER_MAX 1e15
#define OPAQUE_MAX (64 * KIB)
#define MESSAGE_MAX 500 /* characters */

static const char *const type_names[] = {
    [REPORT_PROGRESS] = "progress", [REPORT_OUTPUT] = "output", [REPORT_HEARTBEAT] = "heartbeat", [REPORT_INPUT_REQUEST] = "input_request",
    [REPORT_SUCCEED] = "succeed",   [REPORT_FAIL] = "fail",     [REPORT_CANCELLED] = "cancelled",
};

/* Members of each type, up to NULL; the first two of a line of many tasks are taken off first. */
#define LINE_MEMBERS "task", "token"
static const char *const type_members[][10] = {
    [REPORT_PROGRESS] = {LINE_MEMBERS, "type", "current", "total", "unit", "message", "phase", "data"},
    [REPORT_OUTPUT] = {LINE_MEMBERS, "type", "data", "data_base64", "offset"},
    [REPORT_HEARTBEAT] = {LINE_MEMBERS, "type"},
    [REPORT_INPUT_REQUEST] = {LINE_MEMBERS, "type", "prompt", "schema"},
    [REPORT_SUCCEED] = {LINE_MEMBERS, "type", "result"},
    [REPORT_FAIL] = {LINE_MEMBERS, "type", "error", "retry"},
    [REPORT_CANCELLED] = {LINE_MEMBERS, "type"},
};

static void members_check(struct decode *d, enum report_type type, bool line) {
    const char *const *names = type_members[type] + (line ? 0 : 2);
    unsigned count = 0;
    while (names[count]) {
        count++;
    }
    (void) decode_members(d, names, count);
}

static enum report_field number_of(struct decode *d, const char *name, double *ret) {
    const struct json *v = json_get(d->obj, name);
    if (!v || v->type == JSON_NULL) {
        return v ? REPORT_CLEAR : REPORT_KEEP;
    }
    if (v->type != JSON_NUMBER || !(v->num >= 0 && v->num <= NUMBER_MAX)) {
        decode_refuse(d, ERR_INVALID_REQUEST, name, "must be a number from 0 to 1e15");
        return REPORT_KEEP;
    }
    *ret = v->num == 0 ? 0 : v->num; /* no -0 */
    return REPORT_SET;
}

/* What a member that is not good says is never looked at. */
static enum report_field field_of(const struct decode *d, const char *name) {
    const struct json *v = json_get(d->obj, name);
    return !v ? REPORT_KEEP : v->type == JSON_NULL ? REPORT_CLEAR : REPORT_SET;
}

static void report_progress(struct decode *d, struct report *r) {
    r->has_phase = field_of(d, "phase");
    r->has_current = number_of(d, "current", &r->current);
    r->has_total = number_of(d, "total", &r->total);
    r->has_unit = field_of(d, "unit");
    r->has_message = field_of(d, "message");
    r->has_data = field_of(d, "data");
    (void) decode_chars(d, "phase", 1, 80, &r->phase);
    (void) decode_chars(d, "unit", 0, 32, &r->unit);
    (void) decode_raw(d, "data", d->options->max_progress_data, &r->progress_data);
    if (decode_chars(d, "message", 0, SIZE_MAX / 2, &r->message)) {
        struct str whole = r->message;
        r->message = utf8_prefix(whole, MESSAGE_MAX);
        r->message_cut = r->message.len < whole.len;
    }
}

static void report_base64(struct decode *d, struct report *r) {
    struct str text;
    if (!decode_bytes(d, "data_base64", 0, SIZE_MAX / 2, &text)) {
        return;
    }
    struct buf out = {0};
    bool good = base64_decode(text, &out);
    r->data = good ? out.len ? arena_str(d->arena, buf_view(&out)) : STR("") : STR_NONE;
    if (!good) {
        decode_refuse(d, ERR_INVALID_REQUEST, "data_base64", "must be base64 with padding");
    } else if (out.failed || !r->data.p) {
        d->problem->err = ERR_UNAVAILABLE;
    }
    buf_fini(&out);
}

static void report_output(struct decode *d, struct report *r) {
    bool text = decode_get(d, "data"), base64 = decode_get(d, "data_base64");
    if (!text && !base64) {
        decode_refuse(d, ERR_INVALID_REQUEST, "data", "is required, or \"data_base64\" in its place");
    } else if (text && base64) {
        decode_refuse(d, ERR_INVALID_REQUEST, "data_base64", "must be left out where \"data\" is given");
    } else if (text) {
        (void) decode_bytes(d, "data", 0, SIZE_MAX / 2, &r->data);
    } else {
        report_base64(d, r);
    }
    r->has_offset = decode_count(d, "offset", 0, (uint64_t) 1 << 60, &r->offset);
}

static void report_question(struct decode *d, struct report *r) {
    if (decode_need(d, "prompt")) {
        (void) decode_chars(d, "prompt", 1, 2000, &r->prompt);
    }
    (void) decode_raw_object(d, "schema", OPAQUE_MAX, &r->schema);
}

static void report_fail(struct decode *d, struct report *r) {
    struct decode in = *d;
    (void) decode_bool(d, "retry", &r->retry);
    in.obj = decode_need(d, "error");
    in.at = decode_pointer(d, "error");
    if (!in.obj || !DECODE_MEMBERS(&in, "type", "message", "detail")) {
        return;
    }
    if (decode_need(&in, "type")) {
        (void) decode_name(&in, "type", &r->error_type);
    }
    (void) decode_chars(&in, "message", 0, 2000, &r->error_message);
    (void) decode_raw(&in, "detail", OPAQUE_MAX, &r->error_detail);
}

static void report_read(struct decode *d, bool line, struct report *r) {
    int type;
    if (d->obj->type != JSON_OBJECT) {
        decode_refuse(d, ERR_INVALID_REQUEST, NULL, "must be an object");
        return;
    }
    if (!decode_need(d, "type") || !decode_choice(d, "type", type_names, 7, &type)) {
        return;
    }
    r->type = (enum report_type) type;
    members_check(d, r->type, line);
    switch (r->type) {
    case REPORT_PROGRESS: report_progress(d, r); break;
    case REPORT_OUTPUT: report_output(d, r); break;
    case REPORT_INPUT_REQUEST: report_question(d, r); break;
    case REPORT_SUCCEED:
        r->result = STR("null");
        (void) decode_raw(d, "result", d->options->max_result, &r->result);
        break;
    case REPORT_FAIL: report_fail(d, r); break;
    case REPORT_HEARTBEAT:
    case REPORT_CANCELLED: break;
    }
}

static void reports_alloc(struct cmd *c, size_t count) {
    c->reports = arena_alloc(&c->arena, count * sizeof *c->reports);
    c->report_count = c->reports ? count : 0;
    if (!c->reports) {
        c->early.err = ERR_UNAVAILABLE;
    }
}

static void reports_read(struct cmd *c, struct decode *d) {
    const struct json *root = d->obj;
    if (root->type != JSON_ARRAY) {
        reports_alloc(c, 1);
        if (c->reports) {
            report_read(d, false, c->reports);
        }
        return;
    }
    if (root->count < 1 || root->count > REPORTS_MAX) {
        decode_refuse(d, ERR_INVALID_REQUEST, NULL, "must hold 1 to %d reports", REPORTS_MAX);
        return;
    }
    c->reports_pointer = STR("");
    reports_alloc(c, root->count);
    size_t i = 0;
    for (const struct json *v = root->child; v && c->reports && d->problem->places < PROBLEM_PLACES; v = v->next, i++) {
        struct buf pointer = {0};
        struct decode in = *d;
        buf_printf(&pointer, "/%zu", i);
        in.at = arena_str(&c->arena, buf_view(&pointer));
        in.obj = v;
        buf_fini(&pointer);
        report_read(&in, false, &c->reports[i]);
    }
}

/* A worker token in a body stands for its task's attempt. */
static void token_read(struct decode *d, const char *name, const struct keyring *keys, struct cred *ret) {
    struct str text;
    struct token t;
    if (!decode_bytes(d, name, 0, SIZE_MAX / 2, &text)) {
        return;
    }
    if (!token_verify(keys, text, &t) || t.kind != TOKEN_WORKER) {
        decode_refuse(d, ERR_UNAUTHENTICATED, name, "is not a worker token of this server");
        return;
    }
    *ret = (struct cred){.kind = CRED_WORKER, .id = t.id, .gen = t.gen};
}

static void line_read(struct cmd *c, struct decode *d, const struct decode_env *env) {
    reports_alloc(c, 1);
    if (!c->reports) {
        return;
    }
    report_read(d, true, c->reports);
    if (d->obj->type == JSON_OBJECT) {
        if (decode_need(d, "task")) {
            (void) decode_id(d, "task", ID_TASK, &c->task);
        }
        token_read(d, "token", env->keys, &c->cred);
    }
}

static void claim_read(struct cmd *c, struct decode *d) {
    uint64_t max = 1;
    c->lease_ms = -1;
    if (DECODE_MEMBERS(d, "max", "worker", "lease")) {
        (void) decode_count(d, "max", 1, 1000, &max);
        (void) decode_chars(d, "worker", 1, 200, &c->worker);
        (void) decode_duration(d, "lease", 0, 30 * 86400.0, &c->lease_ms);
    }
    c->max = (unsigned) max;
}

void decode_worker(struct cmd *c, enum body_rule rule, struct decode *d, const struct decode_env *env) {
    if (rule == BODY_REPORTS) {
        reports_read(c, d);
    } else if (rule == BODY_REPORT_LINE) {
        line_read(c, d, env);
    } else if (rule == BODY_CLAIM) {
        claim_read(c, d);
    } else if (DECODE_MEMBERS(d, "token") && decode_need(d, "token")) {
        token_read(d, "token", env->keys, &c->token);
    }
}
