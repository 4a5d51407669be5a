/* The output of a connection: the answers that are ready, in order, in as few sends as can be. */
#include "net/conn.h"

#define IOV_COUNT 192
#define SEND_MAX (1024 * 1024)

ssize_t conn_send(struct http_conn *c, struct iovec *iov, unsigned count, size_t total) {
    ssize_t n = c->transport.kind->write(&c->transport, iov, count);
    if (n < 0) {
        return -1;
    }
    if (n > 0 || !c->blocked) {
        c->out_ms = c->loop->now_ms;
    }
    c->blocked = (size_t) n < total || c->transport.holds;
    c->unread = c->blocked ? c->transport.kind->unread(&c->transport) : 0;
    c->loop->counts.bytes_out += (uint64_t) n;
    return n;
}

/* The socket has taken n bytes of the exchanges, from the front. */
static void exchanges_sent(struct http_conn *c, size_t n) {
    struct exchange *x = TAILQ_FIRST(&c->exchanges);
    while (x) {
        size_t pending = exchange_pending(x), take = n < pending ? n : pending;
        x->sent += take;
        n -= take;
        if (take < pending) {
            return;
        }
        if (x->reply != REPLY_COMPLETE) {
            x->pre_len = 0;
            x->sent = 0;
            buf_fini(&x->headers);
            buf_fini(&x->body);
            return;
        }
        bool close = x->close;
        exchange_destroy(x);
        if (close) {
            while (!TAILQ_EMPTY(&c->exchanges)) {
                exchange_destroy(TAILQ_FIRST(&c->exchanges));
            }
            if (c->watch) {
                watcher_destroy(c->watch);
                conn_move(c, CONN_LINGER);
            }
            return;
        }
        x = TAILQ_FIRST(&c->exchanges);
    }
}

/* One sendmsg of what is ready, in order. False when there was nothing or no more is taken. */
static bool exchanges_send(struct http_conn *c, size_t *ret_total) {
    struct iovec iov[IOV_COUNT];
    unsigned count = 0;
    bool complete = false;
    struct exchange *x;
    TAILQ_FOREACH (x, &c->exchanges, link) {
        if (count + 3 > IOV_COUNT) {
            break;
        }
        if (x->headers.failed || x->body.failed) {
            conn_close(c);
            return false;
        }
        count += exchange_gather(x, iov + count);
        if (x->reply != REPLY_COMPLETE) {
            break;
        }
        complete = true;
        if (x->close) {
            break;
        }
    }
    size_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    if (!total && !complete) {
        return false;
    }
    ssize_t n = total ? conn_send(c, iov, count, total) : 0;
    if (n < 0) {
        conn_close(c);
        return false;
    }
    exchanges_sent(c, (size_t) n);
    *ret_total += (size_t) n;
    return !c->blocked;
}

static void flush_exchanges(struct http_conn *c) {
    size_t total = 0;
    unsigned before = c->exchange_count;
    while (exchanges_send(c, &total)) {
        if (total > SEND_MAX) {
            c->blocked = true; /* others first; the poll comes back to it at once */
            break;
        }
    }
    if (c->state == CONN_HTTP && c->exchange_count < before && c->in.len) {
        conn_wait(c);
        c->loop->more = true;
    }
}

static void flush_pages(struct http_conn *c) {
    struct exchange *x;
    TAILQ_FOREACH (x, &c->exchanges, link) {
        if (x->page) {
            page_flush(x->page);
        }
    }
}

void conn_flush(struct http_conn *c) {
    flush_pages(c);
    if (c->transport.holds && !c->blocked) {
        (void) conn_write_on(c);
    }
    if (c->dirty) {
        c->dirty = false;
        TAILQ_REMOVE(&c->loop->dirty, c, dirty_link);
    }
    if (!c->blocked && !TAILQ_EMPTY(&c->exchanges)) {
        flush_exchanges(c);
    }
    if (c->state == CONN_WATCH && TAILQ_EMPTY(&c->exchanges)) {
        if (c->eof) {
            conn_close(c);
        } else if (!c->blocked) {
            watcher_flush(c->watch);
        }
    }
    if (c->state != CONN_CLOSED) {
        conn_settle(c);
    }
}
