/* Objects of the contract out of JSON. Each is one struct and one arena, which lies behind it and holds its texts. */
#include "client/internal.h"

#include "base/clock.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

struct task_box {
    struct bowline_task task; /* first: what is handed out */
    struct arena arena;
};
struct session_box {
    struct bowline_session session;
    struct arena arena;
};
struct control_box {
    struct bowline_control control;
    struct arena arena;
};

/* ---- members ---- */

static const char *text_keep(struct arena *a, struct str s, bool *ok) {
    struct str copy = arena_str(a, s);
    *ok &= copy.p != NULL;
    return copy.p;
}

const char *json_text(const struct json *obj, const char *name, struct arena *a, bool *ok) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_STRING ? text_keep(a, v->string, ok) : NULL;
}

/* A value as its exact text; NULL for null and for none. */
static const char *json_raw(const struct json *obj, const char *name, struct arena *a, bool *ok) {
    const struct json *v = json_get(obj, name);
    return v && v->type != JSON_NULL ? text_keep(a, v->raw, ok) : NULL;
}

static double json_double(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_NUMBER ? v->num : NAN;
}

static double json_seconds(const struct json *obj, const char *name) {
    double v = json_double(obj, name);
    return isnan(v) ? 0 : v;
}

uint64_t json_u64(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_NUMBER && v->is_integer && v->integer > 0 ? (uint64_t) v->integer : 0;
}

bool json_true(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_BOOL && v->boolean;
}

int64_t json_time(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    int64_t at_ms;
    return v && v->type == JSON_STRING && time_parse(v->string, &at_ms) ? at_ms : 0;
}

static bool json_is(const struct json *obj, const char *name, const char *value) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_STRING && str_eqz(v->string, value);
}

/* ---- tasks ---- */

static const char *const state_names[] = {
    [BOWLINE_QUEUED] = "queued",       [BOWLINE_RUNNING] = "running", [BOWLINE_INPUT_REQUIRED] = "input_required",
    [BOWLINE_SUCCEEDED] = "succeeded", [BOWLINE_FAILED] = "failed",   [BOWLINE_CANCELLED] = "cancelled",
};
#define STATES (sizeof state_names / sizeof state_names[0])

const char *bowline_task_state_name(enum bowline_task_state state) {
    return (size_t) state < STATES ? state_names[state] : "unknown";
}

static bool state_read(const struct json *obj, enum bowline_task_state *ret_state) {
    for (size_t i = 0; i < STATES; i++) {
        if (json_is(obj, "state", state_names[i])) {
            *ret_state = (enum bowline_task_state) i;
            return true;
        }
    }
    return false;
}

static void task_read_parts(struct bowline_task *t, const struct json *j, struct arena *a, bool *ok) {
    const struct json *p = json_get(j, "progress"), *q = json_get(j, "input_request"), *e = json_get(j, "error");
    t->progress.current = json_double(p, "current");
    t->progress.total = json_double(p, "total");
    t->progress.ratio = json_double(p, "ratio");
    t->progress.rate = json_double(p, "rate");
    t->progress.eta_s = json_double(p, "eta");
    t->progress.unit = json_text(p, "unit", a, ok);
    t->progress.message = json_text(p, "message", a, ok);
    t->progress.phase = json_text(p, "phase", a, ok);
    t->progress.data = json_raw(p, "data", a, ok);
    t->question.id = json_text(q, "id", a, ok);
    t->question.prompt = json_text(q, "prompt", a, ok);
    t->question.schema = json_raw(q, "schema", a, ok);
    t->error.type = json_text(e, "type", a, ok);
    t->error.message = json_text(e, "message", a, ok);
    t->error.detail = json_raw(e, "detail", a, ok);
}

static void task_read(struct bowline_task *t, const struct json *j, struct arena *a, bool *ok) {
    t->id = json_text(j, "id", a, ok);
    t->session = json_text(j, "session", a, ok);
    t->kind = json_text(j, "kind", a, ok);
    t->title = json_text(j, "title", a, ok);
    t->queue = json_text(j, "queue", a, ok);
    t->finished = t->state >= BOWLINE_SUCCEEDED;
    t->version = json_u64(j, "version");
    t->cancel_requested = json_true(j, "cancel_requested");
    t->stalled = json_true(j, "stalled");
    t->cancel_reason = json_text(j, "cancel_reason", a, ok);
    t->attempt = (unsigned) json_u64(j, "attempt");
    t->max_attempts = (unsigned) json_u64(j, "max_attempts");
    t->on_session_end = json_text(j, "on_session_end", a, ok);
    t->created_at_ms = json_time(j, "created_at");
    t->started_at_ms = json_time(j, "started_at");
    t->updated_at_ms = json_time(j, "updated_at");
    t->ended_at_ms = json_time(j, "ended_at");
    t->seen_at_ms = json_time(j, "seen_at");
    t->expires_at_ms = json_time(j, "expires_at");
    t->output_bytes = json_u64(j, "output_bytes");
    /* A null result is told from none, or one too large to stand here, by its size. */
    const struct json *result = json_get(j, "result");
    t->result_bytes = json_u64(j, "result_bytes");
    t->result = json_raw(j, "result", a, ok);
    if (!t->result && result && t->state == BOWLINE_SUCCEEDED && t->result_bytes == 4) {
        t->result = text_keep(a, result->raw, ok);
    }
    t->metadata = json_raw(j, "metadata", a, ok);
    t->token = json_text(j, "token", a, ok);
    t->worker_token = json_text(j, "worker_token", a, ok);
    t->input = json_raw(j, "input", a, ok);
    t->json = text_keep(a, j->raw, ok);
    task_read_parts(t, j, a, ok);
}

