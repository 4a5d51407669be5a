/*
 * stream_reports.c: reports as lines (application/x-ndjson), in and out. Lines that arrive together travel together, in one command; each is applied and refused by itself.
 * Answers leave in the order of the lines. At most LINES_MAX lines and LINES_BYTES bytes are under way: then the socket is not read. The stream ends when the body
 * has ended and every line is answered, or at a refusal that ends it. A body that breaks off has a last line of its own, which says why.
 */
#include "api/internal.h"

#include "base/mem.h"

#define LINES_MAX 512 /* under way */
#define LINES_TOGETHER 128
#define LINES_BYTES (16 * 1024 * 1024)
#define LINES_TOGETHER_BYTES (256 * 1024) /* or one line */
#define UNSENT_MAX (256 * 1024)
#define UNSENT_LOOK_MS 20

/* Lines that travel together. */
struct lines {
    struct owner owner;
    struct report_stream *stream;
    struct cmd *cmd; /* with the engine; NULL once answered */
    unsigned count;
    size_t bytes;
    struct buf answer; /* their lines */
    bool ends;
    TAILQ_ENTRY(lines) link; /* stream.under_way */
};

struct report_stream {
    struct call *call;
    TAILQ_HEAD(, lines) under_way; /* not yet written, in order */
    unsigned line_count;
    size_t line_bytes;
    struct buf input;         /* from input_at on: not yet a line */
    size_t input_at, scanned; /* scanned: no line end between input_at and there */
    bool skipping;            /* the rest of a line that was too long */
    bool opened, ended, paused, many, pumping;
    struct problem broken; /* why the body did not come to its end */
    struct id task;
    struct timer look; /* while the peer does not read its answers */
};

static void stream_pump(struct report_stream *s);

void stream_open(struct call *call) {
    struct report_stream *s = mem_alloc(sizeof *s);
    s->call = call;
    s->many = call->route->read == READ_LINES;
    if (call->match.task.p && !id_parse(call->match.task, ID_TASK, &s->task)) {
        s->many = false; /* refused before any line is looked at */
    }
    TAILQ_INIT(&s->under_way);
    call->stream = s;
}

static void lines_free(struct report_stream *s, struct lines *lines) {
    TAILQ_REMOVE(&s->under_way, lines, link);
    s->line_count -= lines->count;
    s->line_bytes -= lines->bytes;
    if (lines->cmd) {
        api_abandon(s->call->api, lines->cmd);
    }
    buf_fini(&lines->answer);
    mem_free(lines);
}

