/* HTTP/1.1 as a protocol: its life on a connection. */
#include "net/http1_conn.h"

#include "base/mem.h"

#include <assert.h>

static bool http1_open(struct http_conn *c) {
    c->speaks = mem_alloc(sizeof(struct http1_conn));
    return c->speaks;
}

static void http1_fini(struct http_conn *c) {
    while (!TAILQ_EMPTY(&c->streams)) {
        http1_end((struct http1_stream *) TAILQ_FIRST(&c->streams));
    }
    mem_free(c->speaks);
    c->speaks = NULL;
}

void http1_move(struct http_conn *c, enum http1_mode to) {
    static const uint8_t allowed[] = {
        [HTTP1_REQUESTS] = 1 << HTTP1_LAST | 1 << HTTP1_TUNNEL,
        [HTTP1_LAST] = 0,
        [HTTP1_TUNNEL] = 1 << HTTP1_LAST,
    };
    if (c->mode != to) {
        assert(allowed[c->mode] & 1 << to);
        c->mode = (uint8_t) to;
        mem_free(c->speaks);
        c->speaks = NULL;
    }
}

void http1_end(struct http1_stream *x) {
    struct http1_conn *h = http1_of(x->s.conn);
    if (h && h->input == x) {
        h->input = NULL;
    }
    stream_forget(&x->s);
    stream_keep(&x->s, &x->out);
    stream_leave(&x->s);
    mem_free(x);
}

void http1_end_behind(struct http1_stream *x) {
    struct http_conn *c = x->s.conn;
    while (TAILQ_LAST(&c->streams, stream_list) != &x->s) {
        http1_end((struct http1_stream *) TAILQ_LAST(&c->streams, stream_list));
    }
}

static void http1_abort(struct stream *s) {
    conn_close(s->conn);
}

static bool http1_is_idle(const struct http_conn *c) {
    return c->mode == HTTP1_REQUESTS && http1_idle(&http1_of(c)->parser);
}

static bool http1_closing(const struct http_conn *c) {
    return c->mode != HTTP1_REQUESTS && TAILQ_EMPTY(&c->streams);
}

static enum phase http1_phase(const struct http_conn *c, int64_t *ret_since_ms) {
    const struct http1_conn *h = http1_of(c);
    const struct stream *first = TAILQ_FIRST(&c->streams);
    if (c->mode != HTTP1_REQUESTS) {
        return first && first->reply == REPLY_COMPLETE && first->body && first->body->kind->keepalive ? PHASE_STREAM : PHASE_BUSY;
    }
    if (h->head_ms) {
        *ret_since_ms = h->head_ms;
        return PHASE_HEAD;
    }
    if (http1_in_body(&h->parser)) {
        *ret_since_ms = c->in_ms;
        return http1_is_paused(h) ? PHASE_BUSY : PHASE_BODY;
    }
    return first ? PHASE_BUSY : PHASE_IDLE;
}

const struct protocol protocol_http1 = {
    .name = "http/1.1",
    .open = http1_open,
    .fini = http1_fini,
    .input = http1_input,
    .ended = http1_ended,
    .wants_input = http1_wants_input,
    .produce = http1_produce,
    .sent = http1_sent,
    .phase = http1_phase,
    .late = http1_late,
    .idle = http1_is_idle,
    .closing = http1_closing,
    .answer = http1_answer,
    .finished = http1_finished,
    .abort = http1_abort,
};
