#include "client/internal.h"

#include "base/clock.h"

#include <stdio.h>

static int text_missing(const char *text, const char *name, struct bowline_problem *p) {
    return text && text[0] ? BOWLINE_OK : problem_argument(p, name, "is missing");
}

/* ---- making ---- */

static void body_moment(struct body *b, const char *name, int64_t at_ms) {
    if (at_ms < 0 || at_ms > TIME_MS_MAX) {
        b->wrong = name;
    } else if (at_ms) {
        char text[TIME_TEXT_LEN + 1];
        time_format(at_ms, text);
        body_text(b, name, text);
    }
}

int bowline_task_create(bowline_client *client, const struct bowline_task_options *options, struct bowline_task **ret_task,
                        struct bowline_problem *problem) {
    const struct bowline_task_options *o = options;
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true, .idempotency_key = o->idempotency_key};
    int error = text_missing(o->kind, "kind", problem);
    if (error) {
        return error;
    }
    buf_puts(&q.path, "/v1/tasks");
    body_begin(&q.body);
    body_ref(&q.body, "session", &o->session);
    body_text(&q.body, "kind", o->kind);
    body_words(&q.body, "title", o->title, SIZE_MAX);
    body_text(&q.body, "queue", o->queue);
    body_json(&q.body, "input", o->input);
    body_text(&q.body, "on_session_end", o->on_session_end);
    body_seconds(&q.body, "lease", o->lease_s);
    body_seconds(&q.body, "timeout", o->timeout_s);
    body_seconds(&q.body, "deadline", o->deadline_s);
    body_count(&q.body, "max_attempts", o->max_attempts);
    body_seconds(&q.body, "backoff", o->backoff_s);
    body_moment(&q.body, "not_before", o->not_before_ms);
    body_seconds(&q.body, "ttl", o->ttl_s);
    body_seconds(&q.body, "cancel_unwatched", o->cancel_unwatched_s);
    body_text(&q.body, "webhook", o->webhook);
    body_json(&q.body, "metadata", o->metadata);
    body_end(&q.body);
    return client_task(client, &q, ret_task, problem);
}

int bowline_task_start(bowline_client *client, const struct bowline_task_options *options, struct bowline_task **ret_task,
                       struct bowline_problem *problem) {
    const struct bowline_task_options *o = options;
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true, .idempotency_key = o->idempotency_key};
    int error = text_missing(o->kind, "kind", problem);
    if (error) {
        return error;
    }
    buf_puts(&q.path, "/v1/session/tasks");
    body_begin(&q.body);
    body_text(&q.body, "kind", o->kind);
    body_words(&q.body, "title", o->title, SIZE_MAX);
    body_json(&q.body, "input", o->input);
    body_end(&q.body);
    return client_task(client, &q, ret_task, problem);
}

/* ---- reading ---- */

int bowline_task_get(bowline_client *client, const char *id, struct bowline_task **ret_task, struct bowline_problem *problem) {
    return bowline_task_wait_change(client, id, 0, 0, ret_task, problem);
}

/* One request for the task, held until then (0: no matter) if it still has that version; *ret_task stays NULL if it still has it then. */
static int task_look(bowline_client *c, const char *id, uint64_t version, int64_t deadline_ms, struct bowline_task **ret_task,
                     struct bowline_problem *p) {
    struct request q = {.wait_s = deadline_ms ? (version ? wait_of(deadline_ms) : 0) : -1, .if_version = version, .repeatable = !version};
    q.until_ms = deadline_ms == DEADLINE_NEVER ? 0 : deadline_ms;
    struct reply r = {0};
    path_of(&q.path, "tasks", id, "");
    int error = client_perform(c, &q, &r, p);
    if (!error && r.status != 304) {
        error = bowline_task_parse(buf_view(&r.body).p, r.body.len, ret_task);
        if (error) {
            problem_local(p, error, NULL);
        }
    }
    reply_fini(&r);
    return error;
}

/*
 * Looks until the task fits or time is up. A server that is away is waited for like a task that takes long.
 */
