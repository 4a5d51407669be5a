/*
 * The life of a connection. The happy path: bytes are read into the loop's buffer and given to the protocol in place; each request becomes a stream at the
 * tail; what the protocol produces leaves in one gathered write. It ends by the peer (end of input and nothing left to say, an error), by the
 * protocol, or by a timer. Behind the last answer the sending side is shut and what still comes is thrown away for a while, so that the peer can
 * read the answer before it sees a reset.
 */
#include "net/conn.h"

#include "base/mem.h"
#include "net/loop.h"

#include <assert.h>
#include <unistd.h>

#define LINGER_MS 1000            /* how long what a peer still sends is read and thrown away after the last answer */
#define FLUSH_BYTES (1024 * 1024) /* in one turn; then it is others' turn */

static void conn_on_poll(uv_poll_t *poll, int status, int events);
static void conn_on_timer(struct timer *t, int64_t now_ms, void *arg);
static void conn_on_closed(uv_handle_t *handle);

/* ---- birth, states, death ---- */

void conn_create(struct http_loop *l, int fd, const struct in6_addr *peer) {
    struct http_conn *c = mem_alloc(sizeof(*c));
    c->loop = l;
    c->transport = (struct transport){.kind = l->transport, .fd = fd, .state = l->transport_arg};
    c->protocol = l->protocol;
    c->in_ms = c->out_ms = l->now_ms;
    TAILQ_INIT(&c->streams);
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
    if (conn_speak(c, l->protocol)) {
        conn_read(c); /* what came with the connection; also arms */
    }
}

bool conn_speak(struct http_conn *c, const struct protocol *protocol) {
    assert(TAILQ_EMPTY(&c->streams));
    if (c->spoken) {
        c->protocol->fini(c);
    }
    c->protocol = protocol;
    c->mode = 0;
    c->spoken = protocol->open(c);
    if (!c->spoken) {
        conn_close(c);
    }
    return c->spoken;
}

/* The peer is told that nothing more comes, once the transport has given on all that it took. */
static void conn_shutdown(struct http_conn *c) {
    if (!c->transport.holds) {
        c->transport.kind->shutdown(&c->transport);
    }
}

static void conn_on_closed(uv_handle_t *handle) {
    mem_free((char *) handle - offsetof(struct http_conn, poll));
}

static void conn_unlist(struct http_conn *c) {
    struct http_loop *l = c->loop;
    if (c->dirty) {
        TAILQ_REMOVE(&l->dirty, c, dirty_link);
    }
    if (c->waiting) {
        TAILQ_REMOVE(&l->waiting, c, waiting_link);
    }
    c->dirty = c->waiting = false;
    LIST_REMOVE(c, link);
}

void conn_close(struct http_conn *c) {
    struct http_loop *l = c->loop;
    if (c->state == CONN_CLOSED) {
        return;
    }
    c->state = CONN_CLOSED;
    if (c->spoken) {
        c->protocol->fini(c);
    }
    wheel_cancel(&l->wheel, &c->timer);
    conn_unlist(c);
    buf_fini(&c->in);
    uv_close((uv_handle_t *) &c->poll, conn_on_closed);
    c->transport.kind->close(&c->transport);
    loop_conn_gone(l);
}

/* Everything has been said. */
static void conn_finish(struct http_conn *c) {
    if (c->eof && !c->transport.holds) {
        conn_close(c);
        return;
    }
    c->state = CONN_LINGER;
    c->out_ms = c->loop->now_ms;
    c->blocked = c->transport.holds;
    buf_fini(&c->in);
    conn_shutdown(c);
}

