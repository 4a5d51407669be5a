#include "cli/work_job.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/mem.h"
#include "base/options.h"
#include "cli/body.h"
#include "cli/exit.h"
#include "cli/guard.h"
#include "cli/job_result.h"
#include "cli/relay.h"
#include "cli/reporter.h"
#include "cli/show.h"
#include "cli/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RESULT_MOST (8 * 1024 * 1024)
#define LINE_MOST (9 * 1024 * 1024)
#define BACKLOG_MOST (1024 * 1024) /* so many bytes of reports wait: the command is not read from before some have gone */
#define TAIL_BYTES 4096
#define LINE_DEPTH 63 /* of the server's 64 one is the array that the report travels in */
#define RELEASE_MS (10 * SEC)

struct job {
    const struct job_plan *plan;
    struct reporter *reporter;
    struct client_op *release;
    char *task, *token;
    struct guard guard;
    int in, out, report;          /* our ends; -1: closed */
    size_t out_owed, report_owed; /* as in relay.h */
    struct relay err;
    struct buf input, result, line, tail, final; /* final: what the command said of its end itself */
    size_t input_at;
    bool result_too_large, line_too_large, too_large_noted;
    bool cancelling, lost, releasing, told, done;
    int64_t started_ms, read_ms, term_ms;
    size_t read_since;        /* the command's end */
    enum job_outcome outcome; /* as it is told; before, as the command said itself */
};

static void say(const struct job *j, const char *text) {
    fprintf(stderr, "bowline work: %s: %s\n", j->task, text);
}

/* ---- stopping ---- */

static void command_end(struct job *j) {
    if (!j->cancelling) {
        j->cancelling = true;
        j->term_ms = INT64_MAX;
        guard_stop(&j->guard, (int64_t) (j->plan->kill_after_s * 1000));
    }
}

static void on_cancel(void *arg) {
    struct job *j = arg;
    if (!j->told) {
        command_end(j);
    }
}

static void on_end(void *arg, enum reporter_end how) {
    struct job *j = arg;
    if (j->told) {
        return;
    }
    j->lost = true;
    if (how == REPORTER_ENDED) { /* by the command itself, perhaps: it has time to tidy up */
        j->term_ms = clock_ms() + (int64_t) (j->plan->kill_after_s * 1000);
    } else {
        say(j, "this attempt is over: the command is stopped");
        command_end(j);
    }
}

static void on_note(void *arg, const char *text) {
    say(arg, text);
}

/* ---- what the command reports on its descriptor ---- */

static struct str raw_of(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v ? v->raw : STR_NONE;
}

static bool line_output(struct job *j, const struct json *report) {
    struct str text = member_text(report, "data"), base64 = member_text(report, "data_base64");
    struct buf decoded = {0};
    bool good = text.p || (base64.p && base64_decode(base64, &decoded));
    reporter_output(j->reporter, text.p ? text : buf_view(&decoded));
    buf_fini(&decoded);
    return good;
}

/* False if it is no report. */
static bool line_report(struct job *j, const struct json *report, struct str line) {
    struct str type = member_text(report, "type");
    if (str_eqz(type, "progress")) {
        struct reporter_progress p = {.current = raw_of(report, "current"),
                                      .total = raw_of(report, "total"),
                                      .unit = raw_of(report, "unit"),
                                      .message = raw_of(report, "message"),
                                      .data = raw_of(report, "data"),
                                      .phase = raw_of(report, "phase")};
        reporter_progress(j->reporter, &p);
    } else if (str_eqz(type, "output")) {
        return line_output(j, report);
    } else if (str_eqz(type, "heartbeat")) {
        reporter_heartbeat(j->reporter);
    } else if (str_eqz(type, "input_request")) {
        reporter_other(j->reporter, line);
    } else if (str_eqz(type, "succeed") || str_eqz(type, "fail") || str_eqz(type, "cancelled")) {
        j->outcome = type.p[0] == 's' ? JOB_SUCCEEDED : type.p[0] == 'f' ? JOB_FAILED : JOB_CANCELLED;
        buf_clear(&j->final);
        buf_str(&j->final, line);
    } else {
        return false;
    }
    return true;
}

static void line_take(struct job *j, struct str line) {
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error error;
    line = str_trim(line);
    bool json = line.len && json_parse(&arena, line, LINE_DEPTH, &root, &error) == 0;
    if (line.len && (!json || !line_report(j, root, line))) {
        struct buf text = {0};
        buf_printf(&text, "this on the descriptor for reports is none (%s): ", json ? "no such report" : error.detail);
        text_put_cut(&text, line, 100);
        say(j, buf_z(&text));
        buf_fini(&text);
    }
    arena_fini(&arena);
}

