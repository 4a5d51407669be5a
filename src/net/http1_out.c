/*
 * The output of HTTP/1.1: answers in the order of their requests, all that are ready in one gathered write. A body is pulled only when its turn has come; in chunks where
 * its length is not known and the connection is to go on, else as it comes.
 */
#include "net/http1_conn.h"

#include <assert.h>
#include <stdio.h>

#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define HEAD_BESIDES 256        /* of a head, what is not a field at most */
#define SMALL_BODY 2048         /* goes behind its head, in one piece */
#define ROOM (1024 * 1024)      /* for a body, in one write */
#define CHUNK_ROOM (128 * 1024) /* also what a write that was cut within a chunk may leave in memory */

static const char *reason_of(int status) {
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (reasons[i].status == status) {
            return reasons[i].text;
        }
    }
    return "Unknown";
}

static struct http1_stream *of(struct stream *s) {
    return (struct http1_stream *) s;
}

/* ---- heads ---- */

void http1_invite(struct http1_stream *x) {
    if (x->s.reply == REPLY_NONE && !x->http10 && !x->out.len) {
        buf_put(&x->out, CONTINUE, sizeof(CONTINUE) - 1);
        x->invited = x->interim = true;
        conn_mark(x->s.conn);
    }
}

static void write_number(struct buf *out, uint64_t v) {
    char digits[DIGITS_MAX];
    unsigned count = digits_count(v);
    digits_write(digits, v, count);
    buf_put(out, digits, count);
}

#define PUT(out, literal) buf_put(out, literal, sizeof(literal) - 1)

