/*
 * The routes end to end, over a real socket: in place of the engine stands one that says back what it was asked. What is checked here is what the api adds:
 * who is refused how and in which order, headers, negotiation, streams of reports, watching.
 */
#include "alloc_fail.h"
#include "toy.h"
#include "unit.h"

#include "api/api.h"
#include "base/json.h"
#include "base/clock.h"
#include "base/mem.h"
#include "domain/token.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- an engine that answers everything ---- */

static struct options options;
static struct keyring keys;
static struct api_shared shared;
static struct api *api;
static struct http_loop *loop;
static pthread_t thread;
static atomic_bool ready = true, draining;
static atomic_int watchers, abandoned;
static atomic_int refuse_after = -1, refused; /* allocations while the lines are read that came before the stream was open; how many were refused */

/* What carries connections that come next, and what they speak; taken over on the loop's thread. */
static const struct transport_kind *carry;
static const struct protocol *speak;
static atomic_bool changing;

static struct cmd_list asked = TAILQ_HEAD_INITIALIZER(asked);
static struct cmd *given_up[64];
static unsigned given_up_count;
static bool stop;

static void fake_submit(void *arg, struct cmd *c) {
    (void) arg;
    TAILQ_INSERT_TAIL(&asked, c, e.link);
}

static void fake_abandon(void *arg, struct cmd *c) {
    (void) arg;
    struct cmd *i;
    TAILQ_FOREACH (i, &asked, e.link) {
        if (i == c) {
            TAILQ_REMOVE(&asked, c, e.link);
            break;
        }
    }
    given_up[given_up_count++] = c;
    atomic_fetch_add(&abandoned, 1);
}

static void fake_unwatch(void *arg, uint64_t channel, uint32_t tag) {
    (void) arg;
    assert(channel == 5 && tag == WATCHER_SESSION);
    atomic_fetch_sub(&watchers, 1);
}

static void fake_flush(void *arg) {
    (void) arg;
    if (!TAILQ_EMPTY(&asked) || given_up_count) {
        http_loop_wake(loop);
    }
}

static void fake_watch(struct cmd *c) {
    struct answer *a = &c->answer;
    if (c->head && !c->watch.page) {
        a->type = ANSWER_WATCH_HEAD;
        return;
    }
    a->type = ANSWER_WATCH;
    a->channel = 5;
    a->start.fresh = !c->watch.cursor.p;
    a->start.live_seq = 3;
    a->start.tag[0] = WATCHER_SESSION;
    a->start.tag[1] = 1;
    a->cursor_prefix = STR("e-f-");
    atomic_fetch_add(&watchers, 1);
}

/* A line that says that the task is cancelled ends its stream. */
static void fake_lines(struct cmd *c) {
    struct answer *a = &c->answer;
    size_t read = 0;
    while (read < c->line_count && !a->ends_stream) {
        const struct report_line *line = &c->lines[read++];
        if (line->refusal.p) {
            buf_str(&a->body, line->refusal);
        } else if (line->report->type == REPORT_CANCELLED) {
            struct problem p = {.err = ERR_TASK_ENDED};
            problem_render(&p, &a->body);
            a->ends_stream = !c->lines_of_many;
        } else {
            buf_printf(&a->body, "{\"reports\":1,\"cred\":%d}", line->has_token ? CRED_WORKER : c->line_cred.kind);
        }
        buf_char(&a->body, '\n');
    }
    c->line_count = read;
}

static void fake_answer(struct cmd *c) {
    struct answer *a = &c->answer;
    a->type = ANSWER_JSON;
    a->status = 200;
    if (c->early.err) {
        a->type = ANSWER_PROBLEM;
        a->problem = c->early;
    } else if (c->type == CMD_WATCH) {
        fake_watch(c);
    } else if (c->type == CMD_REPORT_LINES) {
        fake_lines(c);
    } else if (c->type == CMD_TASK_DELETE) {
        a->type = ANSWER_NONE;
        a->status = 204;
    } else if (c->type == CMD_TASK_OUTPUT) {
        a->type = ANSWER_BYTES;
        a->has_output_offset = a->output_complete = true;
        a->output_offset = c->offset;
        buf_puts(&a->body, "bytes");
    } else {
        if (c->type == CMD_TASK_GET) {
            a->etag = 7;
            a->retry_after_s = 2;
        } else if (c->type == CMD_TASK_CREATE) {
            a->status = 202;
            a->location = STR("/v1/tasks/tsk_x");
        } else if (c->type == CMD_SESSION_OPEN && c->cred.kind == CRED_NONE) {
            a->status = 201;
            a->cookie = STR("ses_x.g1.y");
        }
        buf_printf(&a->body, "{\"cmd\":%d,\"cred\":%d,\"wait\":%lld,\"reports\":%zu", c->type, c->cred.kind, (long long) c->wait_ms, c->report_count);
        if (c->list.limit == 1000) {
            for (int i = 0; i < 1000; i++) {
                buf_puts(&a->body, ",\"long\":0");
            }
        }
        buf_puts(&a->body, "}");
    }
}

