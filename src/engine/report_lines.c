/* Streams of reports. A line that waits for a look-up stops its stream: what that brings meanwhile waits behind it. */
#include "engine/report_lines.h"

#include "engine/answer.h"
#include "engine/auth.h"
#include "engine/cmd_report.h"
#include "engine/kinds.h"
#include "engine/needs.h"
#include "engine/residence.h"
#include "engine/sets.h"
#include "engine/state.h"
#include "engine/wait.h"

#include "base/mem.h"

#define LINE_ANSWER 176 /* bytes that most answers have room in */

/* Where the fault of a line lies that says itself which task it speaks of, and with which right. */
static void line_place(struct cmd *c) {
    static const struct {
        const char *pointer, *detail;
    } places[ERR_COUNT] = {[ERR_NOT_FOUND] = {"/task", "does not exist here"},
                           [ERR_UNAUTHENTICATED] = {"/token", "does not count"},
                           [ERR_FORBIDDEN] = {"/token", "is required: the task has a queue"}};
    struct problem *p = &c->answer.problem;
    if (!p->places && places[p->err].pointer) {
        problem_add(p, &c->arena, p->err, str_of(places[p->err].pointer), str_of(places[p->err].detail));
    }
}

/* What a line is answered with, which is its command's for the moment, becomes a line of the answer. */
void line_answered(struct engine *e, struct cmd *c) {
    struct answer *a = &c->answer;
    c->e.in_line = false;
    c->e.line_at++;
    if (a->body.failed) {
        buf_fini(&a->body);
        a->type = ANSWER_PROBLEM;
        a->problem = (struct problem){.err = ERR_UNAVAILABLE, .detail = STR("There is no memory for this answer"), .retry_after_s = 1};
    }
    c->e.lines_need = sets_both(e, c->e.lines_need, needs_of(e, c));
    if (a->type != ANSWER_PROBLEM) {
        size_t from = c->e.lines_text.len;
        buf_str(&c->e.lines_text, buf_view(&a->body));
        buf_one_line(&c->e.lines_text, from); /* a person's answer may hold line breaks between its tokens, and must not pass for lines of ours */
    } else {
        if (c->lines_of_many) {
            line_place(c);
        }
        problem_render(&a->problem, &c->e.lines_text);
    }
    buf_char(&c->e.lines_text, '\n');
    a->ends_stream &= !c->lines_of_many;
}

/* False: the command is parked, and goes on with this line. */
static bool line_run(struct engine *e, struct cmd *c, const struct report_line *line) {
    if (line->refusal.p) {
        buf_str(&c->e.lines_text, line->refusal);
        buf_char(&c->e.lines_text, '\n');
        c->e.line_at++;
        return true;
    }
    step_begin(e);
    needs_begin(c);
    c->cred = line->has_token ? (struct cred){.kind = CRED_WORKER, .id = line->token_task, .gen = line->token_attempt} : c->line_cred;
    c->task = line->task;
    c->reports = line->report;
    c->report_count = 1;
    c->e.in_line = true;
    if (e->dead) {
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be written any more; the server must be restarted");
    } else if (authenticate(e, c) == GO_ON) {
        cmd_task_report(e, c);
    }
    bool answered = !c->e.in_line;
    c->e.in_line = false;
    return answered;
}

void line_unread(struct engine *e, struct cmd *c, const char *detail) {
    c->e.in_line = true;
    cmd_refuse(e, c, ERR_UNAVAILABLE, detail);
    cmd_park(c, &e->ready);
}

static struct stopped_stream *stream_stopped(struct engine *e, const struct cmd *c) {
    struct stopped_stream *s;
    LIST_FOREACH (s, &e->stopped, link) {
        if (c->stream && s->stream == c->stream && s->endpoint == c->endpoint) {
            return s;
        }
    }
    return NULL;
}

/* A line is parked: what its stream brings meanwhile waits behind it. */
static void stream_stop(struct engine *e, struct cmd *c) {
    if (!c->e.stopped) {
        struct stopped_stream *s = mem_alloc(sizeof(*s));
        s->endpoint = c->endpoint;
        s->stream = c->stream;
        TAILQ_INIT(&s->behind);
        LIST_INSERT_HEAD(&e->stopped, s, link);
        c->e.stopped = s;
    }
}

void stream_go_on(struct engine *e, struct cmd *c) {
    struct stopped_stream *s = c->e.stopped;
    struct cmd *next = TAILQ_FIRST(&s->behind);
    c->e.stopped = NULL;
    if (next) {
        cmd_unpark(e, next);
        next->e.stopped = s;
        cmd_park(next, &e->ready);
    } else {
        LIST_REMOVE(s, link);
        mem_free(s);
    }
}

void cmd_report_lines(struct engine *e, struct cmd *c) {
    struct stopped_stream *stopped = c->e.stopped ? NULL : stream_stopped(e, c);
    if (stopped) {
        cmd_park(c, &stopped->behind);
        return;
    }
    if (c->e.lines_failures &&
        c->e.lines_failures != e->counts.batch_failures + 1) { /* while it was parked: what its first lines changed may be no more */
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store could not be written; the outcome is unknown, ask again");
        return;
    }
    (void) buf_reserve(&c->e.lines_text, (c->line_count - c->e.line_at) * LINE_ANSWER);
    for (size_t i = c->e.line_at; i < c->line_count; i++) { /* what they need comes into the cache together */
        __builtin_prefetch(task_resident(e, c->lines[i].task));
    }
    while (c->e.line_at < c->line_count && !c->answer.ends_stream) {
        if (!line_run(e, c, &c->lines[c->e.line_at])) {
            c->e.lines_failures = c->e.lines_need > e->durable ? e->counts.batch_failures + 1 : 0;
            stream_stop(e, c);
            return;
        }
    }
    c->line_count = c->e.line_at;
    buf_fini(&c->answer.body);
    c->answer.type = ANSWER_JSON;
    c->answer.status = 200;
    c->answer.body = c->e.lines_text;
    c->e.lines_text = (struct buf){0};
    step_begin(e); /* that of each line is in what they need */
    needs_begin(c);
    needs_set(e, c, c->e.lines_need);
    cmd_answer(e, c);
}
