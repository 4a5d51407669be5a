/*
 * stream_reports.c: reports as lines (application/x-ndjson), in and out. Each line is a command of its own; answers leave in the order of the lines, each as soon as
 * it and all before it are there. At most LINES_MAX lines and LINES_BYTES bytes are under way: then the socket is not read. The stream ends when the body has
 * ended and every line is answered, or at a refusal that ends it.
 */
#include "api/internal.h"

#include "base/mem.h"

#include <stdlib.h>

#define LINES_MAX 256
#define LINES_BYTES (16 * 1024 * 1024)
#define UNSENT_MAX (256 * 1024)
#define UNSENT_LOOK_MS 20

struct line {
    struct owner owner;
    struct report_stream *stream;
    struct cmd *cmd; /* with the engine; NULL once answered */
    size_t bytes;
    struct buf answer; /* its line */
    bool ends;
    TAILQ_ENTRY(line) link; /* stream.lines */
};

struct report_stream {
    struct call *call;
    TAILQ_HEAD(, line) lines; /* not yet written, in order */
    unsigned line_count;
    size_t line_bytes;
    struct buf input;         /* from input_at on: not yet a line */
    size_t input_at, scanned; /* scanned: no line end between input_at and there */
    bool skipping;            /* the rest of a line that was too long */
    bool opened, ended, paused, many, pumping;
    struct id task;
    struct timer look; /* while the peer does not read its answers */
};

static void stream_pump(struct report_stream *s);

void stream_open(struct call *call) {
    struct report_stream *s = mem_alloc(sizeof *s);
    s->call = call;
    s->many = (call->route->flags & ROUTE_ONLY_NDJSON) != 0;
    if (call->match.task.p && !id_parse(call->match.task, ID_TASK, &s->task)) {
        s->many = false; /* refused before any line is looked at */
    }
    TAILQ_INIT(&s->lines);
    call->stream = s;
}

static void line_free(struct report_stream *s, struct line *line) {
    TAILQ_REMOVE(&s->lines, line, link);
    s->line_count--;
    s->line_bytes -= line->bytes;
    if (line->cmd) {
        api_abandon(s->call->api, line->cmd);
    }
    buf_fini(&line->answer);
    mem_free(line);
}

void stream_gone(struct call *call) {
    struct report_stream *s = call->stream;
    if (!s) {
        return;
    }
    while (!TAILQ_EMPTY(&s->lines)) {
        line_free(s, TAILQ_FIRST(&s->lines));
    }
    if (s->look.at_ms) {
        wheel_cancel(http_loop_wheel(call->api->loop), &s->look);
    }
    buf_fini(&s->input);
    mem_free(s);
    call->stream = NULL;
}

static void stream_finish(struct report_stream *s) {
    struct call *call = s->call;
    stream_gone(call);
    http_finish(call->r);
}

/* ---- out ---- */

/* Writes the answers whose turn it is. True if the stream came to its end by one of them. */
static bool lines_write(struct report_stream *s) {
    struct buf out = {0};
    bool ends = false;
    while (!TAILQ_EMPTY(&s->lines) && !TAILQ_FIRST(&s->lines)->cmd && !ends) {
        struct line *line = TAILQ_FIRST(&s->lines);
        buf_str(&out, buf_view(&line->answer));
        buf_char(&out, '\n');
        ends = line->ends || line->answer.failed || out.failed;
        line_free(s, line);
    }
    if (out.len && !out.failed) {
        http_write(s->call->r, buf_view(&out));
    }
    buf_fini(&out);
    return ends;
}

static void look_fired(struct timer *t, int64_t now_ms, void *arg) {
    (void) now_ms;
    (void) arg;
    stream_pump((struct report_stream *) ((char *) t - offsetof(struct report_stream, look)));
}

static bool stream_full(const struct report_stream *s) {
    return s->line_count >= LINES_MAX || s->line_bytes >= LINES_BYTES;
}

/* ---- in ---- */

static struct line *line_add(struct report_stream *s, size_t bytes) {
    struct line *line = mem_alloc(sizeof *line);
    line->owner.kind = OWNER_LINE;
    line->stream = s;
    line->bytes = bytes;
    s->line_count++;
    s->line_bytes += bytes;
    TAILQ_INSERT_TAIL(&s->lines, line, link);
    return line;
}

static void line_refuse(struct line *line, const struct problem *p) {
    problem_render(p, &line->answer);
}

static struct cmd *line_command(struct report_stream *s, struct str text) {
    const struct api_shared *shared = s->call->api->shared;
    struct decode_env env = {shared->options, shared->keys, &shared->config->kinds};
    struct cmd *c = call_command(s->call, CMD_TASK_REPORT);
    char *memory = c ? malloc(text.len) : NULL;
    if (!memory) {
        cmd_free(c);
        return NULL;
    }
    memcpy(memory, text.p, text.len);
    c->body_memory = memory;
    c->body = str_n(memory, text.len);
    c->task = s->task;
    c->wait_ms = CMD_NO_WAIT;
    decode_body(c, s->many ? BODY_REPORT_LINE : BODY_REPORTS, &env);
    if (c->early.err == ERR_NONE && c->report_count != 1) {
        c->early = (struct problem){.err = ERR_INVALID_REQUEST, .detail = STR("A line must be one report")};
    }
    return c;
}

