#include "engine/cmd_task.h"

#include "engine/answer.h"
#include "engine/audit.h"
#include "engine/auth.h"
#include "engine/batch.h"
#include "engine/change.h"
#include "engine/clocks.h"
#include "engine/events.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/look_up.h"
#include "engine/moves.h"
#include "engine/outbox.h"
#include "engine/query.h"
#include "engine/queue.h"
#include "engine/removal.h"
#include "engine/residence.h"
#include "engine/session_begin.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/task_clocks.h"
#include "engine/users.h"
#include "engine/wait.h"

#include "domain/token.h"

#define RETRY_AFTER_S 1

static void token_member(struct engine *e, struct buf *out, const char *name, enum token_kind kind, const struct task *t, uint32_t gen) {
    buf_printf(out, ",\"%s\":\"", name);
    token_write(e->config.keys, (struct token){kind, t->id, gen}, out);
    buf_char(out, '"');
}

void task_answer_to(struct engine *e, struct cmd *c, struct task_entry *t, int status) {
    task_entry_write(e, t, false, cmd_json(c, status));
    c->answer.etag = t->t.version;
    if (!task_is_ended(&t->t)) {
        c->answer.retry_after_s = RETRY_AFTER_S;
    }
    cmd_answer(e, c);
}

/* ---- starting ---- */

static void refuse_other_user(struct engine *e, struct cmd *c) {
    cmd_refuse_at(e, c, ERR_USER_MISMATCH, STR("/session"), "The task belongs to a session of another user");
}

/* As find_ref, but no session is made that a task of this user could not go to. */
static enum step find_ref_for(struct engine *e, struct cmd *c, const char *user, struct session_entry **ret) {
    const struct session_ref *r = &c->ref;
    enum found f = r->key.p ? find_key(e, c, r->key, ret) : find_session(e, c, r->id, ret);
    if (f == PARKED) {
        return WAITS;
    }
    if (f == FOUND && r->key.p && r->user.p && !((*ret)->s.user && str_eqz(r->user, (*ret)->s.user))) {
        cmd_refuse_at(e, c, ERR_USER_MISMATCH, STR("/session/user"), "The session with this key does not belong to this user");
        return ANSWERED;
    }
    if (f == ABSENT && r->key.p && user && !(r->user.p && str_eqz(r->user, user))) {
        refuse_other_user(e, c);
        return ANSWERED;
    }
    if (f == ABSENT && r->key.p) {
        struct session_new n = {.key = r->key, .user = r->user, .idle_timeout_ms = e->o->idle_timeout, .max_age_ms = e->o->max_age};
        enum step step = session_create(e, c, &n, ret);
        if (step == GO_ON) {
            audit(c, "session.created", (*ret)->s.id, (struct id){0}, (struct id){0}, NULL);
        }
        return step;
    }
    if (f == ABSENT) {
        cmd_refuse_at(e, c, ERR_NOT_FOUND, r->pointer.p ? r->pointer : STR("/session"), "There is no such session");
        return ANSWERED;
    }
    if ((*ret)->s.state == SESSION_ENDED) {
        cmd_refuse_at(e, c, ERR_SESSION_ENDED, r->pointer.p ? r->pointer : STR("/session"), "The session has ended");
        return ANSWERED;
    }
    return GO_ON;
}

enum step find_ref(struct engine *e, struct cmd *c, struct session_entry **ret) {
    return find_ref_for(e, c, NULL, ret);
}

static bool quota_allows(struct engine *e, struct cmd *c, struct session_entry *s) {
    if (s->unfinished < e->o->max_unfinished_per_session) {
        return true;
    }
    cmd_refuse(e, c, ERR_QUOTA_EXCEEDED, "The session has as many unfinished tasks as it may have");
    return false;
}

static struct task_entry *create_in(struct engine *e, struct cmd *c, struct session_entry *s) {
    struct task t;
    const struct task_new *n = &c->task_new;
    task_init(&t, id_make(&e->ids, e->now), s->s.id, n, now_of(e));
    t.watch_base = 1 - s->s.gen;
    if (n->input.p) {
        step_session(e, s);
        struct store_op *op = batch_op(e, STORE_PUT_INPUT);
        op->id = t.id;
        op->data = batch_text(e, n->input);
    }
    struct task_entry *te = task_entry_create(e, s, &t);
    task_changed(e, te, LASTING);
    session_rearm(e, s);
    return te;
}

static void answer_created(struct engine *e, struct cmd *c, struct task_entry *t, bool with_tokens) {
    struct buf *out = cmd_json(c, 202);
    task_entry_write(e, t, with_tokens, out);
    if (with_tokens) {
        token_member(e, out, "token", TOKEN_WATCH, &t->t, task_watch_gen(t));
        if (!t->t.queue) {
            token_member(e, out, "worker_token", TOKEN_WORKER, &t->t, 1);
        }
        buf_char(out, '}');
    }
    char id[ID_TEXT_LEN + 1];
    struct buf location = {0};
    id_format(t->t.id, ID_TASK, id);
    buf_printf(&location, "/v1/tasks/%s", id);
    c->answer.location = arena_str(&c->arena, buf_view(&location));
    buf_fini(&location);
    c->answer.etag = t->t.version;
    c->answer.retry_after_s = RETRY_AFTER_S;
    audit(c, "task.created", t->s->s.id, t->t.id, (struct id){0}, NULL);
    cmd_answer(e, c);
}