static void lines_take(struct job *j, bool end) {
    size_t at = 0;
    const char *newline;
    while ((newline = j->line.len > at ? memchr(j->line.data + at, '\n', j->line.len - at) : NULL)) {
        size_t len = (size_t) (newline - j->line.data) - at;
        if (!j->line_too_large) {
            line_take(j, str_n(j->line.data + at, len));
        }
        j->line_too_large = false;
        at += len + 1;
    }
    buf_drop_front(&j->line, at);
    if (end && j->line.len && !j->line_too_large) {
        line_take(j, buf_view(&j->line));
    }
    if (end || j->line.len > LINE_MOST) {
        if (!end) {
            say(j, "a line on the descriptor for reports is too long, and left out");
        }
        j->line_too_large = !end;
        buf_clear(&j->line);
    }
}

/* ---- its descriptors ---- */

static void on_err(void *arg, struct str piece) {
    struct job *j = arg;
    j->read_ms = clock_ms();
    j->read_since += j->guard.exited ? piece.len : 0;
    buf_str(&j->tail, piece.len > TAIL_BYTES ? str_from(piece, piece.len - TAIL_BYTES) : piece);
    if (j->tail.len > TAIL_BYTES) {
        buf_drop_front(&j->tail, j->tail.len - TAIL_BYTES);
    }
}

static void input_write(struct job *j) {
    ssize_t n = write(j->in, j->input.data + j->input_at, j->input.len - j->input_at);
    if (n > 0) {
        j->input_at += (size_t) n;
    }
    if ((n < 0 && errno != EAGAIN && errno != EINTR) || j->input_at == j->input.len) {
        descriptor_close(&j->in);
        buf_fini(&j->input);
    }
}

static void has_read(struct job *j, int fd, ssize_t n, size_t *owed) {
    j->read_ms = n > 0 ? clock_ms() : j->read_ms;
    j->read_since += n > 0 && j->guard.exited ? (size_t) n : 0;
    *owed = *owed ? descriptor_still_owes(fd, *owed, n) : 0;
}

static void out_read(struct job *j) {
    ssize_t n = descriptor_read(j->out, &j->result);
    has_read(j, j->out, n, &j->out_owed);
    if (j->plan->streams) {
        reporter_output(j->reporter, buf_view(&j->result));
        buf_clear(&j->result);
    } else if (j->result.len > RESULT_MOST) {
        j->result_too_large = true;
    }
    if (j->result_too_large) {
        buf_clear(&j->result);
    }
    if (n == 0) {
        descriptor_close(&j->out);
    }
}

static void report_read(struct job *j) {
    ssize_t n = descriptor_read(j->report, &j->line);
    has_read(j, j->report, n, &j->report_owed);
    if (n >= 0) {
        lines_take(j, n == 0);
    }
    if (n == 0) {
        descriptor_close(&j->report);
    }
}

void job_watch(struct job *j, struct pollfd fds[JOB_FDS]) {
    bool full = reporter_backlog(j->reporter) > BACKLOG_MOST;
    fds[0] = (struct pollfd){.fd = j->in, .events = POLLOUT};
    fds[1] = (struct pollfd){.fd = j->out, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = full ? -1 : j->report, .events = POLLIN};
    fds[3] = (struct pollfd){.fd = j->guard.fd, .events = POLLIN};
    relay_watch(&j->err, fds + 4);
}

static void command_look(struct job *j) {
    bool exited = j->guard.exited;
    for (int stopped; guard_next(&j->guard, &stopped);) {
    }
    if (j->guard.exited && !exited) {
        j->read_ms = clock_ms();
        j->out_owed = descriptor_owes(j->out);
        j->report_owed = descriptor_owes(j->report);
        relay_owe(&j->err);
        descriptor_close(&j->in);
    }
}

void job_turn(struct job *j, const struct pollfd fds[JOB_FDS]) {
    if (fds[0].fd >= 0 && fds[0].fd == j->in && fds[0].revents) {
        input_write(j);
    }
    if (fds[1].fd >= 0 && fds[1].fd == j->out && fds[1].revents) {
        out_read(j);
    } else {
        j->out_owed = 0;
    }
    if (fds[2].fd >= 0 && fds[2].fd == j->report && fds[2].revents) {
        report_read(j);
    } else if (fds[2].fd >= 0) {
        j->report_owed = 0;
    }
    relay_turn(&j->err, fds + 4);
    command_look(j);
}

/* ---- starting ---- */

