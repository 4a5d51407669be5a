/* Exchanges: a request and the bytes of its answer. */
#include "base/mem.h"
#include "net/conn.h"

#define SPARE_MAX 256   /* exchanges that wait to be used again, with some of their memory */
#define ARENA_KEPT 2048 /* of each */
#define HEADERS_KEPT 1024
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

struct exchange *exchange_create(struct http_conn *c) {
    struct http_loop *l = c->loop;
    struct exchange *x = TAILQ_FIRST(&l->spare);
    if (x) {
        struct arena arena = x->r.arena;
        struct buf kept = x->kept;
        TAILQ_REMOVE(&l->spare, x, link);
        l->spare_count--;
        memset(x, 0, offsetof(struct exchange, fields));
        x->r.arena = arena;
        x->kept = kept;
    } else {
        x = mem_alloc(sizeof(*x));
    }
    l->turn_requests++;
    x->r.conn = c;
    x->r.peer = &c->peer;
    x->r.answer = (struct http_fields){.list = x->fields, .cap = FIELDS_FIRST};
    TAILQ_INSERT_TAIL(&c->exchanges, x, link);
    c->exchange_count++;
    return x;
}

static void exchange_free(struct exchange *x) {
    arena_fini(&x->r.arena);
    buf_fini(&x->kept);
    mem_free(x);
}

void exchanges_fini(struct http_loop *l) {
    struct exchange *x;
    while ((x = TAILQ_FIRST(&l->spare))) {
        TAILQ_REMOVE(&l->spare, x, link);
        exchange_free(x);
    }
}

/* Leaves the memory that is worth keeping. */
static void exchange_empty(struct exchange *x) {
    arena_rewind(&x->r.arena, ARENA_KEPT);
    buf_fini(&x->gathered);
    buf_fini(&x->body);
    if (!x->kept.data && x->headers.cap <= HEADERS_KEPT) {
        x->kept = x->headers;
        buf_clear(&x->kept);
    } else {
        buf_fini(&x->headers);
    }
}

void exchange_gone(struct exchange *x) {
    struct http_loop *l = x->r.conn->loop;
    if (x->page) {
        watcher_destroy(x->page);
        x->reply = REPLY_COMPLETE;
        return;
    }
    if (x->reply != REPLY_COMPLETE) {
        x->reply = REPLY_COMPLETE;
        if (x->told && l->handler.gone) {
            l->handler.gone(l->handler.arg, &x->r);
        }
    }
}

void exchange_destroy(struct exchange *x) {
    struct http_conn *c = x->r.conn;
    struct http_loop *l = c->loop;
    exchange_gone(x);
    TAILQ_REMOVE(&c->exchanges, x, link);
    c->exchange_count--;
    if (c->input == x) {
        c->input = NULL;
    }
    exchange_empty(x);
    if (l->spare_count < SPARE_MAX) {
        TAILQ_INSERT_HEAD(&l->spare, x, link);
        l->spare_count++;
    } else {
        exchange_free(x);
    }
}

size_t exchange_pending(const struct exchange *x) {
    return x->pre_len + x->headers.len + x->body.len - x->sent;
}

static unsigned add_piece(struct iovec *iov, const char *p, size_t len, size_t *skip) {
    if (*skip >= len) {
        *skip -= len;
        return 0;
    }
    *iov = (struct iovec){(char *) p + *skip, len - *skip};
    *skip = 0;
    return 1;
}

unsigned exchange_gather(const struct exchange *x, struct iovec *iov) {
    size_t skip = x->sent;
    unsigned n = add_piece(iov, x->pre, x->pre_len, &skip);
    n += add_piece(iov + n, x->headers.data, x->headers.len, &skip);
    n += add_piece(iov + n, x->body.data, x->body.len, &skip);
    return n;
}

void exchange_interim(struct exchange *x) {
    if (x->reply == REPLY_NONE && !x->http10 && !x->pre_len) {
        memcpy(x->pre, CONTINUE, sizeof(CONTINUE) - 1);
        x->pre_len = sizeof(CONTINUE) - 1;
        x->sent = 0;
        x->invited = true;
        conn_mark(x->r.conn);
    }
}

void exchange_problem(struct exchange *x, enum err err, const char *detail, const struct http_header *extra, bool close) {
    struct http_loop *l = x->r.conn->loop;
    struct problem p = {.err = err, .detail = str_of(detail)};
    struct buf body = {0};
    http_clear_headers(&x->r);
    l->handler.problem(l->handler.arg, &x->r, &p, &body);
    if (extra) {
        http_add(&x->r, extra->name, extra->value);
    }
    http_respond(&x->r, err_status(err), &body, close);
    buf_fini(&body);
}
