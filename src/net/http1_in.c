/* The input of HTTP/1.1: requests out of bytes, and what has to wait. */
#include "base/mem.h"
#include "net/http1_conn.h"

#include <assert.h>

static struct http1_stream *begin(struct http_conn *c) {
    struct http1_stream *x = mem_alloc(sizeof(*x));
    stream_begin(&x->s, c);
    return x;
}

static void no_more_requests(struct http_conn *c) {
    if (c->mode == HTTP1_REQUESTS) {
        http1_move(c, HTTP1_LAST);
    }
}

/* ---- what is refused ---- */

/* What has been said already cannot be taken back: the handler says the rest, if it can. */
static void break_off(struct http_conn *c, struct http1_stream *x, enum err err, const char *detail) {
    http1_of(c)->input = NULL;
    x->close = true;
    no_more_requests(c);
    if (stream_break(&x->s, err, detail)) {
        conn_mark(c);
    } else {
        conn_close(c);
    }
}

/* Refuses what is arriving, and everything behind it. */
static void refuse(struct http_conn *c, enum err err, const char *detail) {
    struct http1_conn *h = http1_of(c);
    struct http1_stream *x = h->input;
    h->input = NULL;
    h->head_ms = 0;
    if (x && x->s.reply == REPLY_OPEN) {
        break_off(c, x, err, detail);
        return;
    }
    if (!x && http1_in_body(&h->parser)) {
        no_more_requests(c); /* of a request that has its answer */
        return;
    }
    if (x) {
        stream_forget(&x->s);
    } else {
        x = begin(c);
        x->s.r->method = HTTP_OTHER;
    }
    stream_problem(&x->s, err, detail, NULL, true);
    no_more_requests(c);
}

/* What is wrong with the request otherwise may have to be said first: that is for the handler to know. */
static void oversized(struct http_conn *c, struct http1_stream *x) {
    if (!stream_oversized(&x->s)) {
        refuse(c, ERR_TOO_LARGE, "The body is larger than the limit");
    }
}

static void judge(struct http_conn *c, struct http1_stream *x, enum body_is is) {
    switch (is) {
    case BODY_GOOD: break;
    case BODY_OVERSIZED: oversized(c, x); break;
    case BODY_NO_MEMORY: refuse(c, ERR_UNAVAILABLE, "There is no memory"); break;
    }
}

void http1_late(struct http_conn *c, enum phase phase) {
    refuse(c, ERR_REQUEST_TIMEOUT, phase == PHASE_HEAD ? "The header block did not arrive in time" : "The body stopped arriving");
}

/* ---- requests ---- */

static bool copy_head(struct http_conn *c, struct http1_stream *x, struct str block, struct http1_head *head) {
    struct http1_conn *h = http1_of(c);
    struct arena *arena = &x->s.r->arena;
    unsigned lines = http1_head_lines(&h->parser);
    char *copy = arena_take(arena, block.len);
    struct http_header *headers = arena_take(arena, (lines + 1) * sizeof(*headers));
    if (!copy || !headers) {
        return http1_fail(&h->parser, ERR_UNAVAILABLE, "There is no memory");
    }
    memcpy(copy, block.p, block.len);
    return http1_head_parse(&h->parser, &c->loop->parser_limits, str_n(copy, block.len), headers, head);
}

static void fill_request(struct http1_stream *x, const struct http1_head *head) {
    struct http_request *r = x->s.r;
    r->method = head->method;
    r->method_text = head->method_text;
    r->path = head->path;
    r->query = head->query;
    r->host = head->host;
    r->headers = head->headers;
    r->header_count = head->header_count;
    r->upgrade_websocket = head->websocket;
    request_state(r)->announced = head->content_length;
    x->http10 = head->http10;
    x->keep_alive = head->keep_alive;
    x->expects_continue = head->expects_continue && (head->chunked || head->content_length);
}

static void on_head(struct http_conn *c, struct str block) {
    struct http1_conn *h = http1_of(c);
    struct http1_stream *x = begin(c);
    struct http1_head head = {0};
    c->newcomer = false;
    h->head_ms = 0;
    h->input = x;
    if (!copy_head(c, x, block, &head)) {
        x->s.r->method = head.method; /* as far as it was read: no body in answer to HEAD */
        refuse(c, (enum err) h->parser.err, h->parser.detail);
        return;
    }
    fill_request(x, &head);
    h->hold = head.websocket;
    enum http_body how = stream_head(&x->s);
    h = http1_of(c);
    if (!h || h->input != x) {
        return; /* answered */
    }
    request_state(x->s.r)->stream_body = how == HTTP_BODY_STREAM;
    request_state(x->s.r)->paused |= how == HTTP_BODY_UNWANTED;
    if (how == HTTP_BODY_WHOLE && head.content_length > c->loop->limits.max_body) {
        oversized(c, x);
    } else if (how == HTTP_BODY_WHOLE && x->expects_continue) {
        http1_invite(x); /* a streamed body is asked for with its answer */
    }
}