static char **job_environment(const struct job *j, unsigned attempt) {
    struct buf task = {0}, token = {0}, url = {0}, number = {0};
    buf_printf(&task, "BOWLINE_TASK=%s", j->task);
    buf_printf(&token, "BOWLINE_TOKEN=%s", j->token);
    buf_printf(&url, "BOWLINE_URL=%s", client_ops_url(j->plan->ops));
    buf_printf(&number, "BOWLINE_ATTEMPT=%u", attempt);
    const char *const changes[] = {buf_z(&task), buf_z(&token), buf_z(&url), buf_z(&number), "BOWLINE_REPORT_FD=3", "BOWLINE_KEY"};
    char **envp = child_environment(changes, sizeof changes / sizeof *changes);
    buf_fini(&task);
    buf_fini(&token);
    buf_fini(&url);
    buf_fini(&number);
    return envp;
}

static bool pipes_open(int pipes[4][2]) {
    for (int i = 0; i < 4; i++) {
        if (!descriptor_pipe(pipes[i])) {
            return false;
        }
    }
    return true;
}

static void command_start(struct job *j, unsigned attempt) {
    int p[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}}; /* input, output, errors, reports */
    int wrong = pipes_open(p) ? 0 : -errno;
    if (!wrong) {
        char **envp = job_environment(j, attempt);
        struct child_spec spec = {.argv = j->plan->argv, .envp = envp, .in = p[0][0], .out = p[1][1], .err = p[2][1], .report = p[3][1]};
        wrong = guard_start(&j->guard, &spec, j->plan->signals);
        child_environment_free(envp);
    }
    if (wrong) {
        struct buf why = {0};
        buf_printf(&why, "the command cannot be started: %s", strerror(-wrong));
        say(j, buf_z(&why));
        buf_fini(&why);
        j->guard.exited = j->guard.gone = true;
        j->guard.wait_status = 126 << 8;
        j->guard.exited_ms = j->guard.over_ms = j->started_ms;
    }
    j->in = p[0][1];
    j->out = p[1][0];
    j->err.from = p[2][0];
    j->report = p[3][0];
    int *const ours[] = {&j->in, &j->out, &j->err.from, &j->report};
    int *const its[] = {&p[0][0], &p[1][1], &p[2][1], &p[3][1]};
    for (int i = 0; i < 4; i++) {
        descriptor_close(its[i]);
        if (wrong) {
            descriptor_close(ours[i]);
        } else {
            descriptor_unblock(*ours[i]);
        }
    }
}

struct job *job_create(const struct job_plan *plan, const struct json *task) {
    static const struct reporter_events events = {on_cancel, on_end, on_note};
    struct job *j = mem_alloc(sizeof *j);
    const struct json *input = json_get(task, "input");
    double attempt = member_number_of(task, "attempt");
    j->plan = plan;
    j->task = mem_strdup(member_text(task, "id"));
    j->token = mem_strdup(member_text(task, "worker_token"));
    j->err = (struct relay){.from = -1, .to = STDERR_FILENO, .saw = on_err, .arg = j};
    j->term_ms = INT64_MAX;
    j->guard.fd = -1;
    buf_str(&j->input, input ? input->raw : STR("null"));
    j->reporter = reporter_create(plan->ops, j->task, j->token, plan->lease_s, &events, j);
    j->started_ms = j->read_ms = clock_ms();
    command_start(j, attempt >= 1 ? (unsigned) attempt : 1);
    return j;
}

void job_destroy(struct job *j) {
    if (!j) {
        return;
    }
    if (j->guard.exited) {
        guard_leave(&j->guard);
    } else {
        guard_kill(&j->guard);
    }
    reporter_destroy(j->reporter);
    client_op_cancel(j->release);
    descriptor_close(&j->in);
    descriptor_close(&j->out);
    descriptor_close(&j->report);
    relay_fini(&j->err);
    buf_fini(&j->input);
    buf_fini(&j->result);
    buf_fini(&j->line);
    buf_fini(&j->tail);
    buf_fini(&j->final);
    explicit_bzero(j->token, strlen(j->token));
    mem_free(j->token);
    mem_free(j->task);
    mem_free(j);
}

/* ---- the end ---- */

static void failure_put(struct job *j, const struct child_end *end, struct buf *report) {
    struct buf more = {0};
    if (j->tail.len) {
        job_stderr_put(buf_view(&j->tail), j->tail.len == TAIL_BYTES, &more);
    }
    child_end_fail(end, buf_view(&more), end->status == BOWLINE_COMMAND_RETRY && !end->signal, report);
    buf_fini(&more);
}

/* What people should know of the result is said here and, if the task has not failed for it, as its last message. */
static void success_put(struct job *j, struct buf *report) {
    struct buf note = {0}, message = {0};
    bool succeeds = job_result_put(buf_view(&j->result), report, &note);
    j->outcome = succeeds ? JOB_SUCCEEDED : JOB_FAILED;
    if (note.len) {
        say(j, buf_z(&note));
    }
    if (note.len && succeeds) {
        buf_json_str(&message, buf_view(&note));
        struct reporter_progress p = {.message = buf_view(&message)};
        reporter_progress(j->reporter, &p);
    }
    buf_fini(&note);
    buf_fini(&message);
}

