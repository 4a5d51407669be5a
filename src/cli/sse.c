#include "cli/sse.h"

void sse_init(struct sse *s, bool (*event)(void *arg, struct str event, struct str data), void *arg) {
    *s = (struct sse){.event = event, .arg = arg, .retry_ms = -1};
}

void sse_fini(struct sse *s) {
    buf_fini(&s->line);
    buf_fini(&s->name);
    buf_fini(&s->data);
    buf_fini(&s->id);
    buf_fini(&s->last_id);
}

void sse_restart(struct sse *s) {
    buf_clear(&s->line);
    buf_clear(&s->name);
    buf_clear(&s->data);
    buf_clear(&s->id);
    buf_str(&s->id, buf_view(&s->last_id));
    s->after_cr = s->begun = s->has_data = false;
}

const char *sse_last_id(struct sse *s) {
    return s->last_id.len ? buf_z(&s->last_id) : NULL;
}

static void retry_set(struct sse *s, struct str value) {
    int64_t ms = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || ms > 86400000) {
            return;
        }
        ms = ms * 10 + (value.p[i] - '0');
    }
    if (value.len) {
        s->retry_ms = ms;
    }
}

static void field_take(struct sse *s, struct str name, struct str value) {
    if (str_eqz(name, "data")) {
        if (s->has_data) {
            buf_char(&s->data, '\n');
        }
        s->has_data = true;
        buf_str(&s->data, value);
    } else if (str_eqz(name, "event")) {
        buf_clear(&s->name);
        buf_str(&s->name, value);
    } else if (str_eqz(name, "id")) {
        if (!value.len || !memchr(value.p, 0, value.len)) {
            buf_clear(&s->id);
            buf_str(&s->id, value);
        }
    } else if (str_eqz(name, "retry")) {
        retry_set(s, value);
    }
}

/* An empty line: what has gathered is an event, if it has data. */
static bool event_end(struct sse *s) {
    buf_clear(&s->last_id);
    buf_str(&s->last_id, buf_view(&s->id));
    bool go_on = true;
    if (s->has_data) {
        go_on = s->event(s->arg, s->name.len ? buf_view(&s->name) : STR("message"), buf_view(&s->data));
    }
    buf_clear(&s->name);
    buf_clear(&s->data);
    s->has_data = false;
    return go_on;
}

static bool line_end(struct sse *s) {
    struct str line = buf_view(&s->line);
    bool go_on = true;
    if (!s->begun && str_starts(line, "\xef\xbb\xbf")) {
        line = str_from(line, 3);
    }
    s->begun = true;
    const char *colon = line.len ? memchr(line.p, ':', line.len) : NULL;
    if (line.len == 0) {
        go_on = event_end(s);
    } else if (!colon) {
        field_take(s, line, STR(""));
    } else if (colon != line.p) {
        struct str name = str_n(line.p, (size_t) (colon - line.p));
        struct str value = str_from(line, name.len + 1);
        field_take(s, name, str_starts(value, " ") ? str_from(value, 1) : value);
    }
    buf_clear(&s->line);
    return go_on;
}

bool sse_read(struct sse *s, struct str piece) {
    for (size_t i = 0; i < piece.len; i++) {
        char c = piece.p[i];
        bool second_half = c == '\n' && s->after_cr;
        s->after_cr = c == '\r';
        if (second_half) {
            continue;
        }
        if (c == '\r' || c == '\n') {
            if (!line_end(s)) {
                return false;
            }
            continue;
        }
        size_t run = i;
        while (run < piece.len && piece.p[run] != '\r' && piece.p[run] != '\n') {
            run++;
        }
        buf_put(&s->line, piece.p + i, run - i);
        i = run - 1;
    }
    return !s->line.failed && !s->data.failed && !s->id.failed && !s->last_id.failed && !s->name.failed;
}
