/* What a request says is understood to the letter or refused with the place at fault. */
#include "unit.h"

#include "api/decode.h"
#include "api/http_text.h"
#include "api/origin.h"
#include "api/route.h"
#include "base/options.h"
#include "domain/token.h"

static struct options options;
static struct keyring keys;
static struct session_kinds kinds;
static const char kinds_text[] =
    "{\"export\":{\"queue\":\"work\",\"lease\":15,\"max_attempts\":3,\"title\":\"An export\",\"on_session_end\":\"cancel\"},\"plain\":{}}";

static int setup(void **state) {
    (void) state;
    struct buf err = {0};
    char *none[] = {NULL};
    struct options_sources from;
    char err_text[160];
    if (options_load(&options, &from, 0, none, none, &err) < 0 || keyring_read(&keys, STR("0123456789abcdef0123456789abcdef"), err_text) < 0) {
        return -1;
    }
    free(options.session_kinds);
    options.session_kinds = strdup(kinds_text);
    int result = session_kinds_read(&kinds, &options, &err);
    buf_fini(&err);
    return result;
}

static int teardown(void **state) {
    (void) state;
    session_kinds_fini(&kinds);
    options_fini(&options);
    return 0;
}

static struct cmd *decode(enum body_rule rule, const char *body) {
    struct decode_env env = {&options, &keys, &kinds};
    struct cmd *c = cmd_create(CMD_AUTH, 0);
    c->body = str_of(body);
    decode_body(c, rule, &env);
    return c;
}

struct row {
    enum body_rule rule;
    const char *body;
    const char *pointers; /* space-separated; NULL: it is good; "-": refused without a place */
    enum err err;         /* 0 counts as INVALID_REQUEST */
};

#define OK NULL, 0
#define TASK(members) "{\"session\":\"ses_01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"kind\":\"k\"" members "}"