static void job_tell(struct job *j) {
    struct child_end end = child_end_of(j->guard.wait_status, j->guard.exited_ms - j->started_ms);
    struct buf report = {0};
    if (j->cancelling) {
        j->outcome = JOB_CANCELLED;
        buf_puts(&report, "{\"type\":\"cancelled\"}");
    } else if (j->final.len) {
        buf_str(&report, buf_view(&j->final));
    } else if (end.status == 0 && j->result_too_large) {
        j->outcome = JOB_FAILED;
        buf_printf(&report, "{\"type\":\"fail\",\"error\":{\"type\":\"result-too-large\",\"message\":\"the command put out more than %d MiB\"}}",
                   RESULT_MOST >> 20);
    } else if (end.status == 0) {
        success_put(j, &report);
    } else {
        j->outcome = JOB_FAILED;
        failure_put(j, &end, &report);
    }
    j->told = true;
    reporter_final(j->reporter, buf_view(&report));
    buf_fini(&report);
}

/* The command has ended and everything that it said has been read; of what its children said, what came at once. */
static bool command_is_over(const struct job *j, int64_t now) {
    if (!guard_is_over(&j->guard)) {
        return false;
    }
    bool read_all = j->out < 0 && j->report < 0 && relay_is_read(&j->err);
    bool owed = j->out_owed || j->report_owed || j->err.owed || reporter_backlog(j->reporter) > BACKLOG_MOST;
    bool quiet = now - j->read_ms >= GUARD_QUIET_MS;
    bool enough = now - j->guard.over_ms >= GUARD_LINGER_MS || j->read_since >= GUARD_LINGER_BYTES;
    return read_all || ((quiet || enough) && !owed);
}

static void on_released(void *arg, const struct client_reply *reply) {
    struct job *j = arg;
    j->release = NULL;
    j->done = true;
    if (reply->status != 204) {
        say(j, "the task could not be given back; its lease does it when it has run out");
    }
}

static void job_give_back(struct job *j) {
    struct buf path = {0}, body = {0};
    reporter_stop(j->reporter);
    buf_puts(&path, "/v1/queues/");
    path_put(&path, j->plan->queue);
    buf_puts(&path, "/release");
    buf_puts(&body, "{\"token\":");
    buf_json_str(&body, str_of(j->token));
    buf_char(&body, '}');
    struct client_request q = {.method = "POST", .path = buf_z(&path), .body = buf_view(&body)};
    j->release = client_ops_start(j->plan->ops, &q, RELEASE_MS, on_released, j);
    j->outcome = JOB_GIVEN_BACK;
    j->told = true;
    buf_fini(&path);
    buf_fini(&body);
}

static void job_finish(struct job *j) {
    int *const left[] = {&j->out, &j->report, &j->err.from};
    guard_drain(&j->guard, left, 3); /* what the command left behind can write on, but nobody listens */
    j->err.owed = 0;
    if (j->line.len) {
        lines_take(j, true);
    }
    if (j->lost) {
        j->outcome = JOB_UNKNOWN;
        j->told = true;
        j->done = true;
    } else if (j->releasing) {
        job_give_back(j);
    } else {
        job_tell(j);
    }
}

void job_release(struct job *j) {
    if (j->told && !j->release) {
        if (!reporter_is_over(j->reporter)) {
            say(j, "the server could not be told how the command ended; the lease will run out");
        }
        buf_clear(&j->err.pending);
        j->done = true;
    } else if (!j->told) {
        j->releasing = true;
        command_end(j);
    }
}

bool job_is_done(const struct job *j) {
    return j->done && (j->releasing || !j->err.pending.len);
}

enum job_outcome job_outcome_of(const struct job *j) {
    return reporter_result_is_refused(j->reporter) ? JOB_FAILED : j->outcome;
}

int64_t job_tick(struct job *j, int64_t now_ms) {
    if (now_ms >= j->term_ms && !j->guard.exited) {
        command_end(j);
    }
    if (!j->told && command_is_over(j, now_ms)) {
        job_finish(j);
    }
    int64_t due = reporter_tick(j->reporter, now_ms);
    j->done |= j->told && !j->releasing && reporter_is_over(j->reporter);
    if (j->guard.exited && !j->told) {
        int64_t look = now_ms + GUARD_QUIET_MS;
        due = due < look ? due : look;
    }
    return due < j->term_ms || j->guard.exited ? due : j->term_ms;
}