static void on_wake(void *arg) {
    (void) arg;
    if (atomic_load(&changing)) {
        http_loop_carry(loop, carry, NULL);
        http_loop_speak(loop, speak);
        atomic_store(&changing, false);
    }
    struct cmd_list now = TAILQ_HEAD_INITIALIZER(now);
    TAILQ_CONCAT(&now, &asked, e.link);
    while (!TAILQ_EMPTY(&now)) {
        struct cmd *c = TAILQ_FIRST(&now);
        TAILQ_REMOVE(&now, c, e.link);
        bool watch = c->type == CMD_WATCH && !c->early.err && (!c->head || c->watch.page);
        fake_answer(c);
        int skip = c->type == CMD_REPORT_OPEN ? atomic_load(&refuse_after) : -1;
        if (skip >= 0) {
            alloc_fail_after((unsigned) skip, 0);
        }
        api_receive(api, (struct message){.type = MESSAGE_ANSWER, .cmd = c});
        if (skip >= 0) {
            atomic_store(&refused, (int) alloc_fail_stop());
        }
        if (watch) {
            struct frame *f = frame_create(FRAME_STATE, 3, NULL, STR("e-f-3"), STR("task"), STR("{\"seq\":3}"));
            api_receive(api, (struct message){.type = MESSAGE_FRAME, .channel = 5, .frame = f});
            api_receive(api, (struct message){.type = MESSAGE_SYNCED, .channel = 5, .pos = 3});
        }
    }
    while (given_up_count) {
        api_receive(api, (struct message){.type = MESSAGE_ABANDONED, .cmd = given_up[--given_up_count]});
    }
    if (stop) {
        stop = false;
        http_loop_drain(loop, 0);
    }
}

/* ---- the server ---- */

static void *run(void *arg) {
    (void) arg;
    http_loop_run(loop);
    return NULL;
}

static void metrics(void *arg, struct buf *out) {
    (void) arg;
    buf_puts(out, "# TYPE x gauge\nx 1\n");
}

static char session_token[TOKEN_TEXT_MAX + 1], watch_token[TOKEN_TEXT_MAX + 1], worker_token[TOKEN_TEXT_MAX + 1];

static void make_token(enum token_kind kind, char *out) {
    struct buf b = {0};
    struct token t = {.kind = kind, .gen = 1};
    t.id.b[15] = 1;
    token_write(&keys, t, &b);
    snprintf(out, TOKEN_TEXT_MAX + 1, "%s", buf_z(&b));
    buf_fini(&b);
}

static int setup(void **state) {
    (void) state;
    struct buf err = {0};
    static const char *const flags[] = {"--api-keys=b:backend:blk_b0123456789abcdef0123456789abcdef,w:worker:blk_w0123456789abcdef0123456789abcdef,o:"
                                        "operator:blk_o0123456789abcdef0123456789abcdef",
                                        "--open-sessions",
                                        "--open-sessions-per-minute=3",
                                        "--allowed-origins=https://other.example",
                                        "--session-kinds={\"export\":{}}",
                                        "--max-body=1024"};
    char *argv[6], *none[] = {NULL}, text[160];
    for (unsigned i = 0; i < 6; i++) {
        argv[i] = (char *) (uintptr_t) flags[i];
    }
    struct options_sources from;
    if (options_load(&options, &from, 6, argv, none, &err) < 0 || keyring_read(&keys, STR("0123456789abcdef0123456789abcdef"), text) < 0) {
        return -1;
    }
    int fd;
    shared = (struct api_shared){.version = STR("0.0.0"), .ready = &ready, .draining = &draining, .metrics = metrics};
    if (api_shared_init(&shared, &options, &keys, &err) < 0 || http_listen("127.0.0.1", 0, 1, &fd, &shared.port) < 0) {
        return -1;
    }
    make_token(TOKEN_SESSION, session_token);
    make_token(TOKEN_WATCH, watch_token);
    make_token(TOKEN_WORKER, worker_token);
    struct api_engine engine = {fake_submit, fake_abandon, fake_unwatch, fake_flush, NULL};
    struct http_limits limits = {.max_body = 1024,
                                 .max_header_block = 16384,
                                 .max_uri = 8192,
                                 .max_connections = 100,
                                 .header_ms = 5000,
                                 .body_ms = 5000,
                                 .idle_ms = 5000,
                                 .keepalive_ms = 15000,
                                 .max_stream_age_ms = 60000,
                                 .stalled_reader_ms = 60000};
    api = api_create(&shared, 0, &engine);
    struct http_handler handler = api_handler(api);
    loop = http_loop_create(fd, &limits, &handler);
    api_attach(api, loop);
    http_loop_on_wake(loop, on_wake, NULL);
    return pthread_create(&thread, NULL, run, NULL);
}

