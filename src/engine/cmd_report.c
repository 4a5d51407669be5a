/* What workers say. An array is tried as a whole on a small copy first, then applied; so it counts as a whole or not at all. */
#include "engine/cmd_report.h"

#include "engine/answer.h"
#include "engine/auth.h"
#include "engine/batch.h"
#include "engine/change.h"
#include "engine/clocks.h"
#include "engine/kinds.h"
#include "engine/output.h"
#include "engine/queue.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/task_clocks.h"
#include "engine/wait.h"
#include "engine/writes.h"

#include "base/crypto.h"

static void final_hash(const struct report *r, uint8_t out[32]) {
    struct buf text = {0};
    struct str parts[] = {r->result, r->error_type, r->error_message, r->error_detail};
    buf_printf(&text, "%d %d", (int) r->type, r->retry);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_printf(&text, " %d:%zu:", parts[i].p != NULL, parts[i].len);
        if (parts[i].p) {
            buf_str(&text, parts[i]);
        }
    }
    crypto_sha256(buf_view(&text), out);
    buf_fini(&text);
}

static uint32_t attempt_of(const struct cmd *c) {
    return c->cred.kind == CRED_WORKER ? c->cred.gen : 1;
}

/* If it is the report that ended this attempt, said again: what was answered then; else NULL. */
static const char *final_repeated(const struct cmd *c, const struct task *t) {
    const struct report *last = c->report_count ? &c->reports[c->report_count - 1] : NULL;
    const struct task_final *f = last && report_is_final(last) ? task_final_of(t, attempt_of(c)) : NULL;
    uint8_t hash[32];
    if (!f) {
        return NULL;
    }
    final_hash(last, hash);
    return memcmp(hash, f->hash, sizeof(hash)) == 0 ? f->answer : NULL;
}

/* Is this attempt the one that may report? */
static enum err attempt_stands(const struct task *t, uint32_t attempt) {
    bool first = t->state == TASK_QUEUED && !t->queue && t->attempt == 0 && attempt == 1;
    if (first) {
        return ERR_NONE;
    }
    if (attempt < t->attempt || t->state == TASK_QUEUED || (task_is_ended(t) && t->attempt_lost)) {
        return ERR_ATTEMPT_SUPERSEDED;
    }
    return task_is_ended(t) ? ERR_TASK_ENDED : ERR_NONE;
}

static void refuse(struct engine *e, struct cmd *c, enum err err, size_t at) {
    static const char *const why[ERR_COUNT] = {[ERR_OUTPUT_GAP] = "The offset lies past the end of what has arrived",
                                               [ERR_TASK_ENDED] = "The task has ended",
                                               [ERR_ATTEMPT_SUPERSEDED] = "This attempt is over"};
    c->answer.ends_stream = err == ERR_TASK_ENDED || err == ERR_ATTEMPT_SUPERSEDED;
    struct buf pointer = {0};
    if (c->reports_pointer.p) {
        buf_printf(&pointer, "/%zu", at);
    }
    if (err == ERR_OUTPUT_GAP) {
        buf_puts(&pointer, "/offset");
    }
    struct str text = arena_str(&c->arena, buf_view(&pointer));
    buf_fini(&pointer);
    if (text.len) {
        cmd_refuse_at(e, c, err, text, why[err]);
    } else {
        cmd_refuse(e, c, err, why[err]);
    }
}

/* ---- applying ---- */

/* What several reports of one command have changed, told in one change at the end of each run of them. */
struct applying {
    bool lasting, passing;
};

static void flush_change(struct engine *e, struct task_entry *t, struct applying *a) {
    if (a->lasting || a->passing) {
        task_changed(e, t, a->lasting ? LASTING : PASSING);
    }
    *a = (struct applying){0};
}

static void apply_output(struct engine *e, struct task_entry *t, const struct report *r) {
    uint64_t have = t->t.output_bytes - t->t.output_base;
    struct str data = r->data;
    if (r->has_offset && r->offset < have) {
        data = str_from(data, have - r->offset < data.len ? (size_t) (have - r->offset) : data.len); /* what is there already is skipped */
    }
    if (data.len) {
        task_output(e, t, data);
    }
}

static bool same_question(const struct task *t, const struct report *r) {
    return t->question_id && str_eqz(r->prompt, t->question_prompt) && (r->schema.p != NULL) == (t->question_schema != NULL) &&
           (!r->schema.p || str_eqz(r->schema, t->question_schema));
}

static void apply_final(struct engine *e, struct task_entry *t, const struct report *r) {
    if (r->type == REPORT_SUCCEED) {
        if (r->result.len > (uint64_t) e->o->max_inline_result) {
            step_session(e, t->s);
            struct store_op *op = batch_op(e, STORE_PUT_RESULT);
            op->id = t->t.id;
            op->data = batch_text(e, r->result);
        }
        task_succeed(&t->t, r->result, (uint64_t) e->o->max_inline_result, now_of(e));
    } else if (r->type == REPORT_CANCELLED) {
        task_cancelled(&t->t, now_of(e));
    } else if (r->retry) {
        struct str error[3] = {r->error_type, r->error_message, r->error_detail};
        task_attempt_over(&t->t, ATTEMPT_FAILED, error, now_of(e));
    } else {
        task_fail(&t->t, r->error_type, r->error_message, r->error_detail, now_of(e));
    }
}

