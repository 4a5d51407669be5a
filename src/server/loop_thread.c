/*
 * loop_thread.c: a loop's thread: its api's commands are posted together once per turn; the engine's messages come in when it is woken, or in the same turn where the
 * engine runs in it.
 */
#include "server/internal.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

#define ROUND_WEIGHT 256  /* of a loop's messages in one of the engine's rounds */
#define ROUNDS_PER_TURN 4 /* of an engine that runs here */
#define TURN_REQUESTS 64  /* then, too: so many are served together, that all they touch stays in the cache */

/* ---- what the api asks for; the loop's thread ---- */

static void loop_submit(void *arg, struct cmd *c) {
    struct loop *l = arg;
    struct engine_message *m = engine_message_add(&l->endpoint.to_engine);
    m->type = ENGINE_SUBMIT;
    m->u.cmd = c;
}

static void loop_abandon(void *arg, struct cmd *c) {
    struct loop *l = arg;
    struct engine_message *m = engine_message_add(&l->endpoint.to_engine);
    m->type = ENGINE_ABANDON;
    m->u.cmd = c;
}

static void loop_unwatch(void *arg, uint64_t channel, uint32_t tag) {
    struct loop *l = arg;
    struct engine_message *m = engine_message_add(&l->endpoint.to_engine);
    m->type = ENGINE_UNWATCH;
    m->channel = channel;
    m->tag = tag;
}

/* What the messages that come next need is fetched meanwhile. */
static void messages_prefetch(const struct loop *l, size_t at) {
    for (unsigned step = 0; step < API_PREFETCH_STEPS && at + 1 + step < loop_message_count(&l->taken); step++) {
        api_prefetch(l->api, loop_message_at(&l->taken, at + 1 + step), step);
    }
}

static void loop_receive(struct loop *l) {
    if (!loop_message_take(&l->endpoint.queue, &l->taken)) {
        return;
    }
    for (size_t i = 0; i < loop_message_count(&l->taken); i++) {
        messages_prefetch(l, i);
        api_receive(l->api, *loop_message_at(&l->taken, i));
    }
    loop_message_clear(&l->taken);
}

/* ---- the end of a turn ---- */

static void on_engine_timer(struct timer *t, int64_t now_ms, void *arg) {
    (void) t, (void) now_ms, (void) arg; /* it only begins a turn, at the end of which the engine has its round */
}

/* When the engine wants its next round at the latest. */
static void loop_set_engine_timer(struct loop *l) {
    struct wheel *wheel = http_loop_wheel(l->http);
    int64_t at = engine_next(l->server->engine);
    if (at == INT64_MAX) {
        wheel_cancel(wheel, &l->engine_timer);
    } else if (at != l->engine_timer.at_ms) {
        wheel_set(wheel, &l->engine_timer, at, on_engine_timer);
    }
}

/* The engine runs here. What it says can ask for something in its turn: a refill, or that a watcher has left. */
static void loop_think(struct loop *l) {
    bool more = true;
    for (unsigned rounds = 0; more && rounds < ROUNDS_PER_TURN; rounds++) {
        more = server_round(l->server);
        loop_receive(l);
        more |= endpoint_post(&l->endpoint);
    }
    if (more || engine_next(l->server->engine) <= clock_ms()) {
        http_loop_wake(l->http); /* what has come to the sockets meanwhile is read in between */
    } else {
        loop_set_engine_timer(l);
    }
}

static void loop_flush(void *arg) {
    struct loop *l = arg;
    bool was_empty = endpoint_post(&l->endpoint);
    if (l->server->engine_in_loop) {
        loop_think(l);
    } else if (was_empty) {
        waker_wake(&l->server->engine_waker);
    }
    loop_counts_publish(l); /* with what was answered just now */
}

static void loop_on_wake(void *arg) {
    struct loop *l = arg;
    loop_receive(l);
    if (atomic_load(&l->server->draining) && !l->drains) {
        l->drains = true;
        http_loop_drain(l->http, atomic_load(&l->server->drain_ms));
    }
}

