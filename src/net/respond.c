/* Answers as the handler gives them: their headers, and the bodies that lie in memory. */
#include "net/conn.h"
#include "net/loop.h"
#include "net/protocol.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

struct str http_header(const struct http_request *r, const char *name) {
    for (unsigned i = 0; i < r->header_count; i++) {
        if (str_ieqz(r->headers[i].name, name)) {
            return r->headers[i].value;
        }
    }
    return STR_NONE;
}

unsigned http_header_count(const struct http_request *r, const char *name) {
    unsigned n = 0;
    for (unsigned i = 0; i < r->header_count; i++) {
        n += str_ieqz(r->headers[i].name, name);
    }
    return n;
}

/* ---- the headers of an answer ---- */

static bool fields_grow(struct http_request *r) {
    struct http_fields *f = &r->answer;
    struct http_header *list = arena_take(&r->arena, 2 * f->cap * sizeof(*list));
    if (list) {
        memcpy(list, f->list, f->count * sizeof(*list));
        f->list = list;
        f->cap *= 2;
    }
    return list;
}

void http_add(struct http_request *r, struct str name, struct str value) {
    struct http_fields *f = &r->answer;
    if (!value.p || (f->count == f->cap && !fields_grow(r))) {
        f->failed = true;
        return;
    }
    f->list[f->count++] = (struct http_header){name, value};
}

void http_add_copy(struct http_request *r, struct str name, struct str value) {
    http_add(r, name, arena_str(&r->arena, value));
}

void http_addf(struct http_request *r, struct str name, const char *fmt, ...) {
    char text[128], *at = text;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(text, sizeof(text), fmt, args);
    if (n >= (int) sizeof(text)) {
        at = arena_take(&r->arena, (size_t) n + 1);
        n = at ? vsnprintf(at, (size_t) n + 1, fmt, again) : -1;
    }
    va_end(again);
    va_end(args);
    http_add_copy(r, name, n < 0 ? STR_NONE : str_n(at, (size_t) n));
}

void http_clear_headers(struct http_request *r) {
    r->answer.count = 0;
    r->answer.failed = false;
}

/* ---- bodies in memory ---- */

static struct written *written_of(struct body *b) {
    return (struct written *) (void *) ((char *) b - offsetof(struct written, b));
}

static enum pulled written_pull(struct body *b, struct pull *p) {
    struct written *w = written_of(b);
    size_t left = w->bytes.len - w->at, take = left < p->room ? left : p->room;
    if (w->bytes.failed) {
        return PULLED_FAILED;
    }
    if (take) {
        p->iov[p->count++] = (struct iovec){w->bytes.data + w->at, take};
        p->bytes += take;
    }
    return take < left ? PULLED_MORE : w->ended ? PULLED_END : PULLED_WAITS;
}

static void written_taken(struct body *b, const struct pull *p, size_t bytes) {
    struct written *w = written_of(b);
    (void) p;
    w->at += bytes;
    if (w->at == w->bytes.len && !w->ended) {
        buf_fini(&w->bytes);
        w->at = 0;
    }
}

/* It lies in its request, and its memory goes with that. */
static void written_gone(struct body *b) {
    (void) b;
}

static const struct body_kind written = {.pull = written_pull, .taken = written_taken, .gone = written_gone};

static void give_written(struct stream *s, bool ended) {
    struct written *w = &request_state(s->r)->written;
    w->b = (struct body){&written, s};
    w->ended = ended;
    s->body = &w->b;
}

/* ---- answers ---- */

static bool is_bodiless(int status) {
    return status == 204 || status == 304;
}

/* Memory ran out while the answer was made: say so with what needs none. */
static void fall_back(struct stream *s, struct answer_head *head) {
    http_clear_headers(s->r);
    s->body = NULL;
    *head = (struct answer_head){.status = 503, .close = true};
}

static void answer(struct stream *s, struct answer_head *head) {
    struct http_conn *c = s->conn;
    assert(s->reply == REPLY_NONE);
    c->loop->counts.requests++;
    s->reply = head->open ? REPLY_OPEN : REPLY_COMPLETE;
    if (!head->open) {
        buf_fini(&request_state(s->r)->gathered);
    }
    c->protocol->answer(s, head);
    conn_mark(c);
}

