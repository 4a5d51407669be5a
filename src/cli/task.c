/* task.c: `bowline task`: the actions that are one request each, and the table of all of them. */
#include "cli/task.h"

#include "cli/body.h"
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/text.h"

#include <stdio.h>

/* ---- what they share ---- */

static bool id_of_token(const char *token, char *ret_id, size_t size) {
    const char *dot = token ? strchr(token, '.') : NULL;
    if (!dot || strncmp(token, "tsk_", 4) != 0 || (size_t) (dot - token) >= size) {
        return false;
    }
    snprintf(ret_id, size, "%.*s", (int) (dot - token), token);
    return true;
}

int task_call_begin(struct task_call *t, struct args *a, int least_rest, int most_rest) {
    *t = (struct task_call){.args = a, .rest = a->operand, .rest_count = a->operand_count};
    int code = client_open(a, &t->client);
    if (code) {
        return code;
    }
    if (a->operand_count && strncmp(a->operand[0], "tsk_", 4) == 0) {
        snprintf(t->id, sizeof t->id, "%s", a->operand[0]);
        t->rest++;
        t->rest_count--;
    } else if (!id_of_token(client_token(t->client), t->id, sizeof t->id)) {
        return args_wrong(a, "which task? Give its id (tsk_...), or a token of it with --token");
    }
    if (t->rest_count < least_rest || t->rest_count > most_rest) {
        return args_wrong(a, "it wants %s", a->action->operands);
    }
    return 0;
}

void task_call_end(struct task_call *t) {
    client_close(t->client);
}

void task_call_path(const struct task_call *t, const char *behind, struct buf *path) {
    buf_puts(path, "/v1/tasks/");
    path_put(path, t->id);
    buf_puts(path, behind);
}

int task_call_ask(struct task_call *t, const char *method, const char *behind, struct str body, void (*show)(const struct json *, struct buf *)) {
    struct buf path = {0};
    task_call_path(t, behind, &path);
    struct client_request q = {.method = method, .path = buf_z(&path), .body = body};
    int code = ask_and_print(t->client, t->args, &q, show);
    buf_fini(&path);
    return code;
}

/* ---- start ---- */

static const struct member start_members[] = {
    {"kind", "kind", MEMBER_TEXT},
    {"title", "title", MEMBER_WORDS},
    {"queue", "queue", MEMBER_TEXT},
    {"input", "input", MEMBER_JSON},
    {"on-session-end", "on_session_end", MEMBER_TEXT},
    {"lease", "lease", MEMBER_NUMBER},
    {"timeout", "timeout", MEMBER_NUMBER},
    {"deadline", "deadline", MEMBER_NUMBER},
    {"max-attempts", "max_attempts", MEMBER_NUMBER},
    {"backoff", "backoff", MEMBER_NUMBER},
    {"not-before", "not_before", MEMBER_TEXT},
    {"ttl", "ttl", MEMBER_NUMBER},
    {"cancel-unwatched", "cancel_unwatched", MEMBER_NUMBER},
    {"metadata", "metadata", MEMBER_JSON},
    {NULL, NULL, MEMBER_TEXT},
};

static void show_started(const struct json *task, struct buf *out) {
    show_row(out, "task", member_text(task, "id"));
    struct str watch = member_text(task, "token"), worker = member_text(task, "worker_token");
    if (watch.p) {
        show_row(out, "watch token", watch);
    }
    if (worker.p) {
        show_row(out, "worker token", worker);
    }
}

static int start_body(struct args *a, const char *kind, struct buf *body) {
    buf_char(body, '{');
    int code = body_session(body, a);
    body_text(body, "kind", args_has(a, "kind") ? NULL : kind);
    code = code ? code : body_members(body, a, start_members);
    buf_char(body, '}');
    return code;
}

