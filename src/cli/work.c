/*
 * work.c: `bowline work`: a worker out of any command. One loop claims tasks while there is room and turns the jobs under way.
 *
 *     WORKING ── SIGTERM or SIGINT, or --once has its task ──▶ FINISHING (claims no more) ── a second signal ──▶ LEAVING (stops and gives back)
 */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/options.h"
#include "cli/body.h"
#include "cli/client_ops.h"
#include "cli/exit.h"
#include "cli/guard.h"
#include "cli/show.h"
#include "cli/work_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CLAIM_S 30
#define HANG_UP_MS 2000 /* a server that nobody waits for any more says so at once */
#define RETRY_MS 500
#define RETRY_MOST_MS (10 * SEC)
#define JOBS_MOST 1000

enum work_state { WORKING, FINISHING, LEAVING };

struct work {
    struct args *args;
    struct client *client;
    struct client_ops *ops;
    struct signals signals;
    struct job_plan plan;
    struct buf name;
    struct job **jobs; /* jobs_most of them; NULL: free */
    unsigned jobs_most, jobs_count;
    struct pollfd *fds;

    enum work_state state;
    bool once;
    struct client_op *claim;
    bool hung_up;
    int64_t claim_ms, hung_up_ms; /* not before; given up then */
    unsigned failures, releases;  /* releases: requests under way */
    int code;
};

static void say(const char *text) {
    fprintf(stderr, "bowline work: %s\n", text);
}

/* ---- giving back what came too late ---- */

static void on_late_released(void *arg, const struct client_reply *reply) {
    struct work *w = arg;
    (void) reply;
    w->releases--;
}

static void task_give_back(struct work *w, const struct json *task) {
    struct buf path = {0}, body = {0};
    buf_puts(&path, "/v1/queues/");
    path_put(&path, w->plan.queue);
    buf_puts(&path, "/release");
    buf_puts(&body, "{\"token\":");
    buf_json_str(&body, member_text(task, "worker_token"));
    buf_char(&body, '}');
    struct client_request q = {.method = "POST", .path = buf_z(&path), .body = buf_view(&body)};
    client_ops_start(w->ops, &q, HANG_UP_MS, on_late_released, w);
    w->releases++;
    buf_fini(&path);
    buf_fini(&body);
}

/* ---- claiming ---- */

static unsigned slot_find(const struct work *w) {
    unsigned i = 0;
    while (i < w->jobs_most && w->jobs[i]) {
        i++;
    }
    return i;
}

static void tasks_take(struct work *w, const struct json *answer) {
    const struct json *tasks = json_get(answer, "tasks");
    for (const struct json *t = tasks ? tasks->child : NULL; t; t = t->next) {
        unsigned slot = slot_find(w);
        if (w->state != WORKING || slot == w->jobs_most) {
            task_give_back(w, t);
            continue;
        }
        w->jobs[slot] = job_create(&w->plan, t);
        w->jobs_count++;
        w->state = w->once ? FINISHING : w->state;
    }
}

static void claim_failed(struct work *w, const struct client_reply *reply) {
    bool refused = reply->status >= 400 && reply->status < 500 && reply->status != 429 && reply->status != 408;
    if (refused && w->state == WORKING) {
        w->code = client_say_problem(w->args, reply);
        w->state = FINISHING;
        return;
    }
    int64_t ms = RETRY_MS << (w->failures < 6 ? w->failures : 5);
    ms = ms < RETRY_MOST_MS ? ms : RETRY_MOST_MS;
    ms = reply->retry_after_s > 0 && reply->retry_after_s * SEC < RETRY_MOST_MS ? reply->retry_after_s * SEC : ms;
    w->claim_ms = clock_ms() + ms / 2 + rand() % (int) (ms / 2 + 1);
    if (w->failures++ == 1 && w->state == WORKING) { /* a restart that is over at once is not worth a word */
        struct buf text = {0};
        buf_printf(&text, "%s does not answer", client_url(w->client));
        if (reply->status) {
            buf_printf(&text, " but with %d", reply->status);
        }
        buf_puts(&text, "; trying again until it does");
        say(buf_z(&text));
        buf_fini(&text);
    }
}

static void on_claim(void *arg, const struct client_reply *reply) {
    struct work *w = arg;
    w->claim = NULL;
    if (reply->status != 200 && reply->status != 204) {
        claim_failed(w, reply);
        return;
    }
    if (w->failures > 1) {
        say("the server is back");
    }
    w->failures = 0;
    if (reply->status == 200) {
        struct answer_json j;
        if (answer_parse(&j, w->args, reply) == 0) {
            tasks_take(w, j.root);
            answer_fini(&j);
        }
    }
}