static const struct row rows[] = {
    {BODY_NONE, "", OK},
    {BODY_NONE, "{}", OK},
    {BODY_NONE, " {\n} ", OK},
    {BODY_NONE, "{\"a\":1}", "/a", 0},
    {BODY_NONE, "[]", "", 0},
    {BODY_NONE, "null", "", 0},
    {BODY_NONE, "{", "", 0},
    {BODY_NONE, "{}x", "", 0},

    {BODY_SESSION_NEW, "", OK},
    {BODY_SESSION_NEW, "{\"key\":null,\"user\":null,\"idle_timeout\":null,\"max_age\":null,\"metadata\":null}", OK},
    {BODY_SESSION_NEW, "{\"key\":\"k\",\"user\":\"\xc3\xbc 1\",\"idle_timeout\":0,\"max_age\":0.5,\"metadata\":{\"a\":[1]}}", OK},
    {BODY_SESSION_NEW, "{\"key\":\"\"}", "/key", 0},
    {BODY_SESSION_NEW, "{\"key\":1}", "/key", 0},
    {BODY_SESSION_NEW, "{\"user\":\"\"}", "/user", 0},
    {BODY_SESSION_NEW, "{\"user\":\"a\\u0000b\"}", "/user", 0},
    {BODY_SESSION_NEW, "{\"user\":\"a\\u0085b\"}", "/user", 0},
    {BODY_SESSION_NEW, "{\"idle_timeout\":-1}", "/idle_timeout", 0},
    {BODY_SESSION_NEW, "{\"idle_timeout\":315360000}", OK},
    {BODY_SESSION_NEW, "{\"idle_timeout\":315360000.1}", "/idle_timeout", 0},
    {BODY_SESSION_NEW, "{\"idle_timeout\":1e999}", "/idle_timeout", 0},
    {BODY_SESSION_NEW, "{\"idle_timeout\":\"5\"}", "/idle_timeout", 0},
    {BODY_SESSION_NEW, "{\"max_age\":true}", "/max_age", 0},
    {BODY_SESSION_NEW, "{\"metadata\":[]}", "/metadata", 0},
    {BODY_SESSION_NEW, "{\"idletimeout\":1,\"a/b~c\":2}", "/idletimeout /a~1b~0c", 0},
    {BODY_SESSION_NEW, "{\"user\":\"a\",\"user\":\"a\"}", "/user", 0},

    {BODY_ROTATE, "{\"key\":\"n\",\"user\":\"u\"}", OK},
    {BODY_ROTATE, "{\"idle_timeout\":1}", "/idle_timeout", 0},
    {BODY_MERGE, "", "/into", 0},
    {BODY_MERGE, "{\"into\":null}", "/into", 0},
    {BODY_MERGE, "{\"into\":\"ses_1\"}", "/into", 0},
    {BODY_MERGE, "{\"into\":\"tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV\"}", "/into", 0},
    {BODY_MERGE, "{\"into\":\"ses_01ARZ3NDEKTSV4RRFFQ69G5FAV\"}", OK},

    {BODY_TASK_NEW, "", "/session /kind", 0},
    {BODY_TASK_NEW, TASK(""), OK},
    {BODY_TASK_NEW, TASK(",\"title\":null,\"queue\":null,\"input\":null,\"lease\":null,\"max_attempts\":null,\"not_before\":null,\"webhook\":null"),
     OK},
    {BODY_TASK_NEW, "{\"session\":{\"key\":\"k\",\"user\":\"u\"},\"kind\":\"a.b-c_9\"}", OK},
    {BODY_TASK_NEW, "{\"session\":{\"user\":\"u\"},\"kind\":\"k\"}", "/session/key", 0},
    {BODY_TASK_NEW, "{\"session\":{\"key\":\"k\",\"x\":1},\"kind\":\"k\"}", "/session/x", 0},
    {BODY_TASK_NEW, "{\"session\":{\"key\":\"\"},\"kind\":\"K\"}", "/session/key /kind", 0},
    {BODY_TASK_NEW, "{\"session\":5,\"kind\":\"-a\"}", "/session /kind", 0},
    {BODY_TASK_NEW, "{\"session\":\"ses_01arz3ndektsv4rrffq69g5fav\",\"kind\":\"k\"}", "/session", 0},
    {BODY_TASK_NEW, TASK(",\"title\":\"\""), "/title", 0},
    {BODY_TASK_NEW, TASK(",\"lease\":2592000,\"timeout\":2592000,\"backoff\":3600,\"ttl\":0,\"deadline\":0.001,\"cancel_unwatched\":0"), OK},
    {BODY_TASK_NEW, TASK(",\"lease\":2592001"), "/lease", 0},
    {BODY_TASK_NEW, TASK(",\"timeout\":-0.1"), "/timeout", 0},
    {BODY_TASK_NEW, TASK(",\"deadline\":0"), "/deadline", 0},
    {BODY_TASK_NEW, TASK(",\"backoff\":3600.5"), "/backoff", 0},
    {BODY_TASK_NEW, TASK(",\"on_session_end\":\"drop\""), "/on_session_end", 0},
    {BODY_TASK_NEW, TASK(",\"webhook\":\"https://example.com\""), "/webhook", 0},
    {BODY_TASK_NEW, TASK(",\"max_attempts\":2"), "/max_attempts", 0},
    {BODY_TASK_NEW, TASK(",\"not_before\":\"2030-01-01T00:00:00Z\""), "/not_before", 0},
    {BODY_TASK_NEW, TASK(",\"queue\":\"q\",\"max_attempts\":100,\"not_before\":\"2030-01-01T00:00:00+02:00\""), OK},
    {BODY_TASK_NEW, TASK(",\"queue\":\"q\",\"max_attempts\":0"), "/max_attempts", 0},
    {BODY_TASK_NEW, TASK(",\"queue\":\"q\",\"max_attempts\":101"), "/max_attempts", 0},
    {BODY_TASK_NEW, TASK(",\"queue\":\"q\",\"max_attempts\":1.5"), "/max_attempts", 0},
    {BODY_TASK_NEW, TASK(",\"queue\":\"q\",\"not_before\":\"tomorrow\""), "/not_before", 0},
    {BODY_TASK_NEW, TASK(",\"queue\":\"Q\""), "/queue", 0},
    {BODY_TASK_NEW, TASK(",\"input\":{\"a\":\"\\ud800\"}"), "/input/a", 0},

    {BODY_TASK_START, "{\"kind\":\"export\",\"title\":\"T\",\"input\":[1]}", OK},
    {BODY_TASK_START, "{\"kind\":\"other\"}", "-", ERR_FORBIDDEN},
    {BODY_TASK_START, "{}", "/kind", 0},
    {BODY_TASK_START, "{\"kind\":\"export\",\"queue\":\"q\"}", "/queue", 0},

    {BODY_CANCEL, "", OK},
    {BODY_CANCEL, "{\"reason\":\"no longer wanted\"}", OK},
    {BODY_CANCEL, "{\"reason\":1}", "/reason", 0},
    {BODY_ANSWER, "{\"request\":\"r\",\"answer\":null}", OK},
    {BODY_ANSWER, "{\"request\":\"r\",\"answer\":false}", OK},
    {BODY_ANSWER, "{}", "/request /answer", 0},
    {BODY_BIND, "{}", "/session", 0},
    {BODY_BIND, "{\"session\":{\"key\":\"k\"}}", OK},

    {BODY_REPORTS, "{\"type\":\"progress\"}", OK},
    {BODY_REPORTS, "{\"type\":\"progress\",\"current\":0,\"total\":1e15,\"unit\":null,\"message\":\"m\"}", OK},
    {BODY_REPORTS, "{\"type\":\"progress\",\"current\":-1}", "/current", 0},
    {BODY_REPORTS, "{\"type\":\"progress\",\"total\":1.1e15}", "/total", 0},
    {BODY_REPORTS, "{\"type\":\"progress\",\"unit\":3}", "/unit", 0},
    {BODY_REPORTS, "{\"type\":\"progress\",\"data\":\"\",\"phase\":\"p\"}", OK},
    {BODY_REPORTS, "{\"type\":\"progress\",\"data\":{\"a\":[\"\\u0000\"]},\"phase\":null}", OK},
    {BODY_REPORTS, "{\"type\":\"progress\",\"data\":{\"a\":1,\"a\":1}}", "/data/a", 0},
    {BODY_REPORTS, "{\"type\":\"progress\",\"phase\":\"\"}", "/phase", 0},
    {BODY_REPORTS, "{\"type\":\"progress\",\"phase\":\"a\\u0000\"}", "/phase", 0},
    {BODY_REPORTS, "[{\"type\":\"heartbeat\"},{\"type\":\"progress\",\"phase\":[1],\"message\":\"\\u0000\"}]", "/1/phase /1/message", 0},
    {BODY_REPORTS, "{\"type\":\"heartbeat\",\"phase\":\"p\"}", "/phase", 0},
    {BODY_REPORTS, "{\"type\":\"output\",\"data\":{}}", "/data", 0},
    {BODY_REPORTS, "{\"type\":\"output\",\"data\":\"x\",\"offset\":0}", OK},
    {BODY_REPORTS, "{\"type\":\"output\",\"data\":\"\"}", OK},
    {BODY_REPORTS, "{\"type\":\"output\",\"data_base64\":\"AAE=\"}", OK},
    {BODY_REPORTS, "{\"type\":\"output\",\"data_base64\":\"AAE\"}", "/data_base64", 0},
    {BODY_REPORTS, "{\"type\":\"output\"}", "/data", 0},
    {BODY_REPORTS, "{\"type\":\"output\",\"data\":\"\",\"data_base64\":\"\"}", "/data_base64", 0},
    {BODY_REPORTS, "{\"type\":\"output\",\"data\":\"x\",\"offset\":-1}", "/offset", 0},
    {BODY_REPORTS, "{\"type\":\"output\",\"data\":\"x\",\"offset\":1.5}", "/offset", 0},
    {BODY_REPORTS, "{\"type\":\"heartbeat\"}", OK},
    {BODY_REPORTS, "{\"type\":\"heartbeat\",\"task\":\"tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV\"}", "/task", 0},
    {BODY_REPORTS, "{\"type\":\"input_request\",\"prompt\":\"?\",\"schema\":{}}", OK},
    {BODY_REPORTS, "{\"type\":\"input_request\",\"prompt\":\"\"}", "/prompt", 0},
    {BODY_REPORTS, "{\"type\":\"input_request\",\"schema\":1}", "/prompt /schema", 0},
    {BODY_REPORTS, "{\"type\":\"succeed\"}", OK},
    {BODY_REPORTS, "{\"type\":\"succeed\",\"result\":[1, 2]}", OK},
    {BODY_REPORTS, "{\"type\":\"fail\",\"error\":{\"type\":\"disk-full\",\"message\":\"m\",\"detail\":[]},\"retry\":true}", OK},
    {BODY_REPORTS, "{\"type\":\"fail\"}", "/error", 0},
    {BODY_REPORTS, "{\"type\":\"fail\",\"error\":{\"message\":1,\"x\":2}}", "/error/x /error/type /error/message", 0},
    {BODY_REPORTS, "{\"type\":\"fail\",\"error\":{\"type\":\"t\"},\"retry\":1}", "/retry", 0},
    {BODY_REPORTS, "{\"type\":\"cancelled\"}", OK},
    {BODY_REPORTS, "{\"type\":\"done\"}", "/type", 0},
    {BODY_REPORTS, "{}", "/type", 0},
    {BODY_REPORTS, "", "/type", 0},
    {BODY_REPORTS, "3", "", 0},
    {BODY_REPORTS, "[]", "", 0},
    {BODY_REPORTS, "[{\"type\":\"heartbeat\"},{\"type\":\"succeed\"}]", OK},
    {BODY_REPORTS, "[{\"type\":\"heartbeat\"},{\"type\":\"fail\",\"error\":{}},7]", "/1/error/type /2", 0},

    {BODY_REPORT_LINE, "{\"task\":\"tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"type\":\"heartbeat\"}", OK},
    {BODY_REPORT_LINE, "{\"type\":\"heartbeat\"}", "/task", 0},
    {BODY_REPORT_LINE, "{\"task\":\"x\",\"type\":\"heartbeat\"}", "/task", 0},
    {BODY_REPORT_LINE, "{\"task\":\"tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"token\":\"y\",\"type\":\"heartbeat\"}", "/token", ERR_UNAUTHENTICATED},
    {BODY_REPORT_LINE, "[]", "", 0},

    {BODY_CLAIM, "", OK},
    {BODY_CLAIM, "{\"max\":1000,\"worker\":\"w\",\"lease\":0}", OK},
    {BODY_CLAIM, "{\"max\":0}", "/max", 0},
    {BODY_CLAIM, "{\"max\":1001}", "/max", 0},
    {BODY_CLAIM, "{\"lease\":2592001}", "/lease", 0},
    {BODY_RELEASE, "", "/token", 0},
    {BODY_RELEASE, "{\"token\":\"nonsense\"}", "/token", ERR_UNAUTHENTICATED},
};

