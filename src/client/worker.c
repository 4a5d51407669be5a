#include "client/internal.h"

#define FROZEN_MS 500 /* a server that is that late with what stands is not waited for */

static bool error_is_waited_out(int error) {
    return error_is_passing(error) && error != BOWLINE_QUOTA_EXCEEDED;
}

static int claim_once(bowline_client *c, const struct bowline_claim_options *o, int wait_s, struct bowline_task_page **ret_page,
                      struct bowline_problem *p) {
    struct request q = {.method = "POST", .wait_s = wait_s, .has_body = true};
    struct reply r = {0};
    path_of(&q.path, "queues", o->queue, "/claim");
    body_begin(&q.body);
    body_count(&q.body, "max", o->max);
    body_text(&q.body, "worker", o->worker);
    body_seconds(&q.body, "lease", o->lease_s);
    body_end(&q.body);
    int error = client_perform(c, &q, &r, p);
    if (!error) {
        error = r.status == 204 ? BOWLINE_TIMED_OUT : object_task_page(buf_view(&r.body), "tasks", ret_page);
        if (error) {
            problem_local(p, error, NULL);
        }
    }
    reply_fini(&r);
    return error;
}

int bowline_claim(bowline_client *client, const struct bowline_claim_options *options, struct bowline_task_page **ret_page,
                  struct bowline_problem *problem) {
    if (!options || !options->queue || !options->queue[0]) {
        return problem_argument(problem, "queue", "is missing");
    }
    int64_t deadline_ms = deadline_of(options->timeout_ms), pause = 0;
    for (;;) {
        if (atomic_load(&client->interrupted)) {
            return problem_local(problem, BOWLINE_INTERRUPTED, NULL);
        }
        int wait_s = wait_within(deadline_ms); /* a claim is not cut off, lest it take a task along */
        int error = claim_once(client, options, wait_s, ret_page, problem);
        int64_t now_ms = mono_ms();
        if (error != BOWLINE_TIMED_OUT && !error_is_waited_out(error)) {
            return error;
        }
        if (now_ms >= deadline_ms) {
            return error;
        }
        if (error == BOWLINE_TIMED_OUT) {
            pause = 0;
            client_sleep(client, wait_s ? 0 : deadline_ms); /* what is left is no whole second: looked for once more at its end */
        } else {
            int64_t until_ms = now_ms + backoff_next(&pause, BACKOFF_MAX_MS);
            client_sleep(client, until_ms < deadline_ms ? until_ms : deadline_ms);
        }
    }
}

int bowline_release(bowline_client *client, const char *queue, const char *worker_token, struct bowline_problem *problem) {
    if (!queue || !worker_token) {
        return problem_argument(problem, queue ? "worker_token" : "queue", "is missing");
    }
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true};
    path_of(&q.path, "queues", queue, "/release");
    body_begin(&q.body);
    body_text(&q.body, "token", worker_token);
    body_end(&q.body);
    return client_perform_blind(client, &q, problem);
}

static int control_read(bowline_client *c, struct request *q, struct bowline_control **ret_control, struct bowline_problem *p) {
    struct reply r = {0};
    int error = client_perform(c, q, &r, p);
    if (!error && ret_control) {
        error = object_control(buf_view(&r.body), ret_control);
        if (error) {
            problem_local(p, error, NULL);
        }
    }
    reply_fini(&r);
    return error;
}

int bowline_task_report(bowline_client *client, const char *id, const char *worker_token, const char *report_json,
                        struct bowline_control **ret_control, struct bowline_problem *problem) {
    if (!id || !report_json) {
        return problem_argument(problem, id ? "report" : "id", "is missing");
    }
    struct request q = {.method = "POST", .wait_s = -1, .has_body = true, .credential = worker_token};
    path_of(&q.path, "tasks", id, "/reports");
    buf_puts(&q.body.text, report_json);
    return control_read(client, &q, ret_control, problem);
}

static int control_ask(bowline_client *c, const char *id, const char *worker_token, uint64_t after, int64_t deadline_ms,
                       struct bowline_control **ret_control, struct bowline_problem *p) {
    struct request q = {.wait_s = wait_within(deadline_ms), .credential = worker_token, .repeatable = true};
    q.until_ms = deadline_ms > mono_ms() ? deadline_ms + FROZEN_MS : 0;
    path_of(&q.path, "tasks", id, "/control");
    if (after) {
        buf_printf(&q.path, "?after=%llu", (unsigned long long) after);
    }
    return control_read(c, &q, ret_control, p);
}

int bowline_task_control(bowline_client *client, const char *id, const char *worker_token, uint64_t after, int64_t timeout_ms,
                         struct bowline_control **ret_control, struct bowline_problem *problem) {
    if (!id || timeout_ms < 0) {
        return problem_argument(problem, id ? "timeout_ms" : "id", id ? "is negative" : "is missing");
    }
    int64_t deadline_ms = deadline_of(timeout_ms);
    struct bowline_control *control = NULL;
    int error = control_ask(client, id, worker_token, after, deadline_ms, &control, problem);
    if (!error && control->version <= after && mono_ms() < deadline_ms) { /* what is left is no whole second */
        bowline_control_free(control);
        client_sleep(client, deadline_ms);
        error = atomic_load(&client->interrupted) ? problem_local(problem, BOWLINE_INTERRUPTED, NULL)
                                                  : control_ask(client, id, worker_token, after, deadline_ms, &control, problem);
    }
    if (!error && ret_control) {
        *ret_control = control;
    } else if (!error) {
        bowline_control_free(control);
    }
    return error;
}