static void claim_start(struct work *w) {
    struct buf path = {0}, body = {0}, prefer = {0};
    buf_puts(&path, "/v1/queues/");
    path_put(&path, w->plan.queue);
    buf_puts(&path, "/claim");
    buf_printf(&body, "{\"max\":%u", w->once ? 1 : w->jobs_most - w->jobs_count);
    body_words(&body, "worker", buf_z(&w->name));
    if (w->plan.lease_s >= 0) {
        body_name(&body, "lease");
        buf_json_num(&body, w->plan.lease_s);
    }
    buf_char(&body, '}');
    buf_printf(&prefer, "Prefer: wait=%d", CLAIM_S);
    struct client_request q = {.method = "POST", .path = buf_z(&path), .body = buf_view(&body), .header = {buf_z(&prefer)}};
    w->claim = client_ops_start(w->ops, &q, (CLAIM_S + 15) * SEC, on_claim, w);
    buf_fini(&path);
    buf_fini(&body);
    buf_fini(&prefer);
}

/* Claims while there is room; ends a claim that must not be answered any more without losing what is on its way already. */
static int64_t claim_tick(struct work *w, int64_t now) {
    if (w->state == WORKING) {
        bool room = w->jobs_count < w->jobs_most;
        if (!w->claim && room && now >= w->claim_ms) {
            claim_start(w);
        }
        return !w->claim && room ? w->claim_ms : INT64_MAX;
    }
    if (w->claim && !w->hung_up) {
        client_op_hang_up(w->claim);
        w->hung_up = true;
        w->hung_up_ms = now + HANG_UP_MS;
    }
    if (w->claim && now >= w->hung_up_ms) {
        client_op_cancel(w->claim);
        w->claim = NULL;
    }
    return w->claim ? w->hung_up_ms : INT64_MAX;
}

/* ---- the loop ---- */

static int outcome_code(enum job_outcome outcome) {
    return outcome == JOB_SUCCEEDED ? BOWLINE_EXIT_OK : outcome == JOB_CANCELLED ? BOWLINE_EXIT_TASK_CANCELLED : BOWLINE_EXIT_TASK_FAILED;
}

static void jobs_reap(struct work *w) {
    for (unsigned i = 0; i < w->jobs_most; i++) {
        if (w->jobs[i] && job_is_done(w->jobs[i])) {
            if (w->once && !w->code && job_outcome_of(w->jobs[i]) != JOB_GIVEN_BACK) {
                w->code = outcome_code(job_outcome_of(w->jobs[i]));
            }
            job_destroy(w->jobs[i]);
            w->jobs[i] = NULL;
            w->jobs_count--;
        }
    }
}

static void jobs_each(struct work *w, void (*act)(struct job *)) {
    for (unsigned i = 0; i < w->jobs_most; i++) {
        if (w->jobs[i]) {
            act(w->jobs[i]);
        }
    }
}

static void signal_take(struct work *w, int number) {
    if (number == SIGCHLD) {
        guards_reap();
    } else if (w->state == WORKING) {
        w->state = FINISHING;
        if (w->jobs_count) {
            fprintf(stderr, "bowline work: no more tasks; %u still run (a second signal stops them and gives them back)\n", w->jobs_count);
        }
    } else {
        w->state = LEAVING;
        jobs_each(w, job_release);
    }
}

static int64_t jobs_tick(struct work *w, int64_t now) {
    int64_t due = INT64_MAX;
    for (unsigned i = 0; i < w->jobs_most; i++) {
        int64_t next = w->jobs[i] ? job_tick(w->jobs[i], now) : INT64_MAX;
        due = next < due ? next : due;
    }
    return due;
}

static void loop_turn(struct work *w) {
    int64_t now = clock_ms(), due = jobs_tick(w, now);
    jobs_reap(w);
    int64_t claim = claim_tick(w, now);
    due = claim < due ? claim : due;
    if (w->state != WORKING && !w->jobs_count && !w->claim && !w->releases) {
        return;
    }
    unsigned count = 0;
    w->fds[count++] = (struct pollfd){.fd = w->signals.fd, .events = POLLIN};
    for (unsigned i = 0; i < w->jobs_most; i++) {
        if (w->jobs[i]) {
            job_watch(w->jobs[i], w->fds + count);
            count += JOB_FDS;
        }
    }
    /* Jobs that begin during the wait take free places: from here on only those that were there are turned. */
    struct job **turned = mem_dup(w->jobs, w->jobs_most * sizeof(struct job *));
    client_ops_wait(w->ops, w->fds, count, due - now);
    count = 1;
    for (unsigned i = 0; i < w->jobs_most; i++) {
        if (turned[i]) {
            job_turn(turned[i], w->fds + count);
            count += JOB_FDS;
        }
    }
    mem_free(turned);
    for (int number; (number = signals_next(&w->signals));) {
        signal_take(w, number);
    }
}

/* ---- the command line ---- */

