/*
 * Any body against each decoder: refused with a sentence at places that are pointers, or a command whose every value is within the bounds of the contract.
 * The first byte says which decoder; past those of bodies it is queries, then headers, then JWTs.
 */
#include "api/decode.h"
#include "api/http_text.h"
#include "api/jwt.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct options options;
static struct keyring keys;
static struct session_kinds kinds;

static void start(void) {
    char *none[] = {NULL}, text[160];
    struct options_sources from;
    struct buf err = {0};
    int rc = options_load(&options, &from, 0, none, none, &err);
    assert(rc == 0);
    free(options.session_kinds);
    options.session_kinds = strdup("{\"export\":{\"queue\":\"work\"}}");
    options.max_input = 64;
    options.max_result = 64;
    options.max_metadata = 64;
    options.max_progress_data = 64;
    rc = keyring_read(&keys, STR("0123456789abcdef0123456789abcdef"), text);
    assert(rc == 0);
    rc = session_kinds_read(&kinds, &options, &err);
    assert(rc == 0);
    buf_fini(&err);
}

static void check_problem(const struct problem *p) {
    assert(p->err > ERR_NONE && p->err < ERR_COUNT && p->places <= PROBLEM_PLACES);
    for (unsigned i = 0; i < p->places; i++) {
        struct str at = p->at[i].pointer;
        assert(at.p && (at.len == 0 || at.p[0] == '/') && p->at[i].detail.len);
    }
    struct buf out = {0};
    struct arena a = {0};
    struct json *root;
    struct json_error err;
    problem_render(p, &out);
    int rc = json_parse(&a, buf_view(&out), 8, &root, &err);
    assert(rc == 0);
    arena_fini(&a);
    buf_fini(&out);
}

static void check_number(int64_t ms, int64_t least, int64_t most) {
    assert(ms >= least && ms <= most);
}

static void check_task(const struct task_new *t) {
    assert(name_valid(t->kind) && (!t->queue.p || name_valid(t->queue)) && (!t->title.p || (t->title.len >= 1 && t->title.len <= 800)));
    assert(t->input.len <= 64 && t->metadata.p && t->metadata.len <= 64 && t->on_session_end <= END_HANDOVER);
    assert(t->max_attempts >= 1 && t->max_attempts <= 100 && (t->queue.p || (t->max_attempts == 1 && !t->not_before_ms)));
    check_number(t->lease_ms, 0, 30 * DAY);
    check_number(t->timeout_ms, 0, 30 * DAY);
    check_number(t->deadline_ms, 1, 3650 * DAY);
    check_number(t->ttl_ms, 0, 3650 * DAY);
    check_number(t->backoff_ms, 0, 3600 * SEC);
    check_number(t->cancel_unwatched_ms, -1, 30 * DAY);
}

static void check_report(const struct report *r) {
    assert(r->type <= REPORT_CANCELLED && r->current >= 0 && r->current <= 1e15 && r->total >= 0 && r->total <= 1e15);
    assert(r->unit.len <= 32 * 4 && r->message.len <= 500 * 4 && r->prompt.len <= 2000 * 4);
    assert(r->phase.len <= 80 * 4 && (r->has_phase != REPORT_SET || r->phase.len) && r->progress_data.len <= 64);
    assert(r->type != REPORT_OUTPUT || r->data.p);
    assert(r->type != REPORT_SUCCEED || (r->result.len && r->result.len <= 64));
    assert(r->type != REPORT_FAIL || name_valid(r->error_type));
    assert(r->type != REPORT_INPUT_REQUEST || r->prompt.len);
}

static void check_command(const struct cmd *c, enum body_rule rule) {
    if (rule == BODY_TASK_NEW || rule == BODY_TASK_START) {
        check_task(&c->task_new);
    }
    if (rule == BODY_TASK_NEW || rule == BODY_BIND) {
        assert(id_is_none(c->ref.id) ? c->ref.key.len >= 1 && c->ref.key.len <= 512 : !c->ref.key.p);
    }
    if (rule == BODY_SESSION_NEW) {
        check_number(c->session_new.idle_timeout_ms, 0, 3650 * DAY);
        check_number(c->session_new.max_age_ms, 0, 3650 * DAY);
        assert(c->session_new.metadata.len >= 2 && c->session_new.key.len <= 512 && c->session_new.user.len <= 256);
    }
    if (rule == BODY_REPORTS || rule == BODY_REPORT_LINE) {
        assert(c->report_count >= 1);
        for (size_t i = 0; i < c->report_count; i++) {
            check_report(&c->reports[i]);
        }
    }
    if (rule == BODY_CLAIM) {
        assert(c->max >= 1 && c->max <= 1000 && c->lease_ms >= -1 && c->lease_ms <= 30 * DAY);
    }
    assert(rule != BODY_ANSWER || (c->request.len && c->answer_value.len && c->answer_value.len <= 64));
}

