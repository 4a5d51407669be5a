/* Answers: their head, whole or streamed, and what they mean for the connection. */
#include "net/conn.h"

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

static void write_fields(const struct http_fields *f, struct buf *out) {
    size_t bytes = 2;
    for (unsigned i = 0; i < f->count; i++) {
        bytes += f->list[i].name.len + f->list[i].value.len + 4;
    }
    if (f->failed || !buf_reserve(out, bytes)) {
        out->failed = true;
        return;
    }
    for (unsigned i = 0; i < f->count; i++) {
        buf_str(out, f->list[i].name);
        buf_put(out, ": ", 2);
        buf_str(out, f->list[i].value);
        buf_put(out, "\r\n", 2);
    }
    buf_put(out, "\r\n", 2);
}

static struct exchange *exchange_of(const struct http_request *r) {
    return (struct exchange *) (uintptr_t) r;
}

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

/*
 * The answer comes before the body has: it is no longer wanted. A small rest is read over; otherwise the connection ends behind the answer, also when
 * the peer waits for permission to send.
 */
static void give_up_input(struct exchange *x) {
    struct http_conn *c = x->r.conn;
    if (c->input != x) {
        return;
    }
    c->input = NULL;
    if (http1_body_left(&c->parser) > SMALL_REST || (x->expects_continue && !x->invited && !x->arrived)) {
        x->close = true;
    }
    conn_wait(c);
}

static char *append(char *at, const char *text, size_t len) {
    memcpy(at, text, len);
    return at + len;
}

#define APPEND(at, literal) append(at, literal, sizeof(literal) - 1)

static char *append_text(char *at, const char *text) {
    return append(at, text, strlen(text));
}

static char *append_number(char *at, size_t v) {
    return digits_write(at, v, digits_count(v));
}

/* Behind what of an interim answer has gone out already; one that has not is no longer needed. */
static size_t final_at(const struct exchange *x) {
    return x->sent == 0 ? 0 : x->pre_len;
}

/* The status line and what every answer says of itself. It is written for each answer: without printf. */
static void write_pre(struct exchange *x, size_t from, int status, bool has_length, size_t length) {
    char *at = x->pre + from;
    at = APPEND(at, "HTTP/1.1 ");
    at = append_number(at, (size_t) status);
    *at++ = ' ';
    at = append_text(at, reason_of(status));
    at = APPEND(at, "\r\n");
    at = append_text(at, loop_date(x->r.conn->loop));
    at = append_text(at, x->close ? "Connection: close\r\n" : x->http10 ? "Connection: keep-alive\r\n" : "");
    at = append_text(at, x->chunked ? "Transfer-Encoding: chunked\r\n" : "");
    if (has_length) {
        at = APPEND(at, "Content-Length: ");
        at = append_number(at, length);
        at = APPEND(at, "\r\n");
    }
    if (status == 101 || status == 426) { /* the only other protocol known (RFC 9110 section 7.8) */
        at = APPEND(at, "Upgrade: websocket\r\nConnection: Upgrade\r\n");
    }
    assert(at + 2 <= x->pre + sizeof(x->pre));
    x->pre_len = (uint8_t) (at - x->pre);
}

/* No request of this connection comes behind it. */
static bool is_last(const struct exchange *x) {
    const struct http_conn *c = x->r.conn;
    return !x->keep_alive || ((c->loop->draining || c->eof) && !TAILQ_NEXT(x, link));
}

/* What every answer does first: the body still coming in, and whether the connection goes on. */
static void begin(struct exchange *x, bool close) {
    struct http_conn *c = x->r.conn;
    x->close |= close || is_last(x);
    give_up_input(x);
    if (x->close && c->state == CONN_HTTP) {
        conn_move(c, CONN_LAST);
    }
}

static void done(struct exchange *x) {
    x->reply = REPLY_COMPLETE;
    buf_fini(&x->gathered);
    if (x->r.upgrade_websocket) {
        x->r.conn->hold = false;
        conn_wait(x->r.conn);
    }
    conn_mark(x->r.conn);
}