static void on_body(struct http_conn *c, struct str piece) {
    struct http1_stream *x = http1_of(c)->input;
    if (x) {
        judge(c, x, stream_arrived(&x->s, piece));
    }
}

static void on_end(struct http_conn *c) {
    struct http1_conn *h = http1_of(c);
    struct http1_stream *x = h->input;
    if (!x) {
        return;
    }
    h->input = NULL;
    if (!x->keep_alive) {
        no_more_requests(c);
    }
    if (stream_complete(&x->s) == BODY_NO_MEMORY) {
        h->input = x;
        refuse(c, ERR_UNAVAILABLE, "There is no memory");
    }
}

/* ---- bytes ---- */

bool http1_is_paused(const struct http1_conn *h) {
    return h->input && stream_is_paused(&h->input->s);
}

/* May the next thing be parsed? Not before what it would have to wait for. */
static bool may_parse(const struct http_conn *c) {
    const struct http1_conn *h = http1_of(c);
    if (c->state != CONN_OPEN || c->mode != HTTP1_REQUESTS || http1_is_paused(h)) {
        return false;
    }
    return http1_in_body(&h->parser) || (c->stream_count < HTTP_PIPELINE && !h->hold);
}

bool http1_wants_input(const struct http_conn *c) {
    switch ((enum http1_mode) c->mode) {
    case HTTP1_REQUESTS: return !c->eof && !c->waiting && may_parse(c); /* the end is not read before what came in front of it */
    case HTTP1_TUNNEL: return !c->in.len;
    default: return !c->eof;
    }
}

static size_t parse(struct http_conn *c, const char *data, size_t len) {
    struct http1_conn *h = http1_of(c);
    size_t used = 0;
    while (may_parse(c)) {
        size_t n;
        struct str piece;
        enum http1_event ev = http1_next(&h->parser, &c->loop->parser_limits, data + used, len - used, &n, &piece);
        used += n;
        switch (ev) {
        case HTTP1_MORE:
            if (!http1_idle(&h->parser) && !http1_in_body(&h->parser)) {
                h->head_ms = h->head_ms ? h->head_ms : c->loop->now_ms;
            }
            return used;
        case HTTP1_HEAD: on_head(c, piece); break;
        case HTTP1_BODY: on_body(c, piece); break;
        case HTTP1_END: on_end(c); break;
        case HTTP1_ERROR: refuse(c, (enum err) h->parser.err, h->parser.detail); break;
        }
    }
    return used;
}

static size_t tunnel(struct http_conn *c, const char *data, size_t len) {
    struct body *b = TAILQ_FIRST(&c->streams) ? TAILQ_FIRST(&c->streams)->body : NULL;
    return b && b->kind->input ? b->kind->input(b, data, len) : len;
}

/* Gives bytes to whoever reads them in the present mode; what remains has to wait. */
size_t http1_input(struct http_conn *c, const char *data, size_t len) {
    size_t used = 0;
    while (c->state == CONN_OPEN) {
        enum http1_mode mode = (enum http1_mode) c->mode;
        switch (mode) {
        case HTTP1_REQUESTS: used += parse(c, data + used, len - used); break;
        case HTTP1_TUNNEL: used += tunnel(c, data + used, len - used); break;
        default: return len;
        }
        if (c->mode == mode) {
            return used;
        }
    }
    return len;
}

/* The peer has ended its side in the middle of a body. */
static void cut_short(struct http_conn *c, struct http1_stream *x) {
    if (x->s.reply == REPLY_OPEN) {
        break_off(c, x, ERR_INVALID_REQUEST, "The body ended before its end");
    } else {
        conn_close(c);
    }
}

/* Requests that are complete still get their answers. */
void http1_ended(struct http_conn *c) {
    struct http1_conn *h = http1_of(c);
    if (c->mode != HTTP1_REQUESTS) {
        return;
    }
    if (h->input) {
        if (!http1_is_paused(h)) {
            cut_short(c, h->input);
        }
    } else if (!c->in.len || may_parse(c)) {
        http1_move(c, HTTP1_LAST);
    }
}
