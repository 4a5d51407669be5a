/*
 * api.c: one request from its head to its answer. The happy path: head finds route, credential and role; request decodes body and query into a command
 * and submits it; a message brings it back and encode.c writes the answer. What is found wrong before the engine has seen the credential is
 * answered here only if the credential needs no engine (API keys, none); otherwise it travels with the command as `early`.
 */
#include "api/internal.h"

#include "base/mem.h"

#include <stdlib.h>

#define BODY_IN_ARENA 2048 /* a larger one has memory of its own */

/* ---- to the engine ---- */

void api_submit(struct api *a, struct cmd *c) {
    a->engine.submit(a->engine.arg, c);
}

void api_abandon(struct api *a, struct cmd *c) {
    c->owner = NULL;
    a->engine.abandon(a->engine.arg, c);
    api_kick(a);
}

static void api_flush(struct api *a) {
    a->engine.flush(a->engine.arg);
    if (a->kick.at_ms) {
        wheel_cancel(http_loop_wheel(a->loop), &a->kick);
    }
}

static void kick_fired(struct timer *t, int64_t now_ms, void *arg) {
    (void) t, (void) now_ms, (void) arg; /* it only begins a turn, at the end of which everything is handed over */
}

void api_kick(struct api *a) {
    if (!a->kick.at_ms) {
        wheel_set(http_loop_wheel(a->loop), &a->kick, http_loop_now(a->loop), kick_fired);
    }
}

bool call_upgrades(const struct call *call) {
    return call->r->upgrade_websocket && call->r->method == HTTP_GET;
}

bool call_needs_engine(const struct call *call) {
    return call->cred.kind != CRED_NONE && call->cred.kind != CRED_KEY && !(call->route->flags & ROUTE_OPEN_SESSIONS);
}

/* ---- the command ---- */

/* Copies a text that lies in the request into the command. False when there is no memory. */
static bool keep(struct cmd *c, struct str *s) {
    bool there = s->p != NULL;
    *s = arena_str(&c->arena, *s);
    return !there || s->p;
}

static bool command_fill(struct call *call, struct cmd *c) {
    const struct http_request *r = call->r;
    c->owner = &call->owner;
    c->cred = call->cred;
    c->early = call->early;
    c->method = str_of(method_name(r->method));
    c->path = call->path;
    c->expects_session = (call->route->flags & ROUTE_OWN) != 0;
    c->list.own_session = c->expects_session;
    c->wait_ms = prefer_wait_ms(r);
    c->head = r->method == HTTP_HEAD;
    c->body = STR("");
    return keep(c, &c->cred.sid) && keep(c, &c->cred.sub) && keep(c, &c->path) && keep(c, &c->early.detail);
}

struct cmd *call_command(struct call *call, enum cmd_type type) {
    struct cmd *c = cmd_create_in(&call->api->cmds, type, call->api->loop_index);
    if (c && !command_fill(call, c)) {
        cmd_free(c);
        c = NULL;
    }
    return c;
}

static bool body_keep(struct cmd *c, struct str body) {
    if (!body.len) {
        return true;
    }
    if (body.len <= BODY_IN_ARENA) {
        c->body = body;
        return keep(c, &c->body);
    }
    c->body_memory = malloc(body.len + 1);
    if (!c->body_memory) {
        return false;
    }
    memcpy(c->body_memory, body.p, body.len);
    c->body_memory[body.len] = '\0';
    c->body = str_n(c->body_memory, body.len);
    return true;
}

static void early(struct cmd *c, enum err err, struct str detail) {
    if (c->early.err == ERR_NONE) {
        c->early = (struct problem){.err = err, .detail = detail};
    }
}

/* ---- syntax: what the headers, the path and the query say ---- */

static bool accept_good(const struct http_request *r, const char *type, const char *subtype) {
    return accept_of(r, type, subtype).q > 0;
}

/* Which way of watching is wanted: the more welcome one; of equals the one named, then the stream. False: neither. */
static bool accept_events(struct call *call) {
    struct accept sse = accept_of(call->r, "text", "event-stream"), json = accept_of(call->r, "application", "json");
    if (call->r->upgrade_websocket && call->r->method == HTTP_GET) {
        return true;
    }
    call->page = json.q > sse.q || (json.q == sse.q && json.q > 0 && json.specific > sse.specific);
    call->sse = !call->page;
    return sse.q > 0 || json.q > 0;
}