static int teardown(void **state) {
    (void) state;
    stop = true;
    http_loop_wake(loop);
    pthread_join(thread, NULL);
    api_destroy(api);
    http_loop_destroy(loop);
    api_shared_fini(&shared);
    options_fini(&options);
    return 0;
}

/* ---- a client ---- */

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval t = {.tv_sec = 20};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t) shared.port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    assert_int_equal(connect(fd, (struct sockaddr *) &to, sizeof to), 0);
    return fd;
}

static void say(int fd, const char *text, size_t len) {
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t) len);
}

/* All that comes until the peer closes, or until `until` has come. */
static const char *hear(int fd, const char *until) {
    static struct buf got;
    buf_clear(&got);
    for (;;) {
        char piece[8192];
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n <= 0) {
            break;
        }
        buf_put(&got, piece, (size_t) n);
        if (until && strstr(buf_z(&got), until)) {
            break;
        }
    }
    return buf_z(&got);
}

/* One request with further header lines; the whole answer as text. */
static const char *ask(const char *line, const char *headers, const char *body) {
    struct buf out = {0};
    int fd = dial();
    buf_printf(&out, "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s", line, headers);
    if (body) {
        buf_printf(&out, "Content-Length: %zu\r\n", strlen(body));
    }
    buf_printf(&out, "\r\n%s", body ? body : "");
    say(fd, out.data, out.len);
    const char *got = hear(fd, NULL);
    close(fd);
    buf_fini(&out);
    return got;
}

static void expect(const char *line, const char *headers, const char *body, int status, const char *holds) {
    char want[32];
    const char *got = ask(line, headers, body);
    snprintf(want, sizeof want, "HTTP/1.1 %d ", status);
    if (strncmp(got, want, strlen(want)) != 0 || (holds && !strstr(got, holds))) {
        fail_msg("%s\n%s%s\nwanted %d with \"%s\", got:\n%s", line, headers, body ? body : "", status, holds ? holds : "", got);
    }
}

static const char *bearer(const char *token) {
    static char lines[4][256];
    static unsigned at;
    char *line = lines[at++ % 4];
    snprintf(line, 256, "Authorization: Bearer %s\r\n", token);
    return line;
}

static const char *with(const char *a, const char *b) {
    static char lines[4][600];
    static unsigned at;
    char *line = lines[at++ % 4];
    snprintf(line, 600, "%s%s", a, b);
    return line;
}

#define TASK_PATH "/v1/tasks/tsk_00000000000000000000000001"
#define B bearer("blk_b0123456789abcdef0123456789abcdef")
#define W bearer("blk_w0123456789abcdef0123456789abcdef")
#define O bearer("blk_o0123456789abcdef0123456789abcdef")
#define S bearer(session_token)

static void routes_hosts_and_methods(void **state) {
    (void) state;
    expect("GET /nowhere", "", NULL, 404, "\"code\":\"not-found\"");
    expect("GET /v1/uploads", B, NULL, 404, NULL);
    expect("PUT /v1/tasks", "", NULL, 405, "Allow: GET, HEAD, POST\r\n");
    expect("OPTIONS /v1/tasks", "", NULL, 405, NULL);
    expect("GET /healthz", "", NULL, 200, "{\"status\":\"ok\"}");
    expect("GET /readyz", "", NULL, 200, "ready");
    expect("GET /v1/info", "", NULL, 200, "{\"name\":\"bowline\",\"version\":\"0.0.0\",\"engine\":\"sqlite\"}");
    expect("GET /bowline.js", "", NULL, 200, "Content-Type: text/javascript");
    expect("GET /demo/", "", NULL, 404, NULL);
    int fd = dial();
    static const char foreign[] = "GET /v1/info HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    say(fd, foreign, sizeof foreign - 1);
    assert_non_null(strstr(hear(fd, NULL), "HTTP/1.1 421 "));
    close(fd);
    fd = dial();
    static const char probe[] = "GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    say(fd, probe, sizeof probe - 1);
    assert_non_null(strstr(hear(fd, NULL), "HTTP/1.1 200 "));
    close(fd);
}