static void bodies_give_what_the_contract_says(void **state) {
    (void) state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cmd *c = decode(rows[i].rule, rows[i].body);
        struct buf got = {0};
        for (unsigned p = 0; p < c->early.places; p++) {
            buf_printf(&got, "%s%.*s", p ? " " : "", STR_FMT(c->early.at[p].pointer));
        }
        const char *want = rows[i].pointers ? rows[i].pointers : "";
        bool bare = rows[i].pointers && strcmp(want, "-") == 0;
        enum err err = !rows[i].pointers ? ERR_NONE : rows[i].err ? rows[i].err : ERR_INVALID_REQUEST;
        if (c->early.err != err || strcmp(buf_z(&got), bare ? "" : want) != 0 || (rows[i].pointers && !bare && !c->early.places)) {
            struct str detail = c->early.places ? c->early.at[0].detail : STR("");
            print_error("row %zu: %s\n  got %s at \"%s\" (%.*s), wanted %s at \"%s\"\n", i, rows[i].body, err_code(c->early.err), buf_z(&got),
                        STR_FMT(detail), err_code(err), want);
            fail();
        }
        buf_fini(&got);
        cmd_free(c);
    }
}

static void sizes_are_refused_with_413(void **state) {
    (void) state;
    struct buf body = {0};
    buf_puts(&body, "{\"session\":{\"key\":\"k\"},\"kind\":\"k\",\"input\":\"");
    for (int i = 0; i < 256 * 1024; i++) {
        buf_char(&body, 'x');
    }
    buf_puts(&body, "\"}");
    struct cmd *c = decode(BODY_TASK_NEW, buf_z(&body));
    assert_int_equal(c->early.err, ERR_TOO_LARGE);
    assert_str(c->early.at[0].pointer, "/input");
    cmd_free(c);
    buf_fini(&body);
}