/* Lines of JSON are good enough for who takes JSON: many clients name nothing else, whatever they ask for. */
static bool accept_lines(const struct http_request *r) {
    return accept_good(r, "application", "json") || accept_good(r, "application", "x-ndjson") || accept_good(r, "application", "ndjson");
}

static bool accept_served(struct call *call) {
    const struct http_request *r = call->r;
    if (call->route->flags & ROUTE_ANY_HOST) {
        return true;
    }
    switch (call->route->produce) {
    case PRODUCE_JSON: return call->stream || call->route->read == READ_LINES ? accept_lines(r) : accept_good(r, "application", "json");
    case PRODUCE_BYTES: return accept_good(r, "application", "octet-stream");
    case PRODUCE_METRICS: return accept_good(r, "application", "openmetrics-text") || accept_good(r, "text", "plain");
    case PRODUCE_EVENTS: return accept_events(call);
    case PRODUCE_FILE: return web_accepted(call);
    case PRODUCE_NOTHING: break;
    }
    return true;
}

static void read_idempotency(struct call *call, struct cmd *c) {
    unsigned flags = call->route->flags, count = http_header_count(call->r, "idempotency-key");
    if (!count || call->r->method != HTTP_POST || !(flags & (ROUTE_IDEMPOTENT | ROUTE_NO_KEY))) {
        return;
    }
    struct str key = http_header(call->r, "idempotency-key");
    if (flags & ROUTE_NO_KEY) {
        early(c, ERR_INVALID_REQUEST,
              flags & ROUTE_OPEN_SESSIONS ? STR("Idempotency-Key is not taken here: the cookie makes this safe to repeat")
                                          : STR("Idempotency-Key is not taken here: offsets and attempts make this safe to repeat"));
    } else if (count > 1 || key.len < 1 || key.len > 255) {
        early(c, ERR_INVALID_REQUEST, STR("Idempotency-Key must be given once and have 1 to 255 bytes"));
    } else {
        c->idempotency_key = key;
        if (!keep(c, &c->idempotency_key)) {
            early(c, ERR_UNAVAILABLE, STR_NONE);
        }
    }
}

static void read_headers(struct call *call, struct cmd *c) {
    struct problem p = {0};
    if (!query_known(&call->query, call->route->query, &c->arena, &p)) {
        early(c, p.err, p.detail);
    }
    if (!accept_served(call)) {
        early(c, ERR_NOT_ACCEPTABLE, STR_NONE);
    }
    read_idempotency(call, c);
    decode_query(c, call->route->query, &call->query);
    if (c->type == CMD_TASK_GET && call->route->produce == PRODUCE_JSON) {
        etags_read(call->r, &call->etags);
        c->etag = call->etags.newest;
    }
    call->waits = (call->route->flags & ROUTE_WAITS) && c->wait_ms >= 0 && (call->route->produce != PRODUCE_EVENTS || call->page);
    call->r->needs_peer = call->waits && c->wait_ms > 0 && !c->head &&
                          (call->page || c->type == CMD_QUEUE_CLAIM); /* what is claimed for nobody would be lost for a lease */
}

static void read_body(struct call *call, struct cmd *c) {
    const struct http_request *r = call->r;
    struct decode_env env = {call->api->shared->options, call->api->shared->keys, &call->api->shared->config->kinds};
    if (r->method == HTTP_GET || r->method == HTTP_HEAD) {
        return;
    }
    if (call->route->read == READ_LINES || (r->body.len && call->media != MEDIA_NONE && call->media != MEDIA_JSON)) {
        early(c, ERR_UNSUPPORTED_MEDIA_TYPE, STR_NONE);
        return;
    }
    if (!body_keep(c, r->body)) {
        early(c, ERR_UNAVAILABLE, STR_NONE);
    } else if (c->early.err == ERR_NONE) {
        decode_body(c, call->route->body, &env);
    }
}

/* The names in the path. One that no session, task or queue can have is nobody's: 404. */
static void read_path(struct call *call, struct cmd *c) {
    const struct route_match *m = &call->match;
    bool good = (!m->session.p || id_parse(m->session, ID_SESSION, &c->session)) && (!m->task.p || id_parse(m->task, ID_TASK, &c->task)) &&
                (!m->queue.p || name_valid(m->queue));
    c->queue = m->queue;
    if (!good) {
        early(c, ERR_NOT_FOUND, STR_NONE);
    } else if (!keep(c, &c->queue)) {
        early(c, ERR_UNAVAILABLE, STR_NONE);
    }
}