/* The status line and what every answer says of itself. It is written for each answer: without printf. */
static void write_framing(const struct http1_stream *x, const struct answer_head *a, struct buf *out) {
    PUT(out, "HTTP/1.1 ");
    write_number(out, (uint64_t) a->status);
    buf_char(out, ' ');
    buf_puts(out, reason_of(a->status));
    PUT(out, "\r\nDate: ");
    buf_str(out, loop_date(x->s.conn->loop));
    PUT(out, "\r\n");
    if (x->close) {
        PUT(out, "Connection: close\r\n");
    } else if (x->http10) {
        PUT(out, "Connection: keep-alive\r\n");
    }
    if (x->chunked) {
        PUT(out, "Transfer-Encoding: chunked\r\n");
    }
    if (!a->bodiless && a->length != HTTP_LENGTH_UNKNOWN) {
        PUT(out, "Content-Length: ");
        write_number(out, a->length);
        PUT(out, "\r\n");
    }
    if (a->status == 101 || a->status == 426) { /* the only other protocol known (RFC 9110 section 7.8) */
        PUT(out, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    }
}

static void write_head(struct http1_stream *x, const struct answer_head *a) {
    const struct http_fields *f = &x->s.r->answer;
    struct request *q = request_state(x->s.r);
    size_t bytes = HEAD_BESIDES;
    for (unsigned i = 0; i < f->count; i++) {
        bytes += f->list[i].name.len + f->list[i].value.len + 4;
    }
    if (!x->out.data) {
        x->out = q->kept;
        q->kept = (struct buf){0};
    }
    (void) buf_reserve(&x->out, bytes);
    write_framing(x, a, &x->out);
    for (unsigned i = 0; i < f->count; i++) {
        buf_str(&x->out, f->list[i].name);
        PUT(&x->out, ": ");
        buf_str(&x->out, f->list[i].value);
        PUT(&x->out, "\r\n");
    }
    PUT(&x->out, "\r\n");
}

/* A small body that is all there goes out in one piece with its head. */
static void add_small_body(struct http1_stream *x) {
    struct body *b = x->s.body;
    struct iovec iov[BODY_PIECES_MIN];
    struct pull p = {.room = SMALL_BODY, .iov = iov, .iov_room = BODY_PIECES_MIN};
    x->over = b->kind->pull(b, &p) == PULLED_END;
    for (unsigned i = 0; i < p.count; i++) {
        buf_put(&x->out, iov[i].iov_base, iov[i].iov_len);
    }
    b->kind->taken(b, &p, p.bytes);
}

/* ---- what an answer means for the connection ---- */

/* No request of this connection comes behind it. */
static bool is_last(const struct http1_stream *x) {
    const struct http_conn *c = x->s.conn;
    return !x->keep_alive || ((c->loop->draining || c->eof) && !TAILQ_NEXT(&x->s, link));
}

/*
 * The answer comes before the body has: it is no longer wanted. A small rest is read over; otherwise the connection ends behind the answer, also when
 * the peer waits for permission to send.
 */
static void give_up_input(struct http1_stream *x) {
    struct http1_conn *h = http1_of(x->s.conn);
    if (!h || h->input != x) {
        return;
    }
    h->input = NULL;
    if (http1_body_left(&h->parser) > SMALL_REST || (x->expects_continue && !x->invited && !request_state(x->s.r)->arrived)) {
        x->close = true;
    }
    conn_wait(x->s.conn);
}

/* Nothing more is asked of the handler. */
static void answered(struct http1_stream *x) {
    struct http_conn *c = x->s.conn;
    struct http1_conn *h = http1_of(c);
    if (h && x->s.r->upgrade_websocket) {
        h->hold = false;
        conn_wait(c);
    }
    if (x->close) {
        if (c->mode == HTTP1_REQUESTS) {
            http1_move(c, HTTP1_LAST);
        }
        http1_end_behind(x);
    }
}

void http1_answer(struct stream *s, const struct answer_head *a) {
    struct http1_stream *x = of(s);
    bool measured = a->bodiless || a->length != HTTP_LENGTH_UNKNOWN;
    x->close |= a->close || (!measured && x->http10) || (!a->tunnel && is_last(x));
    if (a->open) {
        if (x->expects_continue && !x->invited) {
            x->s.reply = REPLY_NONE;
            http1_invite(x); /* the body is still wanted */
            x->s.reply = REPLY_OPEN;
        }
    } else {
        give_up_input(x);
        if (x->interim && !x->out_sent) {
            buf_clear(&x->out); /* no longer needed */
        }
    }
    x->interim = false;
    x->chunked = !measured && !x->http10 && (a->open || !x->close);
    write_head(x, a);
    x->headed = true;
    if (s->body && !a->open && a->length <= SMALL_BODY) {
        add_small_body(x);
    }
    if (a->tunnel) {
        x->close = true;
        http1_move(s->conn, HTTP1_TUNNEL);
        s->conn->tunnel = true;
    }
    if (!a->open) {
        answered(x);
    }
}

void http1_finished(struct stream *s) {
    struct http1_stream *x = of(s);
    x->close |= is_last(x);
    give_up_input(x);
    answered(x);
}

/* ---- bytes ---- */

static void add(struct gather *g, const char *p, size_t len) {
    g->iov[g->count++] = (struct iovec){(char *) (uintptr_t) p, len};
    g->bytes += len;
}

/* The size of a chunk goes before its pieces, and what ends it, and perhaps the body, behind them. */
static void add_chunk(struct gather *g, struct pull *p, bool ends) {
    if (p->bytes) {
        int n = snprintf(g->framing, sizeof(g->framing), "%zx\r\n", p->bytes);
        add(g, g->framing, (size_t) n);
        g->count += p->count; /* they stand there already */
        g->bytes += p->bytes;
        add(g, "\r\n", 2);
    }
    if (ends) {
        add(g, "0\r\n\r\n", 5);
    }
}

/* What comes next of the body. False: it has broken off. */
static bool gather_body(struct http1_stream *x, struct gather *g, struct span *span) {
    struct body *b = x->s.body;
    bool head_only = x->s.r && x->s.r->method == HTTP_HEAD, chunks = x->chunked && !head_only;
    struct pull p = {
        .room = chunks ? CHUNK_ROOM : ROOM, .iov = g->iov + g->count + chunks, .iov_room = GATHER_PIECES - g->count - 3, .notes = g->notes};
    enum pulled pulled = b->kind->pull(b, &p);
    span->body = p.bytes;
    span->pull = p;
    span->pulled = true;
    x->over = pulled == PULLED_END;
    span->chunk = chunks && (p.bytes || x->over);
    g->more |= pulled == PULLED_MORE;
    if (span->chunk) {
        add_chunk(g, &p, x->over);
    } else {
        g->count += p.count;
        g->bytes += p.bytes;
    }
    return pulled != PULLED_FAILED;
}

/* False: it cannot go on. */
static bool gather_stream(struct http1_stream *x, struct gather *g) {
    struct span *span = &g->span[g->spans++];
    *span = (struct span){.stream = &x->s, .head = x->out.len - x->out_sent};
    if (x->out.failed) {
        return false;
    }
    if (span->head) {
        add(g, x->out.data + x->out_sent, span->head);
    }
    if (x->headed && x->s.body && !x->over && !gather_body(x, g, span)) {
        return false;
    }
    span->ends = x->s.reply == REPLY_COMPLETE && x->headed && (!x->s.body || x->over);
    return true;
}

enum produced http1_produce(struct http_conn *c, struct gather *g) {
    bool ends = false;
    struct stream *s;
    TAILQ_FOREACH (s, &c->streams, link) {
        if (g->spans == GATHER_SPANS || g->count + BODY_PIECES_MIN + 4 > GATHER_PIECES) {
            g->more = true;
            break;
        }
        if (!gather_stream(of(s), g)) {
            return PRODUCED_DEAD;
        }
        const struct span *span = &g->span[g->spans - 1];
        ends |= span->ends;
        if (!span->ends || of(s)->close) {
            break;
        }
        if (span->pulled && (span->chunk || !s->r)) { /* the gather's scratch is in use */
            g->more |= TAILQ_NEXT(s, link) != NULL;
            break;
        }
    }
    return g->bytes || ends ? PRODUCED : PRODUCED_NOTHING;
}

/* A write was cut within a chunk: the rest of that was promised, and is kept. It is the last of its gather. */
static void keep_rest(struct http1_stream *x, const struct gather *g, size_t left) {
    struct buf rest = {0};
    size_t skip = g->bytes - left;
    for (unsigned i = 0; i < g->count; i++) {
        size_t over = skip < g->iov[i].iov_len ? skip : g->iov[i].iov_len;
        buf_put(&rest, (char *) g->iov[i].iov_base + over, g->iov[i].iov_len - over);
        skip -= over;
    }
    buf_fini(&x->out);
    x->out = rest;
    x->out_sent = 0;
}

/* The same for a span that is a chunk: of one that was begun, what was not sent is kept. */
static bool chunk_sent(struct http1_stream *x, const struct gather *g, const struct span *span, size_t *bytes, size_t left) {
    struct body *b = x->s.body;
    if (!*bytes) {
        x->over = false;
        b->kind->taken(b, &span->pull, 0);
        return false;
    }
    *bytes = 0;
    if (left) {
        keep_rest(x, g, left);
    } else {
        buf_clear(&x->out);
        x->out_sent = 0;
    }
    b->kind->taken(b, &span->pull, span->body);
    return !left;
}

/* Some of a span was taken. False: not all of it. */
static bool span_sent(const struct gather *g, struct span *span, size_t *bytes, size_t left) {
    struct http1_stream *x = of(span->stream);
    struct body *b = x->s.body;
    size_t head = *bytes < span->head ? *bytes : span->head;
    if (span->chunk) {
        return chunk_sent(x, g, span, bytes, left);
    }
    *bytes -= head;
    x->out_sent += head;
    size_t body = *bytes < span->body ? *bytes : span->body;
    *bytes -= body;
    bool all = head == span->head && body == span->body;
    if (span->pulled) {
        x->over &= all;
        b->kind->taken(b, &span->pull, body);
    }
    if (x->out.len && x->out_sent == x->out.len && !span->ends) {
        buf_fini(&x->out);
        x->out_sent = 0;
    }
    return all;
}

void http1_sent(struct http_conn *c, struct gather *g, size_t bytes) {
    size_t left = g->bytes - bytes;
    for (unsigned i = 0; i < g->spans; i++) {
        struct span *span = &g->span[i];
        struct http1_stream *x = of(span->stream);
        bool all = span_sent(g, span, &bytes, left);
        if (!all || !span->ends) {
            continue; /* those behind it are told that nothing of them was taken */
        }
        bool close = x->close;
        http1_end(x);
        if (close) {
            while (!TAILQ_EMPTY(&c->streams)) {
                http1_end(of(TAILQ_FIRST(&c->streams)));
            }
            return;
        }
    }
}
