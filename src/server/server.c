/*
 * The happy path: a loop's api gathers commands of one turn (submit), posts them at the turn's end (flush) and wakes the engine. The engine takes a limited number
 * of them from each endpoint in turn and everything from the store, runs, and posts what it has to say once per endpoint and round, waking the loop if nothing was
 * waiting there. With a single loop all of this is one thread's (engine_thread.c). Nothing is shared but queues, a waker and a few atomic flags.
 */
#include "server/internal.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

void server_notice(struct server *s) {
    uint64_t one = 1;
    ssize_t n = write(s->notice_fd, &one, sizeof one);
    (void) n; /* full means: noticed already */
}

/* ---- the store's threads ---- */

static void store_post(struct server *s, const struct engine_message *what) {
    struct engine_message_run one = engine_message_run_init(); /* there are several threads */
    *engine_message_add(&one) = *what;
    if (engine_message_post(&s->store.engine_queue, &one)) {
        server_wake_engine(s);
    }
    engine_message_run_fini(&one);
}

static void store_batch_done(void *arg, struct store_batch *b) {
    store_post(arg, &(struct engine_message){.type = ENGINE_BATCH_DONE, .u.batch = b});
}

static void store_query_done(void *arg, struct store_query *q) {
    store_post(arg, &(struct engine_message){.type = ENGINE_QUERY_DONE, .u.query = q});
}

struct store_sink server_sink(struct server *s) {
    return (struct store_sink){store_batch_done, store_query_done, s};
}

/* ---- the main thread ---- */

static void server_init_lock(struct server *s) {
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr) | pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    failed |= pthread_cond_init(&s->cond, &attr) | pthread_mutex_init(&s->lock, NULL);
    assert(!failed);
    (void) failed;
    pthread_condattr_destroy(&attr);
}

struct server *server_create(unsigned loops) {
    assert(loops > 0 && loops <= LOOPS_MAX);
    struct server *s = mem_alloc(sizeof *s);
    s->loop_count = loops;
    s->engine_in_loop = loops == 1;
    s->loops = mem_alloc(loops * sizeof *s->loops);
    for (unsigned i = 0; i < loops; i++) {
        loop_init(&s->loops[i], s, i);
        s->endpoints[s->endpoint_count++] = &s->loops[i].endpoint;
    }
    endpoint_init(&s->store, s->endpoint_count, SIZE_MAX);
    s->endpoints[s->endpoint_count++] = &s->store;
    waker_init(&s->engine_waker);
    server_init_lock(s);
    s->notice_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return s;
}

static void server_make_engine(struct server *s) {
    struct engine_config config = {
        .options = s->config.options,
        .keys = s->config.keys,
        .endpoints = s->loop_count,
        .send = server_send,
        .send_arg = s,
        .random = crypto_random,
    };
    s->engine = engine_create(&config, clock_now());
}

/* Loops that run already end by themselves, so that server_destroy can join them. */
static int server_give_up(struct server *s) {
    server_drain(s, 0);
    for (unsigned i = 0; i < s->loop_count; i++) {
        struct loop *l = &s->loops[i];
        if (l->listen_fd >= 0) {
            close(l->listen_fd);
            l->listen_fd = -1;
        }
    }
    return -1;
}

int server_start(struct server *s, const struct server_config *config, struct buf *err) {
    s->config = *config;
    s->config.shared->ready = &s->ready;
    s->config.shared->draining = &s->draining;
    s->config.shared->metrics = server_metrics;
    s->config.shared->metrics_arg = s;
    for (unsigned i = 0; i < s->loop_count; i++) {
        s->loops[i].listen_fd = config->listen_fds[i];
    }
    server_make_engine(s);
    if (!s->engine) {
        buf_puts(err, "there is too little memory");
        return server_give_up(s);
    }
    for (unsigned i = 0; i < s->loop_count; i++) {
        if (loop_start(&s->loops[i], err)) {
            return server_give_up(s);
        }
    }
    if (s->engine_in_loop) {
        return 0;
    }
    pthread_mutex_lock(&s->lock);
    int failed = pthread_create(&s->engine_thread, NULL, server_engine_main, s);
    s->has_engine_thread = !failed;
    pthread_mutex_unlock(&s->lock);
    if (failed) {
        buf_printf(err, "a thread cannot be started: %s", strerror(failed));
        return server_give_up(s);
    }
    return 0;
}

int server_notice_fd(const struct server *s) {
    return s->notice_fd;
}

void server_notice_clear(struct server *s) {
    uint64_t count;
    ssize_t n = read(s->notice_fd, &count, sizeof count);
    (void) n;
}

bool server_ready(const struct server *s) {
    return atomic_load(&s->ready);
}

void server_drain(struct server *s, int64_t drain_ms) {
    atomic_store(&s->drain_ms, drain_ms);
    atomic_store(&s->draining, true);
    atomic_store(&s->ready, false);
    for (unsigned i = 0; i < s->loop_count; i++) {
        if (atomic_load(&s->loops[i].state) == LOOP_RUNNING) {
            http_loop_wake(s->loops[i].http);
        }
    }
    server_wake_engine(s);
}

bool server_drained(const struct server *s) {
    for (unsigned i = 0; i < s->loop_count; i++) {
        if (atomic_load(&s->loops[i].state) == LOOP_RUNNING) {
            return false;
        }
    }
    return true;
}

void server_stop(struct server *s) {
    atomic_store(&s->stop_wanted, true);
    server_wake_engine(s);
}

bool server_stopped(const struct server *s) {
    return atomic_load(&s->stopped);
}

/* The store is waited for, and what it hands back belongs to the engine, before the engine goes. */
static void server_end_engine(struct server *s) {
    if (s->has_engine_thread) {
        pthread_join(s->engine_thread, NULL);
    }
    store_destroy(s->config.store);
    if (!s->engine) {
        return;
    }
    server_receive(s);
    engine_destroy(s->engine);
}

void server_destroy(struct server *s) {
    for (unsigned i = 0; i < s->loop_count; i++) {
        if (atomic_load(&s->loops[i].state) != LOOP_NONE) {
            pthread_join(s->loops[i].thread, NULL);
        }
    }
    server_end_engine(s);
    for (unsigned i = 0; i < s->loop_count; i++) {
        loop_end(&s->loops[i]);
    }
    endpoint_fini(&s->store);
    waker_fini(&s->engine_waker);
    pthread_cond_destroy(&s->cond);
    pthread_mutex_destroy(&s->lock);
    close(s->notice_fd);
    mem_free(s->loops);
    mem_free(s);
}
