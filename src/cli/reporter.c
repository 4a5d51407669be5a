/*
 * reporter.c. The happy path: tick composes a batch from what waits, in the order output, progress, other, final; sends it; the answer lets go of it.
 *
 *     no answer, 408, 429, 5xx     unknown or not now: the same bytes again, later
 *     409 output-gap               the server knows less than it acknowledged (restored from a backup): go on from where it stands
 *     409 attempt-superseded, task-ended; 401, 403, 404, 410      over
 *     another 4xx                  a report is at fault. A batch is applied as a whole or not at all, so its parts go one by one to find which
 */
#include "cli/reporter.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/options.h"
#include "cli/body.h"
#include "cli/show.h"
#include "cli/spool.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <sys/queue.h>

#define BATCH_MS 100
#define BATCH_BYTES (64 * 1024)           /* as many are not waited with */
#define BATCH_MOST (512 * 1024)           /* at once when there is more than that */
#define SPOOL_BYTES (32ull * 1024 * 1024) /* more than a server keeps of a task's output by default */
#define MEMORY_BYTES (1024 * 1024)        /* of these in memory while the server is away */
#define REPORT_MS (30 * SEC)
#define CONTROL_S 30
#define CONTROL_LEAST_MS 100
#define RETRY_MS 250
#define RETRY_MOST_MS (4 * SEC)
#define LEASE_DEFAULT_MS (60 * SEC)
#define HEARTBEAT_MOST_MS (60 * SEC)
#define HEARTBEAT_LEAST_MS 100
#define ANSWER_DEPTH 100

enum part { PART_OUTPUT = 1, PART_PROGRESS = 2, PART_OTHER = 4, PART_FINAL = 8, PART_HEARTBEAT = 16 };
enum { CURRENT, TOTAL, UNIT, MESSAGE, DATA, PHASE, FIELDS };
static const char *const field_names[FIELDS] = {"current", "total", "unit", "message", "data", "phase"};

struct other {
    char *report;
    size_t len;
    TAILQ_ENTRY(other) link; /* reporter.others */
};

struct batch {
    struct buf body; /* empty: none is under way */
    unsigned parts;
    size_t output_bytes; /* of the front of reporter.staged */
    char *progress[FIELDS];
};

struct reporter {
    struct client_ops *ops;
    struct reporter_events events;
    void *arg;
    char *task, *token;
    struct client_op *op, *control; /* a batch under way; the request that hears of cancellation */

    struct spool spool;
    struct buf staged; /* the oldest output that has not arrived */
    uint64_t offset;   /* of its first byte */
    uint64_t left_out; /* bytes of output that had to be, whose number has not been told */
    bool left_out_noted, file_noted;
    size_t output_most;
    char *progress[FIELDS]; /* what is newer than what has arrived */
    char *phase;            /* the last that was said; NULL: none was */
    bool has_progress, wants_heartbeat;
    TAILQ_HEAD(, other) others;
    size_t others_bytes;
    struct buf final;
    struct batch batch;
    bool singly;         /* one part per batch: one of them is refused */
    bool result_refused; /* the final report is one about that */

    bool opened, over, cancel_told, cut_off;
    int64_t lease_ms;                 /* 0: not known, or none */
    bool lease_known;                 /* by the caller */
    int64_t since_ms;                 /* when the oldest of what waits was said; 0: nothing waits */
    int64_t heard_ms;                 /* when the lease was last extended, at the latest */
    int64_t retry_ms, control_ms;     /* not before */
    unsigned failures, control_fails; /* in a row */
    double version;                   /* the newest that an answer showed; NaN before */
};

/* ---- life ---- */

struct reporter *reporter_create(struct client_ops *ops, const char *task, const char *token, double lease_s, const struct reporter_events *events,
                                 void *arg) {
    struct reporter *r = mem_alloc(sizeof *r);
    r->ops = ops;
    r->events = *events;
    r->arg = arg;
    r->task = mem_strdup(str_of(task));
    r->token = mem_strdup(str_of(token));
    r->spool.capacity = SPOOL_BYTES;
    r->spool.memory_most = MEMORY_BYTES;
    r->output_most = BATCH_MOST;
    r->lease_known = lease_s > 0;
    r->lease_ms = r->lease_known ? (int64_t) (lease_s * 1000) : LEASE_DEFAULT_MS;
    r->version = NAN;
    TAILQ_INIT(&r->others);
    return r;
}

