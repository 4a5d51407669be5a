/* Who is it, is the credential alive, and whose is the object. Decided here, in the step that carries the command out; never from a cache. */
#include "engine/auth.h"

#include "engine/answer.h"
#include "engine/audit.h"
#include "engine/batch.h"
#include "engine/clocks.h"
#include "engine/cmd_watch.h"
#include "engine/keys.h"
#include "engine/kinds.h"
#include "engine/look_up.h"
#include "engine/needs.h"
#include "engine/outbox.h"
#include "engine/queue.h"
#include "engine/session_begin.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/users.h"

bool cred_is_person(const struct cmd *c) {
    return c->cred.kind == CRED_SESSION || c->cred.kind == CRED_WATCH || c->cred.kind == CRED_JWT;
}

enum step cred_dead(struct engine *e, struct cmd *c) {
    needs_absence(c);
    cmd_refuse(e, c, ERR_UNAUTHENTICATED, "The credential is unknown or no longer counts");
    return ANSWERED;
}

static enum step answer_none(struct engine *e, struct cmd *c, int status) {
    c->answer.type = ANSWER_NONE;
    c->answer.status = status;
    cmd_answer(e, c);
    return ANSWERED;
}

/* A stream of the generation just before is told of the rotation instead of refused, so that it lives until the new credential is there. */
static enum step rotated(struct engine *e, struct cmd *c, struct session_entry *s) {
    bool grace = c->type == CMD_WATCH && c->watch.outlives_rotation && s->s.state == SESSION_ACTIVE && c->cred.gen + 1 == s->s.gen &&
                 s->s.rotated_at + e->o->rotation_grace > e->now;
    if (!grace) {
        return cred_dead(e, c);
    }
    c->answer.type = ANSWER_ROTATED;
    c->answer.status = 200;
    watch_cursor_prefix(e, c, s->s.id);
    buf_printf(&c->answer.body, "{\"seq\":%llu,\"state\":\"rotated\",\"reason\":null}", (unsigned long long) s->seq);
    cmd_answer(e, c);
    return ANSWERED;
}

/*
 * A state like any other: answered after the role, the syntax and the object have been looked at (entitled_session, entitled_task).
 * Only starting a task says it before it says which kinds a session may start.
 */
enum step session_has_ended(struct engine *e, struct cmd *c) {
    struct session_entry *s = c->e.self;
    if (!s || s->s.state != SESSION_ENDED || (c->type == CMD_SESSION_END && c->cred.kind != CRED_KEY)) {
        return GO_ON; /* ending it again is harmless */
    }
    if (c->type == CMD_WATCH && !c->watch.end_refused) {
        return answer_none(e, c, 204);
    }
    if (c->type == CMD_WATCH) {
        cmd_refuse(e, c, ERR_GONE, "The session has ended");
        return ANSWERED;
    }
    struct buf extra = {0};
    buf_printf(&extra, ",\"reason\":\"%s\"", end_reason_name(s->s.reason));
    c->answer.type = ANSWER_PROBLEM;
    c->answer.problem = (struct problem){
        .err = ERR_SESSION_ENDED, .detail = STR("The session of this credential has ended"), .extra = arena_str(&c->arena, buf_view(&extra))};
    buf_fini(&extra);
    cmd_answer(e, c);
    return ANSWERED;
}

static enum step alive(struct engine *e, struct cmd *c, struct session_entry *s) {
    c->e.self = s;
    bool watching = c->type == CMD_WATCH || c->wait_ms != CMD_NO_WAIT;
    if (s->s.state == SESSION_ACTIVE && (!watching || e->o->watching_keeps_alive == WHEN_ALWAYS)) {
        session_touch(e, s, false);
    }
    if (c->type == CMD_TASK_START && c->early.err == ERR_FORBIDDEN) {
        return session_has_ended(e, c);
    }
    return GO_ON;
}

static enum step by_session_token(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    enum found f = find_session(e, c, c->cred.id, &s);
    if (f != FOUND) {
        return f == PARKED ? WAITS : cred_dead(e, c);
    }
    return c->cred.gen == s->s.gen ? alive(e, c, s) : rotated(e, c, s);
}

static bool sub_fits(const struct cmd *c, const struct session_entry *s) {
    return !c->cred.sub.p || (s->s.user && str_eqz(c->cred.sub, s->s.user));
}

/* It was issued before a session lost its key, or rotated: it counts as a token of the first that did. */
static enum step by_old_jwt(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    enum step step = old_key_find(e, c);
    if (step != GO_ON) {
        return step;
    }
    enum found f = find_session(e, c, c->e.jwt_session, &s);
    if (f == PARKED) {
        return WAITS;
    }
    if (f == ABSENT || !sub_fits(c, s)) {
        return cred_dead(e, c);
    }
    c->cred.gen = c->e.jwt_gen;
    return c->cred.gen == s->s.gen ? alive(e, c, s) : rotated(e, c, s);
}

/* Whoever issues them may have a clock that is ahead of ours: what has been used is old once the session ends, also where it is dated later. */
static enum step jwt_used(struct engine *e, struct cmd *c, struct session_entry *s) {
    s->s.jwt_seen_s = c->cred.iat_s > s->s.jwt_seen_s ? c->cred.iat_s : s->s.jwt_seen_s;
    return alive(e, c, s);
}