static int work_flags(struct work *w) {
    struct args *a = w->args;
    double jobs;
    int code = args_number(a, "jobs", 1, JOBS_MOST, 1, &jobs);
    code = code ? code : args_number(a, "kill-after", 0, 1e6, 10, &w->plan.kill_after_s);
    code = code ? code : args_number(a, "lease", 0, 30 * 86400, -1, &w->plan.lease_s);
    if (!code && jobs != floor(jobs)) {
        code = args_wrong(a, "--jobs: %g is not a whole number", jobs);
    }
    if (!code && !child_can_run(a->rest[0])) {
        code = args_wrong(a, "there is no command \"%s\" that can be run", a->rest[0]);
    }
    if (code) {
        return code;
    }
    w->once = args_has(a, "once");
    w->jobs_most = w->once ? 1 : (unsigned) jobs;
    w->jobs = mem_alloc(w->jobs_most * sizeof(struct job *));
    w->fds = mem_alloc((1 + w->jobs_most * JOB_FDS) * sizeof(struct pollfd));
    w->plan.queue = a->operand[0];
    w->plan.argv = a->rest;
    w->plan.streams = args_has(a, "output");
    if (args_has(a, "worker")) {
        buf_puts(&w->name, args_get(a, "worker"));
    } else {
        char host[128] = "";
        gethostname(host, sizeof host - 1);
        buf_printf(&w->name, "%s:%d", host, getpid());
    }
    return 0;
}

static int work_prepare(struct work *w) {
    static const int numbers[] = {SIGINT, SIGTERM};
    if (client_token(w->client)) {
        return args_wrong(w->args, "claiming wants an API key with the role worker: --key-file or BOWLINE_KEY, not a token");
    }
    int wrong = signals_open(&w->signals, numbers, 2);
    if (wrong) {
        return args_fail(w->args, BOWLINE_EXIT_FAILED, "%s", strerror(-wrong));
    }
    w->plan.ops = w->ops;
    w->plan.signals = &w->signals;
    srand((unsigned) clock_ms() ^ (unsigned) getpid());
    return 0;
}

static int work_run(struct args *a) {
    struct work w = {.args = a, .signals = {.fd = -1}};
    int code = work_flags(&w);
    code = code ? code : client_open(a, &w.client);
    code = code ? code : client_ops_open(a, w.client, &w.ops);
    code = code ? code : work_prepare(&w);
    while (!code && (w.state == WORKING || w.jobs_count || w.claim || w.releases)) {
        loop_turn(&w);
    }
    code = code ? code : w.code;
    for (unsigned i = 0; i < w.jobs_most && w.jobs; i++) {
        job_destroy(w.jobs[i]);
    }
    client_ops_close(w.ops);
    client_close(w.client);
    if (w.signals.fd >= 0) {
        signals_close(&w.signals);
    }
    mem_free(w.jobs);
    mem_free(w.fds);
    buf_fini(&w.name);
    return code;
}

static const struct flag work_flags_table[] = {
    {"jobs", "N", "As many at once; 1 if not given"},
    {"lease", "SECONDS", "A worker silent for longer has lost the task; the tasks' own lease if not given"},
    {"worker", "NAME", "Who claims, for operators to see; host and process if not given"},
    {"output", NULL, "Standard output is reported as the task's output, as it comes, instead of being the result"},
    {"kill-after", "SECONDS", "A command that is to stop gets SIGTERM, and SIGKILL after that long; 10 if not given"},
    {"once", NULL, "One task, then exit: 0 if it succeeded, 4 if it failed, 5 if it was cancelled"},
    {NULL, NULL, NULL},
};

static const struct action work_action = {
    "work",
    "QUEUE",
    1,
    1,
    "Claims tasks from a queue and runs a command for each",
    work_flags_table,
    "  bowline work images --jobs 4 --key-file worker.key -- ./resize.sh\n"
    "  bowline work mails -- python3 send.py\n"
    "  bowline work reports --output -- sh -c 'jq -r .url | xargs curl -sS | tee result.csv'\n"
    "\n"
    "  #!/bin/sh                                            # such a command\n"
    "  file=$(jq -r .file)                                  # the input, on standard input\n"
    "  bowline report progress 1/2 --message converting     # or: echo '{\"type\":\"progress\",\"current\":1,\"total\":2}' >&3\n"
    "  convert \"$file\" out.png || exit 75                   # 75: to be tried again\n"
    "  echo '{\"file\": \"out.png\"}'                           # the result, on standard output\n",
    work_run,
};

const struct command work_command = {
    "work",
    "Run a command for each task of a queue",
    "The command runs once per task. Standard input is the task's input as JSON. What it writes to standard output becomes the result: as it is if "
    "it is\n"
    "JSON, else as a text. Standard error is passed on, and its end goes into the error if the command fails. Exit status 0: succeeded; 75: failed, "
    "to be\n"
    "tried again if attempts are left; anything else: failed.\n"
    "\n"
    "In its environment are BOWLINE_TASK, BOWLINE_TOKEN (the worker token), BOWLINE_URL, BOWLINE_ATTEMPT and BOWLINE_REPORT_FD. It reports with\n"
    "`bowline report ...`, or by writing reports as JSON, one a line, to that descriptor (3); a final one there goes before output and exit status.\n"
    "\n"
    "A cancelled task, and an attempt that is over, stop the command with everything that it has started, and so does the worker's own end, even by\n"
    "SIGKILL. A server out of reach is waited for, and what is reported meanwhile is kept. "
    "On SIGTERM or\n"
    "SIGINT no more tasks are claimed and those under way are finished; a second one stops them and gives the tasks back. The exit code is then 0.\n",
    &work_action,
    1,
    true,
    "COMMAND [ARGUMENT ...]"};