int task_start_ask(struct args *a, struct client *c, const char *kind, const char *key, struct client_reply *reply) {
    bool named = args_has(a, "session") || args_has(a, "session-key");
    struct buf body = {0}, line = {0};
    int code = named || client_token(c) ? 0 : args_wrong(a, "for which session? --session ID, or --session-key KEY");
    code = code ? code : start_body(a, kind, &body);
    if (!code) {
        key = args_has(a, "idempotency-key") ? args_get(a, "idempotency-key") : key;
        buf_printf(&line, "Idempotency-Key: %s", key ? key : "");
        struct client_request q = {
            .method = "POST", .path = named ? "/v1/tasks" : "/v1/session/tasks", .body = buf_view(&body), .header = {key ? buf_z(&line) : NULL}};
        code = client_ask(c, a, &q, reply);
    }
    buf_fini(&body);
    buf_fini(&line);
    return code;
}

static int task_start(struct args *a) {
    struct client *c = NULL;
    struct client_reply reply = {0};
    int code = !args_has(a, "kind") ? args_wrong(a, "what kind of task? --kind KIND, such as --kind report") : client_open(a, &c);
    code = code ? code : task_start_ask(a, c, NULL, NULL, &reply);
    code = code ? code : answer_print(a, &reply, show_started);
    client_reply_fini(&reply);
    client_close(c);
    return code;
}

/* ---- reading ---- */

static int task_show(struct args *a) {
    struct task_call t;
    int code = task_call_begin(&t, a, 0, 0);
    code = code ? code : task_call_ask(&t, "GET", "", STR_NONE, show_task);
    task_call_end(&t);
    return code;
}

static int task_list(struct args *a) {
    static const char *const filters[] = {"session", "user", "state", "kind", "queue", "limit", "after"};
    struct client *c;
    int code = client_open(a, &c);
    if (code) {
        return code;
    }
    struct buf path = {0};
    buf_puts(&path, client_token(c) ? "/v1/session/tasks" : "/v1/tasks");
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *value = args_get(a, filters[i]);
        if (value) {
            query_put(&path, filters[i], value);
        }
    }
    struct client_request q = {.path = buf_z(&path)};
    code = ask_and_print(c, a, &q, show_tasks);
    buf_fini(&path);
    client_close(c);
    return code;
}

/* Bytes as they are; a newline at the end only on a terminal would lie in files, so JSON gets one. */
static int print_bytes(const struct client_reply *reply) {
    fwrite(buf_view(&reply->body).p, 1, reply->body.len, stdout);
    if (reply->body.len && reply->body.data[reply->body.len - 1] != '\n') {
        putchar('\n');
    }
    return BOWLINE_EXIT_OK;
}

static int task_print_part(struct task_call *t, const char *part) {
    struct client_reply reply = {0};
    struct buf path = {0};
    task_call_path(t, part, &path);
    struct client_request q = {.path = buf_z(&path)};
    int code = client_ask(t->client, t->args, &q, &reply);
    if (!code && reply.status == 202) {
        code = args_fail(t->args, BOWLINE_EXIT_REFUSED, "the task is not finished yet; `bowline task wait %s` waits for it", t->id);
    } else if (!code) {
        code = print_bytes(&reply);
    }
    buf_fini(&path);
    client_reply_fini(&reply);
    return code;
}

static int task_result(struct args *a) {
    struct task_call t;
    int code = task_call_begin(&t, a, 0, 0);
    code = code ? code : task_print_part(&t, "/result");
    task_call_end(&t);
    return code;
}

static int task_input(struct args *a) {
    struct task_call t;
    int code = task_call_begin(&t, a, 0, 0);
    code = code ? code : task_print_part(&t, "/input");
    task_call_end(&t);
    return code;
}

bool task_json_is_final(const struct json *task) {
    struct str state = member_text(task, "state");
    return str_eqz(state, "succeeded") || str_eqz(state, "failed") || str_eqz(state, "cancelled");
}