/* A progress report whose member is so many times the unit between quotes. */
static struct cmd *long_report(const char *member, const char *unit, unsigned times) {
    struct buf body = {0};
    buf_printf(&body, "{\"type\":\"progress\",\"%s\":\"", member);
    for (unsigned i = 0; i < times; i++) {
        buf_puts(&body, unit);
    }
    buf_puts(&body, "\"}");
    struct cmd *c = decode(BODY_REPORTS, buf_z(&body));
    buf_fini(&body);
    return c;
}

static void only_a_message_is_cut(void **state) {
    (void) state;
    static const char *const units[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        struct cmd *c = long_report("message", units[i], 500);
        assert_true(c->early.err == ERR_NONE && !c->reports->message_cut);
        cmd_free(c);
        c = long_report("message", units[i], 501);
        assert_true(c->early.err == ERR_NONE && c->reports->message_cut);
        assert_int_equal(c->reports->message.len, 500 * strlen(units[i]));
        cmd_free(c);
        c = long_report("phase", units[i], 80);
        assert_int_equal(c->early.err, ERR_NONE);
        cmd_free(c);
        c = long_report("phase", units[i], 81);
        assert_int_equal(c->early.err, ERR_INVALID_REQUEST);
        assert_str(c->early.at[0].pointer, "/phase");
        cmd_free(c);
    }
    struct cmd *c = long_report("data", "x", 4096 - 2);
    assert_int_equal(c->early.err, ERR_NONE);
    cmd_free(c);
    c = long_report("data", "x", 4096 - 1);
    assert_int_equal(c->early.err, ERR_TOO_LARGE);
    assert_str(c->early.at[0].pointer, "/data");
    cmd_free(c);
}

static void defaults_and_values_arrive(void **state) {
    (void) state;
    struct cmd *c = decode(BODY_TASK_NEW, TASK(",\"input\": {\"a\" : 1.0}"));
    assert_int_equal(c->task_new.lease_ms, 60000);
    assert_int_equal(c->task_new.deadline_ms, 604800000);
    assert_int_equal(c->task_new.cancel_unwatched_ms, -1);
    assert_int_equal(c->task_new.max_attempts, 1);
    assert_str(c->task_new.input, "{\"a\" : 1.0}");
    assert_str(c->task_new.metadata, "{}");
    cmd_free(c);
    c = decode(BODY_TASK_START, "{\"kind\":\"export\"}");
    assert_str(c->task_new.queue, "work");
    assert_str(c->task_new.title, "An export");
    assert_int_equal(c->task_new.lease_ms, 15000);
    assert_int_equal(c->task_new.max_attempts, 3);
    assert_int_equal(c->task_new.on_session_end, END_CANCEL);
    cmd_free(c);
    c = decode(BODY_REPORTS, "{\"type\":\"progress\",\"current\":null,\"total\":5}");
    assert_int_equal(c->reports->has_current, REPORT_CLEAR);
    assert_int_equal(c->reports->has_total, REPORT_SET);
    assert_int_equal(c->reports->has_unit, REPORT_KEEP);
    cmd_free(c);
    c = decode(BODY_REPORTS, "{\"type\":\"progress\",\"data\": {\"a\" : \"\\u0041\"} ,\"phase\":\"p\\u0041\"}");
    assert_str(c->reports->progress_data, "{\"a\" : \"\\u0041\"}");
    assert_str(c->reports->phase, "pA");
    cmd_free(c);
    c = decode(BODY_REPORTS, "{\"type\":\"progress\",\"data\":\"a\\nb\",\"phase\":null}");
    assert_str(c->reports->progress_data, "\"a\\nb\"");
    assert_int_equal(c->reports->has_phase, REPORT_CLEAR);
    cmd_free(c);
    c = decode(BODY_REPORTS, "{\"type\":\"output\",\"data\":\"a\\nb\"}");
    assert_str(c->reports->data, "a\nb");
    cmd_free(c);
    c = decode(BODY_REPORTS, "{\"type\":\"output\",\"data_base64\":\"AAEC\"}");
    assert_int_equal(c->reports->data.len, 3);
    cmd_free(c);
    c = decode(BODY_TASK_NEW, TASK(",\"lease\":0.0001"));
    assert_int_equal(c->task_new.lease_ms, 1);
    cmd_free(c);
}

static void worker_tokens_in_bodies(void **state) {
    (void) state;
    struct token t = {.kind = TOKEN_WORKER, .gen = 3};
    struct buf body = {0};
    t.id.b[15] = 7;
    buf_puts(&body, "{\"token\":\"");
    token_write(&keys, t, &body);
    buf_puts(&body, "\"}");
    struct cmd *c = decode(BODY_RELEASE, buf_z(&body));
    assert_int_equal(c->early.err, ERR_NONE);
    assert_int_equal(c->token.kind, CRED_WORKER);
    assert_int_equal(c->token.gen, 3);
    cmd_free(c);
    buf_clear(&body);
    t.kind = TOKEN_WATCH;
    buf_puts(&body, "{\"token\":\"");
    token_write(&keys, t, &body);
    buf_puts(&body, "\"}");
    c = decode(BODY_RELEASE, buf_z(&body));
    assert_int_equal(c->early.err, ERR_UNAUTHENTICATED);
    cmd_free(c);
    buf_fini(&body);
}

