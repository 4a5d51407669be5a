#include "cli/show.h"

#include "cli/exit.h"
#include "cli/text.h"

#include <math.h>
#include <stdio.h>

#define ANSWER_DEPTH 1100
#define NAME_COLUMNS 14

/* ---- reading ---- */

int answer_parse(struct answer_json *j, const struct args *a, const struct client_reply *reply) {
    *j = (struct answer_json){0};
    struct json *root = NULL;
    struct json_error error;
    if (json_parse(&j->arena, buf_view(&reply->body), ANSWER_DEPTH, &root, &error) || root->type != JSON_OBJECT) {
        answer_fini(j);
        return args_fail(a, BOWLINE_EXIT_FAILED, "the answer (status %d) is not what a bowline server says: is the URL right?", reply->status);
    }
    j->root = root;
    return 0;
}

void answer_fini(struct answer_json *j) {
    arena_fini(&j->arena);
}

struct str member_text(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

double member_number_of(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_NUMBER ? v->num : NAN;
}

bool member_true(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_BOOL && v->boolean;
}

/* ---- rows ---- */

void show_row(struct buf *out, const char *name, struct str value) {
    buf_printf(out, "%-*s", NAME_COLUMNS, name);
    text_put_clean(out, value);
    buf_char(out, '\n');
}

static void show_text(const struct json *obj, const char *member, const char *name, struct buf *out) {
    struct str value = member_text(obj, member);
    if (value.p) {
        show_row(out, name, value);
    }
}

/* A value as the JSON it is, unless it says nothing. */
static void show_raw(const struct json *obj, const char *member, const char *name, struct buf *out) {
    const struct json *v = json_get(obj, member);
    if (v && v->type != JSON_NULL && !(v->type == JSON_OBJECT && !v->child)) {
        show_row(out, name, v->raw);
    }
}

static void show_flag(const struct json *obj, const char *member, const char *name, struct buf *out) {
    if (member_true(obj, member)) {
        show_row(out, name, STR("yes"));
    }
}

/* ---- sessions ---- */

static void show_tasks_of_session(const struct json *session, struct buf *out) {
    const struct json *tasks = json_get(session, "tasks");
    if (tasks) {
        buf_printf(out, "%-*s", NAME_COLUMNS, "tasks");
        text_put_number(out, member_number_of(tasks, "unfinished"));
        buf_puts(out, " unfinished, ");
        text_put_number(out, member_number_of(tasks, "ended"));
        buf_puts(out, " ended\n");
    }
}

void show_session(const struct json *session, struct buf *out) {
    show_text(session, "id", "session", out);
    show_text(session, "state", "state", out);
    show_text(session, "reason", "reason", out);
    show_text(session, "user", "user", out);
    show_text(session, "token", "token", out);
    show_tasks_of_session(session, out);
    show_text(session, "created_at", "created", out);
    show_text(session, "expires_at", "expires", out);
    show_text(session, "ended_at", "ended", out);
    show_raw(session, "metadata", "metadata", out);
}

/* ---- tasks ---- */

static void show_amount(const struct json *progress, struct buf *out) {
    double current = member_number_of(progress, "current"), total = member_number_of(progress, "total"), ratio = member_number_of(progress, "ratio");
    if (!isnan(current)) {
        text_put_number(out, current);
        if (!isnan(total)) {
            buf_puts(out, " / ");
            text_put_number(out, total);
        }
        struct str unit = member_text(progress, "unit");
        if (unit.len) {
            buf_char(out, ' ');
            text_put_clean(out, unit);
        }
    }
    if (!isnan(ratio)) {
        buf_printf(out, " (%d %%)", text_percent(ratio));
    }
}

void show_progress(const struct json *progress, struct buf *out) {
    struct str phase = member_text(progress, "phase");
    text_put_clean(out, phase);
    buf_puts(out, phase.len ? ": " : "");
    size_t begin = out->len;
    show_amount(progress, out);
    double rate = member_number_of(progress, "rate"), eta = member_number_of(progress, "eta");
    if (!isnan(rate)) {
        buf_puts(out, out->len > begin ? ", " : "");
        text_put_number(out, rate);
        buf_puts(out, "/s");
    }
    if (!isnan(eta)) {
        buf_puts(out, out->len > begin ? ", " : "");
        text_put_seconds(out, eta);
        buf_puts(out, " to go");
    }
    struct str message = member_text(progress, "message");
    if (message.len) {
        buf_puts(out, out->len > begin ? " - " : "");
        text_put_clean(out, message);
    }
    if (out->len == begin && phase.len) {
        out->len -= 2; /* nothing is said of it */
    }
}

static void show_progress_row(const struct json *task, struct buf *out) {
    struct buf text = {0};
    show_progress(json_get(task, "progress"), &text);
    if (text.len) {
        show_row(out, "progress", buf_view(&text));
    }
    buf_fini(&text);
}

static void show_outcome(const struct json *task, struct buf *out) {
    const struct json *error = json_get(task, "error"), *question = json_get(task, "input_request");
    show_text(question, "id", "asks", out);
    show_text(question, "prompt", "", out);
    show_text(error, "type", "error", out);
    show_text(error, "message", "", out);
    show_raw(error, "detail", "", out);
    show_raw(task, "result", "result", out);
    double bytes = member_number_of(task, "result_bytes");
    const struct json *result = json_get(task, "result");
    if (bytes > 0 && result && result->type == JSON_NULL && bytes > 4) {
        buf_printf(out, "%-*s%.0f bytes: see `bowline task result`\n", NAME_COLUMNS, "result", bytes);
    }
    if (member_number_of(task, "output_bytes") > 0) {
        buf_printf(out, "%-*s%.0f bytes\n", NAME_COLUMNS, "output", member_number_of(task, "output_bytes"));
    }
}

void show_task(const struct json *task, struct buf *out) {
    show_text(task, "id", "task", out);
    show_text(task, "session", "session", out);
    show_text(task, "kind", "kind", out);
    show_text(task, "title", "title", out);
    show_text(task, "state", "state", out);
    show_progress_row(task, out);
    show_raw(json_get(task, "progress"), "data", "data", out);
    show_flag(task, "stalled", "stalled", out);
    show_flag(task, "cancel_requested", "cancelling", out);
    show_text(task, "cancel_reason", "cancel reason", out);
    show_outcome(task, out);
    show_text(task, "token", "watch token", out);
    show_text(task, "worker_token", "worker token", out);
    show_text(task, "queue", "queue", out);
    show_raw(task, "attempt", "attempt", out);
    show_text(task, "created_at", "created", out);
    show_text(task, "started_at", "started", out);
    show_text(task, "ended_at", "ended", out);
    show_text(task, "expires_at", "expires", out);
    show_raw(task, "metadata", "metadata", out);
}

/* ---- lists ---- */

static const struct json *page_items(const struct json *page) {
    const struct json *items = json_get(page, "items");
    return items ? items->child : NULL;
}

static void page_next(const struct json *page) {
    struct str next = member_text(page, "next");
    if (next.p) {
        fprintf(stderr, "there are more: --after %.*s\n", STR_FMT(next));
    }
}

void show_sessions(const struct json *page, struct buf *out) {
    for (const struct json *s = page_items(page); s; s = s->next) {
        const struct json *tasks = json_get(s, "tasks");
        text_put_fit(out, member_text(s, "id"), 31);
        text_put_fit(out, member_text(s, "state"), 8);
        text_put_fit(out, member_text(s, "created_at"), 26);
        buf_printf(out, "%5.0f unfinished %5.0f ended", member_number_of(tasks, "unfinished"), member_number_of(tasks, "ended"));
        struct str user = member_text(s, "user");
        buf_puts(out, user.len ? "  " : "");
        text_put_clean(out, user);
        buf_char(out, '\n');
    }
    page_next(page);
}

void show_tasks(const struct json *page, struct buf *out) {
    for (const struct json *t = page_items(page); t; t = t->next) {
        double ratio = member_number_of(json_get(t, "progress"), "ratio");
        text_put_fit(out, member_text(t, "id"), 31);
        text_put_fit(out, member_text(t, "state"), 15);
        if (isnan(ratio)) {
            buf_puts(out, "      ");
        } else {
            buf_printf(out, "%3d %% ", text_percent(ratio));
        }
        text_put_fit(out, member_text(t, "kind"), 16);
        buf_char(out, ' ');
        text_put_clean(out, member_text(t, "title"));
        buf_char(out, '\n');
    }
    page_next(page);
}

/* ---- printing ---- */

static int reply_print_raw(const struct client_reply *reply) {
    fwrite(reply->body.data, 1, reply->body.len, stdout);
    if (reply->body.data[reply->body.len - 1] != '\n') {
        putchar('\n');
    }
    return BOWLINE_EXIT_OK;
}

int answer_print(const struct args *a, const struct client_reply *reply, void (*show)(const struct json *, struct buf *)) {
    if (reply->body.len == 0) {
        return BOWLINE_EXIT_OK;
    }
    if (args_has(a, "json")) {
        return reply_print_raw(reply);
    }
    struct answer_json j;
    int wrong = answer_parse(&j, a, reply);
    if (wrong) {
        return wrong;
    }
    struct buf out = {0};
    show(j.root, &out);
    fputs(buf_z(&out), stdout);
    buf_fini(&out);
    answer_fini(&j);
    return BOWLINE_EXIT_OK;
}

int ask_and_print(struct client *c, const struct args *a, const struct client_request *q, void (*show)(const struct json *, struct buf *)) {
    struct client_reply reply = {0};
    int code = client_ask(c, a, q, &reply);
    code = code ? code : answer_print(a, &reply, show);
    client_reply_fini(&reply);
    return code;
}
