/*
 * The straight path: engine_submit → engine_command: authenticate → early refusal → idempotency → handler → cmd_answer → batch or messages.
 * A handler that lacks something (a session that is not in memory, a page of the store, time to pass) parks its command and is run again from
 * the start once that is there; so a handler changes nothing before it has everything.
 */
#include "engine/answer.h"
#include "engine/auth.h"
#include "engine/batch.h"
#include "engine/channel.h"
#include "engine/clocks.h"
#include "engine/cmd_list.h"
#include "engine/cmd_queue.h"
#include "engine/cmd_report.h"
#include "engine/cmd_session.h"
#include "engine/cmd_task.h"
#include "engine/cmd_watch.h"
#include "engine/due.h"
#include "engine/idempotency.h"
#include "engine/limits.h"
#include "engine/load.h"
#include "engine/needs.h"
#include "engine/outbox.h"
#include "engine/query.h"
#include "engine/queue.h"
#include "engine/refill.h"
#include "engine/report_lines.h"
#include "engine/run.h"
#include "engine/start.h"
#include "engine/state.h"
#include "engine/wait.h"

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

/* ---- commands ---- */

static void command_run(struct engine *e, struct cmd *c) {
    step_begin(e);
    needs_begin(c);
    if (c->e.abandoned && !c->e.claimed_count && c->type != CMD_REPORT_LINES) {
        cmd_let_go(e, c);
        engine_post(e, 0, c->endpoint, (struct message){.type = MESSAGE_ABANDONED, .cmd = c});
        return;
    }
    if (c->type != CMD_REPORT_LINES && authenticate(e, c) != GO_ON) { /* each line stands for itself */
        return;
    }
    if (c->early.err) {
        c->answer.type = ANSWER_PROBLEM;
        c->answer.problem = c->early;
        cmd_answer(e, c);
        return;
    }
    if (e->dead && c->type != CMD_REPORT_LINES && (cmd_table[c->type].changes || c->idempotency_key.p)) { /* nor can a first answer be kept */
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be written any more; the server must be restarted");
        return;
    }
    if (c->idempotency_key.p && idempotency_begin(e, c) != GO_ON) {
        return;
    }
    cmd_table[c->type].run(e, c);
}

void engine_command(struct engine *e, struct cmd *c) {
    e->running = c;
    command_run(e, c);
    e->running = NULL; /* it may be gone */
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
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The server is stopping");
    } else {
        if (c->type == CMD_QUEUE_CLAIM) {
            run_ready(e); /* a claim that has waited, and was woken just now, goes first */
        }
        engine_command(e, c);
    }
}

void engine_abandon(struct engine *e, struct cmd *c) {
    assert(!c->e.abandoned);
    step_begin(e);
    c->e.abandoned = true;
    if (c->e.in_effects) {
        return; /* outbox.c gives it back when its batch is through */
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
        idempotency_answered(e, c);
    }
    cmd_let_go(e, c);
    engine_post(e, 0, c->endpoint, (struct message){.type = MESSAGE_ABANDONED, .cmd = c});
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