int task_call_print_outcome(struct task_call *t, const struct json *task) {
    struct str state = member_text(task, "state");
    struct buf text = {0};
    int code = BOWLINE_EXIT_OK;
    if (str_eqz(state, "succeeded")) {
        const struct json *result = json_get(task, "result");
        bool inlined = result && (result->type != JSON_NULL || !(member_number_of(task, "result_bytes") > 4));
        if (!inlined) {
            return task_print_part(t, "/result");
        }
        printf("%.*s\n", STR_FMT(result->raw));
    } else if (str_eqz(state, "failed")) {
        const struct json *error = json_get(task, "error");
        text_put_clean(&text, member_text(error, "type"));
        buf_puts(&text, ": ");
        text_put_clean(&text, member_text(error, "message"));
        code = args_fail(t->args, BOWLINE_EXIT_TASK_FAILED, "the task failed: %s", buf_z(&text));
    } else {
        text_put_clean(&text, member_text(task, "cancel_reason"));
        code = args_fail(t->args, BOWLINE_EXIT_TASK_CANCELLED, "the task was cancelled%s%s", text.len ? ": " : "", buf_z(&text));
    }
    buf_fini(&text);
    return code;
}

/* ---- changing ---- */

static int task_post_members(struct args *a, const char *behind, const struct member *members, void (*show)(const struct json *, struct buf *)) {
    struct task_call t;
    struct buf body = {0};
    int code = task_call_begin(&t, a, 0, 0);
    buf_char(&body, '{');
    code = code ? code : body_members(&body, a, members);
    buf_char(&body, '}');
    code = code ? code : task_call_ask(&t, "POST", behind, buf_view(&body), show);
    buf_fini(&body);
    task_call_end(&t);
    return code;
}

static void show_state(const struct json *task, struct buf *out) {
    show_row(out, "task", member_text(task, "id"));
    show_row(out, "state", member_text(task, "state"));
    if (member_true(task, "cancel_requested")) {
        show_row(out, "cancelling", STR("yes"));
    }
}

static void show_token(const struct json *answer, struct buf *out) {
    text_put_clean(out, member_text(answer, "token"));
    buf_char(out, '\n');
}

static void show_bound(const struct json *task, struct buf *out) {
    show_row(out, "task", member_text(task, "id"));
    show_row(out, "session", member_text(task, "session"));
    show_row(out, "watch token", member_text(task, "token"));
}

static const struct member no_members[] = {{NULL, NULL, MEMBER_TEXT}};

static int task_cancel(struct args *a) {
    static const struct member members[] = {{"reason", "reason", MEMBER_WORDS}, {NULL, NULL, MEMBER_TEXT}};
    return task_post_members(a, "/cancel", members, show_state);
}

static int task_seen(struct args *a) {
    return task_post_members(a, "/seen", no_members, show_state);
}

static int task_token(struct args *a) {
    return task_post_members(a, "/token", no_members, show_token);
}

static int task_bind(struct args *a) {
    struct task_call t;
    struct buf body = {0};
    int code = task_call_begin(&t, a, 0, 0);
    buf_char(&body, '{');
    code = code ? code : body_session(&body, a);
    buf_char(&body, '}');
    if (!code && body.len == 2) {
        code = args_wrong(a, "to which session? --session ID, or --session-key KEY");
    }
    code = code ? code : task_call_ask(&t, "POST", "/bind", buf_view(&body), show_bound);
    buf_fini(&body);
    task_call_end(&t);
    return code;
}

static int task_delete(struct args *a) {
    struct task_call t;
    int code = task_call_begin(&t, a, 0, 0);
    code = code ? code : task_call_ask(&t, "DELETE", "", STR_NONE, show_state);
    task_call_end(&t);
    return code;
}

/* ---- answering a question ---- */