void cmd_task_create(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    if (find_ref(e, c, &s) == GO_ON && quota_allows(e, c, s)) {
        answer_created(e, c, create_in(e, c, s), true);
    }
}

void cmd_task_start(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    if (entitled_session(e, c, &s) == GO_ON && quota_allows(e, c, s)) {
        answer_created(e, c, create_in(e, c, s), false);
    }
}

/* ---- reading ---- */

void cmd_task_get(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    bool same = c->etag && c->etag == t->t.version;
    if (same && !task_is_ended(&t->t) && cmd_wait_watching(e, c, t) == WAITS) {
        return;
    }
    if (same) {
        c->answer.type = ANSWER_NONE;
        c->answer.status = 304;
        c->answer.etag = t->t.version;
        cmd_answer(e, c);
    } else {
        task_answer_to(e, c, t, 200);
    }
}

/* The text that was asked for. */
static struct str blob_of(const struct store_query *q) {
    return q->type == STORE_GET_RESULT ? q->answer.result : q->answer.inputs.count ? q->answer.inputs.list[0] : STR_NONE;
}

static void answer_blob(struct engine *e, struct cmd *c, const char *missing) {
    struct store_query *q = c->e.query;
    if (q->result != STORE_OK) {
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be read");
    } else if (!blob_of(q).p) {
        cmd_refuse(e, c, ERR_NOT_FOUND, missing);
    } else {
        buf_str(cmd_json(c, 200), blob_of(q));
        cmd_answer(e, c);
    }
}

/* Asks the store for a text of the task once all that was written of it is durable. */
static bool ask_blob(struct engine *e, struct cmd *c, struct task_entry *t, enum store_query_type type) {
    if (c->e.query) {
        return false;
    }
    if (cmd_until_durable(e, c) == GO_ON) {
        struct store_query *q = query_create(type, QUERY_CMD, NULL);
        if (type == STORE_GET_RESULT) {
            q->ask.task = t->t.id;
        } else {
            struct id *task = arena_alloc(&q->arena, sizeof(*task));
            if (task) {
                *task = t->t.id;
                q->ask.inputs = (struct id_list){task, 1};
            }
        }
        cmd_query(e, c, q);
    }
    return true;
}

void cmd_task_result(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    switch (t->t.state) {
    case TASK_FAILED: cmd_refuse(e, c, ERR_TASK_FAILED, t->t.error_message); return;
    case TASK_CANCELLED: cmd_refuse(e, c, ERR_TASK_CANCELLED, NULL); return;
    case TASK_SUCCEEDED: break;
    default: task_answer_to(e, c, t, 202); return;
    }
    if (t->t.result) {
        buf_puts(cmd_json(c, 200), t->t.result);
        cmd_answer(e, c);
    } else if (!ask_blob(e, c, t, STORE_GET_RESULT)) {
        answer_blob(e, c, "The result is not kept");
    }
}

void cmd_task_input(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    if (c->cred.kind == CRED_WORKER && c->cred.gen < t->t.attempt) {
        cmd_refuse(e, c, ERR_ATTEMPT_SUPERSEDED, NULL);
    } else if (!t->t.input_bytes) {
        buf_puts(cmd_json(c, 200), "null");
        cmd_answer(e, c);
    } else if (!ask_blob(e, c, t, STORE_GET_INPUT)) {
        answer_blob(e, c, "The input is not kept");
    }
}

/* ---- output ---- */

/* The next piece, behind what the answer has; its bytes are handed on and never copied here. */
static void ask_output(struct engine *e, struct cmd *c, struct task_entry *t) {
    struct answer *a = &c->answer;
    struct store_query *q = query_create(STORE_GET_OUTPUT, QUERY_CMD, NULL);
    size_t left = ENGINE_OUTPUT_ANSWER - a->body.len;
    q->ask.output.task = t->t.id;
    q->ask.output.offset = a->output_offset + a->body.len;
    q->ask.output.limit = left < ENGINE_OUTPUT_PIECE ? left : ENGINE_OUTPUT_PIECE;
    q->ask.output.kept = a->body.len;
    q->ask.output.bytes = a->body;
    a->body = (struct buf){0};
    cmd_query(e, c, q);
}

/* True if it has brought anything. */
static bool take_output(struct cmd *c) {
    struct store_query *q = c->e.query;
    struct answer *a = &c->answer;
    size_t kept = q->ask.output.kept;
    bool more = q->ask.output.bytes.len > kept;
    a->output_offset =
        more && kept == 0 ? q->answer.output.offset : a->output_offset; /* what was asked for may just have been dropped from the front */
    a->body = q->ask.output.bytes;
    q->ask.output.bytes = (struct buf){0};
    return more;
}

