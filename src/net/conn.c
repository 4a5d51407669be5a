/*
 * The life of a connection. The happy path: bytes are read into the loop's buffer and parsed in place; each request becomes an exchange at the
 * tail; answers leave from the front, all that are ready in one sendmsg. It ends by the peer (end of input and nothing left to say, an error),
 * by an answer that closes, or by a timer. Behind the last answer the sending side is shut and what still comes is thrown away for a while, so
 * that the peer can read the answer before it sees a reset.
 */
#include "base/mem.h"
#include "net/conn.h"

#include <assert.h>
#include <unistd.h>

static void conn_on_poll(uv_poll_t *poll, int status, int events);
static void conn_on_timer(struct timer *t, int64_t now_ms, void *arg);
static void conn_on_closed(uv_handle_t *handle);

/* ---- birth, states, death ---- */

void conn_create(struct http_loop *l, int fd, const struct in6_addr *peer) {
    struct http_conn *c = mem_alloc(sizeof(*c));
    c->loop = l;
    c->transport = (struct transport){.kind = l->transport, .fd = fd, .state = l->transport_arg};
    c->in_ms = c->out_ms = l->now_ms;
    TAILQ_INIT(&c->exchanges);
    c->peer = *peer;
    if (uv_poll_init(&l->uv, &c->poll, fd)) {
        close(fd);
        mem_free(c);
        return;
    }
    if (!l->transport->open(&c->transport)) {
        close(fd);
        uv_close((uv_handle_t *) &c->poll, conn_on_closed);
        return;
    }
    c->newcomer = l->draining; /* not closed as idle before it has asked for something */
    LIST_INSERT_HEAD(&l->conns, c, link);
    l->counts.connections++;
    l->counts.accepted++;
    conn_read(c); /* what came with the connection; also arms */
}

/* The peer is told that nothing more comes, once the transport has given on all that it took. */
static void conn_shutdown(struct http_conn *c) {
    if (!c->transport.holds) {
        c->transport.kind->shutdown(&c->transport);
    }
}

bool conn_write_on(struct http_conn *c) {
    if (c->transport.holds) {
        if (c->transport.kind->write(&c->transport, NULL, 0) < 0) {
            conn_close(c);
            return false;
        }
        c->blocked = c->transport.holds;
        if (c->state == CONN_LINGER) {
            conn_shutdown(c);
        }
    }
    return !c->blocked;
}

void conn_move(struct http_conn *c, enum conn_state to) {
    static const uint8_t allowed[] = {
        [CONN_HTTP] = 1 << CONN_LAST | 1 << CONN_WATCH | 1 << CONN_LINGER | 1 << CONN_CLOSED,
        [CONN_LAST] = 1 << CONN_WATCH | 1 << CONN_LINGER | 1 << CONN_CLOSED,
        [CONN_WATCH] = 1 << CONN_LINGER | 1 << CONN_CLOSED,
        [CONN_LINGER] = 1 << CONN_CLOSED,
        [CONN_CLOSED] = 0,
    };
    assert(allowed[c->state] & 1 << to);
    c->state = (uint8_t) to;
    if (to == CONN_LINGER) {
        c->out_ms = c->loop->now_ms;
        c->blocked = c->transport.holds;
        conn_shutdown(c);
    }
}

static void conn_on_closed(uv_handle_t *handle) {
    mem_free((char *) handle - offsetof(struct http_conn, poll));
}

void conn_close(struct http_conn *c) {
    struct http_loop *l = c->loop;
    if (c->state == CONN_CLOSED) {
        return;
    }
    conn_move(c, CONN_CLOSED);
    while (!TAILQ_EMPTY(&c->exchanges)) {
        exchange_destroy(TAILQ_FIRST(&c->exchanges));
    }
    if (c->watch) {
        watcher_destroy(c->watch);
    }
    wheel_cancel(&l->wheel, &c->timer);
    if (c->dirty) {
        TAILQ_REMOVE(&l->dirty, c, dirty_link);
    }
    if (c->waiting) {
        TAILQ_REMOVE(&l->waiting, c, waiting_link);
    }
    c->dirty = c->waiting = false;
    buf_fini(&c->in);
    LIST_REMOVE(c, link);
    uv_close((uv_handle_t *) &c->poll, conn_on_closed);
    c->transport.kind->close(&c->transport);
    loop_conn_gone(l);
}

