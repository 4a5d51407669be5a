/*
 * server_engine.c: the engine's rounds, and where they are run. With several loops it has a thread of its own, and the bell wakes it. With one loop it runs in that
 * loop's turns: what a turn has read is decided and answered in the same turn, without another thread to be woken and while its memory is still in the cache. When
 * that loop has ended, its thread goes on with the engine alone.
 */
#include "cli/server_internal.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>

#define ROUND_MAX 256

void server_wake_engine(struct server *s) {
    bell_ring(&s->bell);
    if (s->engine_in_loop && s->loops[0].http) { /* else it has not begun, and never will */
        http_loop_wake(s->loops[0].http);
    }
}

void server_mail(void *arg, unsigned loop, struct mail m) {
    struct server *s = arg;
    assert(loop < s->loop_count);
    *(struct mail *) letters_add(&s->loops[loop].to_loop) = m;
}

static void server_post_mail(struct server *s) {
    for (unsigned i = 0; i < s->loop_count; i++) {
        struct loop *l = &s->loops[i];
        if (mailbox_post(&l->mail, &l->to_loop) && !s->engine_in_loop) {
            http_loop_wake(l->http);
        }
    }
}

static void letter_open(struct engine *e, unsigned loop, const struct letter *letter) {
    switch (letter->type) {
    case LETTER_SUBMIT: engine_submit(e, letter->u.cmd); break;
    case LETTER_ABANDON: engine_abandon(e, letter->u.cmd); break;
    case LETTER_UNWATCH: engine_unwatch(e, loop, letter->channel, letter->tag); break;
    case LETTER_BATCH: engine_batch_done(e, letter->u.batch); break;
    case LETTER_QUERY: engine_query_done(e, letter->u.query); break;
    }
}

/* How much work it is: a command can bring many lines. */
static size_t letter_weight(const struct letter *letter) {
    return letter->type == LETTER_SUBMIT ? 1 + letter->u.cmd->line_count : 1;
}

#define EXPECT_APART 2 /* letters between two steps */

static void letters_expect(const struct engine *e, const struct inbox *in) {
    for (unsigned step = 0; step < ENGINE_EXPECT_STEPS; step++) {
        size_t at = in->next + (size_t) (step + 1) * EXPECT_APART;
        const struct letter *letter = at < in->taken.count ? letters_at(&in->taken, at) : NULL;
        if (letter && letter->type == LETTER_SUBMIT) {
            engine_expect(e, letter->u.cmd, step);
        }
    }
}

/* Opens letters of at most this weight, but at least one; true if more may be waiting. */
static bool inbox_serve(struct engine *e, struct inbox *in, unsigned loop, size_t most) {
    bool all = in->next == in->taken.count;
    if (all) {
        letters_clear(&in->taken);
        in->next = 0;
        mailbox_take(&in->box, &in->taken);
    }
    if (in->next < in->taken.count) {
        engine_at(e, clock_now()); /* not before they came */
    }
    for (size_t weight = 0; in->next < in->taken.count && weight < most;) {
        letters_expect(e, in);
        const struct letter *letter = letters_at(&in->taken, in->next++);
        weight += letter_weight(letter);
        letter_open(e, loop, letter);
    }
    return in->next < in->taken.count || !all; /* what was left from before says nothing of the box */
}

bool server_serve_boxes(struct server *s) {
    bool more = inbox_serve(s->engine, &s->store_inbox, 0, SIZE_MAX);
    for (unsigned i = 0; i < s->loop_count; i++) {
        more |= inbox_serve(s->engine, &s->loops[i].inbox, i, ROUND_MAX);
    }
    return more;
}

static void server_look_ready(struct server *s) {
    if (!atomic_load(&s->ready) && !atomic_load(&s->draining) && engine_ready(s->engine)) {
        atomic_store(&s->ready, true);
        server_notice(s);
    }
}

/* Requests that wait are under way as well: they are answered before the loops close their connections. */
static void server_look_draining(struct server *s) {
    if (!s->waits_end && atomic_load(&s->draining)) {
        s->waits_end = true;
        engine_end_waits(s->engine, clock_ms() + atomic_load(&s->drain_ms));
    }
}

static void server_look_stopped(struct server *s) {
    if (s->stopping && engine_stopped(s->engine) && !atomic_load(&s->stopped)) {
        server_metrics_close(s);
        atomic_store(&s->stopped, true);
        server_notice(s);
    }
}

bool server_round(struct server *s) {
    if (atomic_load(&s->stopped)) {
        return false;
    }
    int64_t begin_us = clock_us();
    bool stop_wanted = atomic_load(&s->stop_wanted); /* before the boxes: no loop posts any more once it is set */
    server_look_draining(s);
    bool more = server_serve_boxes(s);
    if (!s->stopping && !more && stop_wanted) {
        s->stopping = true;
        engine_stop(s->engine);
    }
    engine_run(s->engine, clock_now());
    server_post_mail(s);
    times_add(&s->rounds, clock_us() - begin_us);
    server_metrics_give(s);
    server_look_ready(s);
    server_look_stopped(s);
    return more;
}

void server_rounds(struct server *s) {
    for (bool more = true; !atomic_load(&s->stopped);) {
        bell_wait(&s->bell, more ? 0 : engine_next(s->engine) - clock_ms());
        more = server_round(s);
    }
}

void *server_engine_main(void *arg) {
    struct server *s = arg;
    pthread_setname_np(pthread_self(), "engine");
    engine_start(s->engine, s->config.store);
    server_rounds(s);
    return NULL;
}
