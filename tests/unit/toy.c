#include "toy.h"

#include "base/mem.h"
#include "net/conn.h"
#include "net/loop.h"
#include "unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the protocol ---- */

struct toy_stream {
    struct stream s; /* first */
    unsigned number;
    size_t window;
    bool headed, over, told_end;
    struct buf head;
};

struct toy {
    struct buf out;
    size_t sent;
    struct toy_stream *next; /* whose turn it is */
    bool closed;
};

static struct toy *toy_of(const struct http_conn *c) {
    return c->speaks;
}

static struct toy_stream *of(struct stream *s) {
    return (struct toy_stream *) s;
}

static void put_frame(struct buf *out, char type, unsigned stream, const char *payload, size_t len) {
    const char head[4] = {type, (char) stream, (char) (len >> 8), (char) len};
    buf_put(out, head, 4);
    buf_put(out, payload, len);
}

static bool toy_open(struct http_conn *c) {
    c->speaks = mem_alloc(sizeof(struct toy));
    return true;
}

static void toy_end(struct toy_stream *t) {
    struct toy *toy = toy_of(t->s.conn);
    toy->next = toy->next == t ? NULL : toy->next;
    buf_fini(&t->head);
    stream_leave(&t->s);
    mem_free(t);
}

static void toy_fini(struct http_conn *c) {
    while (!TAILQ_EMPTY(&c->streams)) {
        toy_end(of(TAILQ_FIRST(&c->streams)));
    }
    buf_fini(&toy_of(c)->out);
    mem_free(c->speaks);
}

static struct str take_line(struct str *text) {
    const char *lf = memchr(text->p, '\n', text->len);
    assert_non_null(lf);
    struct str line = str_n(text->p, (size_t) (lf - text->p));
    *text = str_from(*text, line.len + 1);
    return line;
}

static void read_header(struct http_request *r, struct str line) {
    const char *colon = memchr(line.p, ':', line.len);
    assert_non_null(colon);
    struct http_header h = {str_n(line.p, (size_t) (colon - line.p)), str_from(line, (size_t) (colon - line.p) + 2)};
    r->headers[r->header_count++] = h;
    r->host = str_ieqz(h.name, "host") ? h.value : r->host;
}

static void fill(struct http_request *r, struct str text) {
    text = arena_str(&r->arena, text);
    struct str line = take_line(&text);
    r->method_text = str_n(line.p, (size_t) ((const char *) memchr(line.p, ' ', line.len) - line.p));
    r->method = str_eqz(r->method_text, "GET") ? HTTP_GET : HTTP_POST;
    r->path = str_from(line, r->method_text.len + 1);
    r->host = STR("localhost");
    r->headers = arena_alloc(&r->arena, 10 * sizeof(*r->headers));
    while (text.len) {
        read_header(r, take_line(&text));
    }
}

static struct toy_stream *find(struct http_conn *c, unsigned number) {
    struct stream *s;
    TAILQ_FOREACH (s, &c->streams, link) {
        if (of(s)->number == number) {
            return of(s);
        }
    }
    return NULL;
}

static void begin(struct http_conn *c, unsigned number, struct str head) {
    struct toy_stream *t = mem_alloc(sizeof(*t));
    t->number = number;
    t->window = TOY_WINDOW;
    stream_begin(&t->s, c);
    fill(t->s.r, head);
    enum http_body how = stream_head(&t->s);
    if (t->s.r) {
        request_state(t->s.r)->stream_body = how == HTTP_BODY_STREAM;
    }
}

static void on_frame(struct http_conn *c, char type, unsigned number, struct str payload) {
    struct toy_stream *t = find(c, number);
    const unsigned char *p = (const unsigned char *) payload.p;
    if (type == 'H') {
        begin(c, number, payload);
    } else if (!t) {
        return; /* it has ended */
    } else if (type == 'B' && t->s.reply != REPLY_COMPLETE) {
        assert_int_equal(stream_arrived(&t->s, payload), BODY_GOOD);
    } else if (type == 'E' && t->s.reply != REPLY_COMPLETE) {
        assert_int_equal(stream_complete(&t->s), BODY_GOOD);
    } else if (type == 'W') {
        t->window += (size_t) p[0] << 24 | (size_t) p[1] << 16 | (size_t) p[2] << 8 | p[3];
        conn_mark(c);
    }
}

static size_t toy_input(struct http_conn *c, const char *data, size_t len) {
    size_t used = 0;
    while (c->state == CONN_OPEN && len - used >= 4) {
        const unsigned char *p = (const unsigned char *) data + used;
        size_t payload = (size_t) p[2] << 8 | p[3];
        if (len - used < 4 + payload) {
            break;
        }
        c->newcomer = false;
        used += 4 + payload;
        on_frame(c, (char) p[0], p[1], str_n((const char *) p + 4, payload));
    }
    return used;
}

static void toy_ended(struct http_conn *c) {
    toy_of(c)->closed = true;
}

static bool toy_wants_input(const struct http_conn *c) {
    return !c->eof;
}

