#include "client/internal.h"

#include <stdio.h>

static int id_missing(const char *id, struct bowline_problem *p) {
    return id && id[0] ? BOWLINE_OK : problem_argument(p, "id", "is missing");
}

int bowline_session_create(bowline_client *client, const struct bowline_session_options *options, struct bowline_session **ret_session,
                           struct bowline_problem *problem) {
    static const struct bowline_session_options none;
    const struct bowline_session_options *o = options ? options : &none;
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true, .idempotency_key = o->idempotency_key};
    buf_puts(&q.path, "/v1/sessions");
    body_begin(&q.body);
    body_text(&q.body, "key", o->key);
    body_text(&q.body, "user", o->user);
    body_seconds(&q.body, "idle_timeout", o->idle_timeout_s);
    body_seconds(&q.body, "max_age", o->max_age_s);
    body_json(&q.body, "metadata", o->metadata);
    body_end(&q.body);
    return client_session(client, &q, ret_session, problem);
}

/* The client's own session without an id. */
static void path_session(struct buf *path, const char *id) {
    if (id) {
        path_of(path, "sessions", id, "");
    } else {
        buf_puts(path, "/v1/session");
    }
}

int bowline_session_get(bowline_client *client, const char *id, struct bowline_session **ret_session, struct bowline_problem *problem) {
    struct request q = {.wait_s = -1, .repeatable = true};
    path_session(&q.path, id);
    return client_session(client, &q, ret_session, problem);
}

int bowline_session_end(bowline_client *client, const char *id, struct bowline_session **ret_session, struct bowline_problem *problem) {
    struct request q = {.method = "DELETE", .wait_s = -1, .repeatable = true};
    path_session(&q.path, id);
    return client_session(client, &q, ret_session, problem);
}

int bowline_session_touch(bowline_client *client, const char *id, struct bowline_session **ret_session, struct bowline_problem *problem) {
    int error = id_missing(id, problem);
    if (error) {
        return error;
    }
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true, .repeatable = true};
    path_of(&q.path, "sessions", id, "/touch");
    buf_puts(&q.body.text, "{}");
    return client_session(client, &q, ret_session, problem);
}

int bowline_session_rotate(bowline_client *client, const char *id, const char *key, const char *user, struct bowline_session **ret_session,
                           struct bowline_problem *problem) {
    int error = id_missing(id, problem);
    if (error) {
        return error;
    }
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true};
    path_of(&q.path, "sessions", id, "/rotate");
    body_begin(&q.body);
    body_text(&q.body, "key", key);
    body_text(&q.body, "user", user);
    body_end(&q.body);
    return client_session(client, &q, ret_session, problem);
}

int bowline_session_merge(bowline_client *client, const char *id, const char *into, struct bowline_session **ret_session,
                          struct bowline_problem *problem) {
    int error = id_missing(id, problem);
    if (!error && !into) {
        error = problem_argument(problem, "into", "is missing");
    }
    if (error) {
        return error;
    }
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true, .repeatable = true};
    path_of(&q.path, "sessions", id, "/merge");
    body_begin(&q.body);
    body_text(&q.body, "into", into);
    body_end(&q.body);
    return client_session(client, &q, ret_session, problem);
}

int bowline_session_list(bowline_client *client, const struct bowline_list_options *options, struct bowline_session_page **ret_page,
                         struct bowline_problem *problem) {
    static const struct bowline_list_options none;
    const struct bowline_list_options *o = options ? options : &none;
    struct request q = {.wait_s = -1, .repeatable = true};
    buf_puts(&q.path, "/v1/sessions");
    query_put(&q.path, "user", o->user);
    query_put(&q.path, "state", o->state);
    query_put(&q.path, "after", o->after);
    if (o->limit) {
        char limit[16];
        snprintf(limit, sizeof limit, "%u", o->limit);
        query_put(&q.path, "limit", limit);
    }
    struct reply r = {0};
    int error = client_perform(client, &q, &r, problem);
    if (!error) {
        error = object_session_page(buf_view(&r.body), ret_page);
        if (error) {
            problem_local(problem, error, NULL);
        }
    }
    reply_fini(&r);
    return error;
}
