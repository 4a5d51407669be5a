/*
 * What leaves: answers and messages that depend on a batch wait in its list of effects and leave in order when it is durable; what depends on nothing leaves at
 * once. When a batch fails, callers are told that the outcome is unknown, frames are dropped, and their channels fall behind.
 */
#include "engine/outbox.h"

#include "engine/batch.h"
#include "engine/channel.h"
#include "engine/cmd_queue.h"
#include "engine/query.h"
#include "engine/state.h"
#include "engine/wait.h"

#include "base/mem.h"

#include <assert.h>

/* The command that waits here, to go on or with its answer; NULL: none does. */
static struct cmd *effect_cmd(const struct effect *f) {
    bool answers = f->mail.type == MAIL_ANSWER || f->mail.type == MAIL_ABANDONED;
    return f->resume ? f->resume : answers ? f->mail.cmd : NULL;
}

static void answer_fini(struct cmd *c) {
    for (size_t i = 0; i < c->answer.frame_count; i++) {
        frame_unref(c->answer.frames[i]);
    }
    c->answer.frame_count = 0;
}

static void mail_send(struct engine *e, unsigned loop, struct mail m) {
    if (m.type == MAIL_ANSWER) {
        assert(m.cmd);
        m.cmd->e.answered = true;
    }
    e->config.mail(e->config.mail_arg, loop, m);
}

static struct batch *batch_numbered(struct engine *e, uint64_t needs) {
    if (needs <= e->durable || e->dead) { /* nothing is written any more: what is in memory is what was last committed */
        return NULL;
    }
    return e->inflight && needs <= e->inflight->b.number ? e->inflight : e->open;
}

void engine_post(struct engine *e, uint64_t needs, unsigned loop, struct mail m) {
    struct batch *b = batch_numbered(e, needs);
    if (!b) {
        mail_send(e, loop, m);
        return;
    }
    struct effect *f = mem_alloc(sizeof(*f));
    f->loop = loop;
    f->mail = m;
    if (m.type == MAIL_ANSWER) {
        m.cmd->e.in_effects = true;
    }
    TAILQ_INSERT_TAIL(&b->effects, f, link);
}

enum found cmd_until_durable(struct engine *e, struct cmd *c, uint64_t needs) {
    struct batch *b = batch_numbered(e, needs);
    if (!b || c->e.waited_durable) {
        return FOUND; /* once is enough: what came after is not what it asks for */
    }
    c->e.waited_durable = true;
    struct effect *f = mem_alloc(sizeof(*f));
    f->resume = c;
    c->e.in_effects = true;
    TAILQ_INSERT_TAIL(&b->effects, f, link);
    return PARKED;
}

/* The peer of a command went away while its answer waited here. */
static void effect_abandoned(struct engine *e, struct cmd *c) {
    if (c->e.claimed_count) {
        claims_give_back(e, c);
    }
    if (c->answer.type == ANSWER_WATCH) {
        engine_unwatch(e, c->loop, c->answer.channel, c->answer.start.tag[0]);
    }
    answer_fini(c);
    query_free(c->e.query);
    c->e.query = NULL;
    wheel_cancel(&e->wheel, &c->e.timer);
    mail_send(e, c->loop, (struct mail){.type = MAIL_ABANDONED, .cmd = c});
}

/* What a loop would get of a channel that was closed meanwhile would be kept there for ever. */
static bool mail_is_late(struct engine *e, const struct mail *m) {
    struct channel *ch = NULL;
    bool of_channel = m->type == MAIL_FRAME || m->type == MAIL_SYNCED || m->type == MAIL_DISCONNECT;
    if (of_channel) {
        HASH_FIND(hh, e->channels, &m->channel, sizeof(m->channel), ch);
    }
    return of_channel && !ch;
}

void effects_release(struct engine *e, struct effect_list *effects) {
    while (!TAILQ_EMPTY(effects)) {
        struct effect *f = TAILQ_FIRST(effects);
        TAILQ_REMOVE(effects, f, link);
        struct cmd *c = f->resume ? f->resume : f->mail.type == MAIL_ANSWER ? f->mail.cmd : NULL;
        if (c) {
            c->e.in_effects = false;
        }
        if (c && c->e.abandoned) {
            effect_abandoned(e, c);
        } else if (f->resume) {
            cmd_park(c, &e->ready);
        } else if (mail_is_late(e, &f->mail)) {
            mail_discard(&f->mail);
        } else {
            mail_send(e, f->loop, f->mail);
        }
        mem_free(f);
    }
}

void effects_fail(struct engine *e, struct effect_list *effects) {
    while (!TAILQ_EMPTY(effects)) {
        struct effect *f = TAILQ_FIRST(effects);
        TAILQ_REMOVE(effects, f, link);
        struct cmd *c = f->resume ? f->resume : f->mail.type == MAIL_ANSWER ? f->mail.cmd : NULL;
        if (c) {
            c->e.in_effects = false;
            if (c->answer.type == ANSWER_WATCH) {
                engine_unwatch(e, c->loop, c->answer.channel, c->answer.start.tag[0]);
            }
            answer_fini(c);
            buf_fini(&c->answer.body);
            c->e.claimed_count = 0; /* never happened */
            c->answer = (struct answer){.type = ANSWER_PROBLEM};
            c->answer.problem = (struct problem){
                .err = ERR_UNAVAILABLE, .detail = STR("The store could not be written; the outcome is unknown, ask again"), .retry_after_s = 1};
            wheel_cancel(&e->wheel, &c->e.timer);
            query_free(c->e.query);
            c->e.query = NULL;
            mail_send(e, c->loop, (struct mail){.type = c->e.abandoned ? MAIL_ABANDONED : MAIL_ANSWER, .cmd = c});
        } else if (f->mail.type == MAIL_DROP || f->mail.type == MAIL_ABANDONED) {
            mail_send(e, f->loop, f->mail);
        } else {
            struct channel *ch;
            HASH_FIND(hh, e->channels, &f->mail.channel, sizeof(f->mail.channel), ch);
            if (ch && f->mail.type == MAIL_FRAME) {
                channel_fall_behind(e, ch, f->mail.frame->seq - 1);
            }
            mail_discard(&f->mail);
        }
        mem_free(f);
    }
}

void effects_free(struct effect_list *effects) {
    while (!TAILQ_EMPTY(effects)) {
        struct effect *f = TAILQ_FIRST(effects);
        TAILQ_REMOVE(effects, f, link);
        struct cmd *c = effect_cmd(f);
        if (c) {
            answer_fini(c);
            query_free(c->e.query);
            cmd_free(c);
        }
        mail_discard(&f->mail);
        mem_free(f);
    }
}