static void try_body(enum body_rule rule, struct str text) {
    struct decode_env env = {&options, &keys, &kinds};
    struct cmd *c = cmd_create(CMD_AUTH, 0);
    c->body = text;
    decode_body(c, rule, &env);
    if (c->early.err) {
        check_problem(&c->early);
    } else {
        check_command(c, rule);
    }
    cmd_free(c);
}

static void try_query(struct str text) {
    struct arena a = {0};
    struct query q;
    struct problem p = {0};
    struct cmd *c = cmd_create(CMD_TASK_LIST, 0);
    if (query_parse(&a, text, &q, &p) && query_known(&q, Q_LIMIT | Q_AFTER_ID | Q_USER | Q_TASK_STATE | Q_KIND | Q_OFFSET, &a, &p)) {
        decode_query(c, Q_LIMIT | Q_AFTER_ID | Q_USER | Q_TASK_STATE | Q_KIND | Q_OFFSET, &q);
        assert(c->early.err || (c->list.limit >= 1 && c->list.limit <= 1000 && c->list.state < 6));
        p = c->early;
    }
    if (p.err) {
        check_problem(&p);
    }
    struct str path = path_decode(&a, text);
    assert(path.len <= text.len);
    cmd_free(c);
    arena_fini(&a);
}

static void try_headers(struct str text) {
    static const char *const names[] = {"accept", "accept-encoding", "content-type", "prefer", "if-none-match", "cookie"};
    struct http_header h[6];
    struct http_request r = {.headers = h, .header_count = 6};
    struct etags e;
    struct str value;
    for (unsigned i = 0; i < 6; i++) {
        h[i] = (struct http_header){str_of(names[i]), text};
    }
    struct accept a = accept_of(&r, "application", "json");
    assert(a.q >= 0 && a.q <= 1000);
    (void) accept_gzip(&r);
    (void) media_of(&r);
    int64_t wait_ms = prefer_wait_ms(&r);
    assert(wait_ms >= -1 && wait_ms <= 60000);
    etags_read(&r, &e);
    assert(e.count <= ETAGS_MAX);
    (void) cookie_find(&r, "bowline", &value);
}

/* The input as header and payload of a token that is well signed. */
static void try_jwt(struct str text) {
    static const struct jwt_key key = {JWT_HS256, {NULL, 0}, {"secret", 6}};
    struct jwt_keys all = {.at = (struct jwt_key *) (uintptr_t) &key, .count = 1};
    struct arena a = {0};
    struct buf b = {0};
    struct cred cred;
    uint8_t mac[SHA256_BYTES];
    buf_base64url(&b, "{\"alg\":\"HS256\"}", 15);
    buf_char(&b, '.');
    buf_base64url(&b, text.p, text.len);
    crypto_hmac_sha256((const uint8_t *) "secret", 6, buf_view(&b), mac);
    buf_char(&b, '.');
    buf_base64url(&b, mac, sizeof mac);
    if (jwt_verify(&all, buf_view(&b), 1300819000000, &a, &cred)) {
        assert(cred.kind == CRED_JWT && cred.sid.len >= 1 && cred.sid.len <= 512 && cred.exp_ms > 1300819000000);
    }
    bool raw = jwt_verify(&all, text, 1300819000000, &a, &cred);
    assert(!raw || cred.kind == CRED_JWT);
    arena_fini(&a);
    buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!keys.count) {
        start();
    }
    if (size < 1) {
        return 0;
    }
    char *copy = malloc(size); /* its own allocation, so that a read past the end is seen */
    memcpy(copy, data + 1, size - 1);
    struct str text = str_n(copy, size - 1);
    unsigned which = data[0] % 64;
    if (which < BODY_RULES) {
        try_body((enum body_rule) which, text);
    } else if (which < 32) {
        try_query(text);
    } else if (which < 48) {
        try_headers(text);
    } else {
        try_jwt(text);
    }
    free(copy);
    return 0;
}