static void fields_free(char *fields[FIELDS]) {
    for (int i = 0; i < FIELDS; i++) {
        mem_free(fields[i]);
        fields[i] = NULL;
    }
}

static void other_drop(struct reporter *r) {
    struct other *o = TAILQ_FIRST(&r->others);
    TAILQ_REMOVE(&r->others, o, link);
    r->others_bytes -= o->len;
    mem_free(o->report);
    mem_free(o);
}

static void batch_drop(struct reporter *r) {
    fields_free(r->batch.progress);
    buf_fini(&r->batch.body);
    r->batch = (struct batch){0};
}

void reporter_destroy(struct reporter *r) {
    if (!r) {
        return;
    }
    client_op_cancel(r->op);
    client_op_cancel(r->control);
    batch_drop(r);
    while (!TAILQ_EMPTY(&r->others)) {
        other_drop(r);
    }
    fields_free(r->progress);
    spool_fini(&r->spool);
    buf_fini(&r->staged);
    buf_fini(&r->final);
    explicit_bzero(r->token, strlen(r->token));
    mem_free(r->token);
    mem_free(r->phase);
    mem_free(r->task);
    mem_free(r);
}

bool reporter_is_over(const struct reporter *r) {
    return r->over;
}

bool reporter_result_is_refused(const struct reporter *r) {
    return r->result_refused;
}

size_t reporter_backlog(const struct reporter *r) {
    return r->others_bytes;
}

uint64_t reporter_undelivered(const struct reporter *r) {
    return r->staged.len + spool_length(&r->spool) + r->spool.dropped + r->left_out;
}

static void reporter_end(struct reporter *r, enum reporter_end how) {
    if (!r->over) {
        r->over = true;
        client_op_cancel(r->control);
        r->control = NULL;
        spool_fini(&r->spool);
        r->events.end(r->arg, how);
    }
}

void reporter_stop(struct reporter *r) {
    r->over = true;
    client_op_cancel(r->op);
    client_op_cancel(r->control);
    r->op = r->control = NULL;
}

static void note(struct reporter *r, const char *text) {
    r->events.note(r->arg, text);
}

/* ---- what is said ---- */

static void waits(struct reporter *r) {
    r->since_ms = r->since_ms ? r->since_ms : clock_ms();
}

/* Why output had to be left out. */
static void left_out_why(const struct reporter *r, struct buf *out) {
    const struct spool *s = &r->spool;
    if (s->dropped_errno) {
        buf_printf(out, "they could not be kept: %s", strerror(s->dropped_errno));
    } else {
        buf_puts(out, s->dropped_away ? "the server was out of reach for too long" : "the server took less than the command put out");
    }
}

/* What the user should know of how output is kept, as soon as it is so. */
static void keeping_tell(struct reporter *r) {
    struct spool *s = &r->spool;
    struct buf text = {0};
    if (s->file_errno && !r->file_noted) {
        r->file_noted = true;
        buf_printf(&text, "there can be no temporary file in %s (TMPDIR): %s; what waits for the server is kept in memory", spool_folder(),
                   strerror(s->file_errno));
        note(r, buf_z(&text));
    }
    if (s->dropped && !r->left_out_noted) {
        r->left_out_noted = true;
        buf_clear(&text);
        buf_puts(&text, "the oldest output that waits for the server is being left out: ");
        left_out_why(r, &text);
        note(r, buf_z(&text));
    }
    buf_fini(&text);
}

/* Nothing waits any more: how much was lost until then. */
static void left_out_tell(struct reporter *r) {
    struct buf text = {0};
    if (r->left_out) {
        buf_printf(&text, "%llu bytes of output were left out", (unsigned long long) r->left_out);
        note(r, buf_z(&text));
    }
    r->left_out = 0;
    r->left_out_noted = false;
    buf_fini(&text);
}

void reporter_output(struct reporter *r, struct str data) {
    if (!r->over && data.len) {
        spool_put(&r->spool, data);
        keeping_tell(r);
        waits(r);
    }
}

/* What was said of the phase before is over. It is said as null, since the server may never hear of a phase that was short. */
static void phase_take(struct reporter *r, struct str phase) {
    if (!phase.p || str_eqz(phase, r->phase ? r->phase : "null")) {
        return;
    }
    mem_free(r->phase);
    r->phase = mem_strdup(phase);
    for (int i = 0; i < PHASE; i++) {
        mem_free(r->progress[i]);
        r->progress[i] = mem_strdup(STR("null"));
    }
}

