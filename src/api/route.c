#include "api/route.h"

#include "api/internal.h"

#include <assert.h>
#include <pthread.h>

#define LIST_IDS Q_LIMIT | Q_AFTER_ID
#define EVENTS_QUERY Q_AFTER_CURSOR | Q_ACCESS_TOKEN
#define READERS WHO_BACKEND | WHO_OPERATOR | WHO_SESSION | WHO_WATCH

const struct route routes[] = {
    /* ---- sessions ---- */
    {HTTP_POST, "/v1/sessions", CMD_SESSION_CREATE, WHO_BACKEND, 0, ROUTE_IDEMPOTENT, BODY_SESSION_NEW, PRODUCE_JSON, 0, NULL, 201, "createSession",
     "sessions", "Create a session, or find the active one with this key (200)", "Session"},
    {HTTP_GET, "/v1/sessions", CMD_SESSION_LIST, WHO_BACKEND | WHO_OPERATOR, LIST_IDS | Q_USER | Q_SESSION_STATE, 0, BODY_NONE, PRODUCE_JSON, 0, NULL,
     200, "listSessions", "sessions", "List sessions, newest first", "SessionPage"},
    {HTTP_GET, "/v1/sessions/{session}", CMD_SESSION_GET, WHO_BACKEND | WHO_OPERATOR, 0, 0, BODY_NONE, PRODUCE_JSON, 0, NULL, 200, "getSession",
     "sessions", "Read a session", "Session"},
    {HTTP_DELETE, "/v1/sessions/{session}", CMD_SESSION_END, WHO_BACKEND | WHO_OPERATOR, 0, 0, BODY_NONE, PRODUCE_JSON, 0, NULL, 200, "endSession",
     "sessions", "End a session", "Session"},
    {HTTP_POST, "/v1/sessions/{session}/touch", CMD_SESSION_TOUCH, WHO_BACKEND, 0, ROUTE_IDEMPOTENT, BODY_NONE, PRODUCE_JSON, 0, NULL, 200,
     "touchSession", "sessions", "Restart the idle clock of a session", "Session"},
    {HTTP_POST, "/v1/sessions/{session}/rotate", CMD_SESSION_ROTATE, WHO_BACKEND, 0, ROUTE_IDEMPOTENT, BODY_ROTATE, PRODUCE_JSON, 0, NULL, 200,
     "rotateSession", "sessions", "Give a session its next generation, and perhaps a user and another key: for login", "Session"},
    {HTTP_POST, "/v1/sessions/{session}/merge", CMD_SESSION_MERGE, WHO_BACKEND, 0, ROUTE_IDEMPOTENT, BODY_MERGE, PRODUCE_JSON, 0, NULL, 200,
     "mergeSession", "sessions", "Move every task to another session and end this one", "Session"},
    {HTTP_GET, "/v1/sessions/{session}/events", CMD_WATCH, WHO_BACKEND | WHO_OPERATOR, EVENTS_QUERY | Q_OUTPUT, ROUTE_WAITS, BODY_NONE,
     PRODUCE_EVENTS, WATCH_SESSION, NULL, 200, "watchSession", "watching", "Watch the tasks of a session", "Events"},
    {HTTP_GET, "/v1/session", CMD_SESSION_GET, WHO_SESSION, 0, ROUTE_OWN, BODY_NONE, PRODUCE_JSON, 0, NULL, 200, "getOwnSession", "own session",
     "Read the credential's session", "Session"},
    {HTTP_DELETE, "/v1/session", CMD_SESSION_END, WHO_SESSION, 0, ROUTE_OWN, BODY_NONE, PRODUCE_JSON, 0, NULL, 200, "endOwnSession", "own session",
     "End the credential's session", "Session"},
    {HTTP_POST, "/v1/session", CMD_SESSION_OPEN, WHO_ANYONE, 0, ROUTE_OPEN_SESSIONS | ROUTE_NO_KEY, BODY_NONE, PRODUCE_JSON, 0, NULL, 201,
     "openOwnSession", "own session", "Have an anonymous session and its cookie, or the one the cookie names (200); with the option open_sessions",
     "Session"},
    {HTTP_GET, "/v1/session/tasks", CMD_TASK_LIST, WHO_SESSION, LIST_IDS | Q_TASK_STATE | Q_KIND, ROUTE_OWN, BODY_NONE, PRODUCE_JSON, 0, NULL, 200,
     "listOwnTasks", "own session", "List the session's tasks, newest first", "TaskPage"},
    {HTTP_POST, "/v1/session/tasks", CMD_TASK_START, WHO_SESSION, 0, ROUTE_OWN | ROUTE_IDEMPOTENT, BODY_TASK_START, PRODUCE_JSON, 0, NULL, 202,
     "startOwnTask", "own session", "Start a task of a kind that sessions may start themselves", "Task"},
    {HTTP_GET, "/v1/session/events", CMD_WATCH, WHO_SESSION, EVENTS_QUERY | Q_OUTPUT, ROUTE_OWN | ROUTE_WAITS, BODY_NONE, PRODUCE_EVENTS,
     WATCH_OWN_SESSION, NULL, 200, "watchOwnSession", "own session", "Watch the session's tasks", "Events"},

    /* ---- tasks ---- */
    {HTTP_POST, "/v1/tasks", CMD_TASK_CREATE, WHO_BACKEND, 0, ROUTE_IDEMPOTENT, BODY_TASK_NEW, PRODUCE_JSON, 0, NULL, 202, "createTask", "tasks",
     "Create a task for a session", "Task"},
    {HTTP_GET, "/v1/tasks", CMD_TASK_LIST, WHO_BACKEND | WHO_OPERATOR, LIST_IDS | Q_SESSION | Q_USER | Q_TASK_STATE | Q_KIND | Q_QUEUE, 0, BODY_NONE,
     PRODUCE_JSON, 0, NULL, 200, "listTasks", "tasks", "List tasks, newest first", "TaskPage"},
    {HTTP_GET, "/v1/tasks/{task}", CMD_TASK_GET, READERS, 0, ROUTE_WAITS, BODY_NONE, PRODUCE_JSON, 0, NULL, 200, "getTask", "tasks",
     "Read a task, or wait for its next version", "Task"},
    {HTTP_DELETE, "/v1/tasks/{task}", CMD_TASK_DELETE, WHO_BACKEND, 0, 0, BODY_NONE, PRODUCE_NOTHING, 0, NULL, 204, "deleteTask", "tasks",
     "Forget a finished task", NULL},
    {HTTP_GET, "/v1/tasks/{task}/result", CMD_TASK_RESULT, READERS, 0, 0, BODY_NONE, PRODUCE_JSON, 0, NULL, 200, "getTaskResult", "tasks",
     "Read the result, exactly as the worker sent it (202 with the task while it is unfinished)", "Any"},
    {HTTP_GET, "/v1/tasks/{task}/output", CMD_TASK_OUTPUT, READERS, Q_OFFSET, ROUTE_WAITS, BODY_NONE, PRODUCE_BYTES, 0, NULL, 200, "getTaskOutput",
     "tasks", "Read output bytes", NULL},
    {HTTP_GET, "/v1/tasks/{task}/input", CMD_TASK_INPUT, WHO_BACKEND | WHO_OPERATOR | WHO_ATTEMPT, 0, 0, BODY_NONE, PRODUCE_JSON, 0, NULL, 200,
     "getTaskInput", "tasks", "Read the input, exactly as it was sent", "Any"},
    {HTTP_POST, "/v1/tasks/{task}/cancel", CMD_TASK_CANCEL, READERS, 0, ROUTE_IDEMPOTENT, BODY_CANCEL, PRODUCE_JSON, 0, NULL, 200, "cancelTask",
     "tasks", "Cancel a task, or ask its worker to stop", "Task"},
    {HTTP_POST, "/v1/tasks/{task}/answer", CMD_TASK_ANSWER, WHO_BACKEND | WHO_SESSION | WHO_WATCH, 0, ROUTE_IDEMPOTENT, BODY_ANSWER, PRODUCE_JSON, 0,
     NULL, 200, "answerTask", "tasks", "Answer the question a worker asked", "Task"},
    {HTTP_POST, "/v1/tasks/{task}/seen", CMD_TASK_SEEN, WHO_SESSION | WHO_WATCH, 0, ROUTE_IDEMPOTENT, BODY_NONE, PRODUCE_JSON, 0, NULL, 200,
     "markTaskSeen", "tasks", "Say that a person has seen the task's end", "Task"},
    {HTTP_POST, "/v1/tasks/{task}/bind", CMD_TASK_BIND, WHO_BACKEND, 0, ROUTE_IDEMPOTENT, BODY_BIND, PRODUCE_JSON, 0, NULL, 200, "bindTask", "tasks",
     "Move a task to another session", "Task"},
    {HTTP_POST, "/v1/tasks/{task}/token", CMD_TASK_TOKEN, WHO_BACKEND, 0, 0, BODY_NONE, PRODUCE_JSON, 0, NULL, 200, "getTaskToken", "tasks",
     "Have the current watch token", "WatchToken"},
    {HTTP_GET, "/v1/tasks/{task}/events", CMD_WATCH, READERS, EVENTS_QUERY, ROUTE_WAITS, BODY_NONE, PRODUCE_EVENTS, WATCH_TASK, NULL, 200,
     "watchTask", "watching", "Watch one task", "Events"},

    /* ---- workers ---- */
    {HTTP_POST, "/v1/tasks/{task}/reports", CMD_TASK_REPORT, WHO_ATTEMPT | WHO_WORKER, 0, ROUTE_NO_KEY | ROUTE_NDJSON, BODY_REPORTS, PRODUCE_JSON, 0,
     NULL, 200, "reportTask", "workers", "Report on a task: one report, an array, or a stream of lines", "ReportAnswer"},
    {HTTP_GET, "/v1/tasks/{task}/control", CMD_TASK_CONTROL, WHO_ATTEMPT, Q_AFTER_VERSION, ROUTE_WAITS, BODY_NONE, PRODUCE_JSON, 0, NULL, 200,
     "getTaskControl", "workers", "Learn of a cancel request or an answer", "ReportAnswer"},
    {HTTP_POST, "/v1/reports", CMD_TASK_REPORT, WHO_WORKER, 0, ROUTE_NO_KEY | ROUTE_NDJSON | ROUTE_ONLY_NDJSON, BODY_REPORT_LINE, PRODUCE_JSON, 0,
     NULL, 200, "reportTasks", "workers", "Report on many tasks: a stream of lines", "ReportAnswer"},
    {HTTP_POST, "/v1/queues/{queue}/claim", CMD_QUEUE_CLAIM, WHO_WORKER, 0, ROUTE_NO_KEY | ROUTE_WAITS, BODY_CLAIM, PRODUCE_JSON, 0, NULL, 200,
     "claimTasks", "workers", "Claim tasks of a queue (204 when none came)", "Claimed"},
    {HTTP_POST, "/v1/queues/{queue}/release", CMD_QUEUE_RELEASE, WHO_WORKER, 0, ROUTE_IDEMPOTENT, BODY_RELEASE, PRODUCE_NOTHING, 0, NULL, 204,
     "releaseTask", "workers", "Give a claimed task back unharmed", NULL},
    {HTTP_GET, "/v1/queues", CMD_QUEUE_LIST, WHO_OPERATOR | WHO_WORKER, Q_LIMIT | Q_AFTER_NAME, 0, BODY_NONE, PRODUCE_JSON, 0, NULL, 200,
     "listQueues", "workers", "List queues", "QueuePage"},

    /* ---- operating it ---- */
    {HTTP_GET, "/healthz", CMD_TYPES, WHO_ANYONE, 0, ROUTE_ANY_HOST, BODY_NONE, PRODUCE_JSON, 0, info_health, 200, "getHealth", "operating",
     "Is it alive", "Status"},
    {HTTP_GET, "/readyz", CMD_TYPES, WHO_ANYONE, 0, ROUTE_ANY_HOST, BODY_NONE, PRODUCE_JSON, 0, info_ready, 200, "getReadiness", "operating",
     "Does it serve", "Status"},
    {HTTP_GET, "/metrics", CMD_TYPES, WHO_OPERATOR, 0, ROUTE_METRICS, BODY_NONE, PRODUCE_METRICS, 0, info_metrics, 200, "getMetrics", "operating",
     "Figures as OpenMetrics", NULL},
    {HTTP_GET, "/v1/info", CMD_TYPES, WHO_ANYONE, 0, 0, BODY_NONE, PRODUCE_JSON, 0, info_about, 200, "getInfo", "operating",
     "Name, version and engine", "Info"},
    {HTTP_GET, "/openapi.json", CMD_TYPES, WHO_ANYONE, 0, 0, BODY_NONE, PRODUCE_JSON, 0, info_openapi, 200, "getDocument", "operating",
     "This document", "Any"},
};
const unsigned route_count = sizeof routes / sizeof *routes;

