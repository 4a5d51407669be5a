/*
 * The thread's side of a reporter. The first request is a lone heartbeat, so that it is known how the attempt stands before anything is said; so is the
 * first one after a request whose fate is unknown. From its answer follow where the output goes on and whether a question was heard. A request with the
 * outcome is said again instead: the server gives the report that ended an attempt the same answer again, and all others that the attempt is over.
 */
#include "client/reporter.h"

#include <stdlib.h>

#define BEAT_LEAST_MS 100
#define BEAT_UNKNOWN_MS 20000 /* while a question stands still the lease, and for tasks without one */

/* ---- what an answer says ---- */

/* The lease by the server's own clock: its Date has whole seconds, so up to one of them is missing. */
static void take_lease(struct bowline_reporter *r, const struct bowline_control *c, int64_t date_ms) {
    if (!c->lease_until_ms || !date_ms) {
        r->lease_beat_ms = c->state == BOWLINE_INPUT_REQUIRED ? r->lease_beat_ms : 0;
        return;
    }
    int64_t beat_ms = (c->lease_until_ms - date_ms - 1000) / 3;
    r->lease_beat_ms = beat_ms < BEAT_LEAST_MS ? BEAT_LEAST_MS : beat_ms > 600000 ? 600000 : beat_ms;
}

static void take_answer(struct bowline_reporter *r, const struct bowline_control *c) {
    if (!c->answer_request || !c->answer || (r->answer_id && strcmp(r->answer_id, c->answer_request) == 0)) {
        return;
    }
    char *id = strdup(c->answer_request);
    struct buf text = {0};
    buf_puts(&text, c->answer);
    if (!id || text.failed) {
        free(id);
        buf_fini(&text);
        return; /* the next answer says it again */
    }
    free(r->answer_id);
    r->answer_id = id;
    /* One that comes with the question's own acknowledgement was given to an earlier question. */
    if (r->said.question_sending || !(r->question_open || r->question_doubt)) {
        buf_fini(&text);
        return;
    }
    if (r->question_doubt) {
        said_unask(&r->said);
    }
    r->question_open = r->question_doubt = false;
    buf_fini(&r->answer);
    r->answer = text;
    r->has_answer = true;
}

static void reporter_lose(struct bowline_reporter *r, int error, const char *detail) {
    if (!r->lost.error) {
        problem_local(&r->lost, error, detail);
        atomic_store(&r->should_stop, true);
    }
}

void reporter_take(struct bowline_reporter *r, const struct bowline_control *c, bool from_control, int64_t date_ms) {
    if (c->cancel_requested) {
        atomic_store(&r->cancel_requested, true);
        atomic_store(&r->should_stop, true);
    }
    if (from_control && r->said.question_sending) {
        return; /* which question the answer is for is known once that one is acknowledged */
    }
    take_answer(r, c);
    r->version = c->version > r->version ? c->version : r->version;
    if (from_control) {
        return;
    }
    take_lease(r, c, date_ms);
    if (r->said.question_sending && !r->said.question_changed) {
        r->question_open = true;
        r->question_doubt = false;
    }
    r->ended |= r->said.outcome_sending;
    r->outcome_doubt = false;
    said_stored(&r->said);
    r->output_stored = c->output_offset > r->output_stored ? c->output_offset : r->output_stored;
    if (!said_output_stored(&r->said, c->output_offset)) {
        reporter_lose(r, BOWLINE_OUTPUT_GAP, "The server lacks output that is no longer kept here");
    }
    r->probe = false;
    r->heard = true;
    r->gaps = 0;
}

/* ---- what a refusal says ---- */

static bool error_ends_attempt(int error) {
    return error == BOWLINE_ATTEMPT_SUPERSEDED || error == BOWLINE_TASK_ENDED || error == BOWLINE_UNAUTHENTICATED || error == BOWLINE_FORBIDDEN ||
           error == BOWLINE_NOT_FOUND || error == BOWLINE_GONE || error == BOWLINE_MISDIRECTED;
}

static void retry_later(struct bowline_reporter *r, struct line *l, double retry_after_s) {
    int64_t wait_ms = backoff_next(&l->pause_ms, BACKOFF_MAX_MS), asked_ms = (int64_t) (retry_after_s * 1000);
    l->not_before_ms = mono_ms() + (wait_ms > asked_ms ? wait_ms : asked_ms);
    r->probe |= !l->is_control;
}