static bool conn_is_idle(const struct http_conn *c) {
    return c->state == CONN_OPEN && TAILQ_EMPTY(&c->streams) && c->protocol->idle(c) && !c->in.len;
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

enum due { DUE_NONE, DUE_STALLED, DUE_LATE, DUE_IDLE, DUE_KEEPALIVE, DUE_LINGER };

static void sooner(int64_t at, enum due what, int64_t *at_ms, enum due *due) {
    if (at < *at_ms) {
        *at_ms = at;
        *due = what;
    }
}

static void conn_due_open(const struct http_conn *c, enum phase *ret_phase, int64_t *at_ms, enum due *due) {
    const struct http_limits *limits = &c->loop->limits;
    int64_t since_ms = 0;
    *ret_phase = c->protocol->phase(c, &since_ms);
    switch (*ret_phase) {
    case PHASE_BUSY: break;
    case PHASE_HEAD: sooner(since_ms + limits->header_ms, DUE_LATE, at_ms, due); break;
    case PHASE_BODY:
        if (!c->waiting) { /* else it is we who are late */
            sooner(since_ms + limits->body_ms, DUE_LATE, at_ms, due);
        }
        break;
    case PHASE_IDLE: sooner((c->in_ms > c->out_ms ? c->in_ms : c->out_ms) + limits->idle_ms, DUE_IDLE, at_ms, due); break;
    case PHASE_STREAM:
        if (!c->blocked) {
            sooner(c->out_ms + limits->keepalive_ms, DUE_KEEPALIVE, at_ms, due);
        }
        break;
    }
}

static enum due conn_due(const struct http_conn *c, enum phase *ret_phase, int64_t *ret_at_ms) {
    enum due due = DUE_NONE;
    *ret_at_ms = INT64_MAX;
    *ret_phase = PHASE_BUSY;
    if (c->blocked) {
        sooner(c->out_ms + c->loop->limits.stalled_reader_ms, DUE_STALLED, ret_at_ms, &due);
    }
    if (c->state == CONN_OPEN) {
        conn_due_open(c, ret_phase, ret_at_ms, &due);
    } else if (c->state == CONN_LINGER) {
        sooner(c->out_ms + LINGER_MS, DUE_LINGER, ret_at_ms, &due);
    }
    return due;
}

static void conn_set_timer(struct http_conn *c) {
    int64_t at_ms;
    enum phase phase;
    if (conn_due(c, &phase, &at_ms) != DUE_NONE && (!c->timer.at_ms || at_ms < c->timer.at_ms)) {
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
        struct stream *s;
        TAILQ_FOREACH (s, &c->streams, link) {
            if (s->body && s->body->kind->keepalive) {
                s->body->kind->keepalive(s->body);
            }
        }
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

static bool conn_is_late(struct http_conn *c, enum due due, enum phase phase, int64_t now_ms) {
    switch (due) {
    case DUE_LATE:
        c->protocol->late(c, phase);
        conn_mark(c);
        return true;
    case DUE_KEEPALIVE: return conn_keepalive(c, now_ms);
    case DUE_STALLED:
    case DUE_LINGER: return conn_unstalled(c, now_ms);
    default: return false;
    }
}

static void conn_on_timer(struct timer *t, int64_t now_ms, void *arg) {
    struct http_conn *c = (struct http_conn *) (void *) ((char *) t - offsetof(struct http_conn, timer));
    int64_t at_ms;
    enum phase phase;
    enum due due = conn_due(c, &phase, &at_ms);
    (void) arg;
    bool lives = at_ms > now_ms || conn_is_late(c, due, phase, now_ms);
    if (!lives) {
        conn_close(c);
    } else if (c->state != CONN_CLOSED) {
        conn_set_timer(c);
    }
}

/* ---- what the poll is asked for ---- */

static bool conn_wants_input(const struct http_conn *c) {
    return c->state == CONN_OPEN ? c->protocol->wants_input(c) : c->state == CONN_LINGER && !c->eof;
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

/* Behind every piece of work: ends what is over, asks the poll for what is wanted now, sets the timer. */
static void conn_settle(struct http_conn *c) {
    if (c->state == CONN_OPEN && (c->protocol->closing(c) || (c->loop->draining && conn_is_idle(c) && !c->newcomer))) {
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

/* ---- input ---- */

/* What the protocol has not used stays. */
static void conn_input(struct http_conn *c, const char *data, size_t len) {
    struct buf in = c->in;
    c->in = (struct buf){0};
    if (c->state != CONN_OPEN) {
        buf_fini(&in);
        return;
    }
    if (in.len) {
        buf_put(&in, data, len);
        size_t used = in.failed ? 0 : c->protocol->input(c, in.data, in.len);
        buf_drop_front(&in, used);
    } else {
        size_t used = c->protocol->input(c, data, len);
        buf_put(&in, data + used, len - used);
    }
    if (c->state != CONN_OPEN || in.len == 0 || in.failed) {
        bool failed = in.failed;
        buf_fini(&in);
        if (failed) {
            conn_close(c);
        }
        return;
    }
    c->in = in;
}

static bool conn_needs_peer(const struct http_conn *c) {
    const struct stream *s;
    TAILQ_FOREACH (s, &c->streams, link) {
        if (s->needs_peer || (s->reply != REPLY_COMPLETE && s->r->needs_peer)) {
            return true;
        }
    }
    return false;
}

/* The peer has ended its side. Requests that are complete still get their answers, except those that need a peer who is there. */
static void conn_end_of_input(struct http_conn *c) {
    c->eof = true;
    c->in_ms = c->loop->now_ms;
    if (c->state == CONN_LINGER || TAILQ_EMPTY(&c->streams) || conn_needs_peer(c)) {
        conn_close(c);
    } else {
        c->protocol->ended(c);
    }
}

void conn_read(struct http_conn *c) {
    struct http_loop *l = c->loop;
    ssize_t n = c->transport.kind->read(&c->transport, l->read_bytes, sizeof(l->read_bytes));
    if (n > 0) {
        l->counts.bytes_in += (uint64_t) n;
        c->in_ms = l->now_ms;
        conn_input(c, l->read_bytes, (size_t) n);
    } else if (n == 0) {
        conn_end_of_input(c);
    } else if (n == TRANSPORT_DEAD) {
        conn_close(c);
    }
    if (c->state == CONN_CLOSED) {
        return;
    }
    if (c->transport.ready && conn_wants_input(c)) {
        conn_wait(c);
        l->more = true;
    }
    conn_settle(c);
}

/* Input that had to wait can perhaps go on. */
void conn_resume(struct http_conn *c) {
    c->waiting = false;
    TAILQ_REMOVE(&c->loop->waiting, c, waiting_link);
    c->in_ms = c->loop->now_ms;
    if (c->state == CONN_OPEN) {
        conn_input(c, "", 0);
    }
    if (c->state != CONN_CLOSED && c->transport.ready && conn_wants_input(c)) {
        conn_read(c);
    }
    if (c->state == CONN_OPEN && c->eof && !TAILQ_EMPTY(&c->streams)) {
        c->protocol->ended(c);
    }
    if (c->state != CONN_CLOSED) {
        conn_settle(c);
    }
}

/* ---- output ---- */

/* The transport goes on with what it holds. */
static void conn_write_on(struct http_conn *c) {
    if (c->transport.kind->write(&c->transport, NULL, 0) < 0) {
        conn_close(c);
        return;
    }
    c->blocked = c->transport.holds;
    if (c->blocked) {
        return;
    }
    if (c->state == CONN_LINGER && c->eof) {
        conn_close(c);
    } else if (c->state == CONN_LINGER) {
        conn_shutdown(c);
    }
}

static ssize_t conn_write(struct http_conn *c, const struct gather *g) {
    ssize_t n = g->bytes ? c->transport.kind->write(&c->transport, g->iov, g->count) : 0;
    if (n < 0 || !g->bytes) {
        return n;
    }
    if (n > 0 || !c->blocked) {
        c->out_ms = c->loop->now_ms;
    }
    c->blocked = (size_t) n < g->bytes || c->transport.holds;
    c->unread = c->blocked ? c->transport.kind->unread(&c->transport) : 0;
    c->loop->counts.bytes_out += (uint64_t) n;
    return n;
}

/* One write. False when nothing is left to be sent, or it cannot be now. */
static bool conn_send(struct http_conn *c, size_t *total) {
    struct pull_notes notes;
    struct gather g;
    g.count = g.spans = 0;
    g.bytes = 0;
    g.more = false;
    g.notes = &notes;
    enum produced produced = c->protocol->produce(c, &g);
    ssize_t n = produced == PRODUCED ? conn_write(c, &g) : 0;
    if (produced != PRODUCED_NOTHING) {
        c->protocol->sent(c, &g, n > 0 ? (size_t) n : 0);
    }
    if (n < 0 || produced == PRODUCED_DEAD) {
        conn_close(c);
        return false;
    }
    *total += (size_t) n;
    return g.more && !c->blocked && c->state == CONN_OPEN;
}

static void conn_send_all(struct http_conn *c) {
    size_t total = 0;
    unsigned before = c->stream_count;
    while (conn_send(c, &total)) {
        if (total > FLUSH_BYTES) {
            c->blocked = true; /* others first; the poll comes back to it at once */
            break;
        }
    }
    if (c->state == CONN_OPEN && c->in.len && !c->blocked && (c->stream_count < before || c->tunnel)) {
        conn_wait(c);
        c->loop->more = true;
    }
}

/* Bodies that are to answer, now perhaps. */
static void conn_decide(struct http_conn *c) {
    struct stream *s;
    c->undecided = false;
    TAILQ_FOREACH (s, &c->streams, link) {
        if (s->undecided) {
            c->undecided = true;
            s->body->kind->decide(s->body);
        }
    }
}

void conn_flush(struct http_conn *c) {
    if (c->undecided) {
        conn_decide(c);
    }
    if (c->dirty) {
        c->dirty = false;
        TAILQ_REMOVE(&c->loop->dirty, c, dirty_link);
    }
    if (c->transport.holds && !c->blocked) {
        conn_write_on(c);
    }
    if (c->state == CONN_OPEN && c->eof && c->protocol->phase(c, &(int64_t){0}) == PHASE_STREAM) {
        conn_close(c); /* nobody is there to read it */
    }
    if (c->state == CONN_OPEN && !c->blocked && !TAILQ_EMPTY(&c->streams)) {
        conn_send_all(c);
    }
    if (c->state != CONN_CLOSED) {
        conn_settle(c);
    }
}

void conn_drain(struct http_conn *c) {
    struct stream *s;
    if (conn_is_idle(c)) {
        conn_read(c); /* a request may be there already */
    }
    if (conn_is_idle(c)) {
        conn_finish(c);
    }
    if (c->state == CONN_OPEN && c->protocol->drain) {
        c->protocol->drain(c);
    }
    TAILQ_FOREACH (s, &c->streams, link) {
        if (s->body && s->body->kind->drain) {
            s->body->kind->drain(s->body);
        }
    }
    if (c->state != CONN_CLOSED) {
        conn_settle(c);
    }
}
