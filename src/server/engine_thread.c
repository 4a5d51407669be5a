/*
 * engine_thread.c: the engine's rounds, and where they are run. With several loops it has a thread of its own, and is woken by whoever posts to it. With one loop it runs in that
 * loop's turns: what a turn has read is decided and answered in the same turn, without another thread to be woken and while its memory is still in the cache. When
 * that loop has ended, its thread goes on with the engine alone.
 */
#include "server/internal.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>

void server_wake_engine(struct server *s) {
    waker_wake(&s->engine_waker);
    if (s->engine_in_loop && s->loops[0].http) { /* else it has not begun, and never will */
        http_loop_wake(s->loops[0].http);
    }
}

void server_send(void *arg, unsigned endpoint, struct message m) {
    struct server *s = arg;
    assert(endpoint < s->endpoint_count);
    *loop_message_add(&s->endpoints[endpoint]->gathered) = m;
}

static void server_deliver(struct server *s) {
    for (unsigned i = 0; i < s->loop_count; i++) {
        struct loop *l = &s->loops[i];
        if (endpoint_deliver(&l->endpoint) && !s->engine_in_loop) {
            http_loop_wake(l->http);
        }
    }
}

bool server_receive(struct server *s) {
    bool more = endpoint_serve(&s->store, s->engine); /* what is durable first */
    for (unsigned i = 0; i < s->loop_count; i++) {
        more |= endpoint_serve(&s->loops[i].endpoint, s->engine);
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
    bool stop_wanted = atomic_load(&s->stop_wanted); /* before the messages: no loop posts any more once it is set */
    server_look_draining(s);
    bool more = server_receive(s);
    if (!s->stopping && !more && stop_wanted) {
        s->stopping = true;
        engine_stop(s->engine);
    }
    engine_run(s->engine, clock_now());
    server_deliver(s);
    times_add(&s->rounds, clock_us() - begin_us);
    server_metrics_give(s);
    server_look_ready(s);
    server_look_stopped(s);
    return more;
}

void server_rounds(struct server *s) {
    for (bool more = true; !atomic_load(&s->stopped);) {
        waker_sleep(&s->engine_waker, more ? 0 : engine_next(s->engine) - clock_ms());
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