static void credentials_and_roles(void **state) {
    (void) state;
    expect("GET " TASK_PATH, "", NULL, 401, "WWW-Authenticate: Bearer\r\n");
    expect("GET " TASK_PATH, bearer("blk_x"), NULL, 401, NULL);
    expect("GET " TASK_PATH, bearer("ses_x"), NULL, 401, NULL);
    expect("GET " TASK_PATH, "Authorization: Basic YTpi\r\n", NULL, 401, NULL);
    expect("GET " TASK_PATH, B, NULL, 200, "\"cred\":1");
    expect("GET " TASK_PATH, "authorization: bearer blk_b0123456789abcdef0123456789abcdef\r\n", NULL, 200, NULL);
    expect("GET " TASK_PATH, O, NULL, 200, NULL);
    expect("GET " TASK_PATH, S, NULL, 200, "\"cred\":2");
    expect("GET " TASK_PATH, bearer(watch_token), NULL, 200, "\"cred\":3");
    expect("GET " TASK_PATH, bearer(worker_token), NULL, 403, NULL);
    expect("GET " TASK_PATH, W, NULL, 403, NULL);
    expect("POST /v1/tasks", O, "{\"x\":1}", 403, NULL);
    expect("POST /v1/tasks", S, "{\"x\":1}", 403, NULL);
    expect("POST /v1/tasks", "", "{\"x\":1}", 401, NULL);
    expect("GET /v1/session", B, NULL, 403, NULL);
    expect("GET /v1/session", S, NULL, 200, NULL);
    expect("GET /v1/session", bearer(watch_token), NULL, 403, NULL);
    expect("GET " TASK_PATH "/control", bearer(worker_token), NULL, 200, NULL);
    expect("GET /v1/queues", W, NULL, 200, NULL);
    expect("GET /v1/queues", B, NULL, 403, NULL);
    expect("GET /metrics", B, NULL, 403, NULL);
    expect("GET /metrics", S, NULL, 403, NULL);
    expect("GET /metrics", O, NULL, 200, "\nx 1\n");
    expect("GET /metrics", O, NULL, 200, "\n# EOF\n");
    expect("GET /v1/tasks/nonsense", B, NULL, 404, NULL);
    expect("GET /v1/tasks/tsk_0000000000000000000000000%31", B, NULL, 200, NULL);
    expect("GET /v1/tasks/a%2Fb", S, NULL, 404, NULL);
}

static void cookies_and_origins(void **state) {
    (void) state;
    char cookie[160], two[300], own[120];
    snprintf(cookie, sizeof cookie, "Cookie: a=b; bowline=%s\r\n", session_token);
    snprintf(two, sizeof two, "Cookie: bowline=%s; bowline=x\r\n", session_token);
    snprintf(own, sizeof own, "Origin: http://127.0.0.1:%d\r\n", shared.port);
    expect("GET /v1/session", cookie, NULL, 200, NULL);
    expect("GET /v1/session", two, NULL, 400, NULL);
    expect("GET /v1/session", with(two, S), NULL, 200, NULL);
    expect("GET /v1/session", "Cookie: bowline=blk_b0123456789abcdef0123456789abcdef\r\n", NULL, 401, NULL);
    expect("GET /v1/session", "Cookie: __Host-bowline=x\r\n", NULL, 401, NULL);
    expect("GET /v1/session", with(cookie, bearer("blk_x")), NULL, 401, NULL);
    expect("DELETE /v1/session", cookie, NULL, 403, NULL);
    expect("DELETE /v1/session", with(cookie, "Origin: https://evil.example\r\n"), NULL, 403, NULL);
    expect("DELETE /v1/session", with(cookie, "Origin: null\r\n"), NULL, 403, NULL);
    expect("DELETE /v1/session", with(cookie, own), NULL, 200, NULL);
    expect("DELETE /v1/session", with(cookie, "Origin: https://other.example\r\n"), NULL, 200,
           "Access-Control-Allow-Origin: https://other.example\r\n");
    expect("DELETE /v1/session", S, NULL, 200, "Vary: Origin\r\n");
    expect("POST /v1/session", "", NULL, 403, NULL);
    expect("POST /v1/session", with(cookie, own), NULL, 200, NULL);
    for (int i = 0; i < 3; i++) {
        expect("POST /v1/session", own, NULL, 201, "Set-Cookie: bowline=ses_x.g1.y; Path=/; HttpOnly; SameSite=Lax\r\n");
    }
    expect("POST /v1/session", own, NULL, 429, "Retry-After: ");
    expect("OPTIONS /v1/tasks", "Origin: https://other.example\r\nAccess-Control-Request-Method: POST\r\n", NULL, 204,
           "Access-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, Last-Event-ID, If-None-Match, Prefer\r\n");
    expect("OPTIONS /v1/tasks", "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", NULL, 405, NULL);
}

