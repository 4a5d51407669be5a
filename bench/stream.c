#include "stream.h"

#include "base/mem.h"

#include <endian.h>
#include <errno.h>
#include <sys/epoll.h>

/* ---- what has been seen ---- */

static struct seen *seen_place(const struct stream *s, const char *id) {
    uint64_t hash;
    memcpy(&hash, id + TASK_ID_BYTES - 8, 8);
    hash *= 0x9e3779b97f4a7c15u;
    unsigned mask = s->seen_cap - 1, i = (unsigned) (hash >> 40) & mask;
    while (s->seen[i].id[0] && memcmp(s->seen[i].id, id, TASK_ID_BYTES) != 0) {
        i = (i + 1) & mask;
    }
    return &s->seen[i];
}

static void seen_grow(struct stream *s) {
    struct seen *old = s->seen;
    unsigned cap = s->seen_cap;
    s->seen_cap = cap ? cap * 2 : 2;
    s->seen = mem_alloc(s->seen_cap * sizeof *s->seen);
    for (unsigned i = 0; i < cap; i++) {
        if (old[i].id[0]) {
            *seen_place(s, old[i].id) = old[i];
        }
    }
    mem_free(old);
}

static struct seen *seen_of(struct stream *s, const char *id) {
    if ((s->seen_count + 1) * 4 > s->seen_cap * 3) {
        seen_grow(s);
    }
    struct seen *seen = seen_place(s, id);
    if (!seen->id[0]) {
        memcpy(seen->id, id, TASK_ID_BYTES);
        s->seen_count++;
    }
    return seen;
}

const struct seen *stream_seen(const struct stream *s, const char *id) {
    const struct seen *seen = s->seen_cap ? seen_place(s, id) : NULL;
    return seen && seen->id[0] ? seen : NULL;
}

/* ---- events ---- */

static bool state_is_final(struct str state) {
    return str_starts(state, "succeeded\"") || str_starts(state, "failed\"") || str_starts(state, "cancelled\"");
}

static void check_task(struct stream *s, struct str data, struct str text) {
    struct str id = text_behind(data, "\"task\":{\"id\":\""), version_text = text_behind(data, "\"version\":");
    uint64_t seq = text_number(text_behind(data, "\"seq\":")), version = text_number(version_text);
    const char *dash = strrchr(s->cursor, '-');
    if (id.len < TASK_ID_BYTES || !version_text.p) {
        fault("stream %u: not a task: %.*s", s->number, (int) (data.len < 200 ? data.len : 200), data.p);
        return;
    }
    if (seq <= s->seq || !dash || text_number(str_of(dash + 1)) != seq || version != seq) {
        fault("stream %u: after %llu came seq %llu, version %llu, id %s", s->number, (unsigned long long) s->seq, (unsigned long long) seq,
              (unsigned long long) version, s->cursor);
    }
    struct seen *seen = seen_of(s, id.p);
    if (seen->ended || version <= seen->version) {
        fault("stream %u: task %.30s again, version %llu after %llu", s->number, id.p, (unsigned long long) version,
              (unsigned long long) seen->version);
    }
    s->seq = seq;
    seen->version = version;
    seen->ended = state_is_final(text_behind(data, "\"state\":\""));
    s->events++;
    if (s->on_event) {
        s->on_event(s, seen, text);
    }
}

static void check_plain(struct stream *s, struct str data, struct str text) {
    uint64_t seq = text_number(text_behind(data, "\"seq\":"));
    if (seq != s->seq + 1) {
        fault("stream %u: %llu came after %llu", s->number, (unsigned long long) seq, (unsigned long long) s->seq);
    }
    s->seq = seq;
    s->events++;
    if (s->on_event) {
        s->on_event(s, NULL, text);
    }
}

