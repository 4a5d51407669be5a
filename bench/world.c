#include "world.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

void world_init(struct world *w, const struct target *target, unsigned conns) {
    *w = (struct world){.target = target};
    pool_init(&w->pool, target, conns);
}

void world_fini(struct world *w) {
    pool_fini(&w->pool);
    mem_free(w->sessions);
    mem_free(w->tasks);
}

static void check_status(const char *what, int status, int expected, struct str body) {
    if (status != expected) {
        die("%s was answered with %d: %.*s", what, status, (int) (body.len < 400 ? body.len : 400), body.p);
    }
}

/* ---- sessions ---- */

static void session_put(struct job *j, size_t index, struct buf *out) {
    struct world *w = j->arg;
    (void) index;
    request_put(out, w->target, "POST", "/v1/sessions", w->target->key, NULL, STR("{}"));
}

static void session_take(struct job *j, size_t index, const struct answer *a) {
    struct world *w = j->arg;
    struct session *s = &w->sessions[index];
    check_status("a new session", a->status, 201, a->body);
    if (!text_copy(a->body, "\"id\":\"", '"', s->id, sizeof s->id) || !text_copy(a->body, "\"token\":\"", '"', s->token, sizeof s->token)) {
        die("not a session: %.*s", STR_FMT(a->body));
    }
}

/* ---- tasks ---- */

unsigned world_task_add(struct world *w, unsigned session) {
    if (w->task_count == w->task_cap) {
        w->task_cap = w->task_cap ? w->task_cap * 2 : 64;
        w->tasks = mem_resize(w->tasks, w->task_cap * sizeof *w->tasks);
    }
    w->tasks[w->task_count] = (struct task){.session = session};
    return w->task_count++;
}

void world_put_create(struct world *w, unsigned task, struct buf *out) {
    char body[160];
    int n = snprintf(body, sizeof body, "{\"session\":\"%s\",\"kind\":\"bench\",\"title\":\"Report %u\",\"lease\":600}",
                     w->sessions[w->tasks[task].session].id, task);
    request_put(out, w->target, "POST", "/v1/tasks", w->target->key, NULL, str_n(body, (size_t) n));
}

void world_take_create(struct world *w, unsigned task, const struct answer *a) {
    struct task *t = &w->tasks[task];
    check_status("a new task", a->status, 202, a->body);
    if (!text_copy(a->body, "\"id\":\"", '"', t->id, sizeof t->id) || !text_copy(a->body, "\"worker_token\":\"", '"', t->token, sizeof t->token)) {
        die("not a task: %.*s", STR_FMT(a->body));
    }
    t->version = text_number(text_behind(a->body, "\"version\":"));
}

static void create_put(struct job *j, size_t index, struct buf *out) {
    world_put_create(j->arg, (unsigned) index, out);
}

static void create_take(struct job *j, size_t index, const struct answer *a) {
    world_take_create(j->arg, (unsigned) index, a);
}

/* ---- reports ---- */

void world_put_report(struct world *w, unsigned task, bool with_task, struct buf *out) {
    struct task *t = &w->tasks[task];
    t->current++;
    buf_char(out, '{');
    if (with_task) {
        buf_printf(out, "\"task\":\"%s\",", t->id);
    }
    buf_printf(out, "\"type\":\"progress\",\"current\":%llu,\"total\":1000000,\"unit\":\"pages\",\"message\":\"page %llu\"}",
               (unsigned long long) t->current, (unsigned long long) t->current);
}

static void report_request(struct world *w, unsigned task, struct str body, struct buf *out) {
    char path[80];
    struct task *t = &w->tasks[task];
    snprintf(path, sizeof path, "/v1/tasks/%s/reports", t->id);
    request_put(out, w->target, "POST", path, t->token, NULL, body);
}

void world_put_progress(struct world *w, unsigned task, struct buf *out) {
    struct buf body = {0};
    world_put_report(w, task, false, &body);
    report_request(w, task, buf_view(&body), out);
    buf_fini(&body);
}

void world_put_succeed(struct world *w, unsigned task, struct buf *out) {
    report_request(w, task, STR("{\"type\":\"succeed\",\"result\":{\"url\":\"/reports/7.pdf\"}}"), out);
    w->tasks[task].ended = true;
}

void world_take_report(struct world *w, unsigned task, int status, struct str body) {
    struct task *t = &w->tasks[task];
    check_status("a report", status, 200, body);
    uint64_t version = text_number(text_behind(body, "\"version\":"));
    if (version <= t->version || !text_behind(body, t->ended ? "\"state\":\"succeeded\"" : "\"state\":\"running\"").p) {
        fault("a report after version %llu was answered with %.*s", (unsigned long long) t->version, STR_FMT(body));
    }
    t->version = version;
}

static void progress_put(struct job *j, size_t index, struct buf *out) {
    world_put_progress(j->arg, (unsigned) index, out);
}

static void progress_take(struct job *j, size_t index, const struct answer *a) {
    world_take_report(j->arg, (unsigned) index, a->status, a->body);
}

void world_fill(struct world *w, unsigned sessions, unsigned tasks_per_session) {
    struct job make_sessions = {.total = sessions, .put = session_put, .done = session_take, .arg = w};
    w->sessions = mem_alloc(sessions * sizeof *w->sessions);
    w->session_count = sessions;
    pool_run(&w->pool, &make_sessions, 8);
    for (unsigned i = 0; i < sessions * tasks_per_session; i++) {
        (void) world_task_add(w, i / tasks_per_session);
    }
    struct job create = {.total = w->task_count, .put = create_put, .done = create_take, .arg = w};
    struct job start = {.total = w->task_count, .put = progress_put, .done = progress_take, .arg = w};
    pool_run(&w->pool, &create, 8);
    pool_run(&w->pool, &start, 8);
}

/* ---- watching ---- */

void world_watch(struct world *w, struct stream *s, unsigned number, unsigned session, enum stream_way way, bool resume) {
    stream_open(s, w->target, number, way, "/v1/session/events", w->sessions[session].token, resume);
}

bool world_is_seen(const struct world *w, const struct stream *s, unsigned first, unsigned count) {
    for (unsigned i = first; i < first + count; i++) {
        const struct seen *seen = stream_seen(s, w->tasks[i].id);
        if (!seen || seen->version != w->tasks[i].version || seen->ended != w->tasks[i].ended) {
            return false;
        }
    }
    return true;
}

/* ---- metrics ---- */

struct metric {
    const struct target *target;
    const char *name;
    double value;
};

static void metric_put(struct job *j, size_t index, struct buf *out) {
    const struct target *t = ((struct metric *) j->arg)->target;
    (void) index;
    request_put(out, t, "GET", "/metrics", t->key, NULL, STR_NONE);
}

static void metric_take(struct job *j, size_t index, const struct answer *a) {
    struct metric *m = j->arg;
    char mark[96], value[32];
    (void) index;
    check_status("/metrics", a->status, 200, a->body);
    snprintf(mark, sizeof mark, "\n%s ", m->name);
    if (!text_copy(a->body, mark, '\n', value, sizeof value)) {
        die("/metrics has no %s", m->name);
    }
    m->value = strtod(value, NULL);
}

double world_metric(struct world *w, const char *name) {
    struct metric m = {.target = w->target, .name = name};
    struct job ask = {.total = 1, .put = metric_put, .done = metric_take, .arg = &m};
    pool_run(&w->pool, &ask, 1);
    return m.value;
}