/* Everything has been said. */
static void conn_finish(struct http_conn *c) {
    if (c->eof) {
        conn_close(c);
    } else {
        conn_move(c, CONN_LINGER);
    }
}

bool conn_is_idle(const struct http_conn *c) {
    return c->state == CONN_HTTP && TAILQ_EMPTY(&c->exchanges) && http1_idle(&c->parser) && !c->in.len;
}

void conn_mark(struct http_conn *c) {
    if (!c->dirty && c->state != CONN_CLOSED) {
        c->dirty = true;
        TAILQ_INSERT_TAIL(&c->loop->dirty, c, dirty_link);
    }
}

void conn_wait(struct http_conn *c) {
    if (!c->waiting && c->state != CONN_CLOSED) {
        c->waiting = true;
        TAILQ_INSERT_TAIL(&c->loop->waiting, c, waiting_link);
    }
}

/* ---- timers ---- */

enum due { DUE_NONE, DUE_STALLED, DUE_HEAD, DUE_BODY, DUE_IDLE, DUE_KEEPALIVE, DUE_LINGER };

static void sooner(int64_t at, enum due what, int64_t *at_ms, enum due *due) {
    if (at < *at_ms) {
        *at_ms = at;
        *due = what;
    }
}

bool conn_paused(const struct http_conn *c) {
    return c->input && c->input->paused;
}

static void conn_due_http(const struct http_conn *c, int64_t *at_ms, enum due *due) {
    const struct http_limits *limits = &c->loop->limits;
    if (c->head_ms) {
        sooner(c->head_ms + limits->header_ms, DUE_HEAD, at_ms, due);
    } else if (http1_in_body(&c->parser)) {
        if (!conn_paused(c) && !c->waiting) { /* else it is we who are late */
            sooner(c->in_ms + limits->body_ms, DUE_BODY, at_ms, due);
        }
    } else if (TAILQ_EMPTY(&c->exchanges)) {
        sooner((c->in_ms > c->out_ms ? c->in_ms : c->out_ms) + limits->idle_ms, DUE_IDLE, at_ms, due);
    }
}

static enum due conn_due(const struct http_conn *c, int64_t *ret_at_ms) {
    const struct http_limits *limits = &c->loop->limits;
    enum due due = DUE_NONE;
    *ret_at_ms = INT64_MAX;
    if (c->blocked) {
        sooner(c->out_ms + limits->stalled_reader_ms, DUE_STALLED, ret_at_ms, &due);
    }
    switch (c->state) {
    case CONN_HTTP: conn_due_http(c, ret_at_ms, &due); break;
    case CONN_WATCH:
        if (!c->blocked && TAILQ_EMPTY(&c->exchanges)) {
            sooner(c->out_ms + limits->keepalive_ms, DUE_KEEPALIVE, ret_at_ms, &due);
        }
        break;
    case CONN_LINGER: sooner(c->out_ms + LINGER_MS, DUE_LINGER, ret_at_ms, &due); break;
    default: break;
    }
    return due;
}

static void conn_set_timer(struct http_conn *c) {
    int64_t at_ms;
    if (conn_due(c, &at_ms) != DUE_NONE && (!c->timer.at_ms || at_ms < c->timer.at_ms)) {
        wheel_set(&c->loop->wheel, &c->timer, at_ms, conn_on_timer);
    }
}

/*
 * Whether a peer is alive is seen from what it takes, however slowly; the kernel's own limit (TCP_USER_TIMEOUT) also counts the time in which a slow reader's
 * window is too small for the next segment.
 */
static bool conn_takes(struct http_conn *c, int64_t now_ms) {
    int unread = c->transport.kind->unread(&c->transport);
    bool takes = unread != c->unread;
    if (takes) {
        c->unread = unread;
        c->unread_ms = now_ms;
    }
    return takes;
}

/* A silent stream is due for a sign of life. While the peer has not taken what was sent before, one more would not reach it either. False: it is dead. */
static bool conn_keepalive(struct http_conn *c, int64_t now_ms) {
    if (!conn_takes(c, now_ms) && c->unread && now_ms - c->unread_ms >= c->loop->limits.stalled_reader_ms) {
        return false;
    }
    if (!c->unread) {
        watcher_keepalive(c->watch);
        conn_mark(c);
    }
    c->out_ms = now_ms; /* also of what is still to be sent: while the wheel catches up, one sign of life is enough */
    return true;
}

