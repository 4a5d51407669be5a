/*
 * A watch goes round: paused until connect_ms → open → (the stream ends) → paused again, from its cursor. Rotated with a session's token it is held until it
 * gets another one. It is over when the server answers 204, when the session or the task has ended, when the callback says so, or when the server refuses it.
 */
#include "client/watch.h"

#include <stdlib.h>

#define RETRY_MS 2000 /* until the stream says something else */
#define BODY_MAX ((size_t) 64 << 10)

/* ---- the answer ---- */

static size_t watch_bytes(char *data, size_t size, size_t count, void *arg) {
    struct bowline_watch *w = arg;
    long status = 0;
    size_t len = size * count;
    curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
    w->heard_ms = mono_ms();
    if (status != 200) {
        return w->reply.body.len + len > BODY_MAX ? 0 : reply_write(data, size, count, &w->reply);
    }
    w->streaming = true;
    enum sse_result result = sse_feed(&w->sse, str_n(data, len));
    w->no_memory |= result == SSE_NO_MEMORY;
    if (result == SSE_OK && w->sse.cursor.len && buf_reserve(&w->cursor, w->sse.cursor.len + 1)) {
        w->cursor.len = 0;
        buf_str(&w->cursor, buf_view(&w->sse.cursor));
    }
    return result == SSE_OK ? len : 0;
}

/* ---- moves ---- */

static void watch_detach(struct bowline_watch *w) {
    if (w->attached) {
        curl_multi_remove_handle(w->io.multi, w->curl);
        w->attached = false;
    }
}

static void watch_finish(struct bowline_watch *w, int error) {
    watch_detach(w);
    w->state = WATCH_FINISHED;
    w->error = error;
}

static void watch_pause(struct bowline_watch *w, int64_t ms) {
    watch_detach(w);
    w->state = WATCH_PAUSED;
    w->connect_ms = mono_ms() + ms;
}

static int watch_request(struct bowline_watch *w) {
    curl_slist_free_all(w->headers);
    w->headers = NULL;
    int error = transfer_prepare(w->client, w->curl, buf_z(&w->path), w->credential, "text/event-stream", &w->headers);
    if (!error && w->cursor.len) {
        error = header_add(&w->headers, "Last-Event-ID", buf_z(&w->cursor));
    }
    if (error) {
        return error;
    }
    w->why[0] = 0;
    curl_easy_setopt(w->curl, CURLOPT_HTTPHEADER, w->headers);
    curl_easy_setopt(w->curl, CURLOPT_ERRORBUFFER, w->why);
    curl_easy_setopt(w->curl, CURLOPT_HEADERFUNCTION, reply_header);
    curl_easy_setopt(w->curl, CURLOPT_HEADERDATA, &w->reply);
    curl_easy_setopt(w->curl, CURLOPT_WRITEFUNCTION, watch_bytes);
    curl_easy_setopt(w->curl, CURLOPT_WRITEDATA, w);
    return curl_multi_add_handle(w->io.multi, w->curl) == CURLM_OK ? BOWLINE_OK : BOWLINE_NO_MEMORY;
}

static void watch_connect(struct bowline_watch *w) {
    reply_clear(&w->reply);
    sse_set_cursor(&w->sse, buf_view(&w->cursor));
    sse_restart(&w->sse);
    w->streaming = w->any_event = w->any_problem = w->rotated = w->no_memory = false;
    w->heard_ms = mono_ms();
    if (watch_request(w) != BOWLINE_OK) {
        watch_pause(w, backoff_next(&w->pause_ms, BACKOFF_MAX_MS));
        return;
    }
    w->attached = true;
    w->state = WATCH_OPEN;
}

/* The connection is gone for a reason that passes. */
static void watch_lost(struct bowline_watch *w) {
    int64_t retry_ms = w->sse.retry_ms >= 0 ? w->sse.retry_ms : RETRY_MS;
    int64_t asked_ms = (int64_t) (w->reply.retry_after_s * 1000), pause_ms = backoff_next(&w->pause_ms, 3 * BACKOFF_MAX_MS);
    /* A stream that was fine is taken up again as it asked to; one that could not be had is tried for with growing pauses. */
    int64_t ms = w->any_event ? retry_ms : pause_ms;
    watch_pause(w, ms > asked_ms ? ms : asked_ms);
    watch_tell_lost(w);
}

