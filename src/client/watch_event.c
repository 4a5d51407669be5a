#include "client/watch.h"

#include "base/crypto.h"

/*
 * An event counts as given once the callback has had it: only then does the cursor move on. What cannot be had (memory) ends the connection instead, and is
 * asked for again from the cursor.
 */

static bool deliver(struct bowline_watch *w, const struct bowline_event *event) {
    if (w->on_event(w->arg, event) != 0) {
        w->stopped = true;
    }
    return !w->stopped;
}

static bool given(struct bowline_watch *w) {
    struct str cursor = buf_view(&w->sse.cursor);
    w->cursor.len = 0;
    buf_str(&w->cursor, cursor); /* reserved before */
    return !w->stopped;
}

static bool out_of_memory(struct bowline_watch *w) {
    w->no_memory = true;
    return false;
}

static bool give_task(struct bowline_watch *w, struct bowline_event *e, const struct json *data, struct arena *a) {
    bool ok = true;
    e->gone = json_text(data, "gone", a, &ok);
    if (!ok) {
        return out_of_memory(w);
    }
    if (e->gone) {
        e->type = BOWLINE_EVENT_GONE;
        e->reason = json_text(data, "reason", a, &ok);
        w->left |= w->of_task;
        return ok ? (deliver(w, e), given(w)) : out_of_memory(w);
    }
    struct bowline_task *task = NULL;
    int error = object_task(json_get(data, "task"), &task);
    if (error == BOWLINE_NO_MEMORY) {
        return out_of_memory(w);
    }
    if (error) {
        return given(w); /* of a server that is newer: nothing that can be shown */
    }
    e->type = BOWLINE_EVENT_TASK;
    e->task = task;
    w->finished_task |= w->of_task && task->finished;
    deliver(w, e);
    bowline_task_free(task);
    return given(w);
}

static bool give_output(struct bowline_watch *w, struct bowline_event *e, const struct json *data, struct arena *a) {
    const struct json *text = json_get(data, "data"), *base64 = json_get(data, "data_base64");
    struct buf bytes = {0};
    bool ok = true;
    e->type = BOWLINE_EVENT_OUTPUT;
    e->output_task = json_text(data, "task", a, &ok);
    e->offset = json_u64(data, "offset");
    if (base64 && base64->type == JSON_STRING) {
        ok &= base64_decode(base64->string, &bytes) && !bytes.failed;
        e->data = buf_z(&bytes);
        e->len = bytes.len;
    } else if (text && text->type == JSON_STRING) {
        e->data = text->string.p;
        e->len = text->string.len;
    }
    if (ok) {
        deliver(w, e);
    }
    buf_fini(&bytes);
    return ok ? given(w) : out_of_memory(w);
}

static bool give_session(struct bowline_watch *w, struct bowline_event *e, const struct json *data, struct arena *a) {
    bool ok = true;
    const struct json *state = json_get(data, "state");
    e->type = BOWLINE_EVENT_SESSION;
    e->reason = json_text(data, "reason", a, &ok);
    e->ended = state && state->type == JSON_STRING && str_eqz(state->string, "ended");
    if (!ok) {
        return out_of_memory(w);
    }
    w->ended |= e->ended;
    w->rotated |= !e->ended;
    deliver(w, e);
    return given(w);
}

bool watch_event(void *arg, struct str name, struct str data) {
    struct bowline_watch *w = arg;
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error wrong;
    if (!buf_reserve(&w->cursor, w->sse.cursor.len + 1)) {
        w->cursor.failed = false;
        return out_of_memory(w);
    }
    if (json_parse(&arena, data, JSON_DEPTH, &root, &wrong) != 0) {
        arena_fini(&arena);
        return wrong.no_memory ? out_of_memory(w) : given(w);
    }
    w->any_event = true;
    w->pause_ms = 0;
    struct bowline_event e = {.seq = json_u64(root, "seq"), .cursor = w->sse.cursor.len ? buf_z(&w->sse.cursor) : NULL};
    bool go_on;
    if (str_eqz(name, "task")) {
        go_on = give_task(w, &e, root, &arena);
    } else if (str_eqz(name, "output")) {
        go_on = give_output(w, &e, root, &arena);
    } else if (str_eqz(name, "session")) {
        go_on = give_session(w, &e, root, &arena);
    } else if (str_eqz(name, "live") || str_eqz(name, "reset")) {
        e.type = name.p[0] == 'l' ? BOWLINE_EVENT_LIVE : BOWLINE_EVENT_RESET;
        w->finished_task &= e.type != BOWLINE_EVENT_RESET;
        deliver(w, &e);
        go_on = given(w);
    } else if (str_eqz(name, "problem")) {
        problem_answer(&w->problem, (int) json_u64(root, "status"), data, 0);
        w->any_problem = true;
        go_on = given(w);
    } else {
        go_on = given(w);
    }
    arena_fini(&arena);
    return go_on;
}

void watch_tell_lost(struct bowline_watch *w) {
    struct bowline_event e = {.type = BOWLINE_EVENT_LOST, .cursor = bowline_watch_cursor(w), .problem = &w->problem};
    deliver(w, &e);
}