static struct http_limits limits_of(const struct options *o, unsigned loops) {
    int64_t connections = o->max_connections / loops;
    return (struct http_limits){
        .max_body = (size_t) o->max_body,
        .max_header_block = (size_t) o->max_header_block,
        .max_uri = (size_t) o->max_uri,
        .max_connections = (unsigned) (connections > 0 ? connections : 1),
        .header_ms = o->request_header_timeout,
        .body_ms = o->body_timeout,
        .idle_ms = o->idle_keepalive_timeout,
        .keepalive_ms = o->keepalive,
        .max_stream_age_ms = o->max_stream_age,
        .stalled_reader_ms = o->stalled_reader_timeout,
        .turn_requests = loops == 1 ? TURN_REQUESTS : 0,
    };
}

static int loop_make(struct loop *l) {
    struct server *s = l->server;
    struct api_engine port = {loop_submit, loop_abandon, loop_unwatch, loop_flush, l};
    l->api = api_create(s->config.shared, l->index, &port);
    if (!l->api) {
        return -1;
    }
    struct http_limits limits = limits_of(s->config.options, s->loop_count);
    struct http_handler handler = api_handler(l->api);
    l->http = http_loop_create(l->listen_fd, &limits, &handler);
    if (!l->http) {
        return -1;
    }
    l->listen_fd = -1;
    api_attach(l->api, l->http);
    http_loop_on_wake(l->http, loop_on_wake, l);
    return 0;
}

static void loop_set_state(struct loop *l, enum loop_state state) {
    struct server *s = l->server;
    pthread_mutex_lock(&s->lock);
    atomic_store(&l->state, state);
    pthread_cond_broadcast(&s->cond);
    pthread_mutex_unlock(&s->lock);
}

static void *loop_main(void *arg) {
    struct loop *l = arg;
    char name[16];
    snprintf(name, sizeof name, "loop %u", l->index);
    pthread_setname_np(pthread_self(), name);
    if (loop_make(l)) {
        loop_set_state(l, LOOP_FAILED);
        return NULL;
    }
    if (l->server->engine_in_loop) {
        engine_start(l->server->engine, l->server->config.store);
    }
    loop_set_state(l, LOOP_RUNNING);
    http_loop_run(l->http);
    loop_flush(l);
    loop_set_state(l, LOOP_ENDED);
    server_notice(l->server);
    if (l->server->engine_in_loop) {
        server_rounds(l->server);
    }
    return NULL;
}

/* ---- its life; the main thread ---- */

void loop_init(struct loop *l, struct server *s, unsigned index) {
    l->server = s;
    l->index = index;
    l->listen_fd = -1;
    atomic_init(&l->state, LOOP_NONE);
    l->taken = loop_message_run_init();
    endpoint_init(&l->endpoint, index, ROUND_WEIGHT);
}

int loop_start(struct loop *l, struct buf *err) {
    atomic_store(&l->state, LOOP_STARTING);
    int failed = pthread_create(&l->thread, NULL, loop_main, l);
    if (failed) {
        atomic_store(&l->state, LOOP_NONE);
        buf_printf(err, "a thread cannot be started: %s", strerror(failed));
        return -1;
    }
    pthread_mutex_lock(&l->server->lock);
    while (atomic_load(&l->state) == LOOP_STARTING) {
        pthread_cond_wait(&l->server->cond, &l->server->lock);
    }
    pthread_mutex_unlock(&l->server->lock);
    if (atomic_load(&l->state) == LOOP_FAILED) {
        buf_puts(err, "a loop cannot be started: there is too little memory or there are too few file descriptors");
        return -1;
    }
    return 0;
}

void loop_end(struct loop *l) {
    if (l->api) {
        (void) endpoint_deliver(&l->endpoint);
        loop_receive(l);
        api_destroy(l->api);
    }
    if (l->http) {
        http_loop_destroy(l->http);
    }
    if (l->listen_fd >= 0) {
        close(l->listen_fd);
    }
    loop_message_run_fini(&l->taken);
    endpoint_fini(&l->endpoint);
}