static void answer_output(struct engine *e, struct cmd *c, struct task_entry *t) {
    struct answer *a = &c->answer;
    a->type = ANSWER_BYTES;
    a->status = 200;
    a->has_output_offset = true;
    a->output_complete = task_is_ended(&t->t) && a->output_offset + a->body.len >= t->t.output_bytes;
    cmd_answer(e, c);
}

void cmd_task_output(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    struct answer *a = &c->answer;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    if (c->e.query && c->e.query->result != STORE_OK) {
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be read");
        return;
    }
    if (c->e.query) {
        bool more = take_output(c) && a->body.len < ENGINE_OUTPUT_ANSWER && a->output_offset + a->body.len < c->e.upto;
        if (more) {
            ask_output(e, c, t);
        } else {
            answer_output(e, c, t);
        }
        return;
    }
    uint64_t from = c->offset > t->t.output_first ? c->offset : t->t.output_first;
    uint64_t to = t->t.output_bytes;
    if (from >= to && !task_is_ended(&t->t) && cmd_wait_watching(e, c, t) == WAITS) {
        return;
    }
    a->output_offset = from < to ? from : to;
    if (from >= to) {
        answer_output(e, c, t);
    } else if (cmd_until_durable(e, c) == GO_ON) {
        c->e.upto = to; /* what comes meanwhile is for the next answer */
        (void) buf_reserve(&a->body, to - from < ENGINE_OUTPUT_ANSWER ? to - from : ENGINE_OUTPUT_ANSWER);
        ask_output(e, c, t);
    }
}

/* ---- changing ---- */

static bool refuse_task_ended(struct engine *e, struct cmd *c, struct task_entry *t) {
    if (task_is_ended(&t->t)) {
        cmd_refuse(e, c, ERR_TASK_ENDED, "The task has ended");
    }
    return task_is_ended(&t->t);
}

void cmd_task_cancel(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON || refuse_task_ended(e, c, t)) {
        return;
    }
    if (!t->t.cancel_requested) {
        task_cancel(e, t, c->reason);
        audit(c, "task.cancel_requested", t->s->s.id, t->t.id, (struct id){0}, NULL);
    }
    task_answer_to(e, c, t, 200);
}

void cmd_task_answer(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON || refuse_task_ended(e, c, t)) {
        return;
    }
    const char *open = t->t.question_id, *done = t->t.answer_request;
    if (open && str_eqz(c->request, open)) {
        task_answer(&t->t, c->answer_value, now_of(e));
        t->t.answer_version = (t->s->seq > t->t.version ? t->s->seq : t->t.version) + 1;
        task_changed(e, t, LASTING);
    } else if (!(done && str_eqz(c->request, done) && str_eqz(c->answer_value, t->t.answer_value))) {
        cmd_refuse(e, c, open || done ? ERR_QUESTION_MISMATCH : ERR_INVALID_TRANSITION, open || done ? NULL : "Nothing is asked");
        return;
    }
    task_answer_to(e, c, t, 200);
}

void cmd_task_seen(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    if (!task_is_ended(&t->t)) {
        cmd_refuse(e, c, ERR_INVALID_TRANSITION, "The task has not ended yet");
        return;
    }
    if (!t->t.seen_at) {
        t->t.seen_at = wall_of(e, e->now);
        task_changed(e, t, LASTING);
    }
    task_answer_to(e, c, t, 200);
}

static void answer_bound(struct engine *e, struct cmd *c, struct task_entry *t) {
    struct buf *out = cmd_json(c, 200);
    task_entry_write(e, t, true, out);
    token_member(e, out, "token", TOKEN_WATCH, &t->t, task_watch_gen(t));
    buf_char(out, '}');
    c->answer.etag = t->t.version;
    cmd_answer(e, c);
}

void cmd_task_bind(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    struct session_entry *to;
    if (entitled_task(e, c, &t) != GO_ON || find_ref_for(e, c, t->s->s.user, &to) != GO_ON) {
        return;
    }
    const char *user = t->s->s.user;
    if (user && !(to->s.user && strcmp(user, to->s.user) == 0)) {
        refuse_other_user(e, c);
        return;
    }
    if (t->s != to) {
        t->t.handover_until = 0;
        audit(c, "task.bound", t->s->s.id, t->t.id, to->s.id, NULL);
        task_move_to(e, t, to);
    }
    answer_bound(e, c, t);
}

void cmd_task_token(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    struct buf *out = cmd_json(c, 200);
    buf_puts(out, "{\"token\":\"");
    token_write(e->config.keys, (struct token){TOKEN_WATCH, t->t.id, task_watch_gen(t)}, out);
    buf_puts(out, "\"}");
    cmd_answer(e, c);
}

void cmd_task_delete(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    struct session_entry *s = t->s;
    if (!task_is_ended(&t->t)) {
        cmd_refuse(e, c, ERR_INVALID_TRANSITION, "The task has not ended yet");
        return;
    }
    audit(c, "task.deleted", s->s.id, t->t.id, (struct id){0}, NULL);
    task_remove(e, t, GONE_DELETED);
    c->answer.type = ANSWER_NONE;
    c->answer.status = 204;
    cmd_answer(e, c);
}