static const char *const method_names[] = {[HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",      [HTTP_PUT] = "PUT",
                                           [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};

const char *method_name(enum http_method m) {
    return m < HTTP_OTHER ? method_names[m] : "";
}

void methods_write(unsigned methods, struct buf *out) {
    const char *comma = "";
    for (unsigned m = 0; m < HTTP_OTHER; m++) {
        if (methods & 1u << m) {
            buf_puts(out, comma);
            buf_puts(out, method_names[m]);
            comma = ", ";
        }
    }
}

bool path_split(struct str path, struct segments *ret) {
    ret->count = 0;
    if (!path.len || path.p[0] != '/') {
        return false;
    }
    for (struct str rest = str_from(path, 1);;) {
        const char *slash = rest.len ? memchr(rest.p, '/', rest.len) : NULL;
        if (ret->count == SEGMENTS_MAX) {
            return false;
        }
        ret->at[ret->count++] = str_n(rest.p, slash ? (size_t) (slash - rest.p) : rest.len);
        if (!slash) {
            return true;
        }
        rest = str_from(rest, (size_t) (slash - rest.p) + 1);
    }
}

static bool is_place(struct str segment) {
    return segment.len && segment.p[0] == '{';
}

/* What tells most last segments apart at a glance: length and first character. 0 for a place, which takes any. */
static unsigned tail_of(const struct segments *s) {
    struct str last = s->at[s->count - 1];
    return is_place(last) ? 0 : (unsigned) last.len << 8 | (last.len ? (unsigned char) last.p[0] : 0);
}

/* From the end: paths differ most in what they end with. */
static bool pattern_fits(const struct segments *pattern, const struct segments *path) {
    for (unsigned i = path->count; i-- > 0;) {
        struct str want = pattern->at[i], have = path->at[i];
        if (is_place(want) ? !have.len : want.len != have.len || memcmp(want.p, have.p, want.len) != 0) {
            return false;
        }
    }
    return true;
}

static void places_take(const struct segments *pattern, const struct segments *path, struct route_match *m) {
    for (unsigned i = 0; i < path->count; i++) {
        struct str want = pattern->at[i];
        if (is_place(want)) {
            struct str *place = str_eqz(want, "{session}") ? &m->session : str_eqz(want, "{task}") ? &m->task : &m->queue;
            *place = path->at[i];
        }
    }
}

/* The routes by how many segments they have; cut once. */
static struct {
    struct segments patterns[sizeof routes / sizeof *routes];
    const struct route *routes[sizeof routes / sizeof *routes];
    unsigned tails[sizeof routes / sizeof *routes];
    unsigned count;
} by_length[SEGMENTS_MAX + 1];

static void patterns_cut(void) {
    for (unsigned i = 0; i < route_count; i++) {
        struct segments cut;
        bool good = path_split(str_of(routes[i].pattern), &cut);
        assert(good);
        (void) good;
        unsigned at = by_length[cut.count].count++;
        by_length[cut.count].patterns[at] = cut;
        by_length[cut.count].routes[at] = &routes[i];
        by_length[cut.count].tails[at] = tail_of(&cut);
    }
}

void route_find(struct str path, enum http_method method, bool open_sessions, struct route_match *ret) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct segments have;
    *ret = (struct route_match){0};
    pthread_once(&once, patterns_cut);
    if (!path_split(path, &have)) {
        return;
    }
    unsigned tail = tail_of(&have);
    for (unsigned i = 0; i < by_length[have.count].count; i++) {
        unsigned wanted = by_length[have.count].tails[i];
        const struct route *r = by_length[have.count].routes[i];
        const struct segments *pattern = &by_length[have.count].patterns[i];
        if ((wanted && wanted != tail) || !pattern_fits(pattern, &have)) {
            continue;
        }
        places_take(pattern, &have, ret);
        if ((r->flags & ROUTE_OPEN_SESSIONS) && !open_sessions) {
            ret->off |= r->method == method;
            continue;
        }
        ret->methods |= 1u << r->method | (r->method == HTTP_GET ? 1u << HTTP_HEAD : 0);
        if (r->method == method || (r->method == HTTP_GET && method == HTTP_HEAD)) {
            ret->route = r;
        }
    }
}