static void session_kinds_are_checked_at_the_start(void **state) {
    (void) state;
    static const char *const bad[] = {
        "[]", "{", "{\"A\":{}}", "{\"a\":{\"session\":\"x\"}}", "{\"a\":{\"lease\":-1}}", "{\"a\":{\"max_attempts\":2}}", "{\"a\":1}"};
    struct options o = options;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct session_kinds k;
        struct buf err = {0};
        o.session_kinds = (char *) (uintptr_t) bad[i];
        assert_int_equal(session_kinds_read(&k, &o, &err), -1);
        assert_memory_equal(err.data, "session_kinds:", 14);
        buf_fini(&err);
    }
}

/* ---- queries and paths ---- */

static enum err query_of(enum cmd_type type, unsigned allowed, const char *text, struct cmd **ret) {
    struct arena a = {0};
    struct query q;
    struct problem p = {0};
    struct cmd *c = cmd_create(type, 0);
    enum err err = ERR_NONE;
    if (!query_parse(&a, str_of(text), &q, &p) || !query_known(&q, allowed, &a, &p)) {
        err = p.err;
        assert_non_null(p.detail.p);
    } else {
        decode_query(c, allowed, &q);
        err = c->early.err;
    }
    arena_fini(&a);
    if (ret) {
        *ret = c;
    } else {
        cmd_free(c);
    }
    return err;
}

static void queries(void **state) {
    (void) state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"", true},
        {"limit=1", true},
        {"limit=1000&state=queued", true},
        {"limit=0", false},
        {"limit=1001", false},
        {"limit=", false},
        {"limit=+1", false},
        {"limit=1&limit=1", false},
        {"limit=1&limi%74=2", false},
        {"nope=1", false},
        {"state=Queued", false},
        {"kind=a%2eb", true},
        {"kind=A", false},
        {"user=a%20b", true},
        {"user=", false},
        {"user=%ff", false},
        {"user=%0a", false},
        {"user=%zz", false},
        {"user=%4", false},
        {"after=tsk_01ARZ3NDEKTSV4RRFFQ69G5FAV", true},
        {"after=x", false},
        {"session=ses_01ARZ3NDEKTSV4RRFFQ69G5FAV", true},
        {"session=1", false},
        {"&&limit=5&", true},
        {"limit", false},
    };
    unsigned allowed = Q_LIMIT | Q_AFTER_ID | Q_USER | Q_TASK_STATE | Q_KIND | Q_SESSION;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool good = query_of(CMD_TASK_LIST, allowed, cases[i].text, NULL) == ERR_NONE;
        if (good != cases[i].good) {
            fail_msg("%s", cases[i].text);
        }
    }
    struct cmd *c;
    assert_int_equal(query_of(CMD_TASK_LIST, allowed, "user=a+b%2Bc&state=failed", &c), ERR_NONE);
    assert_str(c->list.user, "a b+c");
    assert_int_equal(c->list.state, 4);
    assert_int_equal(c->list.limit, 100);
    cmd_free(c);
    assert_int_equal(query_of(CMD_WATCH, Q_AFTER_CURSOR | Q_OUTPUT, "after=e-f-3&output=1", &c), ERR_NONE);
    assert_str(c->watch.cursor, "e-f-3");
    assert_true(c->watch.output);
    cmd_free(c);
    assert_int_equal(query_of(CMD_WATCH, Q_AFTER_CURSOR, "output=1", NULL), ERR_INVALID_REQUEST);
    assert_int_equal(query_of(CMD_WATCH, Q_OUTPUT, "output=yes", NULL), ERR_INVALID_REQUEST);
    assert_int_equal(query_of(CMD_TASK_OUTPUT, Q_OFFSET, "offset=99999999999999999999", NULL), ERR_INVALID_REQUEST);
}

static struct route_match route_of(const char *path, enum http_method method) {
    static struct arena a;
    struct route_match m;
    arena_fini(&a);
    route_find(path_decode(&a, str_of(path)), method, false, &m);
    return m;
}

static void routes_and_methods(void **state) {
    (void) state;
    assert_int_equal(route_of("/v1/tasks", HTTP_POST).route->cmd, CMD_TASK_CREATE);
    assert_int_equal(route_of("/v1/t%61sks", HTTP_POST).route->cmd, CMD_TASK_CREATE);
    assert_int_equal(route_of("/v1/tasks/x/result", HTTP_HEAD).route->cmd, CMD_TASK_RESULT);
    assert_str(route_of("/v1/queues/a%2Eb/claim", HTTP_POST).queue, "a.b");
    assert_str(route_of("/v1/tasks/a%2Fb", HTTP_GET).task, "a%2Fb");
    assert_int_equal(route_of("/v1%2Ftasks", HTTP_GET).methods, 0);
    assert_int_equal(route_of("/v1/tasks/", HTTP_GET).methods, 0);
    assert_int_equal(route_of("/v1/uploads", HTTP_POST).methods, 0);
    assert_int_equal(route_of("/v1/tasks/a/b/c", HTTP_GET).methods, 0);
    assert_int_equal(route_of("", HTTP_GET).methods, 0);
    assert_null(route_of("/v1/tasks", HTTP_PUT).route);
    assert_true(route_of("/v1/session", HTTP_POST).off);
    assert_false(route_of("/v1/session", HTTP_GET).off);
    struct buf allow = {0};
    methods_write(route_of("/v1/tasks", HTTP_PUT).methods, &allow);
    assert_buf(&allow, "GET, HEAD, POST");
    buf_clear(&allow);
    methods_write(route_of("/v1/session", HTTP_PUT).methods, &allow); /* POST exists with open_sessions only */
    assert_buf(&allow, "GET, HEAD, DELETE");
    buf_fini(&allow);
}