/* The id of the question that stands. */
static int question_find(struct task_call *t, struct buf *ret_request) {
    struct client_reply reply = {0};
    struct buf path = {0};
    struct answer_json j = {0};
    task_call_path(t, "", &path);
    struct client_request q = {.path = buf_z(&path)};
    int code = client_ask(t->client, t->args, &q, &reply);
    code = code ? code : answer_parse(&j, t->args, &reply);
    if (!code) {
        struct str id = member_text(json_get(j.root, "input_request"), "id");
        buf_str(ret_request, id);
        code = id.p ? 0 : args_fail(t->args, BOWLINE_EXIT_REFUSED, "the task asks nothing");
    }
    answer_fini(&j);
    client_reply_fini(&reply);
    buf_fini(&path);
    return code;
}

static int answer_body(struct task_call *t, struct buf *body) {
    const char *text = args_get(t->args, "text"), *given = args_get(t->args, "request");
    if (!text == !t->rest_count) {
        return args_wrong(t->args, "what is the answer? JSON, @FILE, or - for standard input; or a plain text with --text");
    }
    struct buf request = {0};
    buf_puts(&request, given ? given : "");
    int code = given ? 0 : question_find(t, &request);
    buf_char(body, '{');
    code = code ? code : body_exact(body, t->args, "--request", "request", buf_z(&request));
    code = code ? code : body_exact(body, t->args, "--text", "answer", text);
    if (!text) {
        body_name(body, "answer");
        code = code ? code : body_json(body, t->args, "the answer", t->rest[0]);
    }
    buf_char(body, '}');
    buf_fini(&request);
    return code;
}

static int task_answer(struct args *a) {
    struct task_call t;
    struct buf body = {0};
    int code = task_call_begin(&t, a, 0, 1);
    code = code ? code : answer_body(&t, &body);
    code = code ? code : task_call_ask(&t, "POST", "/answer", buf_view(&body), show_state);
    buf_fini(&body);
    task_call_end(&t);
    return code;
}

/* ---- queues ---- */

static void show_claimed(const struct json *answer, struct buf *out) {
    const struct json *tasks = json_get(answer, "tasks");
    for (const struct json *t = tasks ? tasks->child : NULL; t; t = t->next) {
        show_row(out, "task", member_text(t, "id"));
        show_row(out, "kind", member_text(t, "kind"));
        show_row(out, "worker token", member_text(t, "worker_token"));
        const struct json *input = json_get(t, "input");
        if (input) {
            show_row(out, "input", input->raw);
        }
        buf_puts(out, t->next ? "\n" : "");
    }
}

static int queue_post(struct args *a, struct client *c, const char *verb, struct str body, const char *prefer) {
    struct client_reply reply = {0};
    struct buf path = {0};
    buf_puts(&path, "/v1/queues/");
    path_put(&path, a->operand[0]);
    buf_puts(&path, verb);
    struct client_request q = {.method = "POST", .path = buf_z(&path), .body = body, .header = {prefer}};
    int code = client_ask(c, a, &q, &reply);
    code = code ? code : answer_print(a, &reply, show_claimed);
    if (!code && reply.status == 204 && strcmp(verb, "/claim") == 0) {
        code = args_fail(a, BOWLINE_EXIT_TIMEOUT, "no task came");
    }
    client_reply_fini(&reply);
    buf_fini(&path);
    return code;
}

static int task_claim(struct args *a) {
    static const struct member members[] = {
        {"max", "max", MEMBER_NUMBER}, {"worker", "worker", MEMBER_WORDS}, {"lease", "lease", MEMBER_NUMBER}, {NULL, NULL, MEMBER_TEXT}};
    struct client *c = NULL;
    struct buf body = {0};
    double wait_s = 0;
    char prefer[32];
    int code = args_number(a, "wait", 0, 60, 0, &wait_s);
    snprintf(prefer, sizeof prefer, "Prefer: wait=%.0f", wait_s);
    buf_char(&body, '{');
    code = code ? code : body_members(&body, a, members);
    buf_char(&body, '}');
    code = code ? code : client_open(a, &c);
    code = code ? code : queue_post(a, c, "/claim", buf_view(&body), wait_s >= 1 ? prefer : NULL);
    buf_fini(&body);
    client_close(c);
    return code;
}

