/* The input of a connection: requests out of bytes, bodies gathered or handed on, and what has to wait. */
#include "net/conn.h"

#define BODY_PADDING 64
#define BODY_AT_ONCE (64 * 1024) /* bodies up to this size get their memory by the length announced */

/* What has been said already cannot be taken back: the handler says the rest, if it can. */
static void conn_break(struct http_conn *c, struct exchange *x, enum err err, const char *detail) {
    struct http_handler *handler = &c->loop->handler;
    const struct problem p = {.err = err, .detail = str_of(detail)};
    c->input = NULL;
    if (!handler->broken) {
        conn_close(c);
        return;
    }
    x->close = true;
    if (c->state == CONN_HTTP) {
        conn_move(c, CONN_LAST);
    }
    handler->broken(handler->arg, &x->r, &p);
    conn_mark(c);
}

void conn_refuse(struct http_conn *c, enum err err, const char *detail) {
    struct exchange *x = c->input;
    c->input = NULL;
    c->head_ms = 0;
    if (x && x->reply == REPLY_STREAMING) {
        conn_break(c, x, err, detail);
        return;
    }
    if (!x && http1_in_body(&c->parser)) {
        if (c->state == CONN_HTTP) { /* of a request that has its answer */
            conn_move(c, CONN_LAST);
        }
        return;
    }
    if (x) {
        exchange_gone(x);
        buf_fini(&x->gathered);
    } else {
        x = exchange_create(c);
        x->r.method = HTTP_OTHER;
    }
    exchange_problem(x, err, detail, NULL, true);
    if (c->state == CONN_HTTP) {
        conn_move(c, CONN_LAST);
    }
}

static bool copy_head(struct http_conn *c, struct exchange *x, struct str block, struct http1_head *head) {
    unsigned lines = http1_head_lines(&c->parser);
    char *copy = arena_take(&x->r.arena, block.len);
    struct http_header *headers = arena_take(&x->r.arena, (lines + 1) * sizeof(*headers));
    if (!copy || !headers) {
        return http1_fail(&c->parser, ERR_UNAVAILABLE, "There is no memory");
    }
    memcpy(copy, block.p, block.len);
    return http1_head_parse(&c->parser, &c->loop->parser_limits, str_n(copy, block.len), headers, head);
}

static void fill_request(struct exchange *x, const struct http1_head *head) {
    x->r.method = head->method;
    x->r.method_text = head->method_text;
    x->r.path = head->path;
    x->r.query = head->query;
    x->r.host = head->host;
    x->r.headers = head->headers;
    x->r.header_count = head->header_count;
    x->r.upgrade_websocket = head->websocket;
    x->http10 = head->http10;
    x->keep_alive = head->keep_alive;
    x->expects_continue = head->expects_continue && (head->chunked || head->content_length);
    x->whole_len = head->content_length;
}

/* What is wrong with the request otherwise may have to be said first: that is for the handler to know. */
static void conn_oversized(struct http_conn *c, struct exchange *x) {
    struct http_handler *handler = &c->loop->handler;
    buf_fini(&x->gathered);
    if (!handler->oversized) {
        conn_refuse(c, ERR_TOO_LARGE, "The body is larger than the limit");
        return;
    }
    x->paused = true;
    handler->oversized(handler->arg, &x->r);
}

static void conn_on_head(struct http_conn *c, struct str block) {
    struct http_loop *l = c->loop;
    struct exchange *x = exchange_create(c);
    struct http1_head head = {0};
    c->newcomer = false;
    c->head_ms = 0;
    c->input = x;
    if (!copy_head(c, x, block, &head)) {
        x->r.method = head.method; /* as far as it was read: no body in answer to HEAD */
        conn_refuse(c, (enum err) c->parser.err, c->parser.detail);
        return;
    }
    fill_request(x, &head);
    x->told = true;
    c->hold = head.websocket;
    enum http_body how = l->handler.head(l->handler.arg, &x->r);
    if (c->input != x) {
        return; /* answered, or a watcher by now */
    }
    x->stream_body = how == HTTP_BODY_STREAM;
    x->paused = how == HTTP_BODY_UNWANTED;
    if (how == HTTP_BODY_WHOLE && head.content_length > l->limits.max_body) {
        conn_oversized(c, x);
    } else if (how == HTTP_BODY_WHOLE && x->expects_continue) {
        exchange_interim(x); /* a streamed body is asked for with its answer */
    }
}

/* Puts a piece where the whole body gathers. */
static void gather_body(struct http_conn *c, struct exchange *x, struct str piece) {
    if (x->arrived + piece.len > c->loop->limits.max_body) {
        conn_oversized(c, x);
        return;
    }
    if (x->arrived == 0 && x->whole_len && x->whole_len <= BODY_AT_ONCE) {
        x->whole = arena_alloc(&x->r.arena, (size_t) x->whole_len + BODY_PADDING);
    }
    if (x->whole) {
        memcpy(x->whole + x->arrived, piece.p, piece.len);
    } else {
        buf_str(&x->gathered, piece);
    }
    x->arrived += piece.len;
    if (x->gathered.failed) {
        conn_refuse(c, ERR_UNAVAILABLE, "There is no memory");
    }
}

static void conn_on_body(struct http_conn *c, struct str piece) {
    struct http_loop *l = c->loop;
    struct exchange *x = c->input;
    if (!x) {
        return;
    }
    if (x->stream_body) {
        x->arrived += piece.len;
        l->handler.body(l->handler.arg, &x->r, piece);
    } else {
        gather_body(c, x, piece);
    }
}