static void line_read(struct report_stream *s, struct str text) {
    text = str_trim(text);
    if (text.len && text.p[text.len - 1] == '\r') {
        text.len--;
    }
    if (!text.len) {
        return;
    }
    struct line *line = line_add(s, text.len);
    struct cmd *c = line_command(s, text);
    if (!c) {
        struct problem p = {.err = ERR_UNAVAILABLE, .retry_after_s = 1};
        line_refuse(line, &p);
    } else if (c->early.err != ERR_NONE) {
        line_refuse(line, &c->early);
        cmd_free(c);
    } else {
        c->owner = &line->owner;
        line->cmd = c;
        api_submit(s->call->api, c);
    }
}

static void line_too_long(struct report_stream *s) {
    struct problem p = {.err = ERR_TOO_LARGE, .detail = STR("The line is longer than a body may be")};
    line_refuse(line_add(s, 0), &p);
    s->skipping = true;
}

/* The next whole line, or what is left when the body has ended. */
static bool line_next(struct report_stream *s, struct str *ret) {
    struct str rest = str_from(buf_view(&s->input), s->input_at);
    struct str fresh = str_from(rest, s->scanned);
    const char *end = fresh.len ? memchr(fresh.p, '\n', fresh.len) : NULL;
    if (!end && !(s->ended && rest.len)) {
        s->scanned = rest.len;
        return false;
    }
    *ret = end ? str_n(rest.p, (size_t) (end - rest.p)) : rest;
    s->input_at += ret->len + (end ? 1 : 0);
    s->scanned = 0;
    return true;
}

static void lines_take(struct report_stream *s) {
    size_t most = (size_t) s->call->api->shared->options->max_body;
    struct str text;
    while (!stream_full(s) && line_next(s, &text)) {
        if (s->skipping) {
            s->skipping = false;
        } else if (text.len > most) {
            line_too_long(s);
            s->skipping = false;
        } else {
            line_read(s, text);
        }
    }
    if (s->scanned > most && s->scanned == s->input.len - s->input_at) { /* no end in sight */
        if (!s->skipping) {
            line_too_long(s);
        }
        s->input_at = s->input.len;
        s->scanned = 0;
    }
    buf_drop_front(&s->input, s->input_at);
    s->input_at = 0;
}

/* Takes what there is room for, writes what is answered, and sees to it that reading stops and goes on. The stream may be gone afterwards. */
static void stream_pump(struct report_stream *s) {
    struct call *call = s->call;
    if (!s->opened || s->pumping) {
        return;
    }
    api_kick(call->api);
    s->pumping = true;
    bool ends = false, unsent;
    do {
        ends = lines_write(s);
        unsent = http_unsent(call->r) > UNSENT_MAX;
        if (!ends && !unsent) {
            lines_take(s);
        }
    } while (!ends && !TAILQ_EMPTY(&s->lines) && !TAILQ_FIRST(&s->lines)->cmd && !unsent);
    s->pumping = false;
    if (ends || s->input.failed || (s->ended && !s->input.len && TAILQ_EMPTY(&s->lines))) {
        stream_finish(s);
        return;
    }
    bool full = unsent || stream_full(s);
    if (unsent && !s->look.at_ms) {
        wheel_set(http_loop_wheel(call->api->loop), &s->look, http_loop_now(call->api->loop) + UNSENT_LOOK_MS, look_fired);
    }
    if (full && !s->paused) {
        s->paused = true;
        http_body_pause(call->r);
    } else if (!full && s->paused) {
        s->paused = false;
        http_body_resume(call->r);
    }
}

void stream_opened(struct call *call, struct answer *a) {
    struct report_stream *s = call->stream;
    if (a->type == ANSWER_PROBLEM) {
        stream_gone(call);
        call_refuse(call, &a->problem, NULL);
        return;
    }
    struct buf headers = {0};
    headers_common(call, &headers);
    buf_puts(&headers, "Content-Type: application/x-ndjson\r\n");
    http_start(call->r, 200, &headers);
    s->opened = true;
    stream_pump(s);
}

void stream_body(struct call *call, struct str piece) {
    struct report_stream *s = call->stream;
    if (!s) {
        return;
    }
    buf_str(&s->input, piece);
    if (!s->opened && !s->paused) {
        s->paused = true;
        http_body_pause(call->r);
    }
    stream_pump(s);
}

void stream_end(struct call *call) {
    struct report_stream *s = call->stream;
    s->ended = true;
    stream_pump(s);
}

/* ---- answers ---- */

void stream_answered(struct line *line, struct cmd *c) {
    struct report_stream *s = line->stream;
    struct problem *p = &c->answer.problem;
    line->cmd = NULL;
    if (c->answer.type == ANSWER_PROBLEM) {
        if (s->many && p->err == ERR_NOT_FOUND && !p->places) {
            problem_place(p, ERR_NOT_FOUND, STR("/task"), STR("does not exist here"));
        }
        line_refuse(line, p);
        line->ends = c->answer.ends_stream && !s->many;
    } else {
        buf_str(&line->answer, buf_view(&c->answer.body));
    }
    stream_pump(s);
}
