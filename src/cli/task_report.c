/* task_report.c: `bowline task report`: what a worker says, one report per call; output from standard input in as many as it takes. */
#include "cli/task.h"

#include "base/options.h"
#include "cli/body.h"
#include "cli/exit.h"
#include "cli/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK_BYTES (64 * 1024)
#define ANSWER_DEPTH 1000
#define MESSAGE_MOST 2000 /* characters of an error's message */

struct report_type {
    const char *name;
    int least, most; /* operands behind it */
    const char *wants;
    int (*body)(struct task_call *t, struct buf *body); /* NULL: type alone */
};

static void show_report(const struct json *answer, struct buf *out) {
    show_row(out, "state", member_text(answer, "state"));
    if (member_true(answer, "cancel_requested")) {
        show_row(out, "cancelling", STR("yes: stop the work, then `bowline task report cancelled`"));
    }
    const struct json *given = json_get(json_get(answer, "answer"), "answer");
    if (json_get(answer, "truncated")) {
        show_row(out, "cut", STR("the message, at 500 characters"));
    }
    if (given) {
        show_row(out, "answer", given->raw);
    }
}

static void body_begin(struct buf *body, const char *type) {
    buf_char(body, '{');
    body_text(body, "type", type);
}

/* ---- the bodies ---- */

static bool number_parse(const char *text, const char *end_at, double *ret_number) {
    char *end;
    *ret_number = strtod(text, &end);
    return end > text && end == end_at && isfinite(*ret_number);
}

/* An empty one is none. */
static void phase_body(struct task_call *t, struct buf *body) {
    const char *phase = args_get(t->args, "phase");
    if (phase && !phase[0]) {
        body_name(body, "phase");
        buf_puts(body, "null");
    } else {
        body_words(body, "phase", phase);
    }
}

/* "40", "40/100", "/100", "40/-" (total unknown again), or nothing when only unit or message change. */
static int progress_body(struct task_call *t, struct buf *body) {
    const char *text = t->rest_count > 1 ? t->rest[1] : "";
    const char *slash = strchr(text, '/'), *end = text + strlen(text);
    const char *current_end = slash ? slash : end;
    double current = 0, total = 0;
    bool clears = slash && strcmp(slash, "/-") == 0;
    bool wrong = current_end > text && !number_parse(text, current_end, &current);
    wrong |= slash && !clears && !number_parse(slash + 1, end, &total);
    if (wrong) {
        return args_wrong(t->args, "\"%s\" is no progress: write 40, 40/100, or 40/- when the total is not known any more", text);
    }
    if (current_end > text) {
        body_name(body, "current");
        buf_json_num(body, current);
    }
    if (slash) {
        body_name(body, "total");
        if (clears) {
            buf_puts(body, "null");
        } else {
            buf_json_num(body, total);
        }
    }
    body_words(body, "unit", args_get(t->args, "unit"));
    body_words(body, "message", args_get(t->args, "message"));
    phase_body(t, body);
    const char *data = args_get(t->args, "data");
    if (!data) {
        return 0;
    }
    body_name(body, "data");
    return body_json(body, t->args, "--data", data);
}

static int ask_body(struct task_call *t, struct buf *body) {
    body_words(body, "prompt", t->rest[1]);
    const char *schema = args_get(t->args, "schema");
    if (!schema) {
        return 0;
    }
    body_name(body, "schema");
    return body_json(body, t->args, "--schema", schema);
}

static int succeed_body(struct task_call *t, struct buf *body) {
    if (t->rest_count < 2) {
        return 0;
    }
    body_name(body, "result");
    return body_json(body, t->args, "the result", t->rest[1]);
}

/* Longer than the server takes, it is cut: the end is to be told in any case. */
static void message_body(struct buf *body, const char *message) {
    struct buf mended = {0};
    utf8_put(&mended, str_of(message));
    body_name(body, "message");
    buf_json_str(body, utf8_prefix(buf_view(&mended), MESSAGE_MOST));
    buf_fini(&mended);
}

