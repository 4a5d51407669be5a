#include "base/sse.h"

void sse_fini(struct sse *s) {
    buf_fini(&s->line);
    buf_fini(&s->name);
    buf_fini(&s->data);
    buf_fini(&s->id);
    buf_fini(&s->cursor);
}

static void buf_set(struct buf *b, struct str value) {
    buf_clear(b);
    buf_str(b, value);
}

void sse_set_cursor(struct sse *s, struct str cursor) {
    buf_set(&s->cursor, cursor);
    buf_set(&s->id, cursor);
}

void sse_restart(struct sse *s) {
    buf_clear(&s->line);
    buf_clear(&s->name);
    buf_clear(&s->data);
    buf_set(&s->id, buf_view(&s->cursor));
    s->skip_newline = s->begun = s->has_data = false;
}

/* Digits alone count; a day is the most. */
static void retry_read(struct sse *s, struct str value) {
    int64_t ms = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.p[i] < '0' || value.p[i] > '9') {
            return;
        }
        ms = ms * 10 + (value.p[i] - '0');
        ms = ms > 86400000 ? 86400000 : ms;
    }
    s->retry_ms = value.len ? ms : s->retry_ms;
}

static void field_read(struct sse *s, struct str name, struct str value) {
    if (str_eqz(name, "data")) {
        if (s->has_data) {
            buf_char(&s->data, '\n');
        }
        s->has_data = true;
        buf_str(&s->data, value);
    } else if (str_eqz(name, "event")) {
        buf_set(&s->name, value);
    } else if (str_eqz(name, "id") && !(value.len && memchr(value.p, 0, value.len))) {
        buf_set(&s->id, value);
    } else if (str_eqz(name, "retry")) {
        retry_read(s, value);
    }
}

static bool any_failed(const struct sse *s) {
    return s->line.failed || s->name.failed || s->data.failed || s->id.failed || s->cursor.failed;
}

/* An empty line ends a block. */
static enum sse_result block_end(struct sse *s) {
    if (any_failed(s)) {
        return SSE_NO_MEMORY;
    }
    bool go_on = true, has_data = s->has_data;
    if (!buf_reserve(&s->cursor, s->id.len)) {
        s->cursor.failed = false; /* what it holds is still where to go on from */
        return SSE_NO_MEMORY;
    }
    buf_set(&s->cursor, buf_view(&s->id));
    s->has_data = false;
    if (has_data) {
        go_on = s->event(s->arg, s->name.len ? buf_view(&s->name) : STR("message"), buf_view(&s->data));
    }
    buf_clear(&s->name);
    buf_clear(&s->data);
    return go_on ? SSE_OK : SSE_STOPPED;
}

static enum sse_result line_end(struct sse *s) {
    struct str line = buf_view(&s->line);
    if (!s->begun && str_starts(line, "\xef\xbb\xbf")) {
        line = str_from(line, 3);
    }
    s->begun = true;
    if (line.len == 0) {
        return block_end(s);
    }
    const char *colon = memchr(line.p, ':', line.len);
    size_t name_len = colon ? (size_t) (colon - line.p) : line.len;
    struct str value = colon ? str_from(line, name_len + 1) : STR("");
    if (name_len) {
        field_read(s, str_n(line.p, name_len), str_starts(value, " ") ? str_from(value, 1) : value);
    }
    return any_failed(s) ? SSE_NO_MEMORY : SSE_OK;
}

enum sse_result sse_feed(struct sse *s, struct str piece) {
    while (piece.len) {
        if (s->skip_newline && piece.p[0] == '\n') {
            piece = str_from(piece, 1);
        }
        s->skip_newline = false;
        size_t n = 0;
        while (n < piece.len && piece.p[n] != '\n' && piece.p[n] != '\r') {
            n++;
        }
        buf_put(&s->line, piece.p, n);
        if (s->line.failed) {
            return SSE_NO_MEMORY;
        }
        if (s->line.len + s->data.len > SSE_EVENT_MAX) {
            return SSE_TOO_LARGE;
        }
        if (n == piece.len) {
            break;
        }
        s->skip_newline = piece.p[n] == '\r';
        piece = str_from(piece, n + 1);
        enum sse_result result = line_end(s);
        buf_clear(&s->line);
        if (result != SSE_OK) {
            return result;
        }
    }
    return SSE_OK;
}