void reporter_progress(struct reporter *r, const struct reporter_progress *p) {
    const struct str given[FIELDS] = {p->current, p->total, p->unit, p->message, p->data, p->phase};
    if (r->over) {
        return;
    }
    phase_take(r, p->phase);
    for (int i = 0; i < FIELDS; i++) {
        if (given[i].p) {
            mem_free(r->progress[i]);
            r->progress[i] = mem_strdup(given[i]);
            r->has_progress = true;
        }
    }
    waits(r);
}

void reporter_other(struct reporter *r, struct str report) {
    if (r->over) {
        return;
    }
    struct other *o = mem_alloc(sizeof *o);
    o->report = mem_strdup(report);
    o->len = report.len;
    r->others_bytes += o->len;
    TAILQ_INSERT_TAIL(&r->others, o, link);
    waits(r);
}

void reporter_heartbeat(struct reporter *r) {
    r->wants_heartbeat = true;
    waits(r);
}

void reporter_final(struct reporter *r, struct str report) {
    buf_clear(&r->final);
    buf_str(&r->final, report);
    waits(r);
}

/* ---- batches ---- */

/* Gathers output for the next batch; says where some had to be left out. */
static void output_stage(struct reporter *r) {
    if (r->staged.len < BATCH_MOST && r->spool.dropped) {
        buf_printf(&r->staged, "\n[%llu bytes are left out here: ", (unsigned long long) r->spool.dropped);
        left_out_why(r, &r->staged);
        buf_puts(&r->staged, "]\n");
        r->left_out += r->spool.dropped;
        r->spool.dropped = 0;
    }
    if (r->staged.len < BATCH_MOST) {
        spool_take(&r->spool, BATCH_MOST - r->staged.len, &r->staged);
        keeping_tell(r);
    }
}

/* A character that is not complete waits for its other bytes as long as there may be more. */
static size_t output_ready(const struct reporter *r) {
    size_t len = r->staged.len < r->output_most ? r->staged.len : r->output_most;
    bool last = len == r->staged.len && r->final.len;
    return last ? len : whole_characters_length(str_n(buf_view(&r->staged).p, len));
}

static void part_begin(struct batch *b, enum part part) {
    buf_char(&b->body, b->parts ? ',' : '[');
    b->parts |= part;
}

static void output_put(struct reporter *r, size_t len) {
    struct batch *b = &r->batch;
    part_begin(b, PART_OUTPUT);
    b->output_bytes = len;
    buf_puts(&b->body, "{\"type\":\"output\",\"offset\":");
    buf_u64(&b->body, r->offset);
    body_output_data(&b->body, str_n(r->staged.data, len));
    buf_char(&b->body, '}');
}

static void progress_put(struct reporter *r) {
    struct batch *b = &r->batch;
    part_begin(b, PART_PROGRESS);
    buf_puts(&b->body, "{\"type\":\"progress\"");
    for (int i = 0; i < FIELDS; i++) {
        if (r->progress[i]) {
            body_name(&b->body, field_names[i]);
            buf_puts(&b->body, r->progress[i]);
        }
        b->progress[i] = r->progress[i];
        r->progress[i] = NULL;
    }
    r->has_progress = false;
    buf_char(&b->body, '}');
}

static void text_put(struct reporter *r, enum part part, struct str report) {
    part_begin(&r->batch, part);
    buf_str(&r->batch.body, report);
}

static bool may_add(const struct reporter *r) {
    return !r->singly || !r->batch.parts;
}

/* What waits, as far as it goes into one batch. The final report goes when nothing is left behind. */
static void batch_compose(struct reporter *r) {
    output_stage(r);
    size_t ready = output_ready(r);
    if (ready) {
        output_put(r, ready);
    }
    if (r->has_progress && may_add(r)) {
        progress_put(r);
    }
    bool more = spool_length(&r->spool) || r->spool.dropped || (ready && ready < r->staged.len); /* not a piece of a character alone */
    if (!TAILQ_EMPTY(&r->others) && may_add(r)) {
        struct other *o = TAILQ_FIRST(&r->others);
        text_put(r, PART_OTHER, str_n(o->report, o->len));
        more |= TAILQ_NEXT(o, link) != NULL;
    }
    more |= r->has_progress || (!TAILQ_EMPTY(&r->others) && !(r->batch.parts & PART_OTHER));
    if (r->final.len && !more && may_add(r)) {
        text_put(r, PART_FINAL, buf_view(&r->final));
    }
    if (!r->batch.parts) {
        text_put(r, PART_HEARTBEAT, STR("{\"type\":\"heartbeat\"}"));
    }
    buf_char(&r->batch.body, ']');
    bool rest = more || (r->final.len && !(r->batch.parts & PART_FINAL));
    r->since_ms = rest ? r->since_ms : 0;
    r->wants_heartbeat = false;
}