static void syntax(void **state) {
    (void) state;
    expect("POST /v1/sessions", B, NULL, 200, NULL);
    expect("POST /v1/sessions", with(B, "Content-Type: text/plain\r\n"), "{}", 415, NULL);
    expect("POST /v1/sessions", with(B, "Content-Type: application/json; charset=UTF-8\r\n"), "{}", 200, NULL);
    expect("POST /v1/sessions", B, "{\"idle_timeot\":1}", 400, "\"pointer\":\"/idle_timeot\"");
    expect("POST /v1/sessions?x=1", B, "{}", 400, "x");
    expect("GET /v1/sessions?limit=5&limit=6", B, NULL, 400, "twice");
    expect("GET /v1/sessions?state=running", B, NULL, 400, NULL);
    expect("GET /v1/sessions?access_token=x", B, NULL, 400, NULL);
    expect("GET " TASK_PATH, with(B, "Accept: text/html\r\n"), NULL, 406, NULL);
    expect("GET " TASK_PATH, with(B, "Accept: text/html, */*;q=0.1\r\n"), NULL, 200, NULL);
    expect("GET " TASK_PATH, with(S, "Accept: text/html\r\n"), NULL, 406, NULL);
    expect("POST /v1/session/tasks", S, "{\"kind\":\"other\"}", 403, NULL);
    expect("POST /v1/session/tasks", S, "{\"kind\":\"export\"}", 200, NULL);
    expect("POST /v1/queues/q/claim", with(W, "Idempotency-Key: k\r\n"), NULL, 400, NULL);
    expect("POST " TASK_PATH "/reports", with(W, "Idempotency-Key: k\r\n"), "{\"type\":\"heartbeat\"}", 400, NULL);
    expect("POST /v1/sessions", with(B, "Idempotency-Key: k\r\nIdempotency-Key: l\r\n"), NULL, 400, NULL);
    expect("POST /v1/sessions", with(B, "Idempotency-Key: k\r\n"), NULL, 200, NULL);
    expect("GET " TASK_PATH, with(B, "Idempotency-Key: k\r\nIdempotency-Key: l\r\n"), NULL, 200, NULL);
    expect("POST " TASK_PATH "/reports", bearer(worker_token), "[{\"type\":\"heartbeat\"},{\"type\":\"succeed\"}]", 200, "\"reports\":2");
}

static void answers(void **state) {
    (void) state;
    expect("GET " TASK_PATH, B, NULL, 200, "ETag: \"7\"\r\nRetry-After: 2\r\n");
    expect("GET " TASK_PATH, B, NULL, 200, "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n");
    expect("GET " TASK_PATH, with(B, "Prefer: wait=99\r\n"), NULL, 200, "Preference-Applied: wait\r\n");
    expect("GET " TASK_PATH, with(B, "If-None-Match: \"5\", W/\"7\"\r\n"), NULL, 304, "ETag: \"7\"\r\n");
    expect("GET " TASK_PATH, with(B, "If-None-Match: *\r\n"), NULL, 304, NULL);
    expect("GET " TASK_PATH, with(B, "If-None-Match: \"6\"\r\n"), NULL, 200, NULL);
    expect("GET " TASK_PATH "/output?offset=9", B, NULL, 200,
           "Bowline-Output-Offset: 9\r\nBowline-Output-Complete: true\r\nContent-Type: application/octet-stream\r\n");
    expect("DELETE " TASK_PATH, B, NULL, 204, NULL);
    expect("POST /v1/tasks", B, "{\"session\":{\"key\":\"k\"},\"kind\":\"k\"}", 202, "Location: /v1/tasks/tsk_x\r\n");
    expect("GET /v1/tasks?limit=1000", with(B, "Accept-Encoding: gzip\r\n"), NULL, 200, "Content-Encoding: gzip\r\n");
    expect("GET /v1/tasks?limit=1000", B, NULL, 200, "\"long\":0");
    const char *head = ask("HEAD " TASK_PATH, B, NULL);
    assert_non_null(strstr(head, "Content-Length: "));
    assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n");
    head = ask("HEAD /v1/session/events", S, NULL);
    assert_non_null(strstr(head, "X-Accel-Buffering: no\r\nContent-Type: text/event-stream\r\n\r\n"));
    assert_non_null(strstr(head, "Connection: close\r\n"));
    assert_null(strstr(head, "Content-Length"));
    assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n");
    head = ask("HEAD /v1/session/events", with(S, "Accept: application/json\r\nPrefer: wait=60\r\n"), NULL);
    assert_non_null(strstr(head, "Preference-Applied: wait\r\n"));
    assert_null(strstr(head, "Content-Length"));
    assert_string_equal(strstr(head, "\r\n\r\n"), "\r\n\r\n");
    expect("GET /openapi.json", "", NULL, 200, "\"openapi\":\"3.1.0\"");
}