/* The next frame of a stream into the buffer. False: it has none now. */
static bool produce_frame(struct toy *toy, struct toy_stream *t, struct gather *g) {
    struct iovec iov[BODY_PIECES_MIN];
    size_t room = t->window < TOY_FRAME ? t->window : TOY_FRAME;
    struct pull p = {.room = room, .iov = iov, .iov_room = BODY_PIECES_MIN, .notes = g->notes};
    if (t->head.len) {
        put_frame(&toy->out, 'h', t->number, t->head.data, t->head.len);
        buf_fini(&t->head);
        t->headed = true;
        return true;
    }
    if (!t->headed || t->told_end) {
        return false;
    }
    if (t->s.body && !t->over && room) {
        struct body *b = t->s.body;
        enum pulled pulled = b->kind->pull(b, &p);
        struct buf data = {0};
        for (unsigned i = 0; i < p.count; i++) {
            buf_put(&data, iov[i].iov_base, iov[i].iov_len);
        }
        assert_true(data.len == p.bytes && p.bytes <= room);
        if (p.bytes) {
            put_frame(&toy->out, 'd', t->number, data.data, data.len);
        }
        buf_fini(&data);
        t->window -= p.bytes;
        t->over = pulled == PULLED_END;
        b->kind->taken(b, &p, p.bytes);
        if (p.bytes) {
            return true;
        }
    }
    if (t->s.reply == REPLY_COMPLETE && (t->over || !t->s.body)) {
        put_frame(&toy->out, 'e', t->number, "", 0);
        return t->told_end = true;
    }
    return false;
}

/* One frame of each stream in turn, one frame in each write. */
static enum produced toy_produce(struct http_conn *c, struct gather *g) {
    struct toy *toy = toy_of(c);
    for (unsigned i = 0; toy->sent == toy->out.len && i < c->stream_count; i++) {
        struct toy_stream *t = toy->next ? toy->next : of(TAILQ_FIRST(&c->streams));
        toy->next = of(TAILQ_NEXT(&t->s, link));
        buf_clear(&toy->out);
        toy->sent = 0;
        produce_frame(toy, t, g);
    }
    if (toy->sent == toy->out.len) {
        return PRODUCED_NOTHING;
    }
    g->iov[g->count++] = (struct iovec){toy->out.data + toy->sent, toy->out.len - toy->sent};
    g->bytes = toy->out.len - toy->sent;
    g->more = true;
    return PRODUCED;
}

static void toy_sent(struct http_conn *c, struct gather *g, size_t bytes) {
    struct toy *toy = toy_of(c);
    struct stream *s, *next;
    (void) g;
    toy->sent += bytes;
    for (s = TAILQ_FIRST(&c->streams); s && toy->sent == toy->out.len; s = next) {
        next = TAILQ_NEXT(s, link);
        if (of(s)->told_end) {
            toy_end(of(s));
        }
    }
}

static enum phase toy_phase(const struct http_conn *c, int64_t *ret_since_ms) {
    *ret_since_ms = c->in_ms;
    return TAILQ_EMPTY(&c->streams) ? PHASE_IDLE : PHASE_BUSY;
}

static void toy_late(struct http_conn *c, enum phase phase) {
    (void) c;
    (void) phase;
}

static bool toy_idle(const struct http_conn *c) {
    return TAILQ_EMPTY(&c->streams);
}

static bool toy_closing(const struct http_conn *c) {
    const struct toy *toy = toy_of(c);
    return toy->closed && TAILQ_EMPTY(&c->streams) && toy->sent == toy->out.len;
}

static void toy_answer(struct stream *s, const struct answer_head *head) {
    struct toy_stream *t = of(s);
    const struct http_fields *f = &s->r->answer;
    buf_printf(&t->head, "%d\n", head->status);
    for (unsigned i = 0; i < f->count; i++) {
        buf_printf(&t->head, "%.*s: %.*s\n", STR_FMT(f->list[i].name), STR_FMT(f->list[i].value));
    }
}

static void toy_abort(struct stream *s) {
    struct http_conn *c = s->conn;
    struct toy *toy = toy_of(c);
    put_frame(&toy->out, 'x', of(s)->number, "", 0);
    toy_end(of(s));
    conn_mark(c);
}

const struct protocol toy_protocol = {
    .name = "toy",
    .open = toy_open,
    .fini = toy_fini,
    .input = toy_input,
    .ended = toy_ended,
    .wants_input = toy_wants_input,
    .produce = toy_produce,
    .sent = toy_sent,
    .phase = toy_phase,
    .late = toy_late,
    .idle = toy_idle,
    .closing = toy_closing,
    .answer = toy_answer,
    .abort = toy_abort,
};

/* ---- the transport ---- */

atomic_int toy_stop_after = -1;

struct wire {
    char byte;          /* what it holds */
    bool refused_once;  /* this byte was offered, and has to be offered again */
    bool wrote_to_read; /* before the next read */
    bool stopped;       /* it has to read before it can write */
    int written;
};