static int task_release(struct args *a) {
    struct client *c = NULL;
    struct buf body = {0};
    buf_char(&body, '{');
    int code = body_exact(&body, a, "the token", "token", a->operand[1]);
    buf_char(&body, '}');
    code = code ? code : client_open(a, &c);
    code = code ? code : queue_post(a, c, "/release", buf_view(&body), NULL);
    buf_fini(&body);
    client_close(c);
    return code;
}

/* ---- the table ---- */

static const struct flag start_flags[] = {
    {"session", "ID", "The session it belongs to; not needed with a session's token, if the server lets sessions start this kind"},
    {"session-key", "KEY", "The session by the application's own id; one that is new is made"},
    {"user", "USER", "With --session-key: the session's user"},
    {"kind", "KIND", "What sort of work: lower-case letters, digits, . _ -"},
    {"title", "TEXT", "What people are shown"},
    {"queue", "QUEUE", "Workers claim it there; without, hand the worker token to whoever does it"},
    {"input", "JSON", "What the worker needs: JSON, @FILE, or - for standard input"},
    {"on-session-end", "WHAT", "keep (default), cancel or handover"},
    {"lease", "SECONDS", "A worker silent for longer has lost the task; 0 never; 60 if not given"},
    {"timeout", "SECONDS", "Longest that an attempt may run; 0 no limit"},
    {"deadline", "SECONDS", "From now, in any state, after which it has failed"},
    {"max-attempts", "N", "How many attempts may fail or be lost (with --queue)"},
    {"backoff", "SECONDS", "Pause before the next attempt, doubled for each further"},
    {"not-before", "TIME", "Earliest start, such as 2030-01-02T03:04:05Z (with --queue)"},
    {"ttl", "SECONDS", "How long it is kept after its end"},
    {"cancel-unwatched", "SECONDS", "Cancel when nobody has watched for that long"},
    {"metadata", "JSON", "An object of your own: JSON, @FILE, or -"},
    {"idempotency-key", "KEY", "Asked again with the same key, the server gives the same answer"},
    {NULL, NULL, NULL},
};

static const struct flag list_flags[] = {
    {"session", "ID", "Only those of this session"},
    {"user", "USER", "Only those of this user"},
    {"state", "STATE", "Only queued, running, input_required, succeeded, failed or cancelled ones"},
    {"kind", "KIND", "Only of this kind"},
    {"queue", "QUEUE", "Only of this queue"},
    {"limit", "N", "How many (1 to 1000; 100 if not given)"},
    {"after", "CURSOR", "Go on after an earlier page"},
    {NULL, NULL, NULL},
};

static const struct flag wait_flags[] = {{"timeout", "SECONDS", "Give up after that long; without, wait for ever"}, {NULL, NULL, NULL}};

static const struct flag cancel_flags[] = {{"reason", "TEXT", "Why; the worker and watchers see it"}, {NULL, NULL, NULL}};

static const struct flag output_flags[] = {
    {"offset", "BYTE", "From that byte on"},
    {"follow", NULL, "Go on until the task has ended"},
    {NULL, NULL, NULL},
};

static const struct flag claim_flags[] = {
    {"max", "N", "At most that many tasks; 1 if not given"},
    {"worker", "NAME", "Who claims, for operators to see"},
    {"lease", "SECONDS", "Instead of the tasks' own lease"},
    {"wait", "SECONDS", "Wait that long for one to come (at most 60)"},
    {NULL, NULL, NULL},
};

static const struct flag answer_flags[] = {
    {"text", "TEXT", "The answer is this plain text"},
    {"request", "ID", "Answer only this question; without, the one that stands"},
    {NULL, NULL, NULL},
};

static const struct flag bind_flags[] = {
    {"session", "ID", "The session to move it to"},
    {"session-key", "KEY", "The same by the application's own id"},
    {"user", "USER", "With --session-key: the session's user"},
    {NULL, NULL, NULL},
};