static int task_await(bowline_client *c, const char *id, uint64_t version, bool finish, int64_t timeout_ms, struct bowline_task **ret_task,
                      struct bowline_problem *p) {
    int64_t deadline_ms = deadline_of(timeout_ms), pause = 0;
    for (;;) {
        struct bowline_task *t = NULL;
        if (atomic_load(&c->interrupted)) {
            return problem_local(p, BOWLINE_INTERRUPTED, NULL);
        }
        int error = task_look(c, id, version, timeout_ms ? deadline_ms : 0, &t, p);
        if (t && (t->finished || (!finish && t->version != version))) {
            *ret_task = t;
            return BOWLINE_OK;
        }
        version = t ? t->version : version;
        bowline_task_free(t);
        if (error && (!error_is_passing(error) || mono_ms() >= deadline_ms)) {
            return error;
        }
        if (mono_ms() >= deadline_ms) {
            return problem_local(p, BOWLINE_TIMED_OUT, NULL);
        }
        if (error) {
            int64_t until_ms = mono_ms() + backoff_next(&pause, BACKOFF_MAX_MS);
            client_sleep(c, until_ms < deadline_ms ? until_ms : deadline_ms);
            if (mono_ms() >= deadline_ms) {
                return error;
            }
        } else {
            pause = 0;
        }
    }
}

int bowline_task_wait(bowline_client *client, const char *id, int64_t timeout_ms, struct bowline_task **ret_task, struct bowline_problem *problem) {
    int error = text_missing(id, "id", problem);
    return error ? error : task_await(client, id, 0, true, timeout_ms, ret_task, problem);
}

int bowline_task_wait_change(bowline_client *client, const char *id, uint64_t version, int64_t timeout_ms, struct bowline_task **ret_task,
                             struct bowline_problem *problem) {
    int error = text_missing(id, "id", problem);
    if (error || version) {
        return error ? error : task_await(client, id, version, false, timeout_ms, ret_task, problem);
    }
    return task_look(client, id, 0, 0, ret_task, problem);
}

static int task_text(bowline_client *c, const char *id, const char *tail, struct bowline_text *ret_json, struct bowline_problem *p) {
    int error = text_missing(id, "id", p);
    if (error) {
        return error;
    }
    struct request q = {.wait_s = -1, .repeatable = true};
    struct reply r = {0};
    path_of(&q.path, "tasks", id, tail);
    error = client_perform(c, &q, &r, p);
    if (!error) {
        error = r.status == 202 ? problem_local(p, BOWLINE_NOT_YET, "The task is unfinished") : reply_text(&r, ret_json, p);
    }
    reply_fini(&r);
    return error;
}

int bowline_task_result(bowline_client *client, const char *id, struct bowline_text *ret_json, struct bowline_problem *problem) {
    return task_text(client, id, "/result", ret_json, problem);
}

int bowline_task_input(bowline_client *client, const char *id, struct bowline_text *ret_json, struct bowline_problem *problem) {
    return task_text(client, id, "/input", ret_json, problem);
}

int bowline_task_output(bowline_client *client, const char *id, uint64_t offset, int64_t timeout_ms, struct bowline_output *ret_output,
                        struct bowline_problem *problem) {
    int64_t deadline_ms = deadline_of(timeout_ms);
    int error = text_missing(id, "id", problem);
    while (!error) {
        if (timeout_ms && atomic_load(&client->interrupted)) {
            return problem_local(problem, BOWLINE_INTERRUPTED, NULL);
        }
        struct request q = {.wait_s = timeout_ms ? wait_of(deadline_ms) : -1, .octets = true, .repeatable = true};
        q.until_ms = timeout_ms && deadline_ms != DEADLINE_NEVER ? deadline_ms : 0;
        struct reply r = {0};
        path_of(&q.path, "tasks", id, "/output");
        buf_printf(&q.path, "?offset=%llu", (unsigned long long) offset);
        error = client_perform(client, &q, &r, problem);
        if (error == BOWLINE_TIMED_OUT) { /* there is none yet */
            reply_clear(&r);
            error = BOWLINE_OK;
        }
        if (!error && (r.body.len || r.output_complete || mono_ms() >= deadline_ms)) {
            *ret_output = (struct bowline_output){.offset = r.has_output_offset ? r.output_offset : offset, .complete = r.output_complete};
            error = reply_text(&r, &ret_output->bytes, problem);
            reply_fini(&r);
            return error;
        }
        reply_fini(&r);
    }
    return error;
}

/* ---- changing ---- */

static int task_post(bowline_client *c, const char *id, const char *tail, struct request *q, struct bowline_task **ret_task,
                     struct bowline_problem *p) {
    q->method = "POST";
    q->wait_s = -1;
    q->has_body = true;
    path_of(&q->path, "tasks", id ? id : "", tail);
    return client_task(c, q, ret_task, p);
}

