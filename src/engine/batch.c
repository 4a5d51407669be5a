/*
 * What must be durable before what may leave. Changes mark sessions and tasks as dirty; their rows are written when the open batch is handed to the store,
 * which happens as soon as the store is idle, so that batches grow by themselves under load. Answers and mail that depend on a batch
 * wait in its list of effects and leave in order when it is durable; what depends on nothing leaves at once.
 *
 * When a batch fails, all that was built on it fails: callers are told that the outcome is unknown, frames are dropped, and the sessions touched are thrown
 * away and loaded again from their rows, with numbers above the reservation.
 */
#include "engine/internal.h"

#include "base/fetch.h"
#include "base/log.h"
#include "base/mem.h"

#include <assert.h>

struct batch *batch_create(uint64_t number) {
    struct batch *b = mem_alloc(sizeof(*b));
    b->b.number = number;
    TAILQ_INIT(&b->effects);
    return b;
}

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

void batch_destroy(struct batch *b) {
    if (!b) {
        return;
    }
    while (!TAILQ_EMPTY(&b->effects)) {
        struct effect *f = TAILQ_FIRST(&b->effects);
        TAILQ_REMOVE(&b->effects, f, link);
        struct cmd *c = effect_cmd(f);
        if (c) {
            answer_fini(c);
            query_free(c->e.query);
            cmd_free(c);
        }
        mail_discard(&f->mail);
        mem_free(f);
    }
    arena_fini(&b->b.arena);
    mem_free(b->b.ops);
    mem_free(b->touched);
    mem_free(b);
}

#define BATCH_OPS_KEPT 16384
#define BATCH_TEXTS_KEPT (2u << 20)
#define BATCH_ROOMY 256

/* A batch that is through serves again, with its memory: large ones come several times a second, and fresh memory costs more than what is written into it. */
static void batch_put_back(struct engine *e, struct batch *b) {
    b->roomy = b->b.count * 4 < b->b.cap ? b->roomy + 1 : 0;
    if (e->spare || b->b.cap > BATCH_OPS_KEPT || b->roomy > BATCH_ROOMY) {
        batch_destroy(b);
        return;
    }
    assert(TAILQ_EMPTY(&b->effects));
    struct batch kept = *b;
    arena_rewind(&kept.b.arena, BATCH_TEXTS_KEPT);
    *b = (struct batch){.b = {.ops = kept.b.ops, .cap = kept.b.cap, .arena = kept.b.arena},
                        .touched = kept.touched,
                        .touched_cap = kept.touched_cap,
                        .roomy = kept.roomy};
    TAILQ_INIT(&b->effects);
    e->spare = b;
}

static struct batch *batch_next(struct engine *e, uint64_t number) {
    struct batch *b = e->spare;
    if (!b) {
        return batch_create(number);
    }
    e->spare = NULL;
    b->b.number = number;
    return b;
}

struct store_op *batch_op(struct engine *e, enum store_op_type type) {
    struct store_batch *b = &e->open->b;
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->ops = mem_resize(b->ops, b->cap * sizeof(*b->ops));
    }
    struct store_op *op = &b->ops[b->count++];
    *op = (struct store_op){.type = type};
    return op;
}

struct str batch_text(struct engine *e, struct str s) {
    struct str copy = arena_str(&e->open->b.arena, s);
    if (s.p && !copy.p) {
        mem_free(mem_dup("", 1)); /* nothing sensible is left to do without memory */
        assert(!"no memory for a row");
    }
    return copy;
}

static bool batch_is_empty(const struct engine *e) {
    return e->open->b.count == 0 && !e->dirty_tasks.left && !e->soft_tasks[!e->soft_side].left && TAILQ_EMPTY(&e->dirty_sessions);
}

uint64_t engine_newest(const struct engine *e) {
    return !batch_is_empty(e) ? e->open->b.number : e->inflight ? e->inflight->b.number : 0;
}

static void batch_touch(struct engine *e, struct session_entry *s, uint64_t reserved) {
    struct batch *b = e->open;
    if (b->touched_count == b->touched_cap) {
        b->touched_cap = b->touched_cap ? b->touched_cap * 2 : 16;
        b->touched = mem_resize(b->touched, b->touched_cap * sizeof(*b->touched));
    }
    b->touched[b->touched_count++] = (struct touched){.session = s->s.id, .reserved = reserved};
}

void session_pend(struct engine *e, struct session_entry *s) {
    if (s->pending != e->open->b.number) {
        s->pending = e->open->b.number;
        batch_touch(e, s, 0);
    }
}

