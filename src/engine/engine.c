/*
 * The straight path: engine_submit → engine_command: authenticate → early refusal → idempotency → handler → cmd_answer → batch or mail.
 * A handler that lacks something (a session that is not in memory, a page of the store, time to pass) parks its command and is run again from
 * the start once that is there; so a handler changes nothing before it has everything.
 */
#include "engine/internal.h"

#include <assert.h>

static const struct {
    cmd_handler *run;
    bool changes; /* refused once nothing can be written any more */
} cmd_table[CMD_TYPES] = {
    [CMD_SESSION_CREATE] = {cmd_session_create, true},
    [CMD_SESSION_OPEN] = {cmd_session_open, true},
    [CMD_SESSION_GET] = {cmd_session_get, false},
    [CMD_SESSION_TOUCH] = {cmd_session_touch, true},
    [CMD_SESSION_ROTATE] = {cmd_session_rotate, true},
    [CMD_SESSION_MERGE] = {cmd_session_merge, true},
    [CMD_SESSION_END] = {cmd_session_end, true},
    [CMD_SESSION_LIST] = {cmd_session_list, false},
    [CMD_TASK_CREATE] = {cmd_task_create, true},
    [CMD_TASK_START] = {cmd_task_start, true},
    [CMD_TASK_GET] = {cmd_task_get, false},
    [CMD_TASK_RESULT] = {cmd_task_result, false},
    [CMD_TASK_OUTPUT] = {cmd_task_output, false},
    [CMD_TASK_INPUT] = {cmd_task_input, false},
    [CMD_TASK_CANCEL] = {cmd_task_cancel, true},
    [CMD_TASK_ANSWER] = {cmd_task_answer, true},
    [CMD_TASK_SEEN] = {cmd_task_seen, true},
    [CMD_TASK_BIND] = {cmd_task_bind, true},
    [CMD_TASK_TOKEN] = {cmd_task_token, false},
    [CMD_TASK_DELETE] = {cmd_task_delete, true},
    [CMD_TASK_LIST] = {cmd_task_list, false},
    [CMD_TASK_CONTROL] = {cmd_task_control, false},
    [CMD_TASK_REPORT] = {cmd_task_report, true},
    [CMD_REPORT_LINES] = {cmd_report_lines, true},
    [CMD_REPORT_OPEN] = {cmd_report_open, true},
    [CMD_QUEUE_CLAIM] = {cmd_queue_claim, true},
    [CMD_QUEUE_RELEASE] = {cmd_queue_release, true},
    [CMD_QUEUE_LIST] = {cmd_queue_list, false},
    [CMD_WATCH] = {cmd_watch, false},
    [CMD_WATCH_REFILL] = {cmd_watch_refill, false},
    [CMD_AUTH] = {cmd_auth, false},
};

/* ---- parking ---- */

void cmd_park(struct cmd *c, struct cmd_list *list) {
    assert(!c->e.list);
    c->e.list = list;
    TAILQ_INSERT_TAIL(list, c, e.link);
}

/* It watched as long as it waited. */
static void watch_is_over(struct engine *e, struct cmd *c) {
    struct task_entry *t = c->e.watches;
    c->e.watches = NULL;
    t->people--;
    t->unwatched_since = e->now;
    if (c->cred.kind != CRED_WATCH) {
        session_keep_alive(e, t->s);
        t->s->waiting--;
    }
}

void cmd_unpark(struct engine *e, struct cmd *c) {
    if (c->e.watches) {
        watch_is_over(e, c);
    }
    if (c->e.list) {
        TAILQ_REMOVE(c->e.list, c, e.link);
        c->e.list = NULL;
    }
}

void cmd_wake(struct engine *e, struct cmd_list *list) {
    while (!TAILQ_EMPTY(list)) {
        struct cmd *c = TAILQ_FIRST(list);
        cmd_unpark(e, c);
        cmd_park(c, &e->ready);
    }
}

static void cmd_time_is_up(struct timer *t, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    struct cmd *c = (struct cmd *) ((char *) t - offsetof(struct cmd, e.timer));
    (void) now_ms;
    c->e.timed_out = true;
    if (c->e.list) { /* else it waits for the store, and finds out then */
        cmd_unpark(e, c);
        cmd_park(c, &e->ready);
    }
}

enum found cmd_wait(struct engine *e, struct cmd *c, struct cmd_list *list) {
    if (c->head || c->wait_ms <= 0 || c->e.timed_out || e->now >= e->waits_end) {
        return ABSENT;
    }
    if (!c->e.timer.at_ms) {
        int64_t at = e->now + c->wait_ms;
        wheel_set(&e->wheel, &c->e.timer, at < e->waits_end ? at : e->waits_end, cmd_time_is_up);
    }
    cmd_park(c, list);
    return PARKED;
}