static int fail_body(struct task_call *t, struct buf *body) {
    const char *detail = args_get(t->args, "detail");
    body_name(body, "error");
    buf_char(body, '{');
    int code = body_exact(body, t->args, "the type", "type", t->rest[1]);
    message_body(body, t->rest[2]);
    if (detail && !code) {
        body_name(body, "detail");
        code = body_json(body, t->args, "--detail", detail);
    }
    buf_char(body, '}');
    if (args_has(t->args, "retry")) {
        body_name(body, "retry");
        buf_puts(body, "true");
    }
    return code;
}

static int output_body(struct task_call *t, struct buf *body) {
    body_output_data(body, str_of(t->rest[1]));
    return 0;
}

static const struct report_type report_types[] = {
    {"progress", 0, 1, "progress N, or progress N/TOTAL", progress_body},
    {"output", 1, 1, "output TEXT, or output - for standard input", output_body},
    {"heartbeat", 0, 0, "heartbeat", NULL},
    {"ask", 1, 1, "ask PROMPT", ask_body},
    {"succeed", 0, 1, "succeed, or succeed JSON", succeed_body},
    {"fail", 2, 2, "fail TYPE MESSAGE, such as fail disk-full 'no space left'", fail_body},
    {"cancelled", 0, 0, "cancelled", NULL},
};
#define REPORT_TYPES (sizeof report_types / sizeof *report_types)

/* ---- standard input as output ---- */

/* Sends one piece at the offset the server told last; that makes sending it again harmless. */
static int output_send(struct task_call *t, const char *path, struct str data, double *offset) {
    struct buf body = {0};
    struct client_reply reply = {0};
    struct answer_json j = {0};
    body_begin(&body, "output");
    body_output_data(&body, data);
    if (*offset >= 0) {
        body_name(&body, "offset");
        buf_json_num(&body, *offset);
    }
    buf_char(&body, '}');
    struct client_request q = {.method = "POST", .path = path, .body = buf_view(&body)};
    int code = client_ask(t->client, t->args, &q, &reply);
    code = code ? code : answer_parse(&j, t->args, &reply);
    if (!code) {
        *offset = member_number_of(j.root, "output_offset");
    }
    answer_fini(&j);
    client_reply_fini(&reply);
    buf_fini(&body);
    return code;
}

static int output_pipe(struct task_call *t, const char *path) {
    struct buf data = {0};
    double offset = -1;
    int code = 0;
    for (bool end = false; !end && !code;) {
        if (!buf_reserve(&data, CHUNK_BYTES)) {
            code = args_fail(t->args, BOWLINE_EXIT_FAILED, "there is too little memory");
            break;
        }
        ssize_t n = read(STDIN_FILENO, data.data + data.len, CHUNK_BYTES - 8);
        if (n < 0 && errno != EINTR) {
            code = args_fail(t->args, BOWLINE_EXIT_FAILED, "standard input: %s", strerror(errno));
        }
        end = n == 0;
        data.len += n > 0 ? (size_t) n : 0;
        size_t ready = end ? data.len : whole_characters_length(buf_view(&data));
        if (ready && !code) {
            code = output_send(t, path, str_n(data.data, ready), &offset);
            buf_drop_front(&data, ready);
        }
    }
    buf_fini(&data);
    return code;
}

/* ---- asking and waiting ---- */

/* A text is printed as it is, so that a shell can compare it. */
static void answer_say(const struct task_call *t, struct str answer) {
    struct arena arena = {0};
    struct json *root;
    struct json_error error;
    bool text = !args_has(t->args, "json") && json_parse(&arena, answer, ANSWER_DEPTH, &root, &error) == 0 && root->type == JSON_STRING;
    struct str shown = text ? root->string : answer;
    fwrite(shown.p, 1, shown.len, stdout);
    putchar('\n');
    arena_fini(&arena);
}

static int report_ask(struct task_call *t, const struct client_request *q) {
    struct client_reply reply = {0};
    struct answer_json j = {0};
    struct buf answer = {0};
    int code = task_call_patient(t, q, &reply);
    code = code ? code : answer_parse(&j, t->args, &reply);
    if (!code && member_true(j.root, "cancel_requested")) {
        code = args_fail(t->args, BOWLINE_EXIT_TASK_CANCELLED, "the task is to be cancelled");
    }
    code = code ? code : task_wait_answer(t, member_number_of(j.root, "version"), &answer);
    if (!code) {
        answer_say(t, buf_view(&answer));
    }
    buf_fini(&answer);
    answer_fini(&j);
    client_reply_fini(&reply);
    return code;
}