int object_task(const struct json *j, struct bowline_task **ret_task) {
    enum bowline_task_state state;
    const struct json *id = json_get(j, "id");
    if (!id || id->type != JSON_STRING || !state_read(j, &state)) {
        return BOWLINE_BAD_ANSWER;
    }
    struct task_box *box = calloc(1, sizeof *box);
    if (!box) {
        return BOWLINE_NO_MEMORY;
    }
    bool ok = true;
    box->task.state = state;
    task_read(&box->task, j, &box->arena, &ok);
    if (!ok) {
        bowline_task_free(&box->task);
        return BOWLINE_NO_MEMORY;
    }
    *ret_task = &box->task;
    return BOWLINE_OK;
}

void bowline_task_free(struct bowline_task *task) {
    if (task) {
        struct task_box *box = (struct task_box *) task;
        arena_fini(&box->arena);
        free(box);
    }
}

/* ---- sessions ---- */

int object_session(const struct json *j, struct bowline_session **ret_session) {
    bool ok = true, ended = json_is(j, "state", "ended");
    const struct json *id = json_get(j, "id"), *tasks = json_get(j, "tasks");
    if (!id || id->type != JSON_STRING || !(ended || json_is(j, "state", "active"))) {
        return BOWLINE_BAD_ANSWER;
    }
    struct session_box *box = calloc(1, sizeof *box);
    if (!box) {
        return BOWLINE_NO_MEMORY;
    }
    struct arena *a = &box->arena;
    box->session = (struct bowline_session){
        .id = json_text(j, "id", a, &ok),
        .ended = ended,
        .user = json_text(j, "user", a, &ok),
        .token = json_text(j, "token", a, &ok),
        .reason = json_text(j, "reason", a, &ok),
        .created_at_ms = json_time(j, "created_at"),
        .expires_at_ms = json_time(j, "expires_at"),
        .ended_at_ms = json_time(j, "ended_at"),
        .idle_timeout_s = json_seconds(j, "idle_timeout"),
        .max_age_s = json_seconds(j, "max_age"),
        .tasks_unfinished = json_u64(tasks, "unfinished"),
        .tasks_ended = json_u64(tasks, "ended"),
        .metadata = json_raw(j, "metadata", a, &ok),
        .json = text_keep(a, j->raw, &ok),
    };
    if (!ok) {
        bowline_session_free(&box->session);
        return BOWLINE_NO_MEMORY;
    }
    *ret_session = &box->session;
    return BOWLINE_OK;
}

void bowline_session_free(struct bowline_session *session) {
    if (session) {
        struct session_box *box = (struct session_box *) session;
        arena_fini(&box->arena);
        free(box);
    }
}

/* ---- control ---- */

static int control_of(const struct json *j, struct bowline_control **ret_control) {
    enum bowline_task_state state;
    if (!state_read(j, &state)) {
        return BOWLINE_BAD_ANSWER;
    }
    struct control_box *box = calloc(1, sizeof *box);
    if (!box) {
        return BOWLINE_NO_MEMORY;
    }
    bool ok = true;
    const struct json *answer = json_get(j, "answer");
    box->control = (struct bowline_control){
        .state = state,
        .version = json_u64(j, "version"),
        .attempt = (unsigned) json_u64(j, "attempt"),
        .cancel_requested = json_true(j, "cancel_requested"),
        .lease_until_ms = json_time(j, "lease_until"),
        .output_offset = json_u64(j, "output_offset"),
        .answer_request = json_text(answer, "request", &box->arena, &ok),
        .json = text_keep(&box->arena, j->raw, &ok),
    };
    const struct json *given = json_get(answer, "answer");
    if (given) {
        box->control.answer = text_keep(&box->arena, given->raw, &ok);
    }
    if (!ok) {
        bowline_control_free(&box->control);
        return BOWLINE_NO_MEMORY;
    }
    *ret_control = &box->control;
    return BOWLINE_OK;
}

void bowline_control_free(struct bowline_control *control) {
    if (control) {
        struct control_box *box = (struct control_box *) control;
        arena_fini(&box->arena);
        free(box);
    }
}