static void event_take(struct stream *s, struct str event, struct str data, struct str text) {
    if (s->way == STREAM_PLAIN) {
        check_plain(s, data, text);
    } else if (str_eqz(event, "task")) {
        check_task(s, data, text);
    } else if (str_eqz(event, "live") && !s->live) {
        s->live = true;
        s->snapshot = s->events;
    } else {
        fault("stream %u: unexpected event %.*s: %.*s", s->number, STR_FMT(event), (int) (data.len < 100 ? data.len : 100), data.p ? data.p : "");
    }
}

static void cursor_take(struct stream *s, struct str id) {
    if (id.len < sizeof s->cursor) {
        memcpy(s->cursor, id.p, id.len);
        s->cursor[id.len] = 0;
    } else {
        fault("stream %u: an id of %zu bytes", s->number, id.len);
    }
}

/* One block of lines. */
static void block_take(struct stream *s, struct str block) {
    struct str event = STR_NONE, data = STR_NONE, rest = block;
    while (rest.len) {
        const char *end = memchr(rest.p, '\n', rest.len);
        struct str line = str_n(rest.p, end ? (size_t) (end - rest.p) : rest.len);
        rest = str_from(rest, line.len + 1);
        if (str_starts(line, "data: ")) {
            data = str_from(line, 6);
        } else if (str_starts(line, "event: ")) {
            event = str_from(line, 7);
        } else if (str_starts(line, "id: ")) {
            cursor_take(s, str_from(line, 4));
        }
    }
    if (data.p) {
        event_take(s, event, data, block);
    }
}

static size_t sse_step(struct stream *s, struct str in) {
    struct str rest = text_behind(in, "\n\n");
    if (!rest.p) {
        return 0;
    }
    size_t used = (size_t) (rest.p - in.p);
    block_take(s, str_n(in.p, used));
    return used;
}

/* ---- WebSocket ---- */

enum { WS_TEXT = 1, WS_PING = 9, WS_PONG = 10 };

static void message_take(struct stream *s, struct str text) {
    struct str id = text_behind(text, "{\"id\":\""), event = text_behind(text, "\"event\":\""), data = text_behind(text, "\"data\":");
    const char *id_end = id.p ? memchr(id.p, '"', id.len) : NULL, *event_end = event.p ? memchr(event.p, '"', event.len) : NULL;
    if (!id_end || !event_end || !data.p) {
        fault("stream %u: not a message: %.*s", s->number, (int) (text.len < 100 ? text.len : 100), text.p);
        return;
    }
    cursor_take(s, str_n(id.p, (size_t) (id_end - id.p)));
    event_take(s, str_n(event.p, (size_t) (event_end - event.p)), data, text);
}

static void ping_take(struct stream *s, struct str text) {
    if (text.len < 126) {
        char head[6] = {(char) (0x80 | WS_PONG), (char) (0x80 | text.len), 0, 0, 0, 0}; /* a mask of zeros */
        buf_put(&s->out, head, sizeof head);
        buf_str(&s->out, text);
    }
}

static size_t websocket_step(struct stream *s, struct str in) {
    const uint8_t *p = (const uint8_t *) in.p;
    size_t head = 2, len = in.len >= 2 ? p[1] & 127 : 0;
    if (in.len < 2 || (len == 126 && in.len < 4) || (len == 127 && in.len < 10)) {
        return 0;
    }
    if (len == 126) {
        len = (size_t) p[2] << 8 | p[3];
        head = 4;
    } else if (len == 127) {
        uint64_t large;
        memcpy(&large, p + 2, 8);
        len = (size_t) be64toh(large);
        head = 10;
    }
    if (in.len < head + len) {
        return 0;
    }
    struct str text = str_n(in.p + head, len);
    if (p[0] == (0x80 | WS_TEXT)) {
        message_take(s, text);
    } else if (p[0] == (0x80 | WS_PING)) {
        ping_take(s, text);
    } else {
        fault("stream %u: a WebSocket frame that begins with %02x", s->number, p[0]);
    }
    return head + len;
}

/* ---- input ---- */

