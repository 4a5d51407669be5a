/* Streams: requests and what belongs to them, from their head to the end of their answer. */
#include "net/stream.h"

#include "base/fetch.h"

#include "base/mem.h"
#include "net/conn.h"
#include "net/loop.h"

#define SPARE_MAX 256   /* requests that wait to be used again, with some of their memory */
#define ARENA_KEPT 2048 /* of each */
#define BUFFER_KEPT 1024
#define BODY_PADDING 64
#define BODY_AT_ONCE (64 * 1024) /* bodies up to this size get their memory by the length announced */

/* ---- requests and their memory ---- */

static struct request *request_take(struct http_loop *l) {
    struct request *q = TAILQ_FIRST(&l->spare);
    if (!q) {
        return mem_alloc(sizeof(*q));
    }
    struct arena arena = q->r.arena;
    struct buf kept = q->kept, kept_body = q->kept_body;
    TAILQ_REMOVE(&l->spare, q, link);
    l->spare_count--;
    memset(q, 0, offsetof(struct request, fields));
    q->r.arena = arena;
    q->kept = kept;
    q->kept_body = kept_body;
    return q;
}

static void request_free(struct request *q) {
    arena_fini(&q->r.arena);
    buf_fini(&q->kept);
    buf_fini(&q->kept_body);
    mem_free(q);
}

void requests_fini(struct request_list *spare) {
    struct request *q;
    while ((q = TAILQ_FIRST(spare))) {
        TAILQ_REMOVE(spare, q, link);
        request_free(q);
    }
}

/* The memory of a small one is worth keeping. */
static void keep(struct buf *kept, struct buf *from) {
    if (!kept->data && from->data && from->cap <= BUFFER_KEPT) {
        *kept = *from;
        buf_clear(kept);
        *from = (struct buf){0};
    } else {
        buf_fini(from);
    }
}

void stream_keep(struct stream *s, struct buf *out) {
    if (s->r) {
        keep(&request_state(s->r)->kept, out);
    } else {
        buf_fini(out);
    }
}

void stream_release_request(struct stream *s) {
    struct http_loop *l = s->conn->loop;
    struct request *q = s->r ? request_state(s->r) : NULL;
    if (!q) {
        return;
    }
    s->r = NULL;
    arena_rewind(&q->r.arena, ARENA_KEPT);
    buf_fini(&q->gathered);
    keep(&q->kept_body, &q->written.bytes);
    if (l->spare_count < SPARE_MAX) {
        TAILQ_INSERT_HEAD(&l->spare, q, link);
        l->spare_count++;
    } else {
        request_free(q);
    }
}

/* ---- coming and going ---- */

void stream_begin(struct stream *s, struct http_conn *c) {
    struct request *q = request_take(c->loop);
    c->loop->turn_requests++;
    q->r.stream = s;
    q->r.peer = &c->peer;
    q->r.answer = (struct http_fields){.list = q->fields, .cap = FIELDS_FIRST};
    s->conn = c;
    s->r = &q->r;
    TAILQ_INSERT_TAIL(&c->streams, s, link);
    c->stream_count++;
}

static void body_over(struct stream *s) {
    struct body *b = s->body;
    if (b) {
        s->body = NULL;
        s->undecided = false;
        b->kind->gone(b);
    }
}

void stream_forget(struct stream *s) {
    struct http_handler *handler = &s->conn->loop->handler;
    bool waits = s->reply != REPLY_COMPLETE;
    s->reply = REPLY_COMPLETE;
    body_over(s);
    if (waits && s->told && handler->gone) {
        handler->gone(handler->arg, s->r);
    }
    s->told = false;
}

void stream_leave(struct stream *s) {
    struct http_conn *c = s->conn;
    stream_forget(s);
    TAILQ_REMOVE(&c->streams, s, link);
    c->stream_count--;
    stream_release_request(s);
}

/* ---- the way in ---- */

enum http_body stream_head(struct stream *s) {
    struct http_handler *handler = &s->conn->loop->handler;
    s->told = true;
    return handler->head(handler->arg, s->r);
}

/* Puts a piece where the whole body gathers. */
static enum body_is gather(struct request *q, struct str piece, size_t max_body) {
    if (q->arrived + piece.len > max_body) {
        return BODY_OVERSIZED;
    }
    if (q->arrived == 0 && q->announced && q->announced <= BODY_AT_ONCE) {
        q->whole = arena_alloc(&q->r.arena, (size_t) q->announced + BODY_PADDING);
    }
    if (q->whole && q->arrived + piece.len <= q->announced) {
        memcpy(q->whole + q->arrived, piece.p, piece.len);
    } else {
        buf_str(&q->gathered, piece);
    }
    q->arrived += piece.len;
    return q->gathered.failed ? BODY_NO_MEMORY : BODY_GOOD;
}