/* ---- texts ---- */

static int text_parse(struct arena *a, struct str text, struct json **ret_root) {
    struct json_error error;
    if (json_parse(a, text, JSON_DEPTH, ret_root, &error) == 0) {
        return BOWLINE_OK;
    }
    return error.no_memory ? BOWLINE_NO_MEMORY : BOWLINE_BAD_ANSWER;
}

int object_control(struct str text, struct bowline_control **ret_control) {
    struct arena arena = {0};
    struct json *root;
    int error = text_parse(&arena, text, &root);
    error = error ? error : control_of(root, ret_control);
    arena_fini(&arena);
    return error;
}

int bowline_task_parse(const char *json, size_t len, struct bowline_task **ret_task) {
    struct arena arena = {0};
    struct json *root;
    int error = text_parse(&arena, str_n(json, len), &root);
    error = error ? error : object_task(root, ret_task);
    arena_fini(&arena);
    return error;
}

/* ---- pages ---- */

void bowline_task_page_free(struct bowline_task_page *page) {
    for (size_t i = 0; page && i < page->count; i++) {
        bowline_task_free(page->tasks[i]);
    }
    if (page) {
        free(page->tasks);
        free((char *) page->next);
        free(page);
    }
}

void bowline_session_page_free(struct bowline_session_page *page) {
    for (size_t i = 0; page && i < page->count; i++) {
        bowline_session_free(page->sessions[i]);
    }
    if (page) {
        free(page->sessions);
        free((char *) page->next);
        free(page);
    }
}

/* The cursor of the next page, or NULL. */
static int next_read(const struct json *root, const char **ret_next) {
    const struct json *next = json_get(root, "next");
    if (!next || next->type != JSON_STRING) {
        return BOWLINE_OK;
    }
    *ret_next = strndup(next->string.p, next->string.len);
    return *ret_next ? BOWLINE_OK : BOWLINE_NO_MEMORY;
}

int object_task_page(struct str text, const char *member, struct bowline_task_page **ret_page) {
    struct arena arena = {0};
    struct json *root;
    struct bowline_task_page *page = NULL;
    int error = text_parse(&arena, text, &root);
    const struct json *items = error ? NULL : json_get(root, member);
    if (!error && (!items || items->type != JSON_ARRAY)) {
        error = BOWLINE_BAD_ANSWER;
    }
    if (!error) {
        page = calloc(1, sizeof *page);
        error = page && (page->tasks = calloc(items->count + 1, sizeof(void *))) ? next_read(root, &page->next) : BOWLINE_NO_MEMORY;
    }
    for (const struct json *i = error ? NULL : items->child; i && !error; i = i->next) {
        error = object_task(i, &page->tasks[page->count]);
        page->count += !error;
    }
    arena_fini(&arena);
    if (error) {
        bowline_task_page_free(page);
        return error;
    }
    *ret_page = page;
    return BOWLINE_OK;
}

int object_session_page(struct str text, struct bowline_session_page **ret_page) {
    struct arena arena = {0};
    struct json *root;
    struct bowline_session_page *page = NULL;
    int error = text_parse(&arena, text, &root);
    const struct json *items = error ? NULL : json_get(root, "items");
    if (!error && (!items || items->type != JSON_ARRAY)) {
        error = BOWLINE_BAD_ANSWER;
    }
    if (!error) {
        page = calloc(1, sizeof *page);
        error = page && (page->sessions = calloc(items->count + 1, sizeof(void *))) ? next_read(root, &page->next) : BOWLINE_NO_MEMORY;
    }
    for (const struct json *i = error ? NULL : items->child; i && !error; i = i->next) {
        error = object_session(i, &page->sessions[page->count]);
        page->count += !error;
    }
    arena_fini(&arena);
    if (error) {
        bowline_session_page_free(page);
        return error;
    }
    *ret_page = page;
    return BOWLINE_OK;
}

/* ---- calls that answer with one object ---- */

int client_task(bowline_client *c, struct request *q, struct bowline_task **ret_task, struct bowline_problem *p) {
    struct reply r = {0};
    int error = client_perform(c, q, &r, p);
    if (!error && ret_task) {
        error = bowline_task_parse(buf_view(&r.body).p, r.body.len, ret_task);
        if (error) {
            problem_local(p, error, NULL);
        }
    }
    reply_fini(&r);
    return error;
}

int client_session(bowline_client *c, struct request *q, struct bowline_session **ret_session, struct bowline_problem *p) {
    struct reply r = {0};
    struct arena arena = {0};
    struct json *root;
    int error = client_perform(c, q, &r, p);
    if (!error && ret_session) {
        error = text_parse(&arena, buf_view(&r.body), &root);
        error = error ? error : object_session(root, ret_session);
        if (error) {
            problem_local(p, error, NULL);
        }
    }
    arena_fini(&arena);
    reply_fini(&r);
    return error;
}