static const struct action task_actions[] = {
    {"start", "", 0, 0, "Starts a task; prints its id, a token to watch it and, without a queue, one for its worker", start_flags,
     "  bowline task start --session ses_01J... --kind report --title 'Q3 report'\n"
     "  bowline task start --session-key \"$SID\" --user u-17 --kind resize --queue images --input @job.json --max-attempts 3\n",
     task_start},
    {"show", "[ID]", 0, 1, "Shows a task", NULL, "  bowline task show tsk_01J...\n  bowline task show --token tsk_01J....w1....\n", task_show},
    {"list", "", 0, 0, "Lists tasks, newest first; with a session's token those of the session", list_flags,
     "  bowline task list --state running\n  bowline task list --user u-17 --kind report --json\n", task_list},
    {"wait", "[ID]", 0, 1, "Waits for the end and prints the result; the exit code tells how it ended (0, 4 failed, 5 cancelled, 6 time was up)",
     wait_flags, "  bowline task wait tsk_01J... --timeout 600 > result.json\n", action_task_wait},
    {"result", "[ID]", 0, 1, "Prints the result exactly as the worker sent it", NULL, "  bowline task result tsk_01J... | jq .\n", task_result},
    {"output", "[ID]", 0, 1, "Prints the output so far", output_flags, "  bowline task output tsk_01J... --follow\n", action_task_output},
    {"input", "[ID]", 0, 1, "Prints the input", NULL, "  bowline task input --token tsk_01J....x1....\n", task_input},
    {"cancel", "[ID]", 0, 1, "Asks for the task to be cancelled", cancel_flags, "  bowline task cancel tsk_01J... --reason 'wrong file'\n",
     task_cancel},
    {"report", "[ID] progress N[/TOTAL] | output TEXT|- | heartbeat | ask PROMPT | succeed [JSON] | fail TYPE MESSAGE | cancelled", 1, 4,
     "Says how the work goes, with the worker token", task_report_flags,
     "  export BOWLINE_TOKEN=tsk_01J....x1....\n"
     "  bowline task report progress 40/100 --unit pages --message rendering\n"
     "  make 2>&1 | bowline task report output -\n"
     "  bowline task report ask 'Overwrite the file?' --schema '{\"type\": \"boolean\"}'\n"
     "  bowline task report succeed '{\"url\": \"/files/1\"}'\n"
     "  bowline task report fail disk-full 'no space left' --retry\n",
     action_task_report},
    {"answer", "[ID] [JSON]", 0, 2, "Answers the question that the task asks", answer_flags,
     "  bowline task answer tsk_01J... true\n  bowline task answer tsk_01J... --text 'the second one'\n", task_answer},
    {"claim", "QUEUE", 1, 1, "Takes tasks from a queue: prints each with its worker token and input", claim_flags,
     "  bowline task claim images --wait 60 --worker \"$(hostname)\" --json\n", task_claim},
    {"release", "QUEUE TOKEN", 2, 2, "Gives a claimed task back unharmed", NULL, "  bowline task release images tsk_01J....x1....\n", task_release},
    {"seen", "[ID]", 0, 1, "Marks a finished task as seen by a person", NULL, "  bowline task seen --token tsk_01J....w1....\n", task_seen},
    {"bind", "[ID]", 0, 1, "Moves a task to another session", bind_flags, "  bowline task bind tsk_01J... --session ses_01K...\n", task_bind},
    {"token", "[ID]", 0, 1, "Prints the token that watches the task now", NULL, "  bowline task token tsk_01J...\n", task_token},
    {"delete", "[ID]", 0, 1, "Forgets a finished task", NULL, "  bowline task delete tsk_01J...\n", task_delete},
};

const struct command task_command = {
    "task",
    "Start, follow, report on and finish tasks",
    "A task is a piece of work that a session started. Where ID is left out, the task is the one that the token names.\n",
    task_actions,
    sizeof task_actions / sizeof *task_actions,
    false,
    NULL};
