#include "client/reporter.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#define BUFFER_BYTES ((size_t) 1 << 20)
#define INTERVAL_MS 250
#define WORDS_MAX 2000                 /* characters of a prompt or an error's message */
#define PART_BYTES ((size_t) 64 << 10) /* of a schema or an error's detail */

/* ---- opening and closing ---- */

static int options_check(const struct bowline_reporter_options *o) {
    if (!o->task || !o->task[0]) {
        return problem_argument(o->problem, "task", "is missing");
    }
    if (o->worker_token && !credential_is_usable(o->worker_token)) {
        return problem_argument(o->problem, "worker_token", "holds a space, a line's end or another character that none has");
    }
    if (!(o->interval_s >= 0 && o->interval_s <= 3600)) {
        return problem_argument(o->problem, "interval_s", "is not 0 to 3600");
    }
    if (!(o->heartbeat_s >= 0 || o->heartbeat_s == BOWLINE_ZERO) || o->heartbeat_s > 1e6) {
        return problem_argument(o->problem, "heartbeat_s", "is not 0 to 1e6, or BOWLINE_ZERO");
    }
    return BOWLINE_OK;
}

static int reporter_init(struct bowline_reporter *r) {
    pthread_condattr_t attr;
    if (pthread_mutex_init(&r->lock, NULL) != 0) {
        return BOWLINE_SYSTEM;
    }
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int failed = pthread_cond_init(&r->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (failed) {
        pthread_mutex_destroy(&r->lock);
    }
    return failed ? BOWLINE_SYSTEM : BOWLINE_OK;
}

static void reporter_texts_free(struct bowline_reporter *r) {
    if (r->token) {
        explicit_bzero(r->token, strlen(r->token));
    }
    free(r->token);
    free(r->task);
    free(r);
}

int bowline_reporter_open(bowline_client *client, const struct bowline_reporter_options *options, bowline_reporter **ret_reporter) {
    const struct bowline_reporter_options *o = options;
    struct mux *mux;
    int error = client && o ? options_check(o) : BOWLINE_BAD_ARGUMENT;
    if (error) {
        return error;
    }
    error = mux_get(client, &mux);
    if (error) {
        return problem_local(o->problem, error, NULL);
    }
    struct bowline_reporter *r = calloc(1, sizeof *r);
    if (!r) {
        return problem_local(o->problem, BOWLINE_NO_MEMORY, NULL);
    }
    r->mux = mux;
    r->task = strdup(o->task);
    r->token = o->worker_token ? strdup(o->worker_token) : NULL;
    r->interval_ms = o->interval_s > 0 ? (int64_t) (o->interval_s * 1000) : INTERVAL_MS;
    r->heartbeat_ms = o->heartbeat_s < 0 ? -1 : (int64_t) (o->heartbeat_s * 1000);
    r->buffer_bytes = o->buffer_bytes ? o->buffer_bytes : BUFFER_BYTES;
    r->with_control = !o->no_control;
    r->said.out_base = r->output_stored = o->output_offset;
    r->probe = true;
    r->report.reporter = r->control.reporter = r;
    r->control.is_control = true;
    error = r->task && !r->token == !o->worker_token ? reporter_init(r) : BOWLINE_NO_MEMORY;
    if (error) {
        reporter_texts_free(r);
        return problem_local(o->problem, error, NULL);
    }
    mux_add(mux, r);
    *ret_reporter = r;
    return BOWLINE_OK;
}

static void line_fini(struct line *l) {
    buf_fini(&l->path);
    buf_fini(&l->body);
    reply_fini(&l->reply);
}

void bowline_reporter_free(bowline_reporter *reporter) {
    if (!reporter) {
        return;
    }
    mux_remove(reporter->mux, reporter);
    line_fini(&reporter->report);
    line_fini(&reporter->control);
    said_fini(&reporter->said);
    buf_fini(&reporter->answer);
    free(reporter->answer_id);
    pthread_cond_destroy(&reporter->changed);
    pthread_mutex_destroy(&reporter->lock);
    reporter_texts_free(reporter);
}

/* ---- saying ---- */

/* Whether anything more can be said; locked. */
static int reporter_open_error(const struct bowline_reporter *r) {
    return r->lost.error ? r->lost.error : r->closed ? BOWLINE_TASK_ENDED : BOWLINE_OK;
}

/* There is something to send: tells the thread, unless it knows. Unlocks. */
static void reporter_said(struct bowline_reporter *r, bool urgent) {
    bool wake = !r->report.busy && said_anything(&r->said) && (urgent || !r->armed);
    r->armed |= wake;
    pthread_mutex_unlock(&r->lock);
    if (wake) {
        mux_wake(r->mux);
    }
}

/* Notes why a call was not taken, for bowline_reporter_problem; locked. `wrong`: the argument and why, or NULL. */
static int reporter_wrong(struct bowline_reporter *r, int error, const char *wrong) {
    error = wrong && !error ? BOWLINE_BAD_ARGUMENT : error;
    if (error) {
        problem_local(&r->wrong, error, wrong);
    }
    return error;
}

int bowline_reporter_progress(bowline_reporter *reporter, double current, double total) {
    pthread_mutex_lock(&reporter->lock);
    int error = reporter_open_error(reporter);
    if (!error) {
        error = reporter_wrong(reporter, BOWLINE_OK, said_progress(&reporter->said, current, total));
    }
    reporter_said(reporter, false);
    return error;
}

int bowline_reporter_describe(bowline_reporter *reporter, const char *unit, const char *message) {
    pthread_mutex_lock(&reporter->lock);
    int error = reporter_open_error(reporter);
    if (!error) {
        error = reporter_wrong(reporter, BOWLINE_OK, said_describe(&reporter->said, unit, message));
    }
    reporter_said(reporter, false);
    return error;
}

int bowline_reporter_phase(bowline_reporter *reporter, const char *phase) {
    pthread_mutex_lock(&reporter->lock);
    int error = reporter_open_error(reporter);
    if (!error) {
        error = reporter_wrong(reporter, BOWLINE_OK, said_phase(&reporter->said, phase));
    }
    reporter_said(reporter, false);
    return error;
}

int bowline_reporter_data(bowline_reporter *reporter, const char *data_json) {
    struct str given = str_of(data_json);
    struct buf copy = {0};
    const char *wrong = given.len > DATA_BYTES             ? "data is larger than any server takes"
                        : given.p && !json_is_valid(given) ? "data is not JSON"
                                                           : NULL;
    if (!wrong && given.p) {
        buf_str(&copy, given);
    }
    pthread_mutex_lock(&reporter->lock);
    int error = reporter_open_error(reporter);
    if (!error) {
        error = reporter_wrong(reporter, copy.failed ? BOWLINE_NO_MEMORY : BOWLINE_OK, wrong);
    }
    if (!error) {
        said_data(&reporter->said, &copy);
    }
    reporter_said(reporter, false);
    buf_fini(&copy);
    return error;
}

int bowline_reporter_output(bowline_reporter *reporter, const void *data, size_t len) {
    struct said *s = &reporter->said;
    pthread_mutex_lock(&reporter->lock);
    int error = reporter_open_error(reporter);
    error = !error && len > reporter->buffer_bytes ? BOWLINE_TOO_LARGE : error;
    bool was_urgent = said_urgent(s);
    if (!error && len > reporter->buffer_bytes - (s->out.len < reporter->buffer_bytes ? s->out.len : reporter->buffer_bytes)) {
        error = BOWLINE_FULL;
        reporter->flush = true;
    }
    if (!error && len) {
        error = buf_reserve(&s->out, len) ? BOWLINE_OK : BOWLINE_NO_MEMORY;
        s->out.failed = false;
        if (!error) {
            buf_put(&s->out, data, len);
        }
    }
    reporter_said(reporter, error == BOWLINE_FULL || (!was_urgent && said_urgent(s)));
    return error;
}

static int report_close(struct body *b, struct buf *ret_report, struct bowline_problem *p) {
    body_end(b);
    int error = body_check(b, p);
    if (error) {
        buf_fini(&b->text);
        return error;
    }
    *ret_report = b->text;
    return BOWLINE_OK;
}

/* One that would be too long for the server is refused here, where it is said. */
static void body_part(struct body *b, const char *name, const char *json) {
    if (json && strlen(json) > PART_BYTES) {
        b->wrong = name;
    } else {
        body_json(b, name, json);
    }
}

static int refuse(struct bowline_reporter *r, const struct bowline_problem *p) {
    pthread_mutex_lock(&r->lock);
    r->wrong = *p;
    pthread_mutex_unlock(&r->lock);
    return p->error;
}

int bowline_reporter_ask(bowline_reporter *reporter, const char *prompt, const char *schema_json) {
    struct body b = {0};
    struct buf report;
    struct bowline_problem problem;
    body_begin(&b);
    body_text(&b, "type", "input_request");
    body_words(&b, "prompt", prompt, WORDS_MAX);
    if (!prompt || !prompt[0] || utf8_count(str_of(prompt)) > WORDS_MAX) {
        b.wrong = "prompt";
    }
    body_part(&b, "schema", schema_json);
    if (schema_json && schema_json[strspn(schema_json, " \t\r\n")] != '{') {
        b.wrong = "schema";
    }
    int error = report_close(&b, &report, &problem);
    if (error) {
        return refuse(reporter, &problem);
    }
    pthread_mutex_lock(&reporter->lock);
    error = reporter_open_error(reporter);
    if (error) {
        buf_fini(&report);
    } else {
        said_ask(&reporter->said, &report);
        reporter->question_open = reporter->question_doubt = reporter->has_answer = false;
    }
    reporter_said(reporter, true);
    return error;
}

static int reporter_end(struct bowline_reporter *r, struct body *b) {
    struct buf report;
    struct bowline_problem problem;
    int error = report_close(b, &report, &problem);
    if (error) {
        return refuse(r, &problem);
    }
    pthread_mutex_lock(&r->lock);
    error = reporter_open_error(r);
    if (error) {
        buf_fini(&report);
    } else {
        said_end(&r->said, &report);
        r->closed = true;
    }
    reporter_said(r, true);
    return error;
}

int bowline_reporter_succeed(bowline_reporter *reporter, const char *result_json) {
    struct body b = {0};
    body_begin(&b);
    body_text(&b, "type", "succeed");
    body_json(&b, "result", result_json);
    return reporter_end(reporter, &b);
}

/* The pattern of a kind. */
static bool name_is_valid(const char *name) {
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789", rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strlen(name);
    return len >= 1 && len <= 64 && strchr(first, name[0]) && strspn(name, rest) == len;
}

int bowline_reporter_fail(bowline_reporter *reporter, const char *type, const char *message, const char *detail_json, bool retry) {
    struct body b = {0};
    body_begin(&b);
    body_text(&b, "type", "fail");
    body_name(&b, "error");
    body_begin(&b);
    body_text(&b, "type", type);
    body_words(&b, "message", message, WORDS_MAX);
    body_part(&b, "detail", detail_json);
    body_end(&b);
    if (!type || !name_is_valid(type)) {
        b.wrong = "type";
    }
    if (retry) {
        body_span(&b, "retry", STR("true"));
    }
    return reporter_end(reporter, &b);
}

int bowline_reporter_cancelled(bowline_reporter *reporter) {
    struct body b = {0};
    body_begin(&b);
    body_text(&b, "type", "cancelled");
    return reporter_end(reporter, &b);
}

/* ---- hearing ---- */

bool bowline_reporter_should_stop(const bowline_reporter *reporter) {
    return atomic_load_explicit(&reporter->should_stop, memory_order_relaxed);
}

bool bowline_reporter_cancel_requested(const bowline_reporter *reporter) {
    return atomic_load_explicit(&reporter->cancel_requested, memory_order_relaxed);
}

static int lost_result(const struct bowline_reporter *r, struct bowline_problem *problem) {
    if (r->lost.error && problem) {
        *problem = r->lost;
    }
    return r->lost.error;
}

int bowline_reporter_error(bowline_reporter *reporter, struct bowline_problem *problem) {
    pthread_mutex_lock(&reporter->lock);
    int error = lost_result(reporter, problem);
    pthread_mutex_unlock(&reporter->lock);
    return error;
}

int bowline_reporter_problem(bowline_reporter *reporter, struct bowline_problem *problem) {
    pthread_mutex_lock(&reporter->lock);
    int error = reporter->wrong.error;
    if (problem) {
        *problem = reporter->wrong;
    }
    reporter->wrong = (struct bowline_problem){0};
    pthread_mutex_unlock(&reporter->lock);
    return error;
}

uint64_t bowline_reporter_output_stored(bowline_reporter *reporter) {
    pthread_mutex_lock(&reporter->lock);
    uint64_t stored = reporter->output_stored;
    pthread_mutex_unlock(&reporter->lock);
    return stored;
}

int bowline_reporter_answer(bowline_reporter *reporter, struct bowline_text *ret_json) {
    pthread_mutex_lock(&reporter->lock);
    int error = reporter->has_answer ? BOWLINE_OK : reporter->lost.error ? reporter->lost.error : BOWLINE_NOT_YET;
    if (!error) {
        buf_z(&reporter->answer);
        error = reporter->answer.failed ? BOWLINE_NO_MEMORY : BOWLINE_OK;
        reporter->answer.failed = false;
    }
    if (!error) {
        *ret_json = (struct bowline_text){.data = reporter->answer.data, .len = reporter->answer.len};
        reporter->answer = (struct buf){0};
        reporter->has_answer = false;
    }
    pthread_mutex_unlock(&reporter->lock);
    return error;
}

/* Waits for a change, at most until then; locked. False when time is up. */
static bool changed_wait(struct bowline_reporter *r, int64_t until_ms) {
    if (until_ms == DEADLINE_NEVER) {
        pthread_cond_wait(&r->changed, &r->lock);
        return true;
    }
    struct timespec t = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    return pthread_cond_timedwait(&r->changed, &r->lock, &t) == 0;
}

int bowline_reporter_flush(bowline_reporter *reporter, int64_t timeout_ms, struct bowline_problem *problem) {
    struct bowline_reporter *r = reporter;
    int64_t deadline_ms = deadline_of(timeout_ms);
    int error = BOWLINE_OK;
    pthread_mutex_lock(&r->lock);
    bool wake = said_anything(&r->said);
    r->flush |= wake;
    if (wake) {
        mux_wake(r->mux);
    }
    for (bool in_time = timeout_ms != 0;; in_time = changed_wait(r, deadline_ms)) {
        bool under_way = r->said.sending || r->said.out_sending || r->said.question_sending || r->said.outcome_sending;
        if (r->refused.error) {
            error = r->refused.error;
            if (problem) {
                *problem = r->refused;
            }
            r->refused.error = BOWLINE_OK;
            break;
        }
        if (!said_anything(&r->said) && !under_way) {
            error = r->ended ? BOWLINE_OK : lost_result(r, problem);
            break;
        }
        if (r->lost.error) {
            error = lost_result(r, problem);
            break;
        }
        if (!in_time) {
            error = problem_local(problem, BOWLINE_TIMED_OUT, NULL);
            break;
        }
        r->flush = true; /* what was taken back after a failure is still to go at once */
    }
    pthread_mutex_unlock(&r->lock);
    return error;
}

int bowline_reporter_wait(bowline_reporter *reporter, int64_t timeout_ms, struct bowline_problem *problem) {
    struct bowline_reporter *r = reporter;
    int64_t deadline_ms = deadline_of(timeout_ms);
    int error = BOWLINE_OK;
    pthread_mutex_lock(&r->lock);
    for (bool in_time = timeout_ms != 0;; in_time = changed_wait(r, deadline_ms)) {
        if (r->lost.error) {
            error = lost_result(r, problem);
            break;
        }
        if (r->has_answer || atomic_load(&r->cancel_requested)) {
            break;
        }
        if (!in_time) {
            error = problem_local(problem, BOWLINE_TIMED_OUT, NULL);
            break;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return error;
}