static void read_watch(struct call *call, struct cmd *c) {
    if (c->type != CMD_WATCH) {
        return;
    }
    struct str last = http_header(call->r, "last-event-id");
    if (last.len) {
        c->watch.cursor = last;
        if (!keep(c, &c->watch.cursor)) {
            early(c, ERR_UNAVAILABLE, STR_NONE);
        }
    }
    c->watch.target = call->route->watch;
    c->watch.page = call->page;
    c->watch.outlives_rotation = call->sse;
    c->watch.end_refused = call_upgrades(call);
}

/* ---- the request ---- */

static void refuse_early(struct call *call, struct cmd *c) {
    call_refuse(call, &c->early);
    cmd_free(c);
}

/* Takes from the address's allowance. False: it was refused. */
static bool open_allowed(struct call *call, struct cmd *c) {
    if (!(call->route->flags & ROUTE_OPEN_SESSIONS)) {
        return true;
    }
    unsigned wait_s = limit_take(call->api->shared->config->open_limit, call->r->peer, http_loop_now(call->api->loop));
    if (wait_s) {
        early(c, ERR_RATE_LIMITED, STR("Too many sessions were opened from this address"));
        c->early.retry_after_s = wait_s;
    }
    call->bucket_taken = !wait_s;
    return !wait_s;
}

static void call_submit(struct call *call, struct cmd *c) {
    if (c->early.err != ERR_NONE && !call_needs_engine(call)) {
        refuse_early(call, c);
        return;
    }
    if (!open_allowed(call, c)) {
        refuse_early(call, c);
        return;
    }
    call->cmd = c;
    api_submit(call->api, c);
}

/* Nothing but the refusal is left: at once, or when the credential has been found alive. */
static void call_refuse_early(struct call *call) {
    if (!call_needs_engine(call)) {
        call_refuse(call, &call->early);
        return;
    }
    struct cmd *c = call_command(call, CMD_AUTH);
    if (c) {
        call_submit(call, c);
    } else {
        call_refuse_err(call, ERR_UNAVAILABLE);
    }
}

static void call_run_local(struct call *call) {
    struct problem p = {0};
    if (query_known(&call->query, call->route->query, &call->r->arena, &p) && !accept_served(call)) {
        p.err = ERR_NOT_ACCEPTABLE;
    }
    if (p.err != ERR_NONE) {
        call_refuse(call, &p);
    } else {
        call->route->local(call);
    }
}

/* Everything but the body is read; role and what came before have been checked. */
static struct cmd *call_begin(struct call *call, enum cmd_type type) {
    struct cmd *c = call_command(call, type);
    if (!c) {
        stream_gone(call);
        call_refuse_err(call, ERR_UNAVAILABLE);
    } else {
        read_headers(call, c);
    }
    return c;
}

static void call_run(struct call *call) {
    if (call->route->cmd == CMD_TYPES) {
        call_run_local(call);
        return;
    }
    struct cmd *c = call_begin(call, call->route->cmd);
    if (c) {
        read_body(call, c);
        read_path(call, c);
        read_watch(call, c);
        call_submit(call, c);
    }
}

static void call_run_stream(struct call *call) {
    struct cmd *c = call_begin(call, CMD_REPORT_OPEN);
    if (!c) {
        return;
    }
    read_path(call, c);
    if (c->early.err != ERR_NONE && !call_needs_engine(call)) {
        stream_gone(call);
    }
    call_submit(call, c);
}

/* ---- the head ---- */

static void refuse_method(struct call *call) {
    struct buf allow = {0};
    struct problem p = {.err = ERR_METHOD_NOT_ALLOWED};
    methods_write(call->match.methods, &allow);
    call_refuse_with(call, &p, STR("Allow"), arena_str(&call->r->arena, buf_view(&allow)));
    buf_fini(&allow);
}

static bool is_preflight(const struct call *call) {
    return call->r->method == HTTP_OPTIONS && call->origin.p && http_header(call->r, "access-control-request-method").p;
}

static void headers_preflight(struct call *call) {
    struct buf methods = {0};
    methods_write(call->match.methods, &methods);
    http_add_copy(call->r, STR("Access-Control-Allow-Methods"), buf_view(&methods));
    http_add(call->r, STR("Access-Control-Allow-Headers"), STR("Authorization, Content-Type, Idempotency-Key, Last-Event-ID, If-None-Match, Prefer"));
    http_add(call->r, STR("Access-Control-Max-Age"), STR("600"));
    buf_fini(&methods);
}

