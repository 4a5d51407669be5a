/* The texts of a task: what people see, what its worker is told, and what the store keeps. */
#include "domain/task.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

/* Inline, so that the lengths of the names are known when they are compiled. */
#define INLINE static inline __attribute__((always_inline)) void

INLINE put_num(struct buf *out, const char *name, bool has, double v) {
    buf_puts(out, name);
    if (has) {
        buf_json_num(out, v);
    } else {
        buf_puts(out, "null");
    }
}

INLINE put_time(struct buf *out, const char *name, int64_t at_ms) {
    buf_puts(out, name);
    buf_json_time(out, at_ms);
}

INLINE put_text(struct buf *out, const char *name, const char *text) {
    buf_puts(out, name);
    buf_json_str(out, str_of(text));
}

INLINE put_raw(struct buf *out, const char *name, const char *json) {
    buf_puts(out, name);
    buf_puts(out, json ? json : "null");
}

static double rounded(double v) {
    return v < 1e12 ? (double) (int64_t) (v * 1000 + 0.5) / 1000 : v;
}

static void write_progress(const struct task *t, struct buf *out) {
    bool has_ratio = t->progress.has_current && t->progress.has_total && t->progress.total > 0;
    double ratio = has_ratio ? t->progress.current / t->progress.total : 0;
    put_num(out, ",\"progress\":{\"current\":", t->progress.has_current, t->progress.current);
    put_num(out, ",\"total\":", t->progress.has_total, t->progress.total);
    put_text(out, ",\"unit\":", t->progress.unit);
    put_text(out, ",\"message\":", t->progress.message);
    put_num(out, ",\"ratio\":", has_ratio, ratio > 1 ? 1 : ratio);
    put_num(out, ",\"rate\":", t->progress.has_current && t->estimate.rate > 0, rounded(t->estimate.rate));
    put_num(out, ",\"eta\":", t->eta_s >= 0, rounded(t->eta_s));
    put_text(out, ",\"phase\":", t->progress.phase && *t->progress.phase ? t->progress.phase : NULL);
    put_raw(out, ",\"data\":", t->progress.data);
    buf_char(out, '}');
}

static void write_question(const struct task *t, struct buf *out) {
    if (!t->question_id) {
        buf_puts(out, ",\"input_request\":null");
        return;
    }
    put_text(out, ",\"input_request\":{\"id\":", t->question_id);
    put_text(out, ",\"prompt\":", t->question_prompt);
    put_raw(out, ",\"schema\":", t->question_schema);
    buf_char(out, '}');
}

static void write_error(const struct task *t, struct buf *out) {
    if (!t->error_type) {
        buf_puts(out, ",\"error\":null");
        return;
    }
    put_text(out, ",\"error\":{\"type\":", t->error_type);
    put_text(out, ",\"message\":", t->error_message ? t->error_message : "");
    put_raw(out, ",\"detail\":", t->error_detail);
    buf_char(out, '}');
}

void task_write(const struct task *t, int64_t apart_ms, bool open, struct buf *out) {
    static const char *const policies[] = {[END_KEEP] = "keep", [END_CANCEL] = "cancel", [END_HANDOVER] = "handover"};
    char id[ID_TEXT_LEN + 1], session[ID_TEXT_LEN + 1];
    id_format(t->id, ID_TASK, id);
    id_format(t->session, ID_SESSION, session);
    buf_puts(out, "{\"id\":\"");
    buf_put(out, id, ID_TEXT_LEN);
    buf_puts(out, "\",\"session\":\"");
    buf_put(out, session, ID_TEXT_LEN);
    put_text(out, "\",\"kind\":", t->kind);
    put_text(out, ",\"title\":", t->title);
    put_text(out, ",\"state\":", task_state_name(t->state));
    buf_puts(out, ",\"version\":");
    buf_u64(out, t->version);
    write_progress(t, out);
    buf_puts(out, t->cancel_requested ? ",\"cancel_requested\":true" : ",\"cancel_requested\":false");
    put_text(out, ",\"cancel_reason\":", t->cancel_reason);
    buf_puts(out, t->stalled ? ",\"stalled\":true,\"attempt\":" : ",\"stalled\":false,\"attempt\":");
    buf_u64(out, t->attempt);
    buf_puts(out, ",\"max_attempts\":");
    buf_u64(out, t->max_attempts);
    put_text(out, ",\"on_session_end\":", policies[t->on_session_end]);
    put_text(out, ",\"queue\":", t->queue);
    put_time(out, ",\"created_at\":", t->created_at);
    put_time(out, ",\"started_at\":", t->started_at);
    put_time(out, ",\"updated_at\":", t->updated_at);
    put_time(out, ",\"ended_at\":", t->ended_at);
    put_time(out, ",\"seen_at\":", t->seen_at);
    put_time(out, ",\"expires_at\":", t->expires_at ? t->expires_at + apart_ms : 0);
    buf_puts(out, ",\"output_bytes\":");
    buf_u64(out, t->output_bytes);
    write_question(t, out);
    put_raw(out, ",\"result\":", t->result);
    buf_puts(out, ",\"result_bytes\":");
    buf_u64(out, t->result_bytes);
    write_error(t, out);
    put_raw(out, ",\"metadata\":", t->metadata);
    if (!open) {
        buf_char(out, '}');
    }
}