static bool conn_unstalled(struct http_conn *c, int64_t now_ms) {
    bool takes = conn_takes(c, now_ms);
    c->out_ms = takes ? now_ms : c->out_ms;
    return takes;
}

static void conn_on_timer(struct timer *t, int64_t now_ms, void *arg) {
    struct http_conn *c = (struct http_conn *) (void *) ((char *) t - offsetof(struct http_conn, timer));
    int64_t at_ms;
    enum due due = conn_due(c, &at_ms);
    bool lives = true;
    (void) arg;
    if (at_ms <= now_ms) {
        switch (due) {
        case DUE_HEAD:
            conn_refuse(c, ERR_REQUEST_TIMEOUT, "The header block did not arrive in time");
            conn_mark(c);
            break;
        case DUE_BODY:
            conn_refuse(c, ERR_REQUEST_TIMEOUT, "The body stopped arriving");
            conn_mark(c);
            break;
        case DUE_KEEPALIVE: lives = conn_keepalive(c, now_ms); break;
        case DUE_STALLED:
        case DUE_LINGER: lives = conn_unstalled(c, now_ms); break;
        default: lives = false; break;
        }
    }
    if (lives) {
        conn_set_timer(c);
    } else {
        conn_close(c);
    }
}

/* ---- what the poll is asked for ---- */

bool conn_wants_input(const struct http_conn *c) {
    switch (c->state) {
    case CONN_HTTP: return !c->eof && !c->waiting && conn_may_parse(c); /* the end is not read before what came in front of it */
    case CONN_LAST: return !c->eof;
    case CONN_WATCH: return c->watch->control.len < CONTROL_MAX && !c->in.len;
    default: return c->state == CONN_LINGER;
    }
}

/* Reads from now on only what says that the peer is gone for good, when there is nothing else to wait for. */
static void conn_arm(struct http_conn *c) {
    int wants = (conn_wants_input(c) ? c->transport.read_wants : 0) | (c->blocked ? c->transport.write_wants : 0);
    int want = (wants & TRANSPORT_READABLE ? UV_READABLE : 0) | (wants & TRANSPORT_WRITABLE ? UV_WRITABLE : 0);
    want = want ? want : UV_PRIORITIZED;
    if (c->armed != want) {
        c->armed = (uint8_t) want;
        uv_poll_start(&c->poll, want, conn_on_poll);
    }
}

void conn_settle(struct http_conn *c) {
    if ((c->state == CONN_LAST && TAILQ_EMPTY(&c->exchanges)) || (c->loop->draining && conn_is_idle(c) && !c->newcomer)) {
        conn_finish(c);
    }
    if (c->state != CONN_CLOSED) {
        conn_arm(c);
        conn_set_timer(c);
    }
}

static void conn_on_poll(uv_poll_t *poll, int status, int events) {
    struct http_conn *c = (struct http_conn *) (void *) ((char *) poll - offsetof(struct http_conn, poll));
    struct http_loop *l = c->loop;
    loop_refresh(l);
    if (status < 0) {
        conn_close(c);
        return;
    }
    unsigned can = (events & UV_READABLE ? TRANSPORT_READABLE : 0) | (events & UV_WRITABLE ? TRANSPORT_WRITABLE : 0);
    if (c->blocked && can & c->transport.write_wants) {
        c->blocked = false;
        conn_mark(c);
    }
    if (can & c->transport.read_wants && conn_wants_input(c)) {
        conn_read(c);
    }
    if (events == UV_PRIORITIZED && c->transport.kind->failed(&c->transport, c->eof)) { /* nothing else was asked for */
        conn_close(c);
    }
    if (l->limits.turn_requests && l->turn_requests >= l->limits.turn_requests) {
        loop_turn(l);
        l->now_fresh = false; /* a poll with much to tell goes on for long */
    }
}

void conn_drain(struct http_conn *c) {
    if (conn_is_idle(c)) {
        conn_read(c); /* a request may be there already */
    }
    if (c->state == CONN_WATCH) {
        watcher_drain(c->watch);
    } else if (conn_is_idle(c)) {
        conn_finish(c);
    }
    struct exchange *x;
    TAILQ_FOREACH (x, &c->exchanges, link) {
        if (x->page) {
            watcher_drain(x->page);
        }
    }
    if (c->state != CONN_CLOSED) {
        conn_settle(c);
    }
}
