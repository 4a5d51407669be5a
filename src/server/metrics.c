/* metrics.c: numbers for /metrics: the loops' counts added up, the process, and the engine's, which only the engine may read. */
#include "server/internal.h"
#include "server/process_metrics.h"

#include <stdio.h>
#include <time.h>

#define NUMBERS_WAIT_S 2

/* ---- the loops' ---- */

void loop_counts_publish(struct loop *l) {
    struct http_counts now;
    http_loop_counts(l->http, &now);
#define X(member, type, name, text) atomic_store_explicit(&l->counts[COUNT_##member], now.member, memory_order_relaxed);
    COUNT_TABLE(X)
#undef X
}

static void count_write(const struct server *s, int count, const char *type, const char *name, const char *text, struct buf *out) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < s->loop_count; i++) {
        sum += atomic_load_explicit(&s->loops[i].counts[count], memory_order_relaxed);
    }
    bool bytes = strstr(name, "_bytes");
    buf_printf(out, "# TYPE %s %s\n", name, type);
    if (bytes) {
        buf_printf(out, "# UNIT %s bytes\n", name);
    }
    buf_printf(out, "# HELP %s %s\n%s%s %llu\n", name, text, name, strcmp(type, "counter") == 0 ? "_total" : "", (unsigned long long) sum);
}

/* ---- the engine's: a loop asks, and waits for the end of the round, unless the engine runs in it ---- */

/* Waits while the state is `state`, at most until `until`. */
static void numbers_wait(struct server *s, enum numbers_state state, const struct timespec *until) {
    while (s->numbers_state == state && pthread_cond_timedwait(&s->cond, &s->lock, until) == 0) {
    }
}

static void numbers_set(struct server *s, enum numbers_state state) {
    s->numbers_state = state;
    pthread_cond_broadcast(&s->cond);
}

/* With the lock held, and nobody else's request under way. */
static void numbers_fetch(struct server *s, const struct timespec *until, struct buf *out) {
    numbers_set(s, NUMBERS_WANTED);
    waker_wake(&s->engine_waker);
    numbers_wait(s, NUMBERS_WANTED, until);
    if (s->numbers_state == NUMBERS_THERE) {
        buf_str(out, buf_view(&s->numbers));
        buf_fini(&s->numbers);
    }
    if (s->numbers_state != NUMBERS_CLOSED) {
        numbers_set(s, NUMBERS_NONE);
    }
}

static void numbers_write(struct server *s, struct buf *out) {
    engine_metrics(s->engine, out);
    times_write(&s->rounds, "engine_round", "How long the engine was busy before it looked for new work.", out);
}

static void numbers_ask(struct server *s, struct buf *out) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += NUMBERS_WAIT_S;
    pthread_mutex_lock(&s->lock);
    numbers_wait(s, NUMBERS_WANTED, &until);
    numbers_wait(s, NUMBERS_THERE, &until);
    if (s->numbers_state == NUMBERS_NONE && s->has_engine_thread) {
        numbers_fetch(s, &until, out);
    }
    pthread_mutex_unlock(&s->lock);
}

void server_metrics_give(struct server *s) {
    pthread_mutex_lock(&s->lock);
    if (s->numbers_state == NUMBERS_WANTED) {
        numbers_write(s, &s->numbers);
        numbers_set(s, NUMBERS_THERE);
    }
    pthread_mutex_unlock(&s->lock);
}

void server_metrics_close(struct server *s) {
    pthread_mutex_lock(&s->lock);
    buf_fini(&s->numbers);
    numbers_set(s, NUMBERS_CLOSED);
    pthread_mutex_unlock(&s->lock);
}

/* ---- all of them ---- */

void server_metrics(void *arg, struct buf *out) {
    struct server *s = arg;
#define X(member, type, name, text) count_write(s, COUNT_##member, type, name, text, out);
    COUNT_TABLE(X)
#undef X
    process_metrics(out);
    if (s->engine_in_loop) {
        numbers_write(s, out);
    } else {
        numbers_ask(s, out);
    }
}
