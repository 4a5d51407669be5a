/* Commands are answered. */
#include "engine/answer.h"

#include "engine/idempotency.h"
#include "engine/needs.h"
#include "engine/outbox.h"
#include "engine/query.h"
#include "engine/report_lines.h"
#include "engine/state.h"

#include <assert.h>

void cmd_let_go(struct engine *e, struct cmd *c) {
    if (c->e.stopped) {
        stream_go_on(e, c);
    }
    wheel_cancel(&e->wheel, &c->e.timer);
    query_free(c->e.query);
    c->e.query = NULL;
    c->e.self = NULL;
}

void cmd_answer(struct engine *e, struct cmd *c) {
    assert(!c->e.list && !c->e.answered && !c->e.asking);
    if (c->e.in_line) {
        line_answered(e, c);
        return;
    }
    if (c->e.idempotency) {
        idempotency_answered(e, c);
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
    engine_post(e, needs_of(e, c), c->endpoint, (struct message){.type = c->e.abandoned ? MESSAGE_ABANDONED : MESSAGE_ANSWER, .cmd = c});
}

struct buf *cmd_json(struct cmd *c, int status) {
    c->answer.type = ANSWER_JSON;
    c->answer.status = status;
    buf_clear(&c->answer.body);
    return &c->answer.body;
}

void cmd_refuse(struct engine *e, struct cmd *c, enum err err, const char *detail) {
    c->answer.type = ANSWER_PROBLEM;
    c->answer.problem = (struct problem){.err = err, .detail = str_of(detail)};
    if (err == ERR_UNAVAILABLE || err == ERR_QUOTA_EXCEEDED || err == ERR_RATE_LIMITED) {
        c->answer.problem.retry_after_s = err == ERR_UNAVAILABLE ? 1 : 5;
    }
    cmd_answer(e, c);
}

void cmd_refuse_at(struct engine *e, struct cmd *c, enum err err, struct str pointer, const char *detail) {
    c->answer.type = ANSWER_PROBLEM;
    c->answer.problem = (struct problem){0};
    problem_add(&c->answer.problem, &c->arena, err, pointer, str_of(detail));
    cmd_answer(e, c);
}