/* Takes a batch apart that was not applied; what has been said since goes before it. */
static void batch_undo(struct reporter *r) {
    for (int i = 0; i < FIELDS; i++) {
        if (r->batch.progress[i] && !r->progress[i]) {
            r->progress[i] = r->batch.progress[i];
            r->batch.progress[i] = NULL;
            r->has_progress = true;
        }
    }
    batch_drop(r);
    waits(r);
}

static bool is_single(unsigned parts) {
    return (parts & (parts - 1)) == 0;
}

/* ---- answers ---- */

static void lease_learn(struct reporter *r, const struct json *answer, const struct client_reply *reply) {
    int64_t until, now = clock_wall_ms();
    if (r->lease_known || !time_parse(member_text(answer, "lease_until"), &until)) {
        return;
    }
    int64_t apart = reply->date_s ? reply->date_s * 1000 - now : 0;
    if (llabs(apart) > 2 * SEC) {
        now += apart; /* the two clocks differ */
    }
    r->lease_ms = until - now > 0 ? until - now : 1;
}

static void cancel_tell(struct reporter *r) {
    if (!r->cancel_told && !r->over) {
        r->cancel_told = true;
        r->events.cancel(r->arg);
    }
}

/* What every answer of 200 says. */
static void answer_read(struct reporter *r, const struct json *answer, const struct client_reply *reply) {
    double version = member_number_of(answer, "version");
    r->version = isnan(r->version) || version > r->version ? version : r->version;
    lease_learn(r, answer, reply);
    if (member_true(answer, "cancel_requested")) {
        cancel_tell(r);
    }
}

/* Restored from a backup, it may have less output than it had taken. */
static void server_lost_tell(struct reporter *r, double offset, uint64_t expected) {
    struct buf text = {0};
    if (offset >= 0 && offset < (double) expected) {
        buf_printf(&text, "the server has lost %.0f bytes of output that it had taken", (double) expected - offset);
        note(r, buf_z(&text));
    }
    buf_fini(&text);
}

static void batch_arrived(struct reporter *r, const struct json *answer, const struct client_reply *reply) {
    unsigned parts = r->batch.parts;
    double offset = member_number_of(answer, "output_offset");
    buf_drop_front(&r->staged, r->batch.output_bytes);
    server_lost_tell(r, offset, r->offset + r->batch.output_bytes);
    r->offset = offset >= 0 ? (uint64_t) offset : r->offset + r->batch.output_bytes;
    if (parts & PART_OTHER) {
        other_drop(r);
    }
    batch_drop(r);
    r->opened = true;
    answer_read(r, answer, reply);
    bool waiting = r->staged.len || spool_length(&r->spool) || r->has_progress || !TAILQ_EMPTY(&r->others) || r->final.len;
    r->singly = r->singly && waiting;
    if (!r->staged.len && !spool_length(&r->spool) && !r->spool.dropped) {
        left_out_tell(r);
    }
    if (parts & PART_FINAL) {
        reporter_end(r, REPORTER_DELIVERED);
    }
}

/* Is this within the first report of a batch, in the member of that name? */
static bool is_within(struct str pointer, const char *name) {
    size_t len = strlen(name);
    if (!str_starts(pointer, "/0/") || pointer.len < 3 + len || memcmp(pointer.p + 3, name, len) != 0) {
        return false;
    }
    return pointer.len == 3 + len || pointer.p[3 + len] == '/';
}

/* What stood beside the members that are at fault counts, and perhaps came from other reports. Without them it is said again, if there is any. */
static bool progress_goes_on(struct reporter *r, const struct json *problem) {
    const struct json *places = json_get(problem, "errors");
    bool dropped = false, left = false;
    for (int i = 0; i < FIELDS; i++) {
        for (const struct json *p = places ? places->child : NULL; p && r->batch.progress[i]; p = p->next) {
            if (is_within(member_text(p, "pointer"), field_names[i])) {
                mem_free(r->batch.progress[i]);
                r->batch.progress[i] = NULL;
                dropped = true;
            }
        }
        left |= r->batch.progress[i] != NULL;
    }
    return dropped && left;
}