static void changed_take(struct task_entry *t) {
    if (t->changed) {
        t->changed->at[t->changed_at] = NULL;
        t->changed->left--;
        t->changed = NULL;
    }
}

static void changed_put(struct changed_tasks *tasks, struct task_entry *t) {
    tasks->count = tasks->left ? tasks->count : 0;
    if (tasks->count == tasks->cap) {
        tasks->cap = tasks->cap ? tasks->cap * 2 : 64;
        tasks->at = mem_resize(tasks->at, tasks->cap * sizeof(struct task_entry *));
    }
    t->changed = tasks;
    t->changed_at = tasks->count;
    tasks->at[tasks->count++] = t;
    tasks->left++;
}

void task_dirty(struct engine *e, struct task_entry *t) {
    if (t->changed != &e->dirty_tasks) {
        changed_take(t);
        changed_put(&e->dirty_tasks, t);
    }
    t->row_stale = true;
    session_pend(e, t->s);
}

void session_dirty(struct engine *e, struct session_entry *s) {
    if (s->dirt == SOFT) {
        TAILQ_REMOVE(&e->soft_sessions, s, of_dirty);
    }
    if (s->dirt != DIRTY) {
        s->dirt = DIRTY;
        TAILQ_INSERT_TAIL(&e->dirty_sessions, s, of_dirty);
    }
    session_pend(e, s);
}

/* What became due before is nearly always written by now, and then the tasks need not be looked at. */
void soft_becomes_dirty(struct engine *e) {
    struct changed_tasks *due = &e->soft_tasks[!e->soft_side];
    for (size_t i = 0; due->left; i++) {
        struct task_entry *t = due->at[i];
        if (t) {
            changed_take(t);
            changed_put(&e->dirty_tasks, t);
        }
    }
    e->soft_side = !e->soft_side;
    while (!TAILQ_EMPTY(&e->soft_sessions)) {
        struct session_entry *s = TAILQ_FIRST(&e->soft_sessions);
        TAILQ_REMOVE(&e->soft_sessions, s, of_dirty);
        s->dirt = DIRTY;
        TAILQ_INSERT_TAIL(&e->dirty_sessions, s, of_dirty);
    }
}

static void soft_is_due(struct timer *t, int64_t now_ms, void *arg) {
    (void) t, (void) now_ms;
    soft_becomes_dirty(arg);
}

void task_soft(struct engine *e, struct task_entry *t) {
    if (!t->changed) {
        changed_put(&e->soft_tasks[e->soft_side], t);
        if (!e->soft_timer.at_ms) {
            wheel_set(&e->wheel, &e->soft_timer, e->now + ENGINE_SOFT_MS, soft_is_due);
        }
    }
}

void session_soft(struct engine *e, struct session_entry *s) {
    if (s->dirt == CLEAN) {
        s->dirt = SOFT;
        TAILQ_INSERT_TAIL(&e->soft_sessions, s, of_dirty);
        if (!e->soft_timer.at_ms) {
            wheel_set(&e->wheel, &e->soft_timer, e->now + ENGINE_SOFT_MS, soft_is_due);
        }
    }
}

void entry_clean_task(struct task_entry *t) {
    changed_take(t);
    t->row_stale = false;
}

void entry_clean_session(struct engine *e, struct session_entry *s) {
    if (s->dirt == SOFT) {
        TAILQ_REMOVE(&e->soft_sessions, s, of_dirty);
    } else if (s->dirt == DIRTY) {
        TAILQ_REMOVE(&e->dirty_sessions, s, of_dirty);
    }
    s->dirt = CLEAN;
}

/* ---- effects ---- */

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