static void the_document_is_json(void **state) {
    (void) state;
    struct arena a = {0};
    struct json *root;
    struct json_error err;
    const char *got = ask("GET /openapi.json", "", NULL);
    if (json_parse(&a, str_of(strstr(got, "\r\n\r\n") + 4), 64, &root, &err) < 0) {
        fail_msg("%s at %zu", err.detail, err.offset);
    }
    assert_non_null(json_get(json_get(json_get(root, "paths"), "/v1/tasks/{task}/reports"), "post"));
    arena_fini(&a);
}

static unsigned count(const char *text, const char *what) {
    unsigned n = 0;
    for (; (text = strstr(text, what)); text++) {
        n++;
    }
    return n;
}

static void reports_as_a_stream(void **state) {
    (void) state;
    static const char nd[] = "Content-Type: application/x-ndjson\r\n";
    expect("POST " TASK_PATH "/reports", with(B, nd), "{\"type\":\"heartbeat\"}\n", 403, NULL);
    expect("POST " TASK_PATH "/reports?x=1", with(W, nd), "{\"type\":\"heartbeat\"}\n", 400, NULL);
    expect("POST " TASK_PATH "/reports?x=1", with(bearer(worker_token), nd), "{\"type\":\"heartbeat\"}\n", 400, NULL);
    expect("POST /v1/reports", with(W, "Content-Type: application/json\r\n"), "{}", 415, NULL);
    const char *got =
        ask("POST " TASK_PATH "/reports", with(bearer(worker_token), nd),
            "{\"type\":\"heartbeat\"}\n\r\n{\"type\":\"nothing\"}\r\n[{\"type\":\"heartbeat\"},{\"type\":\"heartbeat\"}]\n{\"type\":\"succeed\"}");
    assert_non_null(strstr(got, "Content-Type: application/x-ndjson\r\n"));
    assert_int_equal(count(got, "\"reports\":1"), 2);
    assert_int_equal(count(got, "\"status\":400"), 2);
    got = ask("POST " TASK_PATH "/reports", with(bearer(worker_token), nd), "{\"type\":\"cancelled\"}\n{\"type\":\"heartbeat\"}\n");
    assert_int_equal(count(got, "\"code\":\"task-ended\""), 1);
    assert_int_equal(count(got, "\"reports\":1"), 0);
    got = ask("POST /v1/reports", W,
              "{\"type\":\"cancelled\",\"task\":\"tsk_00000000000000000000000001\"}\n{\"type\":\"heartbeat\",\"task\":\"tsk_"
              "00000000000000000000000001\"}\n");
    assert_int_equal(count(got, "\"code\":\"task-ended\""), 1);
    assert_int_equal(count(got, "\"reports\":1"), 1);
}

/* Thousands of lines in pieces of every size, chunked, with one that is too long: an answer each, in order. */
static void long_streams_of_reports(void **state) {
    (void) state;
    struct buf lines = {0};
    uint64_t seed = 7;
    for (int i = 0; i < 3000; i++) {
        if (i == 1500) {
            buf_puts(&lines, "{\"type\":\"output\",\"data\":\"");
            for (int j = 0; j < 5000; j++) {
                buf_char(&lines, 'x');
            }
            buf_puts(&lines, "\"}\n");
        }
        buf_puts(&lines, i % 10 ? "{\"type\":\"heartbeat\"}\n" : "{\"type\":\"bad\"}\n");
    }
    int fd = dial();
    struct buf out = {0};
    buf_printf(&out,
               "POST " TASK_PATH "/reports HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sTransfer-Encoding: chunked\r\n"
               "Content-Type: application/x-ndjson\r\n\r\n",
               bearer(worker_token));
    say(fd, out.data, out.len);
    for (size_t at = 0; at < lines.len;) {
        size_t n = 1 + unit_random(&seed) % 3000;
        n = n > lines.len - at ? lines.len - at : n;
        buf_clear(&out);
        buf_printf(&out, "%zx\r\n%.*s\r\n", n, (int) n, lines.data + at);
        say(fd, out.data, out.len);
        at += n;
    }
    say(fd, "0\r\n\r\n", 5);
    const char *got = hear(fd, NULL);
    assert_int_equal(count(got, "\"reports\":1"), 2700);
    assert_int_equal(count(got, "\"status\":400"), 300);
    assert_int_equal(count(got, "\"status\":413"), 1);
    close(fd);
    buf_fini(&out);
    buf_fini(&lines);
}