int bowline_task_cancel(bowline_client *client, const char *id, const char *reason, struct bowline_task **ret_task, struct bowline_problem *problem) {
    struct request q = {.repeatable = true};
    int error = text_missing(id, "id", problem);
    if (error) {
        return error;
    }
    body_begin(&q.body);
    body_words(&q.body, "reason", reason, SIZE_MAX);
    body_end(&q.body);
    return task_post(client, id, "/cancel", &q, ret_task, problem);
}

int bowline_task_answer(bowline_client *client, const char *id, const char *question, const char *answer_json, struct bowline_task **ret_task,
                        struct bowline_problem *problem) {
    struct request q = {.repeatable = true};
    int error = text_missing(id, "id", problem);
    error = error ? error : text_missing(question, "question", problem);
    error = error ? error : text_missing(answer_json, "answer", problem);
    if (error) {
        return error;
    }
    body_begin(&q.body);
    body_text(&q.body, "request", question);
    body_json(&q.body, "answer", answer_json);
    body_end(&q.body);
    return task_post(client, id, "/answer", &q, ret_task, problem);
}

int bowline_task_seen(bowline_client *client, const char *id, struct bowline_task **ret_task, struct bowline_problem *problem) {
    struct request q = {.repeatable = true};
    int error = text_missing(id, "id", problem);
    if (error) {
        return error;
    }
    buf_puts(&q.body.text, "{}");
    return task_post(client, id, "/seen", &q, ret_task, problem);
}

int bowline_task_bind(bowline_client *client, const char *id, const struct bowline_session_ref *session, struct bowline_task **ret_task,
                      struct bowline_problem *problem) {
    struct request q = {0};
    int error = text_missing(id, "id", problem);
    if (error) {
        return error;
    }
    body_begin(&q.body);
    body_ref(&q.body, "session", session);
    body_end(&q.body);
    return task_post(client, id, "/bind", &q, ret_task, problem);
}

int bowline_task_token(bowline_client *client, const char *id, struct bowline_text *ret_token, struct bowline_problem *problem) {
    int error = text_missing(id, "id", problem);
    if (error) {
        return error;
    }
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true, .repeatable = true};
    struct reply r = {0};
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error wrong;
    path_of(&q.path, "tasks", id, "/token");
    buf_puts(&q.body.text, "{}");
    error = client_perform(client, &q, &r, problem);
    if (!error) {
        const struct json *token = json_parse(&arena, buf_view(&r.body), JSON_DEPTH, &root, &wrong) == 0 ? json_get(root, "token") : NULL;
        if (token && token->type == JSON_STRING) {
            struct reply text = {0};
            buf_str(&text.body, token->string);
            error = reply_text(&text, ret_token, problem);
            reply_fini(&text);
        } else {
            error = problem_local(problem, !root && wrong.no_memory ? BOWLINE_NO_MEMORY : BOWLINE_BAD_ANSWER, NULL);
        }
    }
    arena_fini(&arena);
    reply_fini(&r);
    return error;
}

int bowline_task_delete(bowline_client *client, const char *id, struct bowline_problem *problem) {
    int error = text_missing(id, "id", problem);
    if (error) {
        return error;
    }
    struct request q = {.method = "DELETE", .wait_s = -1, .repeatable = true};
    path_of(&q.path, "tasks", id, "");
    return client_perform_blind(client, &q, problem);
}

int bowline_task_list(bowline_client *client, const struct bowline_list_options *options, struct bowline_task_page **ret_page,
                      struct bowline_problem *problem) {
    static const struct bowline_list_options none;
    const struct bowline_list_options *o = options ? options : &none;
    struct request q = {.wait_s = -1, .repeatable = true};
    buf_puts(&q.path, o->own ? "/v1/session/tasks" : "/v1/tasks");
    query_put(&q.path, "session", o->session);
    query_put(&q.path, "user", o->user);
    query_put(&q.path, "state", o->state);
    query_put(&q.path, "kind", o->kind);
    query_put(&q.path, "queue", o->queue);
    query_put(&q.path, "after", o->after);
    if (o->limit) {
        char limit[16];
        snprintf(limit, sizeof limit, "%u", o->limit);
        query_put(&q.path, "limit", limit);
    }
    struct reply r = {0};
    int error = client_perform(client, &q, &r, problem);
    if (!error) {
        error = object_task_page(buf_view(&r.body), "items", ret_page);
        if (error) {
            problem_local(problem, error, NULL);
        }
    }
    reply_fini(&r);
    return error;
}