static void answer_options(struct call *call) {
    struct buf body = {0};
    headers_common(call);
    if (call->match.methods) {
        headers_preflight(call);
    } else {
        http_add(call->r, STR("Allow"), STR("GET, HEAD, POST, DELETE, OPTIONS"));
    }
    http_respond(call->r, 204, &body, false);
}

/* Nearly all requests name the same one. */
static bool host_served(struct api *a, struct str host) {
    if (host.len && host.len == a->host_len && memcmp(host.p, a->host, host.len) == 0) {
        return true;
    }
    bool allowed = host_allowed(&a->shared->config->origins, host);
    if (allowed && host.len <= sizeof a->host) {
        memcpy(a->host, host.p, host.len);
        a->host_len = host.len;
    }
    return allowed;
}

/* Host, path and method. False: it was answered. */
static bool head_route(struct call *call) {
    struct http_request *r = call->r;
    const struct api_shared *s = call->api->shared;
    call->path = path_decode(&r->arena, r->path);
    route_find(call->path, r->method, s->options->open_sessions != 0, &call->match);
    call->route = call->match.route;
    if (!(call->route && (call->route->flags & ROUTE_ANY_HOST)) && !host_served(call->api, r->host)) {
        call_refuse_err(call, ERR_MISDIRECTED);
    } else if (str_eqz(r->path, "*") && r->method == HTTP_OPTIONS) {
        answer_options(call);
    } else if (!call->match.methods || call->match.off) {
        if (!static_serve(call)) {
            call_refuse_err(call, ERR_NOT_FOUND);
        }
    } else if (is_preflight(call)) {
        answer_options(call);
    } else if (!call->route) {
        refuse_method(call);
    } else {
        return true;
    }
    return false;
}

static void early_role(struct call *call, const char *detail) {
    if (call->early.err == ERR_NONE) {
        call->early = (struct problem){.err = ERR_FORBIDDEN, .detail = str_of(detail)};
    }
}

/* Credential, and what comes right behind it: the role, the syntax of the query. False: it was answered. */
static bool head_credential(struct call *call) {
    const struct route *route = call->route;
    struct problem p = {0}, query_problem = {0};
    bool anyone = (route->who & WHO_ANYONE) || ((route->flags & ROUTE_METRICS) && call->api->shared->options->metrics_open);
    bool query_good = query_parse(&call->r->arena, call->r->query, &call->query, &query_problem);
    bool good = (route->flags & ROUTE_OPEN_SESSIONS) ? auth_read_cookie(call, &p) : anyone || auth_read(call, &p);
    if (!good) {
        call_refuse(call, &p);
        return false;
    }
    if (!anyone && !auth_role(call)) {
        early_role(call, NULL);
    }
    if (!auth_origin(call)) {
        early_role(call, "The request must come from a page of an origin that is allowed");
    }
    if (call->early.err == ERR_NONE && !query_good) {
        call->early = query_problem;
    }
    return true;
}

static bool wants_stream(const struct call *call) {
    switch (call->route->read) {
    case READ_WHOLE: break;
    case READ_WHOLE_OR_LINES: return call->media == MEDIA_NDJSON;
    case READ_LINES: return call->media == MEDIA_NDJSON || call->media == MEDIA_NONE;
    }
    return false;
}

static enum http_body on_head(void *arg, struct http_request *r) {
    struct api *a = arg;
    struct call *call = arena_alloc(&r->arena, sizeof *call);
    if (!call) {
        struct buf body = {0};
        http_respond(r, 503, &body, true);
        return HTTP_BODY_WHOLE;
    }
    r->user = call;
    call->owner.kind = OWNER_CALL;
    call->api = a;
    call->r = r;
    struct str origin = http_header(r, "origin");
    call->origin = origin_allowed(&a->shared->config->origins, origin) ? origin : STR_NONE;
    if (!head_route(call) || !head_credential(call)) {
        return HTTP_BODY_WHOLE;
    }
    if (call->early.err != ERR_NONE) {
        call_refuse_early(call);
        return HTTP_BODY_UNWANTED;
    }
    if (r->method != HTTP_GET && r->method != HTTP_HEAD) {
        call->media = media_of(r);
    }
    if (wants_stream(call)) {
        stream_open(call);
        call_run_stream(call);
        return HTTP_BODY_STREAM;
    }
    return HTTP_BODY_WHOLE;
}