/* The server will not have a report. */
static void part_refused(struct reporter *r, const struct json *problem, int status) {
    struct buf text = {0};
    unsigned parts = r->batch.parts;
    struct str detail = member_text(problem, "detail");
    if (status == 413 && (parts & PART_OUTPUT) && r->output_most > 1024) {
        r->output_most /= 2;
        batch_undo(r);
        return;
    }
    buf_puts(&text, parts & PART_OUTPUT     ? "the server does not take the output: "
                    : parts & PART_PROGRESS ? "the server does not take the progress: "
                    : parts & PART_FINAL    ? "the server does not take the result: "
                                            : "the server does not take a report: ");
    text_put_clean(&text, detail.p ? detail : STR("it does not say why"));
    note(r, buf_z(&text));
    if ((parts & PART_PROGRESS) && progress_goes_on(r, problem)) {
        batch_undo(r);
        buf_fini(&text);
        return;
    }
    buf_drop_front(&r->staged, r->batch.output_bytes);
    if (parts & PART_OTHER) {
        other_drop(r);
    }
    batch_drop(r);
    if ((parts & PART_FINAL) && r->result_refused) {
        reporter_end(r, REPORTER_REFUSED);
    } else if (parts & PART_FINAL) {
        r->result_refused = true;
        buf_clear(&r->final);
        buf_puts(&r->final, "{\"type\":\"fail\",\"error\":{\"type\":\"result-refused\",\"message\":");
        buf_json_str(&r->final, buf_view(&text));
        buf_puts(&r->final, "}}");
    }
    waits(r);
    buf_fini(&text);
}

/* The server has less output than it said: what lies between is gone. A heartbeat's answer tells where it stands. */
static void gap_close(struct reporter *r) {
    batch_undo(r);
    r->opened = false;
}

static void batch_refused(struct reporter *r, const struct client_reply *reply, const struct json *problem) {
    struct str code = member_text(problem, "code");
    if (str_eqz(code, "attempt-superseded")) {
        reporter_end(r, REPORTER_SUPERSEDED);
    } else if (str_eqz(code, "task-ended")) {
        reporter_end(r, REPORTER_ENDED);
    } else if (str_eqz(code, "output-gap")) {
        gap_close(r);
    } else if (reply->status == 401 || reply->status == 403 || reply->status == 404 || reply->status == 410 || r->batch.parts == PART_HEARTBEAT) {
        reporter_end(r, REPORTER_REFUSED);
    } else if (is_single(r->batch.parts)) {
        part_refused(r, problem, reply->status);
    } else {
        r->singly = true;
        batch_undo(r);
    }
}

static bool is_transient(const struct client_reply *reply) {
    return reply->status == 0 || reply->status == 408 || reply->status == 421 || reply->status == 429 || reply->status >= 500;
}

static int64_t pause_ms(unsigned failures, const struct client_reply *reply) {
    int64_t ms = RETRY_MS << (failures < 5 ? failures : 4);
    ms = ms < RETRY_MOST_MS ? ms : RETRY_MOST_MS;
    if (reply->retry_after_s > 0 && reply->retry_after_s * SEC < RETRY_MOST_MS) {
        ms = reply->retry_after_s * SEC;
    }
    return ms / 2 + rand() % (int) (ms / 2 + 1);
}

static void out_of_reach(struct reporter *r, const struct client_reply *reply) {
    r->spool.away = true;
    r->retry_ms = clock_ms() + pause_ms(r->failures++, reply);
    if (!r->cut_off && r->failures == 2) { /* a restart that is over at once is not worth a word */
        struct buf text = {0};
        r->cut_off = true;
        if (reply->status) {
            buf_printf(&text, "the server answers %d; what is reported is kept until it takes it", reply->status);
        } else {
            buf_puts(&text, "the server is out of reach; what is reported is kept until it is back: ");
            text_put_clean(&text, buf_view(&reply->body));
        }
        note(r, buf_z(&text));
        buf_fini(&text);
    }
}

