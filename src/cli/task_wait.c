/* task_wait.c: the actions that wait: for a task's end, and for more of its output. Both outlive a restart of the server. */
#include "cli/task.h"

#include "base/clock.h"
#include "base/options.h"
#include "cli/exit.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#define HOLD_MS (30 * SEC)         /* how long one request is held */
#define OUT_OF_REACH_MS (30 * SEC) /* after that long without an answer it is given up */
#define TIMEOUT_MOST 1e9

struct patience {
    int64_t until_ms;   /* when time is up; INT64_MAX never */
    int64_t failing_ms; /* since when nothing has been answered; 0: it works */
    bool worked;        /* there has been an answer */
};

static void sleep_ms(int64_t ms) {
    struct timespec t = {.tv_sec = (time_t) (ms / 1000), .tv_nsec = (long) (ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* "Prefer: wait=N" for the next request, or nothing when less than a second is left: that is slept away. */
static const char *patience_prefer(const struct patience *p, char line[32]) {
    int64_t left_ms = p->until_ms - clock_ms();
    if (left_ms < 1000) {
        sleep_ms(left_ms > 0 ? left_ms : 0);
        return NULL;
    }
    snprintf(line, 32, "Prefer: wait=%lld", (long long) ((left_ms < HOLD_MS ? left_ms : HOLD_MS) / 1000));
    return line;
}

/* A server that has answered before may be restarting. True: a pause was made, ask again. */
static bool patience_again(struct patience *p, int64_t pause_ms) {
    int64_t now = clock_ms();
    p->failing_ms = p->failing_ms ? p->failing_ms : now;
    if (!p->worked || now - p->failing_ms > OUT_OF_REACH_MS || now >= p->until_ms) {
        return false;
    }
    sleep_ms(pause_ms < p->until_ms - now ? pause_ms : p->until_ms - now);
    return true;
}

/*
 * One request, asked again while the server is away or busy. 0 with an answer below 400, or an exit code.
 */
static int patient_ask(struct task_call *t, struct patience *p, const struct client_request *q, struct client_reply *reply) {
    for (;;) {
        bool lost = client_call(t->client, q, reply);
        bool busy = !lost && (reply->status == 503 || reply->status == 429);
        if (!lost && !busy) {
            p->worked = true;
            p->failing_ms = 0;
            return reply->status >= 400 ? client_say_problem(t->args, reply) : 0;
        }
        int64_t pause_ms = busy && reply->retry_after_s > 0 && reply->retry_after_s < 10 ? reply->retry_after_s * SEC : SEC;
        p->worked |= busy;
        if (!patience_again(p, pause_ms)) {
            return lost ? client_say_unreachable(t->client, t->args) : client_say_problem(t->args, reply);
        }
    }
}

static int patience_begin(struct patience *p, const struct args *a) {
    double timeout_s;
    int code = args_number(a, "timeout", 0, TIMEOUT_MOST, INFINITY, &timeout_s);
    *p = (struct patience){.until_ms = code || isinf(timeout_s) ? INT64_MAX : clock_ms() + (int64_t) (timeout_s * 1000)};
    return code;
}

int task_call_patient(struct task_call *t, const struct client_request *q, struct client_reply *reply) {
    struct patience p = {.until_ms = INT64_MAX, .worked = true};
    return patient_ask(t, &p, q, reply);
}

/* ---- an answer ---- */

/* Does this control state end the wait? Then *ret_code is set. */
static bool control_look(struct task_call *t, const struct client_reply *reply, struct buf *ret_answer, double *version, int *ret_code) {
    struct answer_json j;
    *ret_code = answer_parse(&j, t->args, reply);
    if (*ret_code) {
        return true;
    }
    const struct json *answer = json_get(json_get(j.root, "answer"), "answer");
    bool open = str_eqz(member_text(j.root, "state"), "input_required");
    bool cancelled = member_true(j.root, "cancel_requested");
    if (cancelled) {
        *ret_code = args_fail(t->args, BOWLINE_EXIT_TASK_CANCELLED, "the task is to be cancelled");
    } else if (answer && !open) {
        buf_str(ret_answer, answer->raw);
    }
    *version = member_number_of(j.root, "version");
    answer_fini(&j);
    return cancelled || ret_answer->len;
}

int task_wait_answer(struct task_call *t, double version, struct buf *ret_answer) {
    struct patience p = {.until_ms = INT64_MAX, .worked = true};
    struct client_reply reply = {0};
    struct buf path = {0};
    char prefer[32];
    int code = 0;
    for (bool done = false; !done && !code;) {
        buf_clear(&path);
        task_call_path(t, "/control", &path);
        buf_printf(&path, "?after=%.0f", version);
        struct client_request q = {.path = buf_z(&path), .header = {patience_prefer(&p, prefer)}};
        code = patient_ask(t, &p, &q, &reply);
        done = !code && control_look(t, &reply, ret_answer, &version, &code);
    }
    buf_fini(&path);
    client_reply_fini(&reply);
    return code;
}

/* ---- the end ---- */

/* 0: finished, and *ret_code is what to exit with; 1: not yet. */
static int wait_look(struct task_call *t, const struct client_reply *reply, int *ret_code) {
    struct answer_json j;
    *ret_code = answer_parse(&j, t->args, reply);
    if (*ret_code) {
        return 0;
    }
    bool final = task_json_is_final(j.root);
    if (final && args_has(t->args, "json")) {
        struct str state = member_text(j.root, "state");
        printf("%.*s\n", STR_FMT(buf_view(&reply->body)));
        *ret_code = str_eqz(state, "succeeded") ? BOWLINE_EXIT_OK : str_eqz(state, "failed") ? BOWLINE_EXIT_TASK_FAILED : BOWLINE_EXIT_TASK_CANCELLED;
    } else if (final) {
        *ret_code = task_call_print_outcome(t, j.root);
    }
    answer_fini(&j);
    return final ? 0 : 1;
}

static int wait_loop(struct task_call *t, struct patience *p, const char *path) {
    char prefer[32], match[80] = "";
    struct client_reply reply = {0};
    int code = 0;
    for (;;) {
        const char *hold = match[0] ? patience_prefer(p, prefer) : NULL;
        struct client_request q = {.path = path, .header = {match[0] ? match : hold, match[0] ? hold : NULL}};
        code = patient_ask(t, p, &q, &reply);
        if (code || (reply.status == 200 && wait_look(t, &reply, &code) == 0)) {
            break;
        }
        if (clock_ms() >= p->until_ms) {
            code = args_fail(t->args, BOWLINE_EXIT_TIMEOUT, "time is up; the task goes on");
            break;
        }
        if (reply.etag[0]) {
            snprintf(match, sizeof match, "If-None-Match: %s", reply.etag);
        }
    }
    client_reply_fini(&reply);
    return code;
}

int action_task_wait(struct args *a) {
    struct task_call t;
    struct patience p;
    struct buf path = {0};
    int code = task_call_begin(&t, a, 0, 0);
    code = code ? code : patience_begin(&p, a);
    if (!code) {
        task_call_path(&t, "", &path);
        code = wait_loop(&t, &p, buf_z(&path));
    }
    buf_fini(&path);
    task_call_end(&t);
    return code;
}

/* ---- output ---- */

static int output_loop(struct task_call *t, struct patience *p, uint64_t offset, bool follow) {
    struct client_reply reply = {0};
    char behind[64], prefer[32];
    int code = 0;
    for (bool more = true; more && !code;) {
        struct buf path = {0};
        snprintf(behind, sizeof behind, "/output?offset=%llu", (unsigned long long) offset);
        task_call_path(t, behind, &path);
        struct client_request q = {.path = buf_z(&path), .header = {follow ? patience_prefer(p, prefer) : NULL}};
        code = patient_ask(t, p, &q, &reply);
        buf_fini(&path);
        if (!code) {
            fwrite(buf_view(&reply.body).p, 1, reply.body.len, stdout);
            fflush(stdout);
            uint64_t first = reply.has_output_offset ? reply.output_offset : offset;
            offset = first + reply.body.len;
            more = !ferror(stdout) && (reply.body.len || (follow && !reply.output_complete));
        }
    }
    client_reply_fini(&reply);
    return code;
}

int action_task_output(struct args *a) {
    struct task_call t;
    struct patience p = {.until_ms = INT64_MAX};
    double offset;
    int code = task_call_begin(&t, a, 0, 0);
    code = code ? code : args_number(a, "offset", 0, 1e15, 0, &offset);
    code = code ? code : output_loop(&t, &p, (uint64_t) offset, args_has(a, "follow"));
    task_call_end(&t);
    return code;
}