/* Each line has an answer that is whole, whatever memory there was for it. */
static void lines_without_memory(void **state) {
    (void) state;
    int skip = 2; /* behind the headers of the answer and what ends the process */
    do {
        atomic_store(&refuse_after, skip++);
        const char *got = ask("POST " TASK_PATH "/reports", with(bearer(worker_token), "Content-Type: application/x-ndjson\r\n"),
                              "{\"type\":\"progress\",\"message\":\"a\\u0062c\"}\n{\"type\":\"nothing\"}\n{\"type\":\"heartbeat\",\"x\":1}\n");
        atomic_store(&refuse_after, -1);
        assert_int_equal(count(got, "\n{"), 3);
        assert_int_equal(count(got, "}\n"), 3);
        assert_int_equal(count(got, "\"reports\":1") + count(got, "\"code\":"), 3);
    } while (atomic_load(&refused));
    assert_true(skip > 4);
}

static void wait_for_no_watchers(void) {
    for (int i = 0; i < 2000 && atomic_load(&watchers); i++) {
        usleep(10000);
    }
    assert_int_equal(atomic_load(&watchers), 0);
}

static void watching(void **state) {
    (void) state;
    char line[200];
    snprintf(line, sizeof line, "GET /v1/session/events?access_token=%s", session_token);
    expect("GET /v1/session/events", B, NULL, 403, NULL);
    expect("GET /v1/session/events?access_token=blk_b0123456789abcdef0123456789abcdef", "", NULL, 401, NULL);
    expect("GET /v1/session/events", with(S, "Accept: text/html\r\n"), NULL, 406, NULL);
    expect(line, "Accept: application/json\r\n", NULL, 200,
           "{\"events\":[{\"id\":\"e-f-3\",\"event\":\"task\",\"data\":{\"seq\":3}}],\"cursor\":\"e-f-3\"}");
    int fd = dial();
    struct buf out = {0};
    buf_printf(&out, "%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", line);
    say(fd, out.data, out.len);
    const char *got = hear(fd, "event: live");
    assert_non_null(strstr(got, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(got, "Referrer-Policy: no-referrer\r\n"));
    assert_int_equal(count(got, "Cache-Control:"), 1);
    assert_non_null(strstr(got, "retry: 2000\nid: e-f-0\n\n"));
    assert_non_null(strstr(got, "id: e-f-3\nevent: task\n"));
    assert_int_equal(atomic_load(&watchers), 1);
    close(fd);
    wait_for_no_watchers();
    buf_fini(&out);
}

static void websockets_with_the_cookie_need_an_origin(void **state) {
    (void) state;
    char headers[400];
    snprintf(headers, sizeof headers,
             "Cookie: bowline=%s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUpgrade: websocket\r\n",
             session_token);
    int fd = dial();
    struct buf out = {0};
    buf_printf(&out, "GET /v1/session/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n%s\r\n", headers);
    say(fd, out.data, out.len);
    assert_non_null(strstr(hear(fd, "\r\n\r\n"), "HTTP/1.1 403 "));
    close(fd);
    fd = dial();
    buf_clear(&out);
    buf_printf(&out, "GET /v1/session/events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nOrigin: http://localhost:%d\r\n%s\r\n",
               shared.port, headers);
    say(fd, out.data, out.len);
    const char *got = hear(fd, "\"live\"");
    assert_non_null(strstr(got, "HTTP/1.1 101 "));
    close(fd);
    wait_for_no_watchers();
    buf_fini(&out);
}

static void peers_that_leave_are_forgotten(void **state) {
    (void) state;
    for (int i = 0; i < 20; i++) {
        int fd = dial();
        char text[300];
        int n = snprintf(text, sizeof text, "GET " TASK_PATH " HTTP/1.1\r\nHost: localhost\r\n%s\r\n", S);
        say(fd, text, (size_t) n);
        struct linger hard = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd);
    }
    expect("GET " TASK_PATH, S, NULL, 200, NULL);
}

/* ---- the same over what else there may be ---- */

static void change(const struct transport_kind *transport, const struct protocol *protocol) {
    carry = transport;
    speak = protocol;
    atomic_store(&changing, true);
    http_loop_wake(loop);
    while (atomic_load(&changing)) {
        usleep(1000);
    }
}

static void toy_request(struct toy_client *c, unsigned stream, const char *line, const char *authorization, const char *more) {
    struct buf head = {0};
    buf_printf(&head, "%s\nAuthorization: Bearer %s\n%s", line, authorization, more);
    toy_send(c, 'H', stream, head.data, head.len);
    buf_fini(&head);
}