void task_write_report_answer(const struct task *t, int64_t apart_ms, bool open, struct buf *out) {
    int64_t lease_until = task_lease_until(t);
    put_text(out, "{\"state\":", task_state_name(t->state));
    buf_puts(out, ",\"version\":");
    buf_u64(out, t->version);
    buf_puts(out, ",\"attempt\":");
    buf_u64(out, t->attempt);
    buf_puts(out, t->cancel_requested ? ",\"cancel_requested\":true" : ",\"cancel_requested\":false");
    put_time(out, ",\"lease_until\":", lease_until ? lease_until + apart_ms : 0);
    buf_puts(out, ",\"output_offset\":");
    buf_u64(out, t->output_bytes - t->output_base);
    if (t->answer_request) {
        put_text(out, ",\"answer\":{\"request\":", t->answer_request);
        put_raw(out, ",\"answer\":", t->answer_value);
        buf_char(out, '}');
    } else {
        buf_puts(out, ",\"answer\":null");
    }
    if (!open) {
        buf_char(out, '}');
    }
}

/* ---- the body column ---- */

/* Numbers and texts that are kept as they are; one list for both directions. */
/* clang-format off */
#define BODY_NUMBERS(X) \
    X(on_session_end) X(change_seq) X(output_seq) X(moved_seq) X(watch_base) X(attempt) X(attempts_used) X(given_back) X(max_attempts) \
    X(lease_ms) X(timeout_ms) X(backoff_ms) X(ttl_ms) X(cancel_unwatched_ms) X(created_at) X(started_at) X(updated_at) X(ended_at) \
    X(seen_at) X(created_apart) X(started_apart) X(expires_at) X(deadline_at) X(not_before_at) X(ready_at) X(handover_until) X(heard) X(attempt_lost) X(stalled) X(attempt_lease_ms) \
    X(timeout_at) X(progress.has_current) X(progress.has_total) X(cancel_requested) X(cancel_at) X(cancel_version) X(output_bytes) \
    X(output_first) X(output_base) X(questions) X(answer_version) X(input_bytes) X(result_bytes)
#define BODY_TEXTS(X) \
    X(title) X(metadata) X(progress.unit) X(progress.message) X(progress.phase) X(progress.data) X(cancel_reason) X(question_id) \
    X(question_prompt) X(question_schema) X(answer_request) X(answer_value) X(result) X(error_type) X(error_message) X(error_detail)
/* clang-format on */

static void write_finals(const struct task *t, struct buf *out) {
    static const char hex[] = "0123456789abcdef";
    for (uint32_t i = 0; i < t->final_count; i++) {
        const struct task_final *f = &t->finals[i];
        buf_puts(out, i ? ",{\"attempt\":" : ",\"finals\":[{\"attempt\":");
        buf_u64(out, f->attempt);
        buf_puts(out, ",\"hash\":\"");
        for (size_t k = 0; k < sizeof(f->hash); k++) {
            buf_char(out, hex[f->hash[k] >> 4]);
            buf_char(out, hex[f->hash[k] & 15]);
        }
        put_text(out, "\",\"answer\":", f->answer);
        buf_char(out, '}');
    }
    buf_puts(out, t->final_count ? "]" : "");
}