static void effects_release(struct engine *e, struct effect_list *effects) {
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

static void effects_fail(struct engine *e, struct effect_list *effects) {
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

/* ---- to the store and back ---- */

#define EXPECT_APART 3 /* tasks between the two steps in which one is fetched */

/* What the rows of those behind it will need. */
static void rows_expect(const struct changed_tasks *tasks, size_t i) {
    const struct task_entry *next = i + EXPECT_APART < tasks->count ? tasks->at[i + EXPECT_APART] : NULL;
    const struct task_entry *later = i + 2 * (size_t) EXPECT_APART < tasks->count ? tasks->at[i + 2 * (size_t) EXPECT_APART] : NULL;
    if (later) {
        size_t from = offsetof(struct task_entry, t.updated_at), upto = offsetof(struct task_entry, t.cancel_requested);
        fetch_ahead(later, FETCH_LINE);
        fetch_ahead((const char *) later + from, upto - from);
        fetch_ahead(&later->s, FETCH_LINE + 1);
    }
    if (next) {
        fetch_ahead(&next->s->pending, 1);
        fetch_ahead(next->t.progress.unit, 1);
        fetch_ahead(next->t.progress.message, 1);
        fetch_ahead(next->t.progress.phase, 1);
        fetch_ahead(next->t.progress.data, 1);
    }
}

static void write_tasks(struct engine *e, struct changed_tasks *tasks) {
    uint64_t number = e->open->b.number;
    for (size_t i = 0; tasks->left; i++) {
        struct task_entry *t = tasks->at[i];
        rows_expect(tasks, i);
        if (!t) {
            continue;
        }
        if (t->s->pending != number && t->s->touched != number) {
            t->s->touched = number;
            batch_touch(e, t->s, 0); /* progress: nothing waits for it */
        }
        task_row_put(e, t);
        entry_clean_task(t);
    }
}

static void write_dirty(struct engine *e) {
    uint64_t number = e->open->b.number;
    size_t pended = e->open->touched_count;
    clocks_write(e);
    kinds_write(e);
    write_tasks(e, &e->dirty_tasks);
    write_tasks(e, &e->soft_tasks[!e->soft_side]);
    while (!TAILQ_EMPTY(&e->dirty_sessions)) {
        struct session_entry *s = TAILQ_FIRST(&e->dirty_sessions);
        session_row_put(e, s);
        if (s->pending != number) {
            batch_touch(e, s, s->reserved_written);
        }
        entry_clean_session(e, s);
    }
    for (size_t i = 0; i < pended; i++) { /* they may have left memory */
        struct session_entry *s = session_resident(e, e->open->touched[i].session);
        e->open->touched[i].reserved = s ? s->reserved_written : 0;
    }
}

void engine_flush(struct engine *e) {
    if (e->inflight || batch_is_empty(e) || e->dead || !e->store) {
        return;
    }
    write_dirty(e);
    e->inflight = e->open;
    e->open = batch_next(e, e->inflight->b.number + 1);
    e->counts.batches++;
    e->counts.batch_ops += e->inflight->b.count;
    store_submit(e->store, &e->inflight->b);
}

static void batch_succeeded(struct engine *e, struct batch *b) {
    e->durable = b->b.number;
    sweep_done(e, b);
    for (size_t i = 0; i < b->touched_count; i++) {
        struct session_entry *s = b->touched[i].reserved ? session_resident(e, b->touched[i].session) : NULL;
        if (s && b->touched[i].reserved > s->reserved) {
            s->reserved = b->touched[i].reserved;
        }
    }
    idempotency_durable(e, b->b.number);
    tombstones_durable(e, b->b.number);
    old_keys_durable(e, b->b.number);
    effects_release(e, &b->effects);
}

static void throw_away(struct engine *e, struct batch *b) {
    for (size_t i = 0; i < b->touched_count; i++) {
        struct session_entry *s = session_resident(e, b->touched[i].session);
        if (s && s->user) {
            s->user->stale = true;
        }
        if (s) {
            session_drop(e, s);
        }
        session_load(e, b->touched[i].session, true);
    }
}

static void batch_failed(struct engine *e, struct batch *b, enum store_result why) {
    struct batch *built = e->open; /* all of it stands on what failed */
    log_error("engine_batch_failed", "batch=%llu ops=%zu %s", (unsigned long long) b->b.number, b->b.count,
              why == STORE_DEAD ? "\"an fsync failed: nothing is written any more until a restart\"" : "");
    e->counts.batch_failures++;
    e->dead = why == STORE_DEAD;
    e->open = batch_create(built->b.number + 1);
    e->durable = built->b.number; /* nothing waits for these numbers any more */
    e->looks_failed = ++e->look_clock;
    idempotency_drop_pending(e);
    tombstones_drop_pending(e);
    old_keys_durable(e, UINT64_MAX);
    e->stop_said = false;
    e->slots_reserved = e->slot; /* what it reserved may not be */
    if (e->marked >= b->b.number) {
        engine_mark(e);
    }
    if (e->put_back >= b->b.number) {
        clocks_put_rows_back(e);
    }
    e->clock_written = 0;
    throw_away(e, b);
    throw_away(e, built);
    effects_fail(e, &b->effects);
    effects_fail(e, &built->effects);
    batch_destroy(built);
}

void engine_batch_done(struct engine *e, struct store_batch *sb) {
    struct batch *b = e->inflight;
    assert(b && sb == &b->b);
    e->inflight = NULL;
    if (sb->result == STORE_OK) {
        batch_succeeded(e, b);
    } else {
        batch_failed(e, b, sb->result);
    }
    batch_put_back(e, b);
}