static size_t head_step(struct stream *s, struct str in) {
    struct str rest = text_behind(in, "\r\n\r\n");
    if (!rest.p) {
        return 0;
    }
    struct str head = str_n(in.p, (size_t) (rest.p - in.p));
    unsigned status = head.len > 12 ? (unsigned) text_number(str_from(head, 9)) : 0;
    if (status != s->expected_status || text_behind(head, "chunked").p) {
        die("stream %u was answered with %.*s", s->number, (int) (in.len < 600 ? in.len : 600), in.p);
    }
    s->headed = true;
    return head.len;
}

static size_t stream_step(struct stream *s, struct str in) {
    return !s->headed ? head_step(s, in) : s->way == STREAM_WEBSOCKET ? websocket_step(s, in) : sse_step(s, in);
}

static size_t stream_parse(struct stream *s, struct str in) {
    size_t used = 0, n;
    while (used < in.len && (n = stream_step(s, str_from(in, used))) > 0) {
        used += n;
    }
    return used;
}

static void stream_input(struct stream *s, const char *data, size_t len) {
    if (s->in.len) {
        buf_put(&s->in, data, len);
        buf_drop_front(&s->in, stream_parse(s, buf_view(&s->in)));
        if (!s->in.len) {
            buf_fini(&s->in);
        }
    } else {
        size_t used = stream_parse(s, str_n(data, len));
        buf_put(&s->in, data + used, len - used);
    }
}

static void stream_ready(struct io *io, uint32_t events) {
    struct stream *s = (struct stream *) io;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        const char *data;
        ssize_t n = io_read(io, &data);
        if (n < 0) {
            fault("stream %u ended", s->number);
            io_close(io, true);
            return;
        }
        stream_input(s, data, (size_t) n);
    }
    if (!io_send(io, &s->out)) {
        die("send: %s", strerror(errno));
    }
    if (!s->out.len) {
        buf_fini(&s->out);
    }
    io_arm(io, s->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* ---- opening ---- */

void stream_open(struct stream *s, const struct target *target, unsigned number, enum stream_way way, const char *path, const char *token,
                 bool resume) {
    s->io = (struct io){.ready = stream_ready};
    s->target = target;
    s->number = number;
    s->way = (uint8_t) way;
    s->headed = s->live = false;
    s->expected_status = way == STREAM_WEBSOCKET ? 101 : 200;
    buf_printf(&s->out, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, target->host);
    if (token) {
        buf_printf(&s->out, "Authorization: Bearer %s\r\n", token);
    }
    if (resume) {
        buf_printf(&s->out, "Last-Event-ID: %s\r\n", s->cursor);
    }
    buf_puts(&s->out, way == STREAM_WEBSOCKET ? "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                                "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: bowline.v1\r\n\r\n"
                                              : "Accept: text/event-stream\r\n\r\n");
    io_connect(&s->io, target, number);
}

bool stream_is_live(const struct stream *s) {
    return s->way == STREAM_PLAIN ? s->headed : s->live;
}

void stream_close(struct stream *s, bool reset) {
    io_close(&s->io, reset);
    buf_fini(&s->in);
    buf_fini(&s->out);
}

void stream_fini(struct stream *s) {
    stream_close(s, true);
    mem_free(s->seen);
}

/* Opens as many as may be on the way; true when all are live. */
static bool group_step(void *arg) {
    struct stream_group *g = ((void **) arg)[0];
    unsigned at_once = *(unsigned *) ((void **) arg)[1];
    while (g->live < g->begun && stream_is_live(&g->streams[g->live])) {
        g->live++;
    }
    while (g->begun < g->count && g->begun < g->live + at_once) {
        g->open(g, g->begun++);
    }
    return g->live == g->count;
}

void stream_group_open(struct stream_group *g, unsigned at_once) {
    void *arg[] = {g, &at_once};
    g->begun = g->live = 0;
    poller_until(group_step, arg, 20, "opening streams");
}