static void report_refused(struct bowline_reporter *r, const struct bowline_problem *p) {
    struct said *s = &r->said;
    bool asked = s->question_sending, ended = s->outcome_sending, asked_anew = s->question_changed;
    if (error_is_passing(p->error) || p->error == BOWLINE_BAD_ANSWER || p->error == BOWLINE_NO_MEMORY) {
        r->question_doubt |= asked && !asked_anew;
        r->outcome_doubt |= ended;
        said_unsent(s);
        retry_later(r, &r->report, p->retry_after_s);
        return;
    }
    r->outcome_doubt = false;
    if (p->error == BOWLINE_OUTPUT_GAP && r->gaps++ < 3) {
        said_unsent(s);
        r->probe = true;
    } else if (!error_ends_attempt(p->error) && said_refused(s, str_of(p->pointer))) {
        r->question_doubt |= asked && !asked_anew;
        r->wrong = *p;
    } else if (!error_ends_attempt(p->error) && (asked || ended)) {
        said_unsent(s);
        if (ended) {
            said_unend(s);
            r->closed = false;
        } else if (!asked_anew) {
            said_unask(s);
        }
        r->refused = *p;
    } else {
        said_unsent(s);
        r->lost = *p;
        atomic_store(&r->should_stop, true);
    }
}

static void control_refused(struct bowline_reporter *r, const struct bowline_problem *p) {
    /* The outcome that is on its way out makes the task an ended one: the report's own answer tells how that went. */
    if (error_ends_attempt(p->error) && !r->closed) {
        r->lost = *p;
        atomic_store(&r->should_stop, true);
    } else {
        retry_later(r, &r->control, p->retry_after_s);
    }
}

/* ---- requests ---- */

static int line_result(struct line *l, CURLcode result, struct bowline_control **ret_control, struct bowline_problem *p) {
    long status = 0;
    if (result != CURLE_OK) {
        return problem_local(p, BOWLINE_UNREACHABLE, l->why[0] ? l->why : curl_easy_strerror(result));
    }
    curl_easy_getinfo(l->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        return problem_answer(p, (int) status, buf_view(&l->reply.body), l->reply.retry_after_s);
    }
    int error = object_control(buf_view(&l->reply.body), ret_control);
    return error ? problem_local(p, error, NULL) : BOWLINE_OK;
}

void reporter_done(struct line *l, CURLM *multi, CURLcode result) {
    struct bowline_reporter *r = l->reporter;
    struct bowline_control *control = NULL;
    struct bowline_problem problem = {0};
    curl_multi_remove_handle(multi, l->curl);
    int error = line_result(l, result, &control, &problem);
    pthread_mutex_lock(&r->lock);
    l->busy = false;
    if (!error && control) {
        l->pause_ms = l->not_before_ms = 0;
        r->contact_ms = l->is_control ? r->contact_ms : l->started_ms;
        reporter_take(r, control, l->is_control, l->reply.date_ms);
    } else if (l->is_control) {
        control_refused(r, &problem);
    } else {
        report_refused(r, &problem);
    }
    r->flush &= said_anything(&r->said);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    bowline_control_free(control);
}

static int line_start(struct line *l, CURLM *multi, int wait_s) {
    const struct bowline_client *c = l->reporter->mux->client;
    if (!l->curl) {
        l->curl = curl_easy_init();
    }
    curl_slist_free_all(l->headers);
    l->headers = NULL;
    reply_clear(&l->reply);
    int error = l->curl && !l->path.failed && !l->body.failed ? BOWLINE_OK : BOWLINE_NO_MEMORY;
    error = error ? error : transfer_prepare(c, l->curl, buf_z(&l->path), l->reporter->token, "application/json", &l->headers);
    if (!error && l->is_control) {
        error = header_add_wait(&l->headers, wait_s);
    } else if (!error) {
        error = header_add(&l->headers, "Content-Type", "application/json");
        error = error ? error : header_add(&l->headers, "Expect", "");
        transfer_body(l->curl, buf_view(&l->body));
    }
    if (error) {
        return error;
    }
    l->why[0] = 0;
    curl_easy_setopt(l->curl, CURLOPT_PRIVATE, l);
    curl_easy_setopt(l->curl, CURLOPT_HTTPHEADER, l->headers);
    curl_easy_setopt(l->curl, CURLOPT_ERRORBUFFER, l->why);
    curl_easy_setopt(l->curl, CURLOPT_HEADERFUNCTION, reply_header);
    curl_easy_setopt(l->curl, CURLOPT_HEADERDATA, &l->reply);
    curl_easy_setopt(l->curl, CURLOPT_WRITEFUNCTION, reply_write);
    curl_easy_setopt(l->curl, CURLOPT_WRITEDATA, &l->reply);
    curl_easy_setopt(l->curl, CURLOPT_TIMEOUT_MS, (long) (c->timeout_ms + wait_s * 1000));
    return curl_multi_add_handle(multi, l->curl) == CURLM_OK ? BOWLINE_OK : BOWLINE_NO_MEMORY;
}

