#include "cli/client.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/private_file.h"
#include "cli/cli.h"
#include "cli/exit.h"
#include "cli/server_url.h"
#include "cli/text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define URL_DEFAULT "http://127.0.0.1:8787"
#define ANSWER_MS 90000 /* a waiting request is held for 60 s at most */
#define PROBLEM_DEPTH 16
#define PATH_SHOWN 60

struct client {
    bowline_client *library;
    char *url;        /* without a slash at its end */
    char *credential; /* or NULL */
    bool is_token;
    struct bowline_problem problem; /* of the newest request without an answer */
};

void client_reply_fini(struct client_reply *r) {
    buf_fini(&r->body);
    *r = (struct client_reply){0};
}

const char *client_token(const struct client *c) {
    return c->is_token ? c->credential : NULL;
}

const char *client_url(const struct client *c) {
    return c->url;
}

const char *client_why(const struct client *c) {
    return c->problem.detail;
}

bowline_client *client_library(const struct client *c) {
    return c->library;
}

/* ---- opening ---- */

static struct str text_trim(struct str s) {
    while (s.len && strchr(" \t\r\n", s.p[0])) {
        s = str_from(s, 1);
    }
    while (s.len && strchr(" \t\r\n", s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

static int key_file_read(struct client *c, const struct args *a, const char *path) {
    struct buf text = {0};
    int failed = private_file_read(path, &text);
    struct str key = text_trim(buf_view(&text));
    if (!failed && key.len) {
        c->credential = mem_strdup(key);
    }
    buf_fini(&text);
    if (failed) {
        return args_wrong(a, "--key-file %s: %s", path, strerror(-failed));
    }
    return c->credential ? 0 : args_wrong(a, "--key-file %s: the file is empty", path);
}

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static int credential_pick(struct client *c, const struct args *a) {
    const char *token = args_get(a, "token"), *key = args_get(a, "key"), *file = args_get(a, "key-file");
    if (key && file) {
        return args_wrong(a, "--key and --key-file: give one of them");
    }
    if (!token && file) {
        return key_file_read(c, a, file);
    }
    if (!token && !key) {
        token = environment("BOWLINE_TOKEN");
        key = environment("BOWLINE_KEY");
    }
    if (token || key) {
        c->is_token = token;
        c->credential = mem_strdup(text_trim(str_of(token ? token : key)));
    }
    return 0;
}

static int credential_check(const struct client *c, const struct args *a) {
    for (const char *p = c->credential ? c->credential : ""; *p; p++) {
        if (*p <= ' ' || *p > '~') {
            return args_wrong(a, "the %s holds a character that none has", c->is_token ? "token" : "key");
        }
    }
    return 0;
}

static int url_pick(struct client *c, const struct args *a) {
    const char *given = args_get(a, "url"), *named = environment("BOWLINE_URL");
    struct buf url = {0}, why = {0};
    int code = 0;
    if (server_url_read(given ? given : named ? named : URL_DEFAULT, &url, &why)) {
        code = args_wrong(a, "%s is not the URL of a server: %s", given ? "--url" : "BOWLINE_URL", buf_z(&why));
    } else {
        c->url = mem_strdup(buf_view(&url));
    }
    buf_fini(&url);
    buf_fini(&why);
    return code;
}

int client_open(const struct args *a, struct client **ret_client) {
    struct client *c = mem_alloc(sizeof *c);
    int wrong = url_pick(c, a);
    wrong = wrong ? wrong : credential_pick(c, a);
    wrong = wrong ? wrong : credential_check(c, a);
    if (!wrong) {
        struct bowline_problem problem;
        struct bowline_client_options options = {.url = c->url, .credential = c->credential, .problem = &problem};
        wrong = bowline_client_open(&options, &c->library) ? args_fail(a, BOWLINE_EXIT_FAILED, "%s", problem.detail) : 0;
    }
    if (wrong) {
        client_close(c);
        return wrong;
    }
    *ret_client = c;
    return 0;
}

void client_close(struct client *c) {
    if (!c) {
        return;
    }
    bowline_client_close(c->library);
    if (c->credential) {
        explicit_bzero(c->credential, strlen(c->credential));
    }
    mem_free(c->credential);
    mem_free(c->url);
    mem_free(c);
}

/* ---- requests ---- */

struct bowline_request client_request_of(const struct client_request *q, const char *headers[CLIENT_HEADERS]) {
    unsigned count = 0;
    headers[count++] = "User-Agent: bowline/" BOWLINE_VERSION;
    for (int i = 0; i < 4 && q->header[i]; i++) {
        headers[count++] = q->header[i];
    }
    headers[count] = NULL;
    return (struct bowline_request){.method = q->method,
                                    .path = q->path,
                                    .body = q->body.p,
                                    .body_len = q->body.p ? q->body.len : 0,
                                    .headers = headers,
                                    .credential = q->token,
                                    .timeout_ms = ANSWER_MS,
                                    .answer_max = SIZE_MAX};
}

struct client_reply client_reply_of(const struct bowline_response *response) {
    struct client_reply reply = {.status = response->status,
                                 .retry_after_s = (int64_t) response->retry_after_s,
                                 .date_s = response->date_ms / 1000,
                                 .has_output_offset = response->has_output_offset,
                                 .output_complete = response->output_complete,
                                 .output_offset = response->output_offset};
    snprintf(reply.etag, sizeof reply.etag, "%s", response->etag);
    return reply;
}

int client_call(struct client *c, const struct client_request *q, struct client_reply *reply) {
    const char *headers[CLIENT_HEADERS];
    struct bowline_request request = client_request_of(q, headers);
    struct bowline_response response = {0};
    client_reply_fini(reply);
    if (bowline_request_perform(c->library, &request, &response, &c->problem)) {
        return BOWLINE_EXIT_UNREACHABLE;
    }
    *reply = client_reply_of(&response);
    buf_put(&reply->body, response.body.data, response.body.len);
    bowline_response_fini(&response);
    return 0;
}

/* ---- streams ---- */

struct follow {
    struct client *client;
    const struct client_stream *stream;
    struct client_reply *reply;
    bool done, lost;
};

static int follow_data(void *arg, const void *data, size_t len) {
    struct follow *f = arg;
    return f->stream->data(f->stream->arg, str_n(data, len)) ? 0 : CLIENT_STOP;
}

static void follow_done(void *arg, const struct bowline_response *response, const struct bowline_problem *problem) {
    struct follow *f = arg;
    f->done = true;
    f->lost = problem && problem->error != BOWLINE_OVER;
    *f->reply = client_reply_of(response);
    buf_put(&f->reply->body, response->body.data, response->body.len);
    if (f->lost) {
        f->client->problem = *problem;
    }
}

/* Turns the loop until the stream is done, or its owner has enough of it. */
static void follow_run(struct follow *f, bowline_loop *loop) {
    for (;;) {
        bowline_loop_dispatch(loop);
        int64_t wait_ms = f->done ? CLIENT_STOP : f->stream->tick(f->stream->arg);
        if (wait_ms == CLIENT_STOP) {
            return;
        }
        struct pollfd fd = {.fd = bowline_loop_fd(loop), .events = POLLIN};
        poll(&fd, 1, wait_ms > 1000 ? 1000 : (int) wait_ms);
    }
}

int client_follow(struct client *c, const struct client_stream *s, struct client_reply *reply) {
    struct client_request q = {.path = s->path, .header = {"Accept: text/event-stream"}};
    struct follow f = {.client = c, .stream = s, .reply = reply};
    struct bowline_op_events on = {.data = follow_data, .done = follow_done, .arg = &f};
    const char *headers[CLIENT_HEADERS];
    struct buf line = {0};
    bowline_loop *loop = NULL;
    client_reply_fini(reply);
    if (s->last_event_id) {
        buf_printf(&line, "Last-Event-ID: %s", s->last_event_id);
        q.header[1] = buf_z(&line);
    }
    struct bowline_request request = client_request_of(&q, headers);
    request.timeout_ms = -1;
    request.silence_ms = s->silence_ms;
    f.lost = bowline_loop_open(c->library, &loop, &c->problem) || bowline_request_start(loop, &request, &on, NULL, &c->problem);
    if (!f.lost) {
        follow_run(&f, loop);
    }
    bowline_loop_close(loop);
    buf_fini(&line);
    return f.lost ? BOWLINE_EXIT_UNREACHABLE : 0;
}

/* ---- saying what went wrong ---- */

int client_say_unreachable(const struct client *c, const struct args *a) {
    args_fail(a, BOWLINE_EXIT_UNREACHABLE, "%s does not answer: %s", c->url, c->problem.detail);
    fputs("  is the server running (`bowline serve`), and is this its URL (--url or BOWLINE_URL)?\n", stderr);
    return BOWLINE_EXIT_UNREACHABLE;
}

static struct str json_text(const struct json *obj, const char *name) {
    const struct json *v = json_get(obj, name);
    return v && v->type == JSON_STRING ? v->string : STR_NONE;
}

static void problem_write(const struct json *root, int status, struct buf *out) {
    struct str detail = json_text(root, "detail"), title = json_text(root, "title");
    buf_printf(out, "%d ", status);
    text_put_clean(out, json_text(root, "code"));
    buf_puts(out, ": ");
    text_put_clean(out, detail.len ? detail : title);
    const struct json *places = json_get(root, "errors");
    for (const struct json *p = places ? places->child : NULL; p; p = p->next) {
        buf_puts(out, "\n  ");
        text_put_clean(out, json_text(p, "pointer"));
        buf_puts(out, ": ");
        text_put_clean(out, json_text(p, "detail"));
    }
}

/* Nothing is there: perhaps because the URL leads to another place than was meant. */
static void path_hint(const struct args *a) {
    const char *url = args_get(a, "url") ? args_get(a, "url") : environment("BOWLINE_URL");
    struct buf path = {0};
    text_put_cut(&path, str_of(server_url_path(url ? url : "")), PATH_SHOWN);
    if (path.len > 1) {
        fprintf(stderr, "  the URL has the path %s, so requests go to what is below it: is the server there?\n", buf_z(&path));
    }
    buf_fini(&path);
}

static const char *status_hint(const struct client_reply *r, const struct args *a) {
    if (r->status == 404) {
        path_hint(a);
    }
    if (r->status != 401) {
        return NULL;
    }
    bool any = args_has(a, "token") || args_has(a, "key") || args_has(a, "key-file") || environment("BOWLINE_TOKEN") || environment("BOWLINE_KEY");
    return any ? "the key or token is unknown here, or no longer valid"
               : "give a key (--key-file DIR/api.key, BOWLINE_KEY) or a token (--token, BOWLINE_TOKEN)";
}

int client_say_problem(const struct args *a, const struct client_reply *r) {
    struct arena arena = {0};
    struct json *root = NULL;
    struct json_error error;
    struct buf text = {0};
    if (json_parse(&arena, buf_view(&r->body), PROBLEM_DEPTH, &root, &error) == 0 && root->type == JSON_OBJECT) {
        problem_write(root, r->status, &text);
    } else {
        buf_printf(&text, "the server answered %d", r->status);
    }
    args_fail(a, 0, "%s", buf_z(&text));
    const char *hint = status_hint(r, a);
    if (hint) {
        fprintf(stderr, "  %s\n", hint);
    }
    struct str code = json_text(root, "code");
    int exit_code = str_eqz(code, "task-failed")      ? BOWLINE_EXIT_TASK_FAILED
                    : str_eqz(code, "task-cancelled") ? BOWLINE_EXIT_TASK_CANCELLED
                    : r->status >= 500                ? BOWLINE_EXIT_FAILED
                                                      : BOWLINE_EXIT_REFUSED;
    buf_fini(&text);
    arena_fini(&arena);
    return exit_code;
}

int client_ask(struct client *c, const struct args *a, const struct client_request *q, struct client_reply *reply) {
    if (client_call(c, q, reply)) {
        return client_say_unreachable(c, a);
    }
    if (reply->status >= 400) {
        return client_say_problem(a, reply);
    }
    if (reply->status < 200 || (reply->status >= 300 && reply->status != 304)) {
        return args_fail(a, BOWLINE_EXIT_FAILED, "the server answered %d, which a bowline server never does: is the URL right?", reply->status);
    }
    return 0;
}

/* ---- paths ---- */

void path_put(struct buf *path, const char *text) {
    static const char hex[] = "0123456789ABCDEF";
    for (; *text; text++) {
        unsigned char c = (unsigned char) *text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (plain) {
            buf_char(path, (char) c);
        } else {
            buf_char(path, '%');
            buf_char(path, hex[c >> 4]);
            buf_char(path, hex[c & 15]);
        }
    }
}

void query_put(struct buf *path, const char *name, const char *value) {
    bool first = !memchr(path->data ? path->data : "", '?', path->len);
    buf_printf(path, "%c%s=", first ? '?' : '&', name);
    path_put(path, value);
}