/* The whole body, in the arena. */
static bool whole_body(struct exchange *x) {
    if (x->arrived == 0) {
        static const char nothing[BODY_PADDING];
        x->r.body = str_n(nothing, 0);
        return true;
    }
    if (!x->whole) {
        x->whole = arena_alloc(&x->r.arena, (size_t) x->arrived + BODY_PADDING);
        if (!x->whole) {
            return false;
        }
        memcpy(x->whole, x->gathered.data, (size_t) x->arrived);
        buf_fini(&x->gathered);
    }
    x->r.body = str_n(x->whole, (size_t) x->arrived);
    return true;
}

static void conn_on_end(struct http_conn *c) {
    struct http_loop *l = c->loop;
    struct exchange *x = c->input;
    if (!x) {
        return;
    }
    if (!x->stream_body && !whole_body(x)) {
        conn_refuse(c, ERR_UNAVAILABLE, "There is no memory");
        return;
    }
    c->input = NULL;
    if (!x->keep_alive && c->state == CONN_HTTP) {
        conn_move(c, CONN_LAST);
    }
    l->handler.request(l->handler.arg, &x->r);
}

/* May the next thing be parsed? Not before what it would have to wait for. */
bool conn_may_parse(const struct http_conn *c) {
    if (c->state != CONN_HTTP || conn_paused(c)) {
        return false;
    }
    if (http1_in_body(&c->parser)) {
        return true;
    }
    return c->exchange_count < HTTP_PIPELINE && !c->hold;
}

static size_t conn_parse(struct http_conn *c, const char *data, size_t len) {
    size_t used = 0;
    while (conn_may_parse(c)) {
        size_t n;
        struct str piece;
        enum http1_event ev = http1_next(&c->parser, &c->loop->parser_limits, data + used, len - used, &n, &piece);
        used += n;
        switch (ev) {
        case HTTP1_MORE:
            if (!http1_idle(&c->parser) && !http1_in_body(&c->parser)) {
                c->head_ms = c->head_ms ? c->head_ms : c->loop->now_ms;
            }
            return used;
        case HTTP1_HEAD: conn_on_head(c, piece); break;
        case HTTP1_BODY: conn_on_body(c, piece); break;
        case HTTP1_END: conn_on_end(c); break;
        case HTTP1_ERROR: conn_refuse(c, (enum err) c->parser.err, c->parser.detail); break;
        }
    }
    return used;
}

/* Gives bytes to whoever reads them in the present state; what remains has to wait. */
static size_t conn_take(struct http_conn *c, const char *data, size_t len) {
    size_t used = 0;
    for (;;) {
        enum conn_state state = (enum conn_state) c->state;
        if (state == CONN_HTTP) {
            used += conn_parse(c, data + used, len - used);
        } else if (state == CONN_WATCH && c->watch->way == WATCH_WEBSOCKET) {
            used += websocket_input(c->watch, data + used, len - used);
        } else {
            return len;
        }
        if (c->state == state) {
            return used;
        }
    }
}

static void conn_input(struct http_conn *c, const char *data, size_t len) {
    struct buf in = c->in;
    c->in = (struct buf){0};
    if (in.len) {
        buf_put(&in, data, len);
        size_t used = in.failed ? 0 : conn_take(c, in.data, in.len);
        buf_drop_front(&in, used);
    } else {
        size_t used = conn_take(c, data, len);
        buf_put(&in, data + used, len - used);
    }
    if (c->state == CONN_CLOSED || in.len == 0 || in.failed) {
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
    const struct exchange *x;
    TAILQ_FOREACH (x, &c->exchanges, link) {
        if (x->reply != REPLY_COMPLETE && (x->r.needs_peer || x->page)) {
            return true;
        }
    }
    return false;
}

/* The peer has ended its side in the middle of a body. */
static void conn_cut_short(struct http_conn *c) {
    if (c->input->reply == REPLY_STREAMING) {
        conn_break(c, c->input, ERR_INVALID_REQUEST, "The body ended before its end");
    } else {
        conn_close(c);
    }
}

/* The peer has ended its side. Requests that are complete still get their answers, except those that need a peer who is there. */
static void conn_end_of_input(struct http_conn *c) {
    c->eof = true;
    c->in_ms = c->loop->now_ms;
    bool incomplete = c->state == CONN_HTTP && c->input && !conn_paused(c);
    if (c->state == CONN_WATCH || c->state == CONN_LINGER || TAILQ_EMPTY(&c->exchanges) || conn_needs_peer(c)) {
        conn_close(c);
    } else if (incomplete) {
        conn_cut_short(c);
    } else if (c->state == CONN_HTTP && !c->in.len) {
        conn_move(c, CONN_LAST);
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
    if (c->state != CONN_CLOSED && c->transport.ready && conn_wants_input(c)) {
        conn_wait(c);
        l->more = true;
    }
    if (c->state != CONN_CLOSED) {
        conn_settle(c);
    }
}

/* Input that had to wait can perhaps go on. */
void conn_resume(struct http_conn *c) {
    c->waiting = false;
    TAILQ_REMOVE(&c->loop->waiting, c, waiting_link);
    c->in_ms = c->loop->now_ms;
    if (c->in.len || (c->state == CONN_HTTP && c->input)) {
        conn_input(c, "", 0);
    }
    if (c->transport.ready && conn_wants_input(c)) {
        conn_read(c);
    }
    if (c->state == CONN_HTTP && c->eof && conn_may_parse(c)) {
        if (c->input) {
            conn_cut_short(c);
        } else {
            conn_move(c, CONN_LAST);
        }
    }
    if (c->state != CONN_CLOSED) {
        conn_settle(c);
    }
}