/* ---- headers ---- */

static struct http_request request(struct http_header *headers, unsigned count) {
    return (struct http_request){.headers = headers, .header_count = count};
}

static struct accept accept_text(const char *value, const char *type, const char *subtype) {
    struct http_header h = {STR("Accept"), str_of(value)};
    struct http_request r = request(&h, value ? 1 : 0);
    return accept_of(&r, type, subtype);
}

static void accept_headers(void **state) {
    (void) state;
    assert_int_equal(accept_text(NULL, "application", "json").q, 1000);
    assert_int_equal(accept_text("", "application", "json").q, 1000);
    assert_int_equal(accept_text("*/*", "application", "json").q, 1000);
    assert_int_equal(accept_text("text/html", "application", "json").q, 0);
    assert_int_equal(accept_text("text/html, application/*;q=0.5", "application", "json").q, 500);
    assert_int_equal(accept_text("*/*, application/json;q=0", "application", "json").q, 0);
    assert_int_equal(accept_text("application/json;q=0.001", "application", "json").q, 1);
    assert_int_equal(accept_text("application/json;q=2", "application", "json").q, 0);
    assert_int_equal(accept_text("Application/JSON; charset=utf-8", "application", "json").q, 1000);
    assert_int_equal(accept_text("application/jsonx", "application", "json").q, 0);
    assert_int_equal(accept_text("text/event-stream, */*;q=0.1", "text", "event-stream").specific, 3);
}

static int64_t prefer(const char *value) {
    struct http_header h = {STR("prefer"), str_of(value)};
    struct http_request r = request(&h, 1);
    return prefer_wait_ms(&r);
}

static void prefer_headers(void **state) {
    (void) state;
    assert_int_equal(prefer("wait=10"), 10000);
    assert_int_equal(prefer("respond-async, wait = 5; x=y"), 5000);
    assert_int_equal(prefer("WAIT=60"), 60000);
    assert_int_equal(prefer("wait=61"), 60000);
    assert_int_equal(prefer("wait=99999999999999999999999"), 60000);
    assert_int_equal(prefer("wait=0"), 0);
    assert_int_equal(prefer("wait=\"1\""), 1000);
    assert_int_equal(prefer("wait = \"61\" ;x, wait=2"), 60000);
    assert_int_equal(prefer("wait=\"\""), -1);
    assert_int_equal(prefer("wait=\""), -1);
    assert_int_equal(prefer("wait=\"1"), -1);
    assert_int_equal(prefer("wait=1\""), -1);
    assert_int_equal(prefer("wait=\" 1\""), -1);
    assert_int_equal(prefer("wait=\"x\", wait=3"), 3000);
    assert_int_equal(prefer("wait=1.5"), -1);
    assert_int_equal(prefer("wait=-1"), -1);
    assert_int_equal(prefer("wait="), -1);
    assert_int_equal(prefer("wait"), -1);
    assert_int_equal(prefer("waits=3"), -1);
    assert_int_equal(prefer("foo=\"wait=3, wait=4\""), -1);
    assert_int_equal(prefer("wait=x, wait=3"), 3000);
}

static enum media media(const char *value, const char *encoding) {
    struct http_header h[] = {{STR("Content-Type"), str_of(value)}, {STR("Content-Encoding"), str_of(encoding)}};
    struct http_request r = request(value ? h : h + 1, value && encoding ? 2 : value || encoding ? 1 : 0);
    return media_of(&r);
}

static void content_types(void **state) {
    (void) state;
    assert_int_equal(media(NULL, NULL), MEDIA_NONE);
    assert_int_equal(media("application/json", NULL), MEDIA_JSON);
    assert_int_equal(media("APPLICATION/JSON; Charset=\"UTF-8\"; v=1", NULL), MEDIA_JSON);
    assert_int_equal(media("application/json; charset=latin1", NULL), MEDIA_OTHER);
    assert_int_equal(media("application/x-ndjson", NULL), MEDIA_NDJSON);
    assert_int_equal(media("text/plain", NULL), MEDIA_OTHER);
    assert_int_equal(media("application/json", "gzip"), MEDIA_OTHER);
    assert_int_equal(media("application/json", "identity"), MEDIA_JSON);
}

static void etag_headers(void **state) {
    (void) state;
    struct http_header h = {STR("If-None-Match"), STR("\"7\", W/\"12\" , \"x\", 9")};
    struct http_request r = request(&h, 1);
    struct etags e;
    etags_read(&r, &e);
    assert_int_equal(e.count, 2);
    assert_int_equal(e.newest, 12);
    assert_true(etags_match(&e, 7));
    assert_false(etags_match(&e, 9));
    h.value = STR("*");
    etags_read(&r, &e);
    assert_true(etags_match(&e, 9));
}

static void cookies(void **state) {
    (void) state;
    struct http_header h[] = {{STR("Cookie"), STR("a=b; bowline=one; xbowline=two")}, {STR("cookie"), STR("bowline=three")}};
    struct http_request r = request(h, 1);
    struct str value;
    assert_int_equal(cookie_find(&r, "bowline", &value), 1);
    assert_str(value, "one");
    assert_int_equal(cookie_find(&r, "__Host-bowline", &value), 0);
    r.header_count = 2;
    assert_int_equal(cookie_find(&r, "bowline", &value), 2);
}