void task_write_body(const struct task *t, struct buf *out) {
    buf_puts(out, "{\"v\":2");
#define X(name)                           \
    if (t->name) {                        \
        buf_puts(out, ",\"" #name "\":"); \
        buf_i64(out, (int64_t) t->name);  \
    }
    BODY_NUMBERS(X)
#undef X
#define X(name)                                    \
    if (t->name) {                                 \
        put_text(out, ",\"" #name "\":", t->name); \
    }
    BODY_TEXTS(X)
#undef X
    if (t->progress.has_current) {
        put_num(out, ",\"current\":", true, t->progress.current);
    }
    if (t->progress.has_total) {
        put_num(out, ",\"total\":", true, t->progress.total);
    }
    if (t->estimate.rate > 0) {
        put_num(out, ",\"rate\":", true, rounded(t->estimate.rate));
    }
    if (t->eta_s >= 0) {
        put_num(out, ",\"eta\":", true, rounded(t->eta_s));
    }
    write_finals(t, out);
    buf_char(out, '}');
}

static void read_hash(struct str hex, uint8_t out[32]) {
    for (size_t i = 0; hex.len == 64 && i < 32; i++) {
        unsigned char hi = (unsigned char) hex.p[2 * i], lo = (unsigned char) hex.p[2 * i + 1];
        out[i] = (uint8_t) ((hi <= '9' ? hi - '0' : hi - 'a' + 10) << 4 | (lo <= '9' ? lo - '0' : lo - 'a' + 10));
    }
}

static void read_final(struct task *t, const struct json *attempt, const struct json *hash, const struct json *answer) {
    uint8_t bytes[32] = {0};
    if (attempt && hash && answer && answer->type == JSON_STRING) {
        read_hash(hash->string, bytes);
        task_keep_final(t, (uint32_t) attempt->integer, bytes, answer->string);
    }
}

static void read_finals(struct task *t, const struct json *root) {
    const struct json *list = json_get(root, "finals");
    for (const struct json *f = list ? list->child : NULL; f; f = f->next) {
        read_final(t, json_get(f, "attempt"), json_get(f, "hash"), json_get(f, "answer"));
    }
    if (!list) { /* an older body has the newest alone */
        read_final(t, json_get(root, "final_attempt"), json_get(root, "final_hash"), json_get(root, "final_answer"));
    }
}

static void read_member(struct task *t, const struct json *m) {
#define X(field)                                      \
    if (str_eqz(m->name, #field)) {                   \
        t->field = (__typeof__(t->field)) m->integer; \
        return;                                       \
    }
    BODY_NUMBERS(X)
#undef X
#define X(field)                          \
    if (str_eqz(m->name, #field)) {       \
        mem_free(t->field);               \
        t->field = mem_strdup(m->string); \
        return;                           \
    }
    BODY_TEXTS(X)
#undef X
    if (str_eqz(m->name, "current")) {
        t->progress.current = m->num;
    } else if (str_eqz(m->name, "total")) {
        t->progress.total = m->num;
    } else if (str_eqz(m->name, "rate")) {
        t->estimate.rate = m->num;
    } else if (str_eqz(m->name, "eta")) {
        t->eta_s = m->num;
    }
}

/* In an older body a task that has never been tried is ready when it may be started: at its creation, or not before. */
static void read_ready(struct task *t, const struct json *root) {
    const struct json *v = json_get(root, "v");
    if (v && v->integer == 1 && !t->attempts_used && t->ready_at > t->created_at) {
        t->not_before_at = t->ready_at;
        t->ready_at = t->created_at;
    }
}

int task_read_body(struct task *t, struct str body) {
    struct arena arena = {0};
    struct json *root;
    struct json_error err;
    int failed = json_parse(&arena, body, 8, &root, &err) || root->type != JSON_OBJECT;
    t->eta_s = -1;
    for (const struct json *m = failed ? NULL : root->child; m; m = m->next) {
        read_member(t, m);
    }
    if (!failed) {
        read_finals(t, root);
        read_ready(t, root);
    }
    if (!failed && !t->metadata) {
        t->metadata = mem_strdup(STR("{}"));
    }
    arena_fini(&arena);
    return failed ? -1 : 0;
}