/* Memory ran out while the answer was made: say so with what needs none. */
static void fall_back(struct exchange *x) {
    buf_fini(&x->headers);
    buf_fini(&x->body);
    x->close = true;
    write_pre(x, final_at(x), 503, true, 0);
    memcpy(x->pre + x->pre_len, "\r\n", 2);
    x->pre_len += 2;
    if (x->r.conn->state == CONN_HTTP) {
        conn_move(x->r.conn, CONN_LAST);
    }
}

static struct buf take(struct buf *b) {
    struct buf taken = *b;
    *b = (struct buf){0};
    return taken;
}

static bool is_bodiless(int status) {
    return status == 204 || status == 304;
}

static void write_headers(struct exchange *x) {
    x->headers = take(&x->kept);
    write_fields(&x->r.answer, &x->headers);
}

static void respond(struct exchange *x, int status, size_t body_len, bool close) {
    begin(x, close);
    write_pre(x, final_at(x), status, !is_bodiless(status), body_len);
    write_headers(x);
}

void exchange_write_head(struct exchange *x, int status, struct buf *out) {
    (void) buf_reserve(out, HEAD_ROOM);
    x->close = status != 101;
    write_pre(x, 0, status, false, 0);
    buf_put(out, x->pre, x->pre_len);
    write_fields(&x->r.answer, out);
}

static void responded(struct exchange *x) {
    if (x->headers.failed || x->body.failed) {
        fall_back(x);
    }
    x->r.conn->loop->counts.requests++;
    done(x);
}

void http_respond(struct http_request *r, int status, struct buf *body, bool close) {
    struct exchange *x = exchange_of(r);
    x->body = take(body);
    respond(x, status, x->body.len, close);
    if (!x->body.failed && (is_bodiless(status) || r->method == HTTP_HEAD)) {
        buf_fini(&x->body);
    }
    responded(x);
}

void http_respond_copied(struct http_request *r, int status, struct str body, bool close) {
    struct exchange *x = exchange_of(r);
    respond(x, status, body.len, close);
    if (!is_bodiless(status) && r->method != HTTP_HEAD) {
        buf_str(&x->headers, body);
    }
    responded(x);
}

void http_respond_head(struct http_request *r, int status, bool close) {
    struct exchange *x = exchange_of(r);
    assert(r->method == HTTP_HEAD);
    begin(x, close);
    write_pre(x, final_at(x), status, false, 0);
    write_headers(x);
    responded(x);
}

void http_start(struct http_request *r, int status) {
    struct exchange *x = exchange_of(r);
    struct http_conn *c = r->conn;
    x->close |= x->http10 || is_last(x);
    x->chunked = !x->http10;
    if (x->expects_continue && !x->invited) {
        exchange_interim(x); /* the body is still wanted */
    }
    write_pre(x, x->pre_len, status, false, 0);
    write_headers(x);
    x->reply = REPLY_STREAMING;
    c->loop->counts.requests++;
    conn_mark(c);
}

void http_write(struct http_request *r, struct str data) {
    struct exchange *x = exchange_of(r);
    if (!data.len || r->method == HTTP_HEAD) {
        return;
    }
    if (x->chunked) {
        char size[20];
        buf_put(&x->body, size, (size_t) snprintf(size, sizeof(size), "%zx\r\n", data.len));
        buf_str(&x->body, data);
        buf_put(&x->body, "\r\n", 2);
    } else {
        buf_str(&x->body, data);
    }
    conn_mark(r->conn);
}

void http_finish(struct http_request *r) {
    struct exchange *x = exchange_of(r);
    if (x->chunked && r->method != HTTP_HEAD) {
        buf_puts(&x->body, "0\r\n\r\n");
    }
    begin(x, false);
    done(x);
}

size_t http_unsent(const struct http_request *r) {
    return exchange_pending(exchange_of(r));
}

void http_body_pause(struct http_request *r) {
    exchange_of(r)->paused = true;
}

void http_body_resume(struct http_request *r) {
    exchange_of(r)->paused = false;
    conn_wait(r->conn);
}