static void on_body(void *arg, struct http_request *r, struct str piece) {
    (void) arg;
    stream_body(r->user, piece);
}

static void on_request(void *arg, struct http_request *r) {
    struct call *call = r->user;
    (void) arg;
    if (call->stream) {
        stream_end(call);
    } else {
        call_run(call);
    }
}

/* The size counts for no more than the rest of the syntax. */
static void on_oversized(void *arg, struct http_request *r) {
    struct call *call = r->user;
    (void) arg;
    call->early = (struct problem){.err = ERR_TOO_LARGE, .detail = STR("The body is larger than the limit")};
    call_refuse_early(call);
}

static void on_broken(void *arg, struct http_request *r, const struct problem *p) {
    (void) arg;
    stream_broken(r->user, p);
}

static void on_gone(void *arg, struct http_request *r) {
    struct call *call = r->user;
    struct api *a = arg;
    if (!call) {
        return;
    }
    if (call->cmd) {
        api_abandon(a, call->cmd);
        call->cmd = NULL;
    }
    stream_gone(call);
}

static void on_problem(void *arg, struct http_request *r, const struct problem *p, struct buf *body) {
    (void) arg;
    encode_problem(r, r->user, p, body);
}

static void on_turn(void *arg) {
    api_flush(arg);
}

/* ---- messages ---- */

static void call_answered(struct api *a, struct call *call, struct cmd *c) {
    struct answer *answer = &c->answer;
    call->cmd = NULL;
    if (call->bucket_taken && answer->status != 201) {
        limit_give_back(a->shared->config->open_limit, call->r->peer);
    }
    if (call->stream) {
        stream_opened(call, answer);
    } else if (answer->type == ANSWER_WATCH) {
        watch_attach(a, call, c);
    } else if (answer->type == ANSWER_WATCH_HEAD) {
        watch_head(call);
    } else if (answer->type == ANSWER_ROTATED) {
        watch_rotated(call, c);
    } else if (c->type == CMD_WATCH && call->sse && answer->type == ANSWER_PROBLEM && answer->problem.err == ERR_QUOTA_EXCEEDED) {
        watch_crowded(call, c);
    } else {
        call_answer(call, answer);
    }
}

static void answer_receive(struct api *a, struct cmd *c) {
    struct owner *owner = c->owner;
    if (c->type == CMD_WATCH_REFILL) {
        watch_refilled(c);
    } else if (!owner) {
        /* abandoned: it comes once more, as MESSAGE_ABANDONED */
        if (c->answer.type == ANSWER_WATCH) {
            watch_attach(a, NULL, c);
        }
        return;
    } else if (owner->kind == OWNER_LINES) {
        stream_answered((struct lines *) owner, c);
    } else {
        call_answered(a, (struct call *) owner, c);
    }
    cmd_free(c);
}

void api_receive(struct api *a, struct message m) {
    switch (m.type) {
    case MESSAGE_ANSWER: answer_receive(a, m.cmd); break;
    case MESSAGE_ABANDONED: cmd_free(m.cmd); break;
    case MESSAGE_CLOCK: http_loop_clock_stepped(a->loop); break;
    case MESSAGE_FRAME:
    case MESSAGE_SYNCED:
    case MESSAGE_DISCONNECT:
    case MESSAGE_DROP: watch_receive(a, &m); break;
    }
}

/* ---- life ---- */

struct api *api_create(const struct api_shared *shared, unsigned loop_index, const struct api_engine *engine) {
    struct api *a = mem_alloc(sizeof *a);
    a->shared = shared;
    a->loop_index = loop_index;
    a->engine = *engine;
    return a;
}

struct http_handler api_handler(struct api *a) {
    return (struct http_handler){
        .head = on_head,
        .page = watch_page,
        .body = on_body,
        .request = on_request,
        .oversized = on_oversized,
        .gone = on_gone,
        .broken = on_broken,
        .unwatched = watch_unwatched,
        .refill = watch_refill,
        .problem = on_problem,
        .turn = on_turn,
        .arg = a,
    };
}

void api_attach(struct api *a, struct http_loop *loop) {
    a->loop = loop;
}

void api_destroy(struct api *a) {
    if (a) {
        watch_destroy(a);
        buf_fini(&a->openapi);
        cmd_free(a->line);
        cmd_pool_fini(&a->cmds);
        mem_free(a);
    }
}
