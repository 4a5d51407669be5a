/* Opening a feed. */
#include "engine/cmd_watch.h"

#include "engine/answer.h"
#include "engine/auth.h"
#include "engine/channel.h"
#include "engine/events.h"
#include "engine/gone.h"
#include "engine/kinds.h"
#include "engine/needs.h"
#include "engine/outbox.h"
#include "engine/session_entry.h"
#include "engine/state.h"

static void answer_status(struct engine *e, struct cmd *c, int status) {
    c->answer.type = ANSWER_NONE;
    c->answer.status = status;
    cmd_answer(e, c);
}

/* A feed that has come to its end. */
static void answer_over(struct engine *e, struct cmd *c, const char *what) {
    if (c->watch.end_refused) {
        cmd_refuse(e, c, ERR_GONE, what);
    } else {
        answer_status(e, c, 204);
    }
}

/* A plain poll: it watches nothing. */
static bool is_passing(const struct cmd *c) {
    return c->watch.page && c->wait_ms <= 0;
}

static uint32_t tag_of(const struct cmd *c) {
    uint32_t who = c->cred.kind == CRED_KEY ? WATCHER_KEY : c->cred.kind == CRED_WATCH ? WATCHER_WATCH : WATCHER_SESSION;
    return who | (is_passing(c) || c->head ? WATCHER_PASSING : 0);
}

static uint32_t gen_of(const struct cmd *c) {
    return c->cred.kind == CRED_KEY ? 0 : c->cred.kind == CRED_JWT ? c->e.self->s.gen : c->cred.gen;
}

void watch_cursor_prefix(struct engine *e, struct cmd *c, struct id session) {
    bool of_task = c->watch.target == WATCH_TASK;
    struct buf prefix = {0};
    cursor_prefix(e, of_task ? ID_TASK : ID_SESSION, of_task ? c->task : session, &prefix);
    c->answer.cursor_prefix = arena_str(&c->arena, buf_view(&prefix));
    buf_fini(&prefix);
}

static void attach(struct engine *e, struct cmd *c, enum channel_kind kind, struct session_entry *s, struct task_entry *t, enum cursor_is is,
                   struct cursor cursor) {
    struct channel *ch = channel_open(e, c->endpoint, kind, s, t);
    bool person = c->cred.kind != CRED_KEY;
    uint64_t live = t ? t->t.version : s->seq;
    ch->watchers++;
    ch->people += person;
    ch->own += tag_of(c) == WATCHER_SESSION;
    s->watchers++;
    s->own += tag_of(c) == WATCHER_SESSION;
    *(t ? &t->people : &s->people) += person;
    struct answer *a = &c->answer;
    a->type = ANSWER_WATCH;
    a->status = 200;
    a->channel = ch->number;
    a->start.fresh = is != CURSOR_GOOD;
    a->start.reset = is == CURSOR_USELESS;
    a->log = kind != CHANNEL_SESSION;
    a->start.cursor = is == CURSOR_GOOD ? cursor.number : 0;
    a->start.gone_from = is == CURSOR_GOOD ? cursor.gone_from : 0;
    a->start.gone_floor = t ? 0 : s->gone_floor;
    a->start.live_seq = live;
    a->log_floor = live; /* counts when this answer makes the feed */
    a->start.tag[0] = tag_of(c);
    a->start.tag[1] = gen_of(c);
    a->start.exp_ms = c->cred.kind == CRED_JWT && !is_passing(c) && !c->head ? c->cred.exp_ms : 0;
    watch_cursor_prefix(e, c, s->s.id);
    uint64_t number = ch->number, needs = s->pending = needs_of(e, c); /* what follows on the feed leaves behind the answer */
    bool behind = ch->behind;
    unsigned endpoint = c->endpoint;
    cmd_answer(e, c);
    if (!behind) {
        engine_post(e, needs, endpoint, (struct message){.type = MESSAGE_SYNCED, .channel = number, .pos = live});
    }
    if (t && task_is_ended(&t->t)) {
        engine_post(e, needs, endpoint,
                    (struct message){.type = MESSAGE_DISCONNECT,
                                     .channel = number,
                                     .disconnect = disconnect_create(DISCONNECT_ANYBODY, DISCONNECT_ANY_GEN, DISCONNECT_FINISHED, NULL, STR_NONE)});
    }
}

static bool refuse_over_quota(struct engine *e, struct cmd *c, struct session_entry *s) {
    if (is_passing(c) || s->watchers < e->o->max_watchers_per_session) {
        return false;
    }
    watch_cursor_prefix(e, c, s->s.id);
    cmd_refuse(e, c, ERR_QUOTA_EXCEEDED, "The session has as many watchers as it may have");
    return true;
}

/* A page is made for HEAD too, since its headers depend on what is in it. */
static bool answer_head(struct engine *e, struct cmd *c) {
    if (!c->head || c->watch.page) {
        return false;
    }
    c->answer.type = ANSWER_WATCH_HEAD;
    c->answer.status = 200;
    cmd_answer(e, c);
    return true;
}

static void watch_task(struct engine *e, struct cmd *c) {
    struct task_entry *t;
    struct cursor cursor;
    if (entitled_task(e, c, &t) != GO_ON) {
        return;
    }
    enum cursor_is is = cursor_parse(e, ID_TASK, t->t.id, c->watch.cursor, &cursor);
    if (is == CURSOR_GOOD && cursor.number >= t->t.version && task_is_ended(&t->t)) {
        answer_over(e, c, "The task has ended and its feed was read to the end");
        return;
    }
    if (is == CURSOR_GOOD && (cursor.number > t->t.version || cursor.gone_from > t->t.version)) {
        is = CURSOR_USELESS;
    }
    if (!refuse_over_quota(e, c, t->s) && !answer_head(e, c)) {
        attach(e, c, CHANNEL_TASK, t->s, t, is, cursor);
    }
}

static void watch_session(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    struct cursor cursor;
    if (entitled_session(e, c, &s) != GO_ON) {
        return;
    }
    if (s->s.state == SESSION_ENDED) {
        answer_over(e, c, "The session has ended");
        return;
    }
    gone_trim(e, s);
    enum cursor_is is = cursor_parse(e, ID_SESSION, s->s.id, c->watch.cursor, &cursor);
    if (is == CURSOR_GOOD && (cursor.number > s->seq || cursor.gone_from > s->seq || gone_is_forgotten(s, cursor.number, cursor.gone_from))) {
        is = CURSOR_USELESS;
    }
    if (!refuse_over_quota(e, c, s) && !answer_head(e, c)) {
        attach(e, c, c->watch.output ? CHANNEL_SESSION_OUTPUT : CHANNEL_SESSION, s, NULL, is, cursor);
    }
}

void cmd_watch(struct engine *e, struct cmd *c) {
    if (c->watch.target == WATCH_TASK) {
        watch_task(e, c);
    } else {
        watch_session(e, c);
    }
}