enum found cmd_wait_watching(struct engine *e, struct cmd *c, struct task_entry *t) {
    enum found f = cmd_wait(e, c, &t->waiters);
    if (f == PARKED && cred_is_person(c)) {
        c->e.watches = t;
        t->people++;
        t->s->waiting += c->cred.kind != CRED_WATCH;
    }
    return f;
}

static void waits_end(struct engine *e, struct cmd_list *list) {
    struct cmd *c;
    TAILQ_FOREACH (c, list, e.link) {
        if (c->e.timer.at_ms > e->waits_end) {
            wheel_set(&e->wheel, &c->e.timer, e->waits_end, cmd_time_is_up);
        }
    }
}

void engine_end_waits(struct engine *e, int64_t at_ms) {
    e->waits_end = at_ms + e->shift;
    for (struct task_entry *t = e->tasks; t; t = t->hh.next) {
        waits_end(e, &t->waiters);
    }
    for (struct queue *q = e->queues; q; q = q->hh.next) {
        waits_end(e, &q->waiters);
    }
}

/* ---- answers ---- */

static void cmd_let_go(struct engine *e, struct cmd *c) {
    if (c->e.stopped) {
        stream_go_on(e, c);
    }
    wheel_cancel(&e->wheel, &c->e.timer);
    query_free(c->e.query);
    c->e.query = NULL;
    c->e.self = NULL;
}

void cmd_answer(struct engine *e, struct cmd *c, uint64_t needs) {
    assert(!c->e.list && !c->e.answered && !c->e.asking);
    if (c->e.in_line) {
        line_answered(c, needs);
        return;
    }
    if (c->e.idempotency) {
        needs = idempotency_answered(e, c, needs);
    }
    cmd_let_go(e, c);
    if (c->answer.body.failed) {
        buf_fini(&c->answer.body);
        c->answer.type = ANSWER_PROBLEM;
        c->answer.problem = (struct problem){.err = ERR_UNAVAILABLE, .detail = STR("There is no memory for this answer"), .retry_after_s = 1};
    }
    if (c->e.internal) {
        cmd_free(c);
        return;
    }
    engine_post(e, needs, c->loop, (struct mail){.type = c->e.abandoned ? MAIL_ABANDONED : MAIL_ANSWER, .cmd = c});
}

struct buf *cmd_json(struct cmd *c, int status) {
    c->answer.type = ANSWER_JSON;
    c->answer.status = status;
    buf_clear(&c->answer.body);
    return &c->answer.body;
}

void cmd_refuse(struct engine *e, struct cmd *c, uint64_t needs, enum err err, const char *detail) {
    c->answer.type = ANSWER_PROBLEM;
    c->answer.problem = (struct problem){.err = err, .detail = str_of(detail)};
    if (err == ERR_UNAVAILABLE || err == ERR_QUOTA_EXCEEDED || err == ERR_RATE_LIMITED) {
        c->answer.problem.retry_after_s = err == ERR_UNAVAILABLE ? 1 : 5;
    }
    cmd_answer(e, c, needs);
}

void cmd_refuse_at(struct engine *e, struct cmd *c, uint64_t needs, enum err err, struct str pointer, const char *detail) {
    c->answer.type = ANSWER_PROBLEM;
    c->answer.problem = (struct problem){0};
    problem_add(&c->answer.problem, &c->arena, err, pointer, str_of(detail));
    cmd_answer(e, c, needs);
}

/* ---- commands ---- */

void engine_command(struct engine *e, struct cmd *c) {
    if (c->e.abandoned && !c->e.claimed_count && c->type != CMD_REPORT_LINES) {
        cmd_let_go(e, c);
        engine_post(e, 0, c->loop, (struct mail){.type = MAIL_ABANDONED, .cmd = c});
        return;
    }
    if (c->type != CMD_REPORT_LINES && authenticate(e, c) != FOUND) { /* each line stands for itself */
        return;
    }
    if (c->early.err) {
        c->answer.type = ANSWER_PROBLEM;
        c->answer.problem = c->early;
        cmd_answer(e, c, 0);
        return;
    }
    if (e->dead && c->type != CMD_REPORT_LINES && (cmd_table[c->type].changes || c->idempotency_key.p)) { /* nor can a first answer be kept */
        cmd_refuse(e, c, 0, ERR_UNAVAILABLE, "The store cannot be written any more; the server must be restarted");
        return;
    }
    if (c->idempotency_key.p && idempotency_begin(e, c) != FOUND) {
        return;
    }
    cmd_table[c->type].run(e, c);
}

static void run_ready(struct engine *e) {
    struct cmd_list now;
    while (!TAILQ_EMPTY(&e->ready)) { /* those woken by these run in this pass as well */
        TAILQ_INIT(&now);
        while (!TAILQ_EMPTY(&e->ready)) {
            struct cmd *c = TAILQ_FIRST(&e->ready);
            cmd_unpark(e, c);
            cmd_park(c, &now);
        }
        while (!TAILQ_EMPTY(&now)) {
            struct cmd *c = TAILQ_FIRST(&now);
            cmd_unpark(e, c);
            engine_command(e, c);
        }
    }
}