void stream_gone(struct call *call) {
    struct report_stream *s = call->stream;
    if (!s) {
        return;
    }
    while (!TAILQ_EMPTY(&s->under_way)) {
        lines_free(s, TAILQ_FIRST(&s->under_way));
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
    struct buf line = {0};
    if (s->broken.err != ERR_NONE) {
        problem_render(&s->broken, &line);
        buf_char(&line, '\n');
        http_write(call->r, line.failed ? STR("") : buf_view(&line));
        buf_fini(&line);
    }
    stream_gone(call);
    http_finish(call->r);
}

/* ---- out ---- */

static bool stream_answers(const struct report_stream *s) {
    return !TAILQ_EMPTY(&s->under_way) && !TAILQ_FIRST(&s->under_way)->cmd;
}

/* Writes the answers whose turn it is. True if the stream came to its end by one of them. */
static bool answers_write(struct report_stream *s) {
    bool ends = false;
    while (stream_answers(s) && !ends) {
        struct lines *lines = TAILQ_FIRST(&s->under_way);
        ends = lines->ends || lines->answer.failed;
        if (!lines->answer.failed) {
            http_write(s->call->r, buf_view(&lines->answer));
        }
        lines_free(s, lines);
    }
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

static struct lines *lines_create(struct report_stream *s) {
    struct lines *lines = mem_alloc(sizeof *lines);
    lines->owner.kind = OWNER_LINES;
    lines->stream = s;
    TAILQ_INSERT_TAIL(&s->under_way, lines, link);
    struct cmd *c = call_command(s->call, CMD_REPORT_LINES);
    if (c) {
        c->owner = &lines->owner;
        c->line_cred = c->cred;
        c->lines_of_many = s->many;
        c->stream = s;
        c->lines = arena_alloc(&c->arena, LINES_TOGETHER * sizeof *c->lines);
    }
    if (c && !c->lines) {
        cmd_free(c);
        c = NULL;
    }
    lines->cmd = c;
    return lines;
}

static void lines_count(struct lines *lines, size_t bytes) {
    lines->count++;
    lines->bytes += bytes;
    lines->stream->line_count++;
    lines->stream->line_bytes += bytes;
}

static struct str refusal(struct cmd *c, const struct problem *p) {
    struct buf text = {0};
    problem_render(p, &text);
    struct str kept = text.failed ? STR_NONE : arena_str(&c->arena, buf_view(&text));
    buf_fini(&text);
    return kept.p ? kept
                  : STR("{\"type\":\"urn:bowline:problem:unavailable\",\"title\":\"The server cannot do this now\",\"status\":503,\"detail\":\"There "
                        "is no "
                        "memory for this answer\",\"code\":\"unavailable\"}");
}

/* Texts that lie in the line itself, or are literals, live long enough. */
static void keep_text(struct arena *arena, struct str line, struct str *text, bool *ok) {
    if (text->len && (text->p < line.p || text->p >= line.p + line.len)) {
        *text = arena_str(arena, *text);
        *ok &= text->p != NULL;
    }
}

static struct report *report_keep(struct arena *arena, struct str line, const struct report *from) {
    struct report *r = arena_alloc(arena, sizeof *r);
    bool ok = r != NULL;
    if (r) {
        *r = *from;
        struct str *texts[] = {&r->phase,  &r->unit,   &r->message,    &r->progress_data, &r->data,        &r->prompt,
                               &r->schema, &r->result, &r->error_type, &r->error_message, &r->error_detail};
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            keep_text(arena, line, texts[i], &ok);
        }
    }
    return ok ? r : NULL;
}

/* The command in which lines are decoded, one after the other. */
static struct cmd *line_blank(struct api *a) {
    if (!a->line) {
        a->line = cmd_create(CMD_TASK_REPORT, a->loop_index);
    }
    if (a->line) {
        arena_reset(&a->line->arena);
        if (a->line->early.err != ERR_NONE) {
            a->line->early = (struct problem){0};
        }
        a->line->cred.kind = CRED_NONE;
        a->line->reports = NULL;
        a->line->report_count = 0;
        a->line->reports_pointer = STR_NONE;
    }
    return a->line;
}

static void line_decode(struct report_stream *s, struct cmd *c, struct str text, struct report_line *ret) {
    static const struct problem no_memory = {.err = ERR_UNAVAILABLE, .retry_after_s = 1};
    const struct api_shared *shared = s->call->api->shared;
    struct decode_env env = {shared->options, shared->keys, &shared->config->kinds};
    struct cmd *d = line_blank(s->call->api);
    text = arena_str(&c->arena, text);
    if (!d || !text.p) {
        ret->refusal = refusal(c, &no_memory);
        return;
    }
    d->body = text;
    d->task = s->task;
    decode_body(d, s->many ? BODY_REPORT_LINE : BODY_REPORTS, &env);
    if (d->early.err == ERR_NONE && d->report_count != 1) {
        d->early = (struct problem){.err = ERR_INVALID_REQUEST, .detail = STR("A line must be one report")};
    }
    ret->report = d->early.err == ERR_NONE ? report_keep(&c->arena, text, d->reports) : NULL;
    if (!ret->report) {
        ret->refusal = refusal(c, d->early.err != ERR_NONE ? &d->early : &no_memory);
    }
    ret->task = d->task;
    ret->has_token = d->cred.kind == CRED_WORKER;
    ret->token_task = d->cred.id;
    ret->token_attempt = d->cred.gen;
}

static void line_add(struct report_stream *s, struct lines *lines, struct str text) {
    text = str_trim(text);
    if (text.len) {
        lines_count(lines, text.len);
        if (lines->cmd) {
            line_decode(s, lines->cmd, text, &lines->cmd->lines[lines->cmd->line_count++]);
        }
    }
}

static void line_too_long(struct report_stream *s, struct lines *lines) {
    static const struct problem p = {.err = ERR_TOO_LARGE, .detail = STR("The line is longer than a body may be")};
    lines_count(lines, 0);
    if (lines->cmd) {
        lines->cmd->lines[lines->cmd->line_count++].refusal = refusal(lines->cmd, &p);
    }
    s->skipping = true;
}

/* The same for each of them. */
static void lines_refuse(struct lines *lines, const struct problem *p) {
    for (unsigned i = 0; i < lines->count; i++) {
        problem_render(p, &lines->answer);
        buf_char(&lines->answer, '\n');
    }
}

static void lines_send(struct report_stream *s, struct lines *lines) {
    static const struct problem no_memory = {.err = ERR_UNAVAILABLE, .retry_after_s = 1};
    if (!lines->count) {
        cmd_free(lines->cmd);
        lines->cmd = NULL;
        lines_free(s, lines);
    } else if (!lines->cmd) {
        lines_refuse(lines, &no_memory);
    } else {
        api_submit(s->call->api, lines->cmd);
    }
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

/* Is there a whole line, or what is left when the body has ended? */
static bool line_waits(struct report_stream *s) {
    struct str rest = str_from(buf_view(&s->input), s->input_at);
    struct str fresh = str_from(rest, s->scanned);
    bool waits = (fresh.len && memchr(fresh.p, '\n', fresh.len)) || (s->ended && rest.len);
    s->scanned = waits ? s->scanned : rest.len;
    return waits;
}

/* Takes lines until these are enough or there are no more whole ones. */
static void lines_fill(struct report_stream *s, struct lines *lines) {
    size_t most = (size_t) s->call->api->shared->options->max_body;
    struct str text;
    while (lines->count < LINES_TOGETHER && lines->bytes < LINES_TOGETHER_BYTES && !stream_full(s) && line_next(s, &text)) {
        if (s->skipping) {
            s->skipping = false;
        } else if (text.len > most) {
            line_too_long(s, lines);
            s->skipping = false;
        } else {
            line_add(s, lines, text);
        }
    }
}

static void lines_take(struct report_stream *s) {
    size_t most = (size_t) s->call->api->shared->options->max_body;
    while (!stream_full(s) && line_waits(s)) {
        struct lines *lines = lines_create(s);
        lines_fill(s, lines);
        lines_send(s, lines);
    }
    if (s->scanned > most && s->scanned == s->input.len - s->input_at) { /* no end in sight */
        if (!s->skipping) {
            struct lines *lines = lines_create(s);
            line_too_long(s, lines);
            lines_send(s, lines);
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
        ends = answers_write(s);
        unsent = http_unsent(call->r) > UNSENT_MAX;
        if (!ends && !unsent) {
            lines_take(s);
        }
    } while (!ends && stream_answers(s) && !unsent);
    s->pumping = false;
    if (ends) {
        s->broken.err = ERR_NONE; /* the refusal was its last line */
    }
    if (ends || s->input.failed || (s->ended && !s->input.len && TAILQ_EMPTY(&s->under_way))) {
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
        call_refuse(call, &a->problem);
        return;
    }
    headers_stream(call);
    bool named_else = accept_of(call->r, "application", "x-ndjson").q <= 0 && accept_of(call->r, "application", "ndjson").q > 0;
    http_add(call->r, STR("Content-Type"), named_else ? STR("application/ndjson") : STR("application/x-ndjson"));
    http_start(call->r, 200);
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

/* A line whose end has not come does not count. */
void stream_broken(struct call *call, const struct problem *p) {
    struct report_stream *s = call->stream;
    struct str rest = str_from(buf_view(&s->input), s->input_at);
    const char *end = rest.len ? memrchr(rest.p, '\n', rest.len) : NULL;
    s->input.len = s->input_at + (end ? (size_t) (end - rest.p) + 1 : 0);
    s->scanned = end ? s->scanned : 0;
    s->ended = true;
    s->broken = *p;
    stream_pump(s);
}

/* ---- answers ---- */

void stream_answered(struct lines *lines, struct cmd *c) {
    struct answer *a = &c->answer;
    lines->cmd = NULL;
    if (a->type == ANSWER_PROBLEM) {
        lines_refuse(lines, &a->problem);
    } else {
        lines->answer = a->body;
        a->body = (struct buf){0};
        lines->ends = a->ends_stream;
    }
    stream_pump(lines->stream);
}