/* A watcher, a stream of reports, a page and a call, all at once on one connection, each with a window of its own. */
static void all_kinds_of_answers_interleaved(void) {
    static const char event[] = "id: e-f-3\nevent: task\ndata: {\"seq\":3}\n\nid: e-f-3\nevent: live\ndata: {\"seq\":3}\n\n";
    struct toy_client c = {.fd = dial(), .last = -1};
    toy_request(&c, 1, "GET /v1/session/events", session_token, "");
    toy_text(&c, 'E', 1, "");
    toy_request(&c, 2, "POST " TASK_PATH "/reports", worker_token, "Content-Type: application/x-ndjson\n");
    toy_text(&c, 'B', 2, "{\"type\":\"heartbeat\"}\n{\"type\":\"heart");
    toy_expect(&c, 2, "{\"reports\":1,\"cred\":");
    toy_request(&c, 3, "GET /v1/session/events", session_token, "Accept: application/json\n");
    toy_text(&c, 'E', 3, "");
    toy_request(&c, 4, "GET " TASK_PATH, session_token, "");
    toy_text(&c, 'E', 4, "");
    while (c.seen[1].body.len < TOY_WINDOW || c.seen[3].body.len < TOY_WINDOW || c.seen[4].body.len < TOY_WINDOW) {
        toy_read(&c);
    }
    toy_text(&c, 'B', 2, "beat\"}\n{\"type\":\"nothing\"}\n");
    toy_text(&c, 'E', 2, "");
    toy_window(&c, 2, 10000);
    toy_expect(&c, 2, NULL);
    assert_int_equal(count(buf_z(&c.seen[2].body), "\"reports\":1"), 2);
    assert_int_equal(count(buf_z(&c.seen[2].body), "\"status\":400"), 1);
    for (unsigned stream = 1; stream < TOY_STREAMS; stream++) { /* nobody has been sent more than was allowed, or was kept from it by the others */
        assert_true(stream > 4 || stream == 2 || c.seen[stream].body.len == TOY_WINDOW);
    }
    toy_window(&c, 4, 10000);
    toy_expect(&c, 4, NULL);
    assert_non_null(strstr(buf_z(&c.seen[4].head), "200\n"));
    assert_non_null(strstr(buf_z(&c.seen[4].head), "ETag: \"7\"\n"));
    toy_window(&c, 3, 5);
    toy_window(&c, 3, 10000);
    toy_expect(&c, 3, NULL);
    assert_string_equal(buf_z(&c.seen[3].body), "{\"events\":[{\"id\":\"e-f-3\",\"event\":\"task\",\"data\":{\"seq\":3}}],\"cursor\":\"e-f-3\"}");
    toy_window(&c, 1, 3); /* within a frame */
    toy_window(&c, 1, 10000);
    toy_expect(&c, 1, event);
    assert_non_null(strstr(buf_z(&c.seen[1].head), "Content-Type: text/event-stream\n"));
    assert_null(strstr(buf_z(&c.seen[1].head), "Connection"));
    assert_false(c.seen[1].ended);
    assert_true(c.turns > 8);
    toy_close(&c);
    while (atomic_load(&watchers)) {
        usleep(1000);
    }
}

static void another_protocol_carries_everything(void **state) {
    (void) state;
    change(&transport_plain, &toy_protocol);
    all_kinds_of_answers_interleaved();
    change(&transport_plain, &protocol_http1);
}

static void another_transport_carries_everything(void **state) {
    (void) state;
    change(&toy_transport, &toy_protocol);
    all_kinds_of_answers_interleaved();
    change(&toy_transport, &protocol_http1);
    reports_as_a_stream(state);
    watching(state);
    answers(state);
    websockets_with_the_cookie_need_an_origin(state);
    change(&transport_plain, &protocol_http1);
}

/* What was taken of an answer goes on when the peer has given what the transport waits for. */
static void a_transport_may_have_to_read_before_it_can_write(void **state) {
    (void) state;
    change(&toy_transport, &protocol_http1);
    atomic_store(&toy_stop_after, 20);
    int fd = dial();
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    say(fd, request, strlen(request));
    assert_string_equal(hear(fd, "\r\nDat"), "HTTP/1.1 200 OK\r\nDat");
    say(fd, "!", 1);
    assert_non_null(strstr(hear(fd, NULL), "{\"status\":\"ok\"}"));
    close(fd);
    atomic_store(&toy_stop_after, -1);
    change(&transport_plain, &protocol_http1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_hosts_and_methods),
        cmocka_unit_test(credentials_and_roles),
        cmocka_unit_test(cookies_and_origins),
        cmocka_unit_test(syntax),
        cmocka_unit_test(answers),
        cmocka_unit_test(the_document_is_json),
        cmocka_unit_test(reports_as_a_stream),
        cmocka_unit_test(long_streams_of_reports),
        cmocka_unit_test(lines_without_memory),
        cmocka_unit_test(watching),
        cmocka_unit_test(websockets_with_the_cookie_need_an_origin),
        cmocka_unit_test(peers_that_leave_are_forgotten),
        cmocka_unit_test(another_protocol_carries_everything),
        cmocka_unit_test(another_transport_carries_everything),
        cmocka_unit_test(a_transport_may_have_to_read_before_it_can_write),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