static void cookies_in_quotes(void **state) {
    (void) state;
    static const struct {
        const char *field, *value;
    } cases[] = {
        {"bowline=\"one\"", "one"},
        {"a=\"b\"; bowline=\"one\" ; c=d", "one"},
        {"bowline=\"\"", ""},
        {"bowline=\"one", "\"one"},
        {"bowline=one\"", "one\""},
        {"bowline=\"", "\""},
        {"bowline=\"\"one\"\"", "\"one\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_header h = {STR("Cookie"), str_of(cases[i].field)};
        struct http_request r = request(&h, 1);
        struct str value;
        assert_int_equal(cookie_find(&r, "bowline", &value), 1);
        assert_str(value, cases[i].value);
    }
}

static void gzip_is_used_where_it_is_welcome(void **state) {
    (void) state;
    static const struct {
        const char *value;
        bool good;
    } cases[] = {{"gzip", true},   {"gzip, br", true},     {"br", false},       {"*", true},
                 {"*;q=0", false}, {"gzip;q=0, *", false}, {"identity", false}, {"GZIP;q=0.1", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_header h = {STR("Accept-Encoding"), str_of(cases[i].value)};
        struct http_request r = request(&h, 1);
        assert_int_equal(accept_gzip(&r) > 0, cases[i].good);
    }
}

/* ---- hosts and origins ---- */

static void hosts_and_origins(void **state) {
    (void) state;
    struct options o = options;
    struct origins origins;
    struct buf err = {0};
    o.public_url = (char *) (uintptr_t) "HTTPS://App.Example:443/path";
    o.allowed_origins = (char *) (uintptr_t) "https://other.example, http://localhost:3000/";
    assert_int_equal(origins_read(&origins, &o, &err), 0);
    assert_true(origins.secure);
    assert_true(host_allowed(&origins, STR("app.EXAMPLE")));
    assert_true(host_allowed(&origins, STR("127.0.0.1:8787")));
    assert_true(host_allowed(&origins, STR("localhost:1")));
    assert_false(host_allowed(&origins, STR("evil.example")));
    assert_false(host_allowed(&origins, STR("localhost.evil.example")));
    assert_false(host_allowed(&origins, STR("localhost:x")));
    assert_false(host_allowed(&origins, STR("10.0.0.1")));
    assert_false(host_allowed(&origins, STR("")));
    assert_true(origin_own(&origins, STR("https://app.example"), 8787));
    assert_true(origin_own(&origins, STR("http://127.0.0.1:8787"), 8787));
    assert_true(origin_own(&origins, STR("http://localhost:8787"), 8787));
    assert_false(origin_own(&origins, STR("http://localhost:8788"), 8787));
    assert_false(origin_own(&origins, STR("http://app.example"), 8787));
    assert_false(origin_own(&origins, STR("null"), 8787));
    assert_true(origin_allowed(&origins, STR("http://localhost:3000")));
    assert_false(origin_allowed(&origins, STR("https://app.example")));
    origins_fini(&origins);

    o.public_url = (char *) (uintptr_t) "";
    o.listen = (char *) (uintptr_t) "[::]:1";
    o.allowed_origins = (char *) (uintptr_t) "";
    assert_int_equal(origins_read(&origins, &o, &err), 0);
    assert_true(host_allowed(&origins, STR("[::1]:80")));
    assert_true(host_allowed(&origins, STR("10.0.0.1")));
    assert_false(host_allowed(&origins, STR("evil.example")));
    origins_fini(&origins);

    o.allowed_hosts = (char *) (uintptr_t) "only.example, exact.example:99";
    assert_int_equal(origins_read(&origins, &o, &err), 0);
    assert_true(host_allowed(&origins, STR("only.example:5")));
    assert_true(host_allowed(&origins, STR("exact.example:99")));
    assert_false(host_allowed(&origins, STR("exact.example:98")));
    assert_false(host_allowed(&origins, STR("localhost")));
    origins_fini(&origins);

    static const char *const bad[] = {"*", "null", "example.com", "https://a/b", "https://", "https://a, *"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.allowed_origins = (char *) (uintptr_t) bad[i];
        buf_clear(&err);
        assert_int_equal(origins_read(&origins, &o, &err), -1);
        assert_memory_equal(err.data, "allowed_origins:", 16);
    }
    buf_fini(&err);
}

/* What is allowed, and in how many ways it may be spelled. */
static void spellings_of_hosts(void **state) {
    (void) state;
    static const struct {
        const char *allowed, *host;
        bool good;
    } cases[] = {
        {"[::1]", "[::1]", true},
        {"[::1]", "[0:0:0:0:0:0:0:1]:8787", true},
        {"[0000:0000::0001]", "[::1]", true},
        {"[::1]", "[::0.0.0.1]", true},
        {"[::1]", "[::2]", false},
        {"[::1]", "::1", false},
        {"[::1]", "[::1", false},
        {"[::1]", "[::1]8787", false},
        {"[::1]", "[]", false},
        {"[2001:DB8::A]", "[2001:db8:0:0::a]", true},
        {"[2001:db8::a]", "[2001:DB8::000A]:1", true},
        {"127.0.0.1", "[::ffff:127.0.0.1]", true},
        {"127.0.0.1", "[::FFFF:7f00:1]:80", true},
        {"[::ffff:127.0.0.1]", "127.0.0.1", true},
        {"127.0.0.1", "[::127.0.0.1]", false},
        {"127.0.0.1", "127.0.0.2", false},
        {"127.0.0.1", "127.0.0.1.evil.example", false},
        {"127.0.0.1", "127.1", false},
        {"App.Example", "aPP.eXAMPLE:443", true},
        {"app.example", "app.example:", true},
        {"app.example", "app.example:+1", false},
        {"app.example", "app.example:65536", false},
        {"app.example", "user@app.example", false},
        {"app.example", "app.example.evil.example", false},
        {"app.example:80", "app.example", true},
        {"app.example:443", "app.example", true},
        {"app.example:443", "app.example:", true},
        {"app.example:443", "app.example:0443", true},
        {"app.example:443", "app.example:80", false},
        {"app.example:8080", "app.example", false},
        {"app.example:8080", "app.example:8080", true},
        {"[0:0::1]:8080", "[::1]:8080", true},
        {"[0:0::1]:8080", "[::1]:8081", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options o = options;
        struct origins origins;
        struct buf err = {0};
        o.allowed_hosts = (char *) (uintptr_t) cases[i].allowed;
        assert_int_equal(origins_read(&origins, &o, &err), 0);
        if (host_allowed(&origins, str_of(cases[i].host)) != cases[i].good) {
            fail_msg("%s for %s", cases[i].host, cases[i].allowed);
        }
        origins_fini(&origins);
    }
    static const char *const bad[] = {"[nonsense]", "[::1", "::1", "a:b", "http://a", "a/b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct options o = options;
        struct origins origins;
        struct buf err = {0};
        o.allowed_hosts = (char *) (uintptr_t) bad[i];
        assert_int_equal(origins_read(&origins, &o, &err), -1);
        assert_memory_equal(err.data, "allowed_hosts:", 14);
        buf_fini(&err);
    }
}

static void spellings_of_origins(void **state) {
    (void) state;
    static const struct {
        const char *allowed, *origin;
        bool good;
    } cases[] = {
        {"https://app.example", "HTTPS://APP.example:443", true},
        {"https://app.example:443", "https://app.example", true},
        {"https://app.example", "https://app.example:0443", true},
        {"https://app.example", "https://app.example:80", false},
        {"https://app.example", "http://app.example:443", false},
        {"https://app.example", "https://app.example/", false},
        {"https://app.example", "https://app.example.evil.example", false},
        {"http://app.example:80", "http://app.example", true},
        {"http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000", true},
        {"http://[0::1]:3000", "http://[::1]:3000", true},
        {"http://[::1]:3000", "http://[::1]:3001", false},
        {"http://127.0.0.1:3000", "http://[::ffff:7f00:1]:3000", true},
        {"http://127.0.0.1:3000", "http://127.0.0.1", false},
        {"moz-extension://0A-b", "moz-extension://0a-B", true},
        {"moz-extension://0a-b", "moz-extension://0a-c", false},
        {"https://app.example", "null", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct options o = options;
        struct origins origins;
        struct buf err = {0};
        o.allowed_origins = (char *) (uintptr_t) cases[i].allowed;
        assert_int_equal(origins_read(&origins, &o, &err), 0);
        if (origin_allowed(&origins, str_of(cases[i].origin)) != cases[i].good) {
            fail_msg("%s for %s", cases[i].origin, cases[i].allowed);
        }
        origins_fini(&origins);
    }
    struct options o = options;
    struct origins origins;
    struct buf err = {0};
    o.listen = (char *) (uintptr_t) "[0:0::1]:80";
    o.public_url = (char *) (uintptr_t) "https://[2001:DB8:0::A]/bowline";
    assert_int_equal(origins_read(&origins, &o, &err), 0);
    assert_true(origin_own(&origins, STR("http://[::1]"), 80));
    assert_true(origin_own(&origins, STR("http://[0:0:0:0:0:0:0:1]:80"), 80));
    assert_true(origin_own(&origins, STR("http://LOCALHOST"), 80));
    assert_true(origin_own(&origins, STR("https://[2001:db8::a]:443"), 80));
    assert_false(origin_own(&origins, STR("https://[::1]"), 80));
    assert_false(origin_own(&origins, STR("http://[::2]"), 80));
    assert_false(origin_own(&origins, STR("http://[2001:db8::a]"), 80));
    assert_true(host_allowed(&origins, STR("[2001:db8::a]")));
    assert_true(host_allowed(&origins, STR("[::1]:8")));
    origins_fini(&origins);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_give_what_the_contract_says),
        cmocka_unit_test(sizes_are_refused_with_413),
        cmocka_unit_test(only_a_message_is_cut),
        cmocka_unit_test(defaults_and_values_arrive),
        cmocka_unit_test(worker_tokens_in_bodies),
        cmocka_unit_test(session_kinds_are_checked_at_the_start),
        cmocka_unit_test(queries),
        cmocka_unit_test(routes_and_methods),
        cmocka_unit_test(accept_headers),
        cmocka_unit_test(prefer_headers),
        cmocka_unit_test(content_types),
        cmocka_unit_test(etag_headers),
        cmocka_unit_test(cookies),
        cmocka_unit_test(cookies_in_quotes),
        cmocka_unit_test(gzip_is_used_where_it_is_welcome),
        cmocka_unit_test(hosts_and_origins),
        cmocka_unit_test(spellings_of_hosts),
        cmocka_unit_test(spellings_of_origins),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