/* With the body that has been put into the request. */
static void answer_written(struct stream *s, int status, bool close) {
    struct written *w = &request_state(s->r)->written;
    struct answer_head head = {.status = status, .length = w->bytes.len, .bodiless = is_bodiless(status), .close = close};
    if (w->bytes.failed || s->r->answer.failed) {
        buf_fini(&w->bytes);
        fall_back(s, &head);
    } else if (w->bytes.len && !head.bodiless && s->r->method != HTTP_HEAD) {
        give_written(s, true);
    }
    answer(s, &head);
}

void http_respond(struct http_request *r, int status, struct buf *body, bool close) {
    request_state(r)->written.bytes = *body;
    *body = (struct buf){0};
    answer_written(r->stream, status, close);
}

void http_respond_copied(struct http_request *r, int status, struct str body, bool close) {
    struct request *q = request_state(r);
    q->written.bytes = q->kept_body;
    q->kept_body = (struct buf){0};
    buf_str(&q->written.bytes, body);
    answer_written(r->stream, status, close);
}

static void answer_open_ended(struct stream *s, struct answer_head *head) {
    if (s->r->answer.failed) {
        fall_back(s, head);
    }
    answer(s, head);
}

void http_respond_head(struct http_request *r, int status, bool close) {
    struct answer_head head = {.status = status, .length = HTTP_LENGTH_UNKNOWN, .bodiless = true, .close = close};
    assert(r->method == HTTP_HEAD);
    answer_open_ended(r->stream, &head);
}

void http_start(struct http_request *r, int status) {
    struct answer_head head = {.status = status, .length = HTTP_LENGTH_UNKNOWN, .open = true};
    give_written(r->stream, false);
    answer_open_ended(r->stream, &head);
}

void http_write(struct http_request *r, struct str data) {
    struct written *w = &request_state(r)->written;
    if (data.len && r->method != HTTP_HEAD && r->stream->body) {
        buf_str(&w->bytes, data);
        body_wake(&w->b);
    }
}

void http_finish(struct http_request *r) {
    struct stream *s = r->stream;
    request_state(r)->written.ended = true;
    s->reply = REPLY_COMPLETE;
    buf_fini(&request_state(r)->gathered);
    if (s->conn->protocol->finished) {
        s->conn->protocol->finished(s);
    }
    if (s->body) {
        body_wake(s->body);
    }
}

size_t http_unsent(const struct http_request *r) {
    const struct written *w = &((const struct request *) r)->written;
    return w->bytes.len - w->at;
}

/* b is the stream's, also if it cannot be answered with. */
static void give_body(struct stream *s, struct body *b, struct answer_head *head) {
    b->stream = s;
    s->body = b;
    s->told = false;
    if (s->r->answer.failed || s->r->method == HTTP_HEAD) {
        s->body = NULL;
        b->kind->gone(b);
    }
    answer_open_ended(s, head);
    if (s->body && b->kind->keepalive) {
        body_prefer_fresh(b);
    }
    if (s->body) {
        stream_release_request(s); /* it is of no more use, and the stream may live for long */
    }
}

void http_answer(struct http_request *r, int status, uint64_t length, struct body *b, bool close) {
    struct answer_head head = {.status = status, .length = length, .bodiless = is_bodiless(status), .close = close};
    r->stream->needs_peer = length == HTTP_LENGTH_UNKNOWN;
    give_body(r->stream, b, &head);
}

void http_tunnel(struct http_request *r, struct body *b) {
    struct answer_head head = {.status = 101, .length = HTTP_LENGTH_UNKNOWN, .bodiless = true, .tunnel = true};
    r->stream->needs_peer = true;
    give_body(r->stream, b, &head);
}

void stream_problem(struct stream *s, enum err err, const char *detail, const struct http_header *extra, bool close) {
    struct http_handler *handler = &s->conn->loop->handler;
    struct problem p = {.err = err, .detail = str_of(detail)};
    struct buf body = {0};
    s->reply = REPLY_NONE;
    http_clear_headers(s->r);
    handler->problem(handler->arg, s->r, &p, &body);
    if (extra) {
        http_add(s->r, extra->name, extra->value);
    }
    http_respond(s->r, err_status(err), &body, close);
    buf_fini(&body);
}