enum body_is stream_arrived(struct stream *s, struct str piece) {
    struct http_loop *l = s->conn->loop;
    struct request *q = request_state(s->r);
    if (!q->stream_body) {
        return gather(q, piece, l->limits.max_body);
    }
    q->arrived += piece.len;
    l->handler.body(l->handler.arg, s->r, piece);
    return BODY_GOOD;
}

/* The whole body, in the arena. */
static bool make_whole(struct request *q) {
    static const char nothing[BODY_PADDING];
    if (q->arrived == 0) {
        q->r.body = str_n(nothing, 0);
        return true;
    }
    if (!q->whole) {
        q->whole = arena_alloc(&q->r.arena, (size_t) q->arrived + BODY_PADDING);
        if (!q->whole) {
            return false;
        }
        memcpy(q->whole, q->gathered.data, (size_t) q->arrived);
        buf_fini(&q->gathered);
    }
    q->r.body = str_n(q->whole, (size_t) q->arrived);
    return true;
}

enum body_is stream_complete(struct stream *s) {
    struct http_handler *handler = &s->conn->loop->handler;
    struct request *q = request_state(s->r);
    if (!q->stream_body && !make_whole(q)) {
        return BODY_NO_MEMORY;
    }
    handler->request(handler->arg, s->r);
    return BODY_GOOD;
}

bool stream_oversized(struct stream *s) {
    struct http_handler *handler = &s->conn->loop->handler;
    struct request *q = request_state(s->r);
    buf_fini(&q->gathered);
    if (!handler->oversized) {
        return false;
    }
    q->paused = true;
    handler->oversized(handler->arg, s->r);
    return true;
}

bool stream_break(struct stream *s, enum err err, const char *detail) {
    struct http_handler *handler = &s->conn->loop->handler;
    const struct problem p = {.err = err, .detail = str_of(detail)};
    if (!handler->broken) {
        return false;
    }
    handler->broken(handler->arg, s->r, &p);
    return true;
}

bool stream_is_paused(const struct stream *s) {
    return s->r && request_state(s->r)->paused;
}

void http_body_pause(struct http_request *r) {
    request_state(r)->paused = true;
}

void http_body_resume(struct http_request *r) {
    request_state(r)->paused = false;
    conn_wait(r->stream->conn);
}

/* ---- bodies ---- */

struct http_loop *stream_loop(const struct stream *s) {
    return s->conn->loop;
}

void body_wake(struct body *b) {
    struct stream *s = b->stream;
    struct http_conn *c = s->conn;
    if (c->protocol->ready && !s->undecided) {
        c->protocol->ready(s);
    }
    conn_mark(c);
}

void body_push(struct body *b) {
    struct stream *s = b->stream;
    struct http_conn *c = s->conn;
    if (c->protocol->ready && !s->undecided) {
        c->protocol->ready(s);
    }
    if (c->blocked) {
        return; /* it is asked when there is room */
    }
    if (c->stream_count == 1 && !s->undecided && !c->dirty) {
        conn_flush(c);
    } else {
        conn_mark(c);
    }
}

void body_abort(struct body *b) {
    struct stream *s = b->stream;
    s->conn->protocol->abort(s);
}

void body_prefer_fresh(struct body *b) {
    struct transport *t = &b->stream->conn->transport;
    t->kind->prefer_fresh(t);
}

void body_attach(struct http_request *r, struct body *b) {
    struct stream *s = r->stream;
    b->stream = s;
    s->body = b;
    s->undecided = s->conn->undecided = true;
    s->needs_peer = true;
    s->told = false; /* what happens to it is the body's affair now */
    conn_mark(s->conn);
}

void body_detach(struct body *b) {
    struct stream *s = b->stream;
    s->body = NULL;
    s->undecided = false;
    s->needs_peer = false;
}

void stream_fetch(const struct stream *s) {
    fetch_ahead(s, s ? sizeof(*s) : 0);
}

void stream_fetch_conn(const struct stream *s) {
    size_t from = offsetof(struct http_conn, transport), upto = offsetof(struct http_conn, link);
    fetch_ahead(s ? &s->conn->transport : NULL, s ? upto - from : 0);
}