static bool holds_session_token(const struct bowline_watch *w) {
    const char *who = w->credential ? w->credential : w->client->credential;
    return who && strncmp(who, "blk_", 4) != 0;
}

/* The stream or its refusal has come to its end. */
static void watch_ended(struct bowline_watch *w, CURLcode result) {
    long status = 0;
    curl_easy_getinfo(w->curl, CURLINFO_RESPONSE_CODE, &status);
    watch_detach(w);
    if (w->stopped || w->ended || w->left) {
        watch_finish(w, BOWLINE_OVER);
    } else if (w->finished_task && w->any_event && !w->any_problem && result == CURLE_OK) {
        watch_pause(w, 0); /* asked once more the server says 204, or gives the output that a drain has cut off */
    } else if (w->rotated && holds_session_token(w)) {
        w->state = WATCH_HELD;
    } else if (w->no_memory) {
        problem_local(&w->problem, BOWLINE_NO_MEMORY, NULL);
        w->any_event = false; /* the next try waits longer and longer */
        watch_lost(w);
    } else if (result != CURLE_OK && (result != CURLE_WRITE_ERROR || w->streaming)) {
        problem_local(&w->problem, BOWLINE_UNREACHABLE, w->why[0] ? w->why : curl_easy_strerror(result));
        watch_lost(w);
    } else if (status == 204) {
        watch_finish(w, BOWLINE_OVER);
    } else if (status == 200) {
        if (!w->any_problem) {
            problem_local(&w->problem, BOWLINE_UNREACHABLE, "The server has closed the stream");
        }
        watch_lost(w);
    } else {
        int error = problem_answer(&w->problem, (int) status, buf_view(&w->reply.body), w->reply.retry_after_s);
        if (error_is_passing(error)) {
            watch_lost(w);
        } else {
            watch_finish(w, error);
        }
    }
}

static void watch_messages(struct bowline_watch *w) {
    int left;
    for (CURLMsg *m; w->attached && (m = curl_multi_info_read(w->io.multi, &left));) {
        if (m->msg == CURLMSG_DONE) {
            watch_ended(w, m->data.result);
        }
    }
}

/* The timer: on the pause before the next connection, or on the limit of silence. */
static void watch_arm(struct bowline_watch *w) {
    int64_t at_ms = w->state == WATCH_PAUSED     ? w->connect_ms
                    : w->state == WATCH_OPEN     ? w->heard_ms + w->silence_ms
                    : w->state == WATCH_FINISHED ? 0 /* whoever polls is told to look */
                                                 : TIME_NEVER;
    io_arm(&w->io, at_ms);
}

static void watch_step(struct bowline_watch *w) {
    io_turn(&w->io);
    watch_messages(w);
    int64_t now_ms = mono_ms();
    if (w->state == WATCH_OPEN && now_ms - w->heard_ms >= w->silence_ms) {
        watch_detach(w);
        problem_local(&w->problem, BOWLINE_UNREACHABLE, "Nothing was heard for too long");
        watch_lost(w);
    }
    if (w->stopped && w->state != WATCH_FINISHED) {
        watch_finish(w, BOWLINE_OVER);
    }
    if (w->state == WATCH_PAUSED && now_ms >= w->connect_ms) {
        watch_connect(w);
        io_turn(&w->io);
        watch_messages(w);
    }
    watch_arm(w);
}

/* ---- the handle ---- */

static int path_make(struct bowline_watch *w, const struct bowline_watch_options *o) {
    if (o->task) {
        path_of(&w->path, "tasks", o->task, "/events");
    } else if (o->session) {
        path_of(&w->path, "sessions", o->session, "/events");
    } else {
        buf_puts(&w->path, "/v1/session/events");
    }
    if (o->output && !o->task) {
        buf_puts(&w->path, "?output=1");
    }
    if (o->after) {
        buf_puts(&w->cursor, o->after);
    }
    buf_z(&w->path);
    return w->path.failed || w->cursor.failed ? BOWLINE_NO_MEMORY : BOWLINE_OK;
}