static bool wire_open(struct transport *t) {
    t->state = mem_alloc(sizeof(struct wire));
    t->read_wants = TRANSPORT_READABLE;
    t->write_wants = TRANSPORT_WRITABLE;
    return true;
}

static ssize_t wire_read(struct transport *t, char *out, size_t len) {
    struct wire *w = t->state;
    char first;
    t->read_wants = TRANSPORT_READABLE;
    if (recv(t->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        return TRANSPORT_AGAIN;
    }
    if (!w->wrote_to_read) {
        w->wrote_to_read = true;
        t->read_wants = TRANSPORT_WRITABLE;
        return TRANSPORT_AGAIN;
    }
    w->wrote_to_read = false;
    return transport_plain.read(t, out, len);
}

/* The byte that it holds, to the wire; what stops it stands in write_wants. False: dead. */
static bool wire_push(struct transport *t) {
    struct wire *w = t->state;
    char sign;
    t->write_wants = TRANSPORT_WRITABLE;
    if (w->stopped) {
        if (recv(t->fd, &sign, 1, MSG_DONTWAIT) != 1 || sign != '!') {
            t->write_wants = TRANSPORT_READABLE;
            return true;
        }
        w->stopped = false;
    }
    w->refused_once = !w->refused_once;
    if (w->refused_once) {
        return true;
    }
    ssize_t n = send(t->fd, &w->byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) {
        return false;
    }
    t->holds = n != 1;
    w->written += n == 1;
    w->stopped = n == 1 && w->written == atomic_load(&toy_stop_after);
    return true;
}

static ssize_t wire_write(struct transport *t, const struct iovec *iov, unsigned count) {
    struct wire *w = t->state;
    ssize_t taken = 0;
    if (!t->holds && count) {
        assert_true(iov[0].iov_len > 0);
        w->byte = *(const char *) iov[0].iov_base;
        t->holds = true;
        taken = 1;
    }
    return !t->holds || wire_push(t) ? taken : TRANSPORT_DEAD;
}

static void wire_shutdown(struct transport *t) {
    assert_false(t->holds);
    socket_shutdown(t);
}

static void wire_close(struct transport *t) {
    mem_free(t->state);
    socket_close(t);
}

static int wire_unread(struct transport *t) {
    return socket_unread(t) + t->holds;
}

const struct transport_kind toy_transport = {
    .name = "toy",
    .open = wire_open,
    .read = wire_read,
    .write = wire_write,
    .shutdown = wire_shutdown,
    .unread = wire_unread,
    .failed = socket_failed,
    .prefer_fresh = socket_prefer_fresh,
    .close = wire_close,
};

/* ---- the client ---- */

void toy_send(struct toy_client *c, char type, unsigned stream, const char *payload, size_t len) {
    struct buf out = {0};
    put_frame(&out, type, stream, payload, len);
    assert_int_equal(send(c->fd, out.data, out.len, MSG_NOSIGNAL), out.len);
    buf_fini(&out);
}

void toy_text(struct toy_client *c, char type, unsigned stream, const char *text) {
    toy_send(c, type, stream, text, strlen(text));
}

void toy_window(struct toy_client *c, unsigned stream, unsigned more) {
    const char bytes[4] = {(char) (more >> 24), (char) (more >> 16), (char) (more >> 8), (char) more};
    toy_send(c, 'W', stream, bytes, 4);
}

static void see(struct toy_client *c, char type, unsigned stream, struct str payload) {
    struct toy_seen *seen = &c->seen[stream];
    assert_true(stream < TOY_STREAMS && !seen->ended);
    switch (type) {
    case 'h': buf_str(&seen->head, payload); break;
    case 'd':
        assert_true(payload.len <= TOY_FRAME);
        buf_str(&seen->body, payload);
        c->turns += c->last != (int) stream;
        c->last = (int) stream;
        seen->frames++;
        break;
    case 'e': seen->ended = true; break;
    case 'x': seen->ended = seen->broken = true; break;
    default: fail_msg("a frame of type %d", type);
    }
}

void toy_read(struct toy_client *c) {
    char piece[4096];
    ssize_t n = recv(c->fd, piece, sizeof(piece), 0);
    assert_true(n > 0);
    buf_put(&c->in, piece, (size_t) n);
    for (;;) {
        const unsigned char *p = (const unsigned char *) c->in.data;
        size_t len = c->in.len < 4 ? 0 : (size_t) p[2] << 8 | p[3];
        if (c->in.len < 4 + len) {
            return;
        }
        see(c, (char) p[0], p[1], str_n((const char *) p + 4, len));
        buf_drop_front(&c->in, 4 + len);
    }
}

void toy_expect(struct toy_client *c, unsigned stream, const char *text) {
    struct toy_seen *seen = &c->seen[stream];
    while (text ? !strstr(buf_z(&seen->body), text) : !seen->ended) {
        toy_read(c);
    }
}

void toy_close(struct toy_client *c) {
    close(c->fd);
    buf_fini(&c->in);
    for (unsigned i = 0; i < TOY_STREAMS; i++) {
        buf_fini(&c->seen[i].head);
        buf_fini(&c->seen[i].body);
    }
}
