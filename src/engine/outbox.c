/*
 * What leaves: answers and messages that depend on a batch wait in its list of effects and leave in order when it is durable; what depends on nothing leaves at
 * once. When a change set fails, callers are told that the outcome is unknown, frames are dropped, and their channels fall behind.
 */
#include "engine/outbox.h"

#include "engine/batch.h"
#include "engine/channel.h"
#include "engine/cmd_queue.h"
#include "engine/needs.h"
#include "engine/query.h"
#include "engine/sets.h"
#include "engine/state.h"
#include "engine/wait.h"

#include "base/mem.h"

#include <assert.h>

/* The command that waits here, to go on or with its answer; NULL: none does. */
static struct cmd *effect_cmd(const struct effect *f) {
    bool answers = f->message.type == MESSAGE_ANSWER || f->message.type == MESSAGE_ABANDONED;
    return f->resume ? f->resume : answers ? f->message.cmd : NULL;
}

/* The same, but for one whose peer has been given up already. */
static struct cmd *waiting_cmd(const struct effect *f) {
    return f->resume ? f->resume : f->message.type == MESSAGE_ANSWER ? f->message.cmd : NULL;
}

static void answer_fini(struct cmd *c) {
    for (size_t i = 0; i < c->answer.frame_count; i++) {
        frame_unref(c->answer.frames[i]);
    }
    c->answer.frame_count = 0;
}

static void message_send(struct engine *e, unsigned endpoint, struct message m) {
    if (m.type == MESSAGE_ANSWER) {
        assert(m.cmd);
        m.cmd->e.answered = true;
    }
    e->config.send(e->config.send_arg, endpoint, m);
}

static struct batch *batch_of(struct engine *e, uint64_t needs) {
    if (needs <= e->durable || e->dead) { /* nothing is written any more: what is in memory is what was last committed */
        return NULL;
    }
    return e->inflight && set_batch(needs) == e->inflight->b.number ? e->inflight : e->open;
}

void engine_post(struct engine *e, uint64_t needs, unsigned endpoint, struct message m) {
    struct batch *b = batch_of(e, needs);
    if (!b) {
        message_send(e, endpoint, m);
        return;
    }
    struct effect *f = mem_alloc(sizeof(*f));
    f->endpoint = endpoint;
    f->needs = needs;
    f->message = m;
    if (m.type == MESSAGE_ANSWER) {
        m.cmd->e.in_effects = true;
    }
    TAILQ_INSERT_TAIL(&b->effects, f, link);
}

enum step cmd_until_durable(struct engine *e, struct cmd *c) {
    uint64_t needs = needs_of(e, c);
    struct batch *b = batch_of(e, needs);
    if (!b || c->e.waited_durable) {
        return GO_ON; /* once is enough: what came after is not what it asks for */
    }
    c->e.waited_durable = true;
    struct effect *f = mem_alloc(sizeof(*f));
    f->resume = c;
    f->needs = needs;
    c->e.in_effects = true;
    TAILQ_INSERT_TAIL(&b->effects, f, link);
    return WAITS;
}

/* The peer of a command went away while its answer waited here. */
static void effect_abandoned(struct engine *e, struct cmd *c) {
    if (c->e.claimed_count) {
        claims_give_back(e, c);
    }
    if (c->answer.type == ANSWER_WATCH) {
        engine_unwatch(e, c->endpoint, c->answer.channel, c->answer.start.tag[0]);
    }
    answer_fini(c);
    query_free(c->e.query);
    c->e.query = NULL;
    wheel_cancel(&e->wheel, &c->e.timer);
    message_send(e, c->endpoint, (struct message){.type = MESSAGE_ABANDONED, .cmd = c});
}

/* What a loop would get of a channel that was closed meanwhile would be kept there for ever. */
static bool message_is_late(struct engine *e, const struct message *m) {
    struct channel *ch = NULL;
    bool of_channel = m->type == MESSAGE_FRAME || m->type == MESSAGE_SYNCED || m->type == MESSAGE_DISCONNECT;
    if (of_channel) {
        HASH_FIND(hh, e->channels, &m->channel, sizeof(m->channel), ch);
    }
    return of_channel && !ch;
}

static void effect_release(struct engine *e, struct effect *f) {
    struct cmd *c = waiting_cmd(f);
    if (c && c->e.abandoned) {
        step_begin(e);
        effect_abandoned(e, c);
    } else if (f->resume) {
        cmd_park(c, &e->ready);
    } else if (message_is_late(e, &f->message)) {
        message_discard(&f->message);
    } else {
        message_send(e, f->endpoint, f->message);
    }
}

static void cmd_failed(struct engine *e, struct cmd *c) {
    if (c->answer.type == ANSWER_WATCH) {
        engine_unwatch(e, c->endpoint, c->answer.channel, c->answer.start.tag[0]);
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
    message_send(e, c->endpoint, (struct message){.type = c->e.abandoned ? MESSAGE_ABANDONED : MESSAGE_ANSWER, .cmd = c});
}

static void effect_fail(struct engine *e, struct effect *f) {
    struct cmd *c = waiting_cmd(f);
    if (c) {
        cmd_failed(e, c);
    } else if (f->message.type == MESSAGE_DROP || f->message.type == MESSAGE_ABANDONED) {
        message_send(e, f->endpoint, f->message);
    } else {
        struct channel *ch;
        HASH_FIND(hh, e->channels, &f->message.channel, sizeof(f->message.channel), ch);
        if (ch && f->message.type == MESSAGE_FRAME) {
            channel_fall_behind(e, ch, f->message.frame->seq - 1);
        }
        message_discard(&f->message);
    }
}

static void effect_goes(struct engine *e, struct effect_list *effects, struct effect *f) {
    struct cmd *c = waiting_cmd(f);
    TAILQ_REMOVE(effects, f, link);
    if (c) {
        c->e.in_effects = false;
    }
    if (f->failed) {
        effect_fail(e, f);
    } else {
        effect_release(e, f);
    }
    mem_free(f);
}

void effects_judge(struct engine *e, struct effect_list *effects) {
    struct effect *f;
    TAILQ_FOREACH (f, effects, link) {
        f->failed = set_has_failed(e, f->needs);
    }
}

void effects_release(struct engine *e, struct effect_list *effects) {
    while (!TAILQ_EMPTY(effects)) {
        effect_goes(e, effects, TAILQ_FIRST(effects));
    }
}

void effects_fail(struct engine *e, struct effect_list *effects) {
    struct effect *f, *next;
    for (f = TAILQ_FIRST(effects); f; f = next) {
        next = TAILQ_NEXT(f, link);
        if (f->failed) {
            effect_goes(e, effects, f);
        }
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
        message_discard(&f->message);
        mem_free(f);
    }
}