static void cut_say(const struct task_call *t, const struct client_reply *reply) {
    struct answer_json j = {0};
    if (answer_parse(&j, t->args, reply) == 0 && json_get(j.root, "truncated")) {
        fputs("bowline report: the message was cut at 500 characters\n", stderr);
    }
    answer_fini(&j);
}

/* From within a command: its standard output may be a result, so nothing is printed that was not asked for. */
static int report_quietly(struct task_call *t, const struct report_type *type, const struct client_request *q) {
    struct client_reply reply = {0};
    if (type->body == ask_body) {
        return report_ask(t, q);
    }
    int code = type->body == output_body ? client_ask(t->client, t->args, q, &reply) : task_call_patient(t, q, &reply);
    if (!code && args_has(t->args, "json")) {
        code = answer_print(t->args, &reply, show_report);
    } else if (!code) {
        cut_say(t, &reply);
    }
    client_reply_fini(&reply);
    return code;
}

/* ---- the action ---- */

const struct flag task_report_flags[] = {
    {"unit", "TEXT", "With progress: what is counted"},
    {"message", "TEXT", "With progress: what is being done; past 500 characters it is cut"},
    {"phase", "NAME", "With progress: what its numbers speak of; another one begins anew, '' is none"},
    {"data", "JSON", "With progress: anything more: JSON, @FILE, or -"},
    {"schema", "JSON", "With ask: JSON Schema of the answer: JSON, @FILE, or -"},
    {"retry", NULL, "With fail: it may be tried again"},
    {"detail", "JSON", "With fail: more about it: JSON, @FILE, or -"},
    {NULL, NULL, NULL},
};

static const struct report_type *report_type_find(struct task_call *t) {
    const char *names[REPORT_TYPES];
    for (size_t i = 0; i < REPORT_TYPES; i++) {
        names[i] = report_types[i].name;
        if (strcmp(names[i], t->rest[0]) == 0) {
            return &report_types[i];
        }
    }
    const char *near = nearest_name(str_of(t->rest[0]), names, REPORT_TYPES);
    args_wrong(t->args, "there is no report \"%s\"%s%s%s", t->rest[0], near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}

static int report_send(struct task_call *t, const struct report_type *type, const char *path, bool within) {
    if (type->body == output_body && strcmp(t->rest[1], "-") == 0) {
        return output_pipe(t, path);
    }
    struct buf body = {0};
    body_begin(&body, strcmp(type->name, "ask") == 0 ? "input_request" : type->name);
    int code = type->body ? type->body(t, &body) : 0;
    buf_char(&body, '}');
    struct client_request q = {.method = "POST", .path = path, .body = buf_view(&body)};
    if (!code) {
        code = within ? report_quietly(t, type, &q) : ask_and_print(t->client, t->args, &q, show_report);
    }
    buf_fini(&body);
    return code;
}

static int report_act(struct args *a, bool within) {
    struct task_call t;
    struct buf path = {0};
    int code = task_call_begin(&t, a, 1, 3);
    const struct report_type *type = code ? NULL : report_type_find(&t);
    if (!code && !type) {
        code = BOWLINE_EXIT_USAGE;
    } else if (!code && (t.rest_count - 1 < type->least || t.rest_count - 1 > type->most)) {
        code = args_wrong(a, "it wants %s", type->wants);
    }
    if (!code) {
        task_call_path(&t, "/reports", &path);
        code = report_send(&t, type, buf_z(&path), within);
    }
    buf_fini(&path);
    task_call_end(&t);
    return code;
}

int action_task_report(struct args *a) {
    return report_act(a, false);
}

int action_report(struct args *a) {
    const char *token = getenv("BOWLINE_TOKEN");
    if (!args_has(a, "token") && !args_has(a, "key") && !args_has(a, "key-file") && (!token || !token[0])) {
        return args_wrong(a, "for which task? It is for commands that `bowline run` or `bowline work` has started, which set BOWLINE_TOKEN");
    }
    return report_act(a, true);
}