void engine_submit(struct engine *e, struct cmd *c) {
    e->counts.commands++;
    if (e->state < ENGINE_SERVING) {
        cmd_park(c, &e->held);
    } else if (e->state > ENGINE_SERVING) {
        cmd_refuse(e, c, 0, ERR_UNAVAILABLE, "The server is stopping");
    } else {
        if (c->type == CMD_QUEUE_CLAIM) {
            run_ready(e); /* a claim that has waited, and was woken just now, goes first */
        }
        engine_command(e, c);
    }
}

void engine_abandon(struct engine *e, struct cmd *c) {
    assert(!c->e.abandoned);
    c->e.abandoned = true;
    if (c->e.in_effects) {
        return; /* batch.c gives it back when its batch is through */
    }
    if (c->type == CMD_REPORT_LINES && c->e.list) {
        return; /* what has arrived counts: it is given back when its lines are through */
    }
    if (c->e.claimed_count) {
        claims_give_back(e, c);
    }
    if (c->e.asking) {
        c->e.asking->owner = NULL;
        c->e.asking = NULL;
    }
    cmd_unpark(e, c);
    if (c->type == CMD_QUEUE_CLAIM && c->queue.p) {
        queue_serve(e, queue_of(e, c->queue)); /* it may have been the one that was woken */
    }
    if (c->e.idempotency) {
        c->answer.type = ANSWER_PROBLEM;
        idempotency_answered(e, c, 0);
    }
    cmd_let_go(e, c);
    engine_post(e, 0, c->loop, (struct mail){.type = MAIL_ABANDONED, .cmd = c});
}

void engine_unwatch(struct engine *e, unsigned loop, uint64_t number, uint32_t tag) {
    struct channel *ch;
    (void) loop;
    HASH_FIND(hh, e->channels, &number, sizeof(number), ch);
    if (!ch) {
        return;
    }
    struct session_entry *s = ch->t ? ch->t->s : ch->s;
    bool person = !(tag & WATCHER_KEY);
    ch->people -= person;
    ch->own -= tag == WATCHER_SESSION;
    if (s) {
        session_keep_alive(e, s);
        s->watchers--;
        s->own -= tag == WATCHER_SESSION;
        s->used_at = e->now;
    }
    if (person && ch->t) {
        ch->t->people--;
        ch->t->unwatched_since = e->now;
    } else if (person && s) {
        s->people--;
        s->unwatched_since = e->now;
    }
    if (--ch->watchers == 0) {
        channel_close(e, ch);
    }
    if (s) {
        session_rearm(e, s);
    }
}

/* ---- the pass ---- */

static void run_behind(struct engine *e) {
    unsigned rounds = ENGINE_PUMPS;
    while (rounds-- && !TAILQ_EMPTY(&e->behind)) {
        channel_pump(e, TAILQ_FIRST(&e->behind));
    }
}

void engine_at(struct engine *e, struct moment now) {
    clocks_at(e, now);
}

void engine_run(struct engine *e, struct moment now) {
    engine_at(e, now);
    wheel_run(&e->wheel, e->now, 256, e);
    if (engine_load_piece(e)) {
        engine_loaded_one(e);
    }
    run_ready(e);
    run_behind(e);
    engine_flush(e);
    engine_check_stopped(e);
}

int64_t engine_next(const struct engine *e) {
    bool rests = TAILQ_EMPTY(&e->behind) && TAILQ_EMPTY(&e->ready) && TAILQ_EMPTY(&e->pieces);
    int64_t at = rests ? wheel_next(&e->wheel) : e->now;
    return at == INT64_MAX ? at : at - e->shift;
}

/* ---- what the store found ---- */

void engine_query_done(struct engine *e, struct store_query *q) {
    struct cmd *c = q->owner;
    e->queries--;
    switch ((enum query_purpose) q->purpose) {
    case QUERY_START: engine_started(e, q); break;
    case QUERY_DUE: due_found(e, q); break;
    case QUERY_LOAD:
        if (!engine_loaded(e, q)) {
            return;
        }
        engine_loaded_one(e);
        break;
    case QUERY_CMD:
        if (c) {
            c->e.asking = NULL;
            c->e.query = q;
            cmd_park(c, &e->ready);
            return; /* the command's now */
        }
        break;
    }
    query_free(q);
}

enum found cmd_query(struct engine *e, struct cmd *c, struct store_query *q) {
    q->owner = c;
    q->purpose = QUERY_CMD;
    query_free(c->e.query);
    c->e.query = NULL;
    c->e.asking = q;
    query_send(e, q);
    return PARKED;
}