static bool is_cursor(const char *text) {
    for (; *text; text++) {
        if (*text < ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

int bowline_watch_open(bowline_client *client, const struct bowline_watch_options *options, bowline_event_fn on_event, void *arg,
                       bowline_watch **ret_watch) {
    static const struct bowline_watch_options none;
    const struct bowline_watch_options *o = options ? options : &none;
    const char *wrong = !client                                      ? "client"
                        : !on_event                                  ? "on_event"
                        : o->session && o->task                      ? "session or task, where both are given,"
                        : !(o->silence_s >= 0) || o->silence_s > 1e9 ? "silence_s"
                        : o->after && !is_cursor(o->after)           ? "after"
                                                                     : NULL;
    if (wrong) {
        return problem_argument(o->problem, wrong, "is missing or out of its bounds");
    }
    struct bowline_watch *w = calloc(1, sizeof *w);
    if (!w) {
        return problem_local(o->problem, BOWLINE_NO_MEMORY, NULL);
    }
    *w = (struct bowline_watch){.client = client,
                                .of_task = o->task,
                                .output = o->output,
                                .silence_ms = o->silence_s > 0 ? (int64_t) (o->silence_s * 1000) : 60000,
                                .on_event = on_event,
                                .arg = arg,
                                .sse = {.event = watch_event, .arg = w, .retry_ms = -1}};
    int error = path_make(w, o);
    error = error ? error : io_open(&w->io);
    w->curl = error ? NULL : curl_easy_init();
    error = error || w->curl ? error : BOWLINE_NO_MEMORY;
    if (error) {
        bowline_watch_close(w);
        return problem_local(o->problem, error, NULL);
    }
    watch_arm(w);
    *ret_watch = w;
    return BOWLINE_OK;
}

void bowline_watch_close(bowline_watch *watch) {
    if (!watch) {
        return;
    }
    watch_detach(watch);
    curl_easy_cleanup(watch->curl);
    curl_slist_free_all(watch->headers);
    io_close(&watch->io);
    sse_fini(&watch->sse);
    reply_fini(&watch->reply);
    buf_fini(&watch->path);
    buf_fini(&watch->cursor);
    if (watch->credential) {
        explicit_bzero(watch->credential, strlen(watch->credential));
        free(watch->credential);
    }
    free(watch);
}

static int watch_result(struct bowline_watch *w, struct bowline_problem *problem) {
    if (w->state != WATCH_FINISHED) {
        return BOWLINE_OK;
    }
    if (w->error == BOWLINE_OVER) {
        return problem_local(problem, BOWLINE_OVER, NULL);
    }
    if (problem) {
        *problem = w->problem;
    }
    return w->error;
}

int bowline_watch_dispatch(bowline_watch *watch, struct bowline_problem *problem) {
    if (watch->dispatching) {
        return problem_local(problem, BOWLINE_BAD_ARGUMENT, "The watch's own callback must not drive it");
    }
    if (watch->state != WATCH_FINISHED) {
        watch->dispatching = true;
        watch_step(watch);
        watch->dispatching = false;
    }
    return watch_result(watch, problem);
}

int bowline_watch_run(bowline_watch *watch, int64_t timeout_ms, struct bowline_problem *problem) {
    int64_t deadline_ms = deadline_of(timeout_ms);
    for (;;) {
        int error = bowline_watch_dispatch(watch, problem);
        if (error) {
            return error;
        }
        if (mono_ms() >= deadline_ms) {
            return problem_local(problem, BOWLINE_TIMED_OUT, NULL);
        }
        if (!io_wait(&watch->io, deadline_ms)) {
            return problem_local(problem, BOWLINE_SYSTEM, NULL);
        }
    }
}

int bowline_watch_fd(const bowline_watch *watch) {
    return watch->io.epoll_fd;
}

const char *bowline_watch_cursor(const bowline_watch *watch) {
    return watch->cursor.len ? buf_z((struct buf *) &watch->cursor) : NULL;
}

int bowline_watch_set_credential(bowline_watch *watch, const char *credential) {
    if (!credential || !credential[0] || !is_cursor(credential)) {
        return BOWLINE_BAD_ARGUMENT;
    }
    char *copy = strdup(credential);
    if (!copy) {
        return BOWLINE_NO_MEMORY;
    }
    if (watch->credential) {
        explicit_bzero(watch->credential, strlen(watch->credential));
        free(watch->credential);
    }
    watch->credential = copy;
    watch->rotated = false;
    if (watch->state == WATCH_HELD || (watch->state == WATCH_FINISHED && watch->error == BOWLINE_UNAUTHENTICATED)) {
        watch_pause(watch, 0);
        watch_arm(watch);
    }
    return BOWLINE_OK;
}