static enum step by_jwt(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    if (e->put_back > e->durable) { /* what a clock that was ahead had dated is being put right */
        c->e.waited_durable = false;
        needs_set(e, c, e->put_back);
        if (cmd_until_durable(e, c) == WAITS) {
            return WAITS;
        }
    }
    enum found f = find_key(e, c, c->cred.sid, &s);
    if (f == PARKED) {
        return WAITS;
    }
    if (c->cred.iat_s < (f == FOUND ? s->s.jwt_from_s : old_key_jwt_from(e, c, c->cred.sid))) {
        return by_old_jwt(e, c);
    }
    if (f == FOUND && !sub_fits(c, s)) {
        return cred_dead(e, c);
    }
    if (f == FOUND) {
        return jwt_used(e, c, s);
    }
    if (e->dead) {
        cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be written any more; the server must be restarted");
        return ANSWERED;
    }
    struct session_new n = {.key = c->cred.sid, .user = c->cred.sub, .idle_timeout_ms = e->o->idle_timeout, .max_age_ms = e->o->max_age};
    enum step step = session_create(e, c, &n, &s);
    if (step != GO_ON) {
        return step;
    }
    audit(c, "session.created", s->s.id, (struct id){0}, (struct id){0}, NULL);
    return jwt_used(e, c, s);
}

enum step refuse_gone(struct engine *e, struct cmd *c, const struct tombstone_row *row) {
    struct buf extra = {0};
    buf_puts(&extra, ",\"kind\":");
    buf_json_str(&extra, row->kind);
    buf_printf(&extra, ",\"state\":\"%s\",\"ended_at\":", task_state_name((enum task_state) row->state));
    int64_t wall = wall_of(e, e->now);
    buf_json_time(&extra, row->ended_at < wall ? row->ended_at : wall);
    buf_puts(&extra, ",\"gone_at\":");
    buf_json_time(&extra, wall_of(e, row->gone_at < e->now ? row->gone_at : e->now));
    c->answer.type = ANSWER_PROBLEM;
    c->answer.problem =
        (struct problem){.err = ERR_GONE, .detail = STR("The task is no longer kept"), .extra = arena_str(&c->arena, buf_view(&extra))};
    buf_fini(&extra);
    cmd_answer(e, c);
    return ANSWERED;
}

bool worker_token_valid(const struct cred *token, const struct task_entry *t, const struct tombstone_row *row) {
    if (t) {
        return token->gen <= (t->t.attempt ? t->t.attempt : t->t.queue ? 0 : 1);
    }
    return row && token->gen <= (row->attempt ? row->attempt : 1);
}

static bool watch_token_valid(const struct cred *token, const struct task_entry *t, const struct tombstone_row *row) {
    return t ? token->gen == task_watch_gen(t) : row && token->gen == row->watch_gen;
}

/* A watch or worker token: alive if its number still counts for its task. Of a task that is gone, it was once entitled. */
static enum step by_task_token(struct engine *e, struct cmd *c) {
    struct task_entry *t = NULL;
    struct tombstone_row *row = NULL;
    if (find_task(e, c, c->cred.id, &t, &row) == PARKED) {
        return WAITS;
    }
    bool counts = c->cred.kind == CRED_WATCH ? watch_token_valid(&c->cred, t, row) : worker_token_valid(&c->cred, t, row);
    return counts ? GO_ON : cred_dead(e, c);
}

enum step authenticate(struct engine *e, struct cmd *c) {
    c->e.self = NULL;
    switch (c->cred.kind) {
    case CRED_SESSION: return c->type == CMD_SESSION_OPEN ? GO_ON : by_session_token(e, c);
    case CRED_JWT: return c->type == CMD_SESSION_OPEN ? GO_ON : by_jwt(e, c);
    case CRED_WATCH:
    case CRED_WORKER: return c->type == CMD_SESSION_OPEN ? GO_ON : by_task_token(e, c);
    case CRED_KEY:
    case CRED_NONE: return GO_ON;
    }
    return cred_dead(e, c);
}

enum step entitled_session(struct engine *e, struct cmd *c, struct session_entry **ret) {
    if (c->e.self) {
        *ret = c->e.self;
        return session_has_ended(e, c);
    }
    enum found f = find_session(e, c, c->session, ret);
    if (f == ABSENT) {
        cmd_refuse(e, c, ERR_NOT_FOUND, "There is no such session");
        return ANSWERED;
    }
    return f == FOUND ? GO_ON : WAITS;
}

static bool may_see(const struct cmd *c, struct id task, struct id session) {
    switch (c->cred.kind) {
    case CRED_KEY: return true;
    case CRED_SESSION:
    case CRED_JWT: return c->e.self && id_eq(c->e.self->s.id, session);
    case CRED_WATCH:
    case CRED_WORKER: return id_eq(c->cred.id, task);
    case CRED_NONE: break;
    }
    return false;
}

enum step entitled_task(struct engine *e, struct cmd *c, struct task_entry **ret) {
    struct task_entry *t = NULL;
    struct tombstone_row *row = NULL;
    enum found f = find_task(e, c, c->task, &t, &row);
    if (f == PARKED) {
        return WAITS;
    }
    if (f == ABSENT && row && may_see(c, row->task, row->session)) {
        return refuse_gone(e, c, row);
    }
    if (f == ABSENT || !may_see(c, t->t.id, t->t.session)) {
        needs_absence(c);
        cmd_refuse(e, c, ERR_NOT_FOUND, "There is no such task");
        return ANSWERED;
    }
    if (session_has_ended(e, c) != GO_ON) {
        return ANSWERED;
    }
    if (cred_is_person(c)) {
        t->unwatched_since = e->now;
    }
    *ret = t;
    return GO_ON;
}