static void report_start(struct bowline_reporter *r, CURLM *multi, int64_t now_ms) {
    struct line *l = &r->report;
    bool ok = true;
    buf_clear(&l->path);
    path_of(&l->path, "tasks", r->task, "/reports");
    buf_clear(&l->body);
    if (r->probe && !r->outcome_doubt) {
        buf_puts(&l->body, "{\"type\":\"heartbeat\"}");
    } else {
        ok = said_write(&r->said, &l->body);
    }
    r->armed = false;
    r->sent_ms = l->started_ms = now_ms;
    l->busy = ok && line_start(l, multi, 0) == BOWLINE_OK;
    if (!l->busy) {
        said_unsent(&r->said);
        retry_later(r, l, 0);
    }
}

static void control_start(struct bowline_reporter *r, CURLM *multi, int64_t now_ms) {
    struct line *l = &r->control;
    buf_clear(&l->path);
    path_of(&l->path, "tasks", r->task, "/control");
    if (r->version) {
        buf_printf(&l->path, "?after=%llu", (unsigned long long) r->version);
    }
    l->started_ms = now_ms;
    l->busy = line_start(l, multi, ANSWER_WAIT_MAX_S) == BOWLINE_OK;
    if (!l->busy) {
        retry_later(r, l, 0);
    }
}

static void line_detach(struct line *l, CURLM *multi) {
    if (l->busy) {
        curl_multi_remove_handle(multi, l->curl);
        l->busy = false;
    }
    curl_easy_cleanup(l->curl);
    l->curl = NULL;
    curl_slist_free_all(l->headers);
    l->headers = NULL;
}

void reporter_detach(struct bowline_reporter *r, CURLM *multi) {
    line_detach(&r->report, multi);
    line_detach(&r->control, multi);
}

/* ---- when ---- */

static int64_t report_due(const struct bowline_reporter *r, int64_t now_ms) {
    int64_t due_ms = TIME_NEVER;
    if (r->probe) {
        due_ms = now_ms;
    } else if (said_anything(&r->said)) {
        due_ms = r->flush || said_urgent(&r->said) ? now_ms : r->sent_ms + r->interval_ms;
    }
    int64_t beat_ms = r->heartbeat_ms ? r->heartbeat_ms : r->lease_beat_ms ? r->lease_beat_ms : r->with_control ? -1 : BEAT_UNKNOWN_MS;
    if (beat_ms > 0 && r->contact_ms + beat_ms < due_ms) {
        due_ms = r->contact_ms + beat_ms;
    }
    return due_ms > r->report.not_before_ms ? due_ms : r->report.not_before_ms;
}

int64_t reporter_step(struct bowline_reporter *r, CURLM *multi, int64_t now_ms) {
    int64_t due_ms = TIME_NEVER;
    pthread_mutex_lock(&r->lock);
    bool over = r->lost.error || r->ended;
    if (!over && !r->report.busy) {
        due_ms = report_due(r, now_ms);
        if (due_ms <= now_ms) {
            report_start(r, multi, now_ms);
            due_ms = r->report.busy ? TIME_NEVER : r->report.not_before_ms;
        }
    }
    if (!over && r->with_control && r->heard && !r->closed && !r->control.busy && !r->said.question_sending) {
        if (r->control.not_before_ms <= now_ms) {
            control_start(r, multi, now_ms);
        }
        due_ms = !r->control.busy && r->control.not_before_ms < due_ms ? r->control.not_before_ms : due_ms;
    }
    if (over && (r->report.busy || r->control.busy)) {
        reporter_detach(r, multi);
    }
    pthread_mutex_unlock(&r->lock);
    return due_ms;
}