static void in_reach(struct reporter *r) {
    r->failures = 0;
    r->heard_ms = clock_ms();
    r->spool.away = false;
    r->spool.file_errno = 0;
    r->file_noted = false;
    if (r->cut_off) {
        r->cut_off = false;
        note(r, "the server is back");
    }
}

static void on_batch(void *arg, const struct client_reply *reply) {
    struct reporter *r = arg;
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error error;
    r->op = NULL;
    bool readable = json_parse(&arena, buf_view(&reply->body), ANSWER_DEPTH, &root, &error) == 0;
    if (is_transient(reply) || (reply->status == 200 && !readable)) {
        out_of_reach(r, reply);
    } else {
        in_reach(r);
        if (reply->status == 200) {
            batch_arrived(r, root, reply);
        } else {
            batch_refused(r, reply, readable ? root : NULL);
        }
    }
    arena_fini(&arena);
}

static void batch_send(struct reporter *r) {
    struct buf path = {0};
    buf_puts(&path, "/v1/tasks/");
    path_put(&path, r->task);
    buf_puts(&path, "/reports");
    struct client_request q = {.method = "POST", .path = buf_z(&path), .body = buf_view(&r->batch.body), .token = r->token};
    r->op = client_ops_start(r->ops, &q, REPORT_MS, on_batch, r);
    buf_fini(&path);
}

/* ---- hearing of cancellation ---- */

static void on_control(void *arg, const struct client_reply *reply) {
    struct reporter *r = arg;
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error error;
    r->control = NULL;
    bool readable = json_parse(&arena, buf_view(&reply->body), ANSWER_DEPTH, &root, &error) == 0;
    if (reply->status == 200 && readable) {
        r->control_fails = 0;
        r->control_ms = clock_ms() + CONTROL_LEAST_MS;
        answer_read(r, root, reply);
    } else {
        r->control_ms = clock_ms() + pause_ms(r->control_fails++, reply);
        r->wants_heartbeat |= !is_transient(reply) && !r->op && !r->batch.body.len; /* whose answer says what is the matter */
    }
    arena_fini(&arena);
}

static void control_ask(struct reporter *r) {
    struct buf path = {0}, prefer = {0};
    buf_puts(&path, "/v1/tasks/");
    path_put(&path, r->task);
    buf_printf(&path, "/control?after=%.0f", r->version);
    buf_printf(&prefer, "Prefer: wait=%d", CONTROL_S);
    struct client_request q = {.path = buf_z(&path), .header = {buf_z(&prefer)}, .token = r->token};
    r->control = client_ops_start(r->ops, &q, (CONTROL_S + 15) * SEC, on_control, r);
    buf_fini(&path);
    buf_fini(&prefer);
}

/* ---- time ---- */

static int64_t heartbeat_at(const struct reporter *r) {
    int64_t every = r->lease_ms / 3;
    every = every < HEARTBEAT_LEAST_MS ? HEARTBEAT_LEAST_MS : every > HEARTBEAT_MOST_MS ? HEARTBEAT_MOST_MS : every;
    return r->heard_ms + every;
}

/* When the next batch is to be made. */
static int64_t batch_at(const struct reporter *r) {
    if (!r->opened || r->wants_heartbeat || (r->final.len && r->since_ms) || spool_length(&r->spool) + r->staged.len >= BATCH_BYTES) {
        return 0;
    }
    int64_t beat = heartbeat_at(r);
    int64_t batch = r->since_ms ? r->since_ms + BATCH_MS : INT64_MAX;
    return batch < beat ? batch : beat;
}

int64_t reporter_tick(struct reporter *r, int64_t now_ms) {
    if (r->over) {
        return INT64_MAX;
    }
    int64_t due = INT64_MAX;
    if (!r->op) {
        due = r->batch.body.len ? r->retry_ms : batch_at(r);
        due = due > r->retry_ms ? due : r->retry_ms;
        if (now_ms >= due) {
            if (!r->batch.body.len && !r->opened) {
                text_put(r, PART_HEARTBEAT, STR("{\"type\":\"heartbeat\"}"));
                buf_char(&r->batch.body, ']');
            } else if (!r->batch.body.len) {
                batch_compose(r);
            }
            batch_send(r);
            due = INT64_MAX;
        }
    }
    bool listens = r->opened && !r->cancel_told;
    if (listens && !r->control && now_ms >= r->control_ms) {
        control_ask(r);
    } else if (listens && !r->control) {
        due = due < r->control_ms ? due : r->control_ms;
    }
    return due;
}