static void apply_progress(struct engine *e, struct task_entry *t, const struct report *r, struct applying *a) {
    const char *ending = task_phase_ending(&t->t, r);
    if (ending) {
        learn_phase(e, t, ending);
    }
    a->passing |= task_progress(&t->t, r, e->now);
}

static void apply(struct engine *e, struct task_entry *t, const struct report *r, struct applying *a) {
    e->counts.reports++;
    if (t->t.state == TASK_QUEUED) {
        task_start(&t->t, -1, now_of(e));
        a->lasting = true;
    }
    if (!t->t.heard) { /* once in an attempt: kept also where it changes nothing that is shown */
        t->row_stale = true;
        task_write_later(e, t);
    }
    a->passing |= task_heard(&t->t, e->now);
    switch (r->type) {
    case REPORT_PROGRESS: apply_progress(e, t, r, a); break;
    case REPORT_HEARTBEAT: break;
    case REPORT_OUTPUT:
        flush_change(e, t, a);
        apply_output(e, t, r);
        break;
    case REPORT_INPUT_REQUEST:
        if (!same_question(&t->t, r)) {
            task_ask(&t->t, r->prompt, r->schema, now_of(e));
            a->lasting = true;
        }
        break;
    default: apply_final(e, t, r); a->lasting = true;
    }
}

/* How the task stands, and what of the reports was cut. */
static void write_answer(const struct engine *e, struct cmd *c, const struct task *t) {
    struct buf *out = cmd_json(c, 200);
    bool any = false;
    task_write_report_answer(t, e->apart, true, out);
    for (size_t i = 0; i < c->report_count; i++) {
        if (!c->reports[i].message_cut) {
            continue;
        }
        buf_puts(out, any ? ",\"" : ",\"truncated\":[\"");
        if (c->reports_pointer.p) {
            buf_printf(out, "/%zu", i);
        }
        buf_puts(out, "/message\"");
        any = true;
    }
    buf_puts(out, any ? "]}" : "}");
}

static void apply_all(struct engine *e, struct cmd *c, struct task_entry *t) {
    struct applying a = {0};
    for (size_t i = 0; i < c->report_count; i++) {
        apply(e, t, &c->reports[i], &a);
    }
    const struct report *last = &c->reports[c->report_count - 1];
    flush_change(e, t, &a);
    task_rearm(e, t);
    write_answer(e, c, &t->t);
    if (report_is_final(last)) {
        uint8_t hash[32];
        final_hash(last, hash);
        task_keep_final(&t->t, attempt_of(c), hash, buf_view(&c->answer.body));
        task_write_now(e, t);
    }
    cmd_answer(e, c);
}

static bool refuse_key_for_queue(struct engine *e, struct cmd *c, struct task_entry *t) {
    if (c->cred.kind == CRED_KEY && t->t.queue) {
        cmd_refuse(e, c, ERR_FORBIDDEN, "The task has a queue: its worker reports with the worker token that the claim gave");
        return true;
    }
    return false;
}

void cmd_task_report(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON || refuse_key_for_queue(e, c, t)) {
        return;
    }
    const char *answer = final_repeated(c, &t->t);
    if (answer) {
        buf_puts(cmd_json(c, 200), answer);
        cmd_answer(e, c);
        return;
    }
    enum err err = attempt_stands(&t->t, attempt_of(c));
    struct task_trial trial = task_trial_of(&t->t);
    for (size_t i = 0; i < c->report_count && !err; i++) {
        err = task_try_report(&trial, &c->reports[i]);
        if (err) {
            refuse(e, c, err, i);
            return;
        }
    }
    if (err) {
        refuse(e, c, err, 0);
    } else if (c->report_count) {
        apply_all(e, c, t);
    } else {
        task_write_report_answer(&t->t, e->apart, false, cmd_json(c, 200));
        cmd_answer(e, c);
    }
}

/* ---- lines ---- */

/* Begins a stream of reports: what would refuse all of them is a status of its own. */
void cmd_report_open(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (!id_is_none(c->task) && (entitled_task(e, c, &t) != GO_ON || refuse_key_for_queue(e, c, t))) {
        return;
    }
    c->answer.type = ANSWER_NONE;
    c->answer.status = 200;
    cmd_answer(e, c);
}

/* ---- control ---- */

void cmd_task_control(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    enum err err = attempt_stands(&t->t, attempt_of(c));
    if (err) {
        refuse(e, c, err, 0);
        return;
    }
    uint64_t after = c->has_after_version ? c->after_version : 0;
    bool news = (t->t.cancel_requested && t->t.cancel_version > after) || (t->t.answer_request && t->t.answer_version > after);
    if (!news && cmd_wait(e, c, &t->waiters) == WAITS) {
        return;
    }
    task_write_report_answer(&t->t, e->apart, false, cmd_json(c, 200));
    cmd_answer(e, c);
}
