/* Random commands. A recipe holds plain values only, so that it can be said again; command_of makes the command that api/ would have made of such a request. */
#include "sim.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const int64_t waits_ms[] = {0, 5, 300, 2000, 60000};
static const int64_t spans_ms[] = {0, 400, 3000, 20000, 600000};
static const int64_t ttls_ms[] = {0, 1500, 8000, 40000, 86400000};

/* ---- a command of a recipe ---- */

static struct str text(struct cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static struct str text(struct cmd *c, const char *fmt, ...) {
    char line[400];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    return arena_str(&c->arena, str_n(line, (size_t) n < sizeof(line) ? (size_t) n : sizeof(line) - 1));
}

static struct str name_or_none(struct cmd *c, const char *prefix, int n) {
    return n < 0 ? STR_NONE : text(c, "%s%d", prefix, n);
}

static struct cred cred_of(struct cmd *c, const struct recipe *r) {
    struct cred cred = {.kind = r->cred, .id = r->cred_id, .gen = r->cred_gen};
    if (r->cred == CRED_KEY) {
        cred.roles = r->worker_key ? ROLE_WORKER : ROLE_BACKEND;
        cred.name = r->worker_key ? STR("worker") : STR("backend");
    } else if (r->cred == CRED_JWT) {
        cred.sid = name_or_none(c, "key", r->jwt_key);
        cred.sub = name_or_none(c, "user", r->jwt_user);
        cred.iat_s = instant_now().wall_ms / 1000 - r->jwt_age_s;
        cred.exp_ms = instant_now().wall_ms + 3600 * SEC;
    }
    return cred;
}

void output_write(char *to, uint32_t attempt, uint64_t offset, size_t bytes) {
    for (size_t i = 0; i < bytes; i += RECORD) {
        char record[32];
        snprintf(record, sizeof(record), "%02u%06u", attempt % 100, (unsigned) ((offset + i) / RECORD) % 1000000);
        memcpy(to + i, record, RECORD);
    }
}

static void report_of(struct cmd *c, const struct recipe *recipe, const struct recipe_report *from, uint64_t at, struct report *r) {
    *r = (struct report){.type = from->type, .result = STR("null"), .error_type = STR("broken")};
    switch (from->type) {
    case REPORT_PROGRESS:
        r->has_current = from->clear ? REPORT_CLEAR : from->has_current ? REPORT_SET : REPORT_KEEP;
        r->has_total = from->has_total ? REPORT_SET : REPORT_KEEP;
        r->has_message = from->message ? REPORT_SET : REPORT_KEEP;
        r->current = from->current;
        r->total = from->total;
        r->message = text(c, "message %u", from->message);
        r->message_cut = from->message == 2;
        r->has_phase = from->phase == 1 ? REPORT_CLEAR : from->phase ? REPORT_SET : REPORT_KEEP;
        r->phase = text(c, "phase %u", from->phase);
        r->has_data = from->data == 1 ? REPORT_CLEAR : from->data ? REPORT_SET : REPORT_KEEP;
        r->progress_data = text(c, "{\"of\": %u}", from->data);
        break;
    case REPORT_OUTPUT: {
        char *data = mem_alloc(from->bytes + 1);
        output_write(data, recipe->cred == CRED_WORKER ? recipe->cred_gen : 1, at, from->bytes);
        r->data = arena_str(&c->arena, str_n(data, from->bytes));
        mem_free(data);
        r->has_offset = from->has_offset;
        r->offset = from->offset;
        break;
    }
    case REPORT_INPUT_REQUEST:
        r->prompt = text(c, "question %u", from->message);
        r->schema = from->clear ? STR("{\"type\":\"string\"}") : STR_NONE;
        break;
    case REPORT_SUCCEED:
        r->result = from->total ? text(c, "{\"of\":\"%s\",\"more\":\"%0*d\"}", name_of(recipe->task), (int) from->total, 7) : STR("null");
        break;
    case REPORT_FAIL:
        r->error_message = text(c, "error %u", from->message);
        r->error_detail = from->clear ? STR("[1, 2]") : STR_NONE;
        r->retry = from->retry;
        break;
    case REPORT_HEARTBEAT:
    case REPORT_CANCELLED: break;
    }
}

static void reports_of(struct cmd *c, const struct recipe *r) {
    c->reports = arena_alloc(&c->arena, (r->report_count + 1) * sizeof(struct report));
    c->report_count = r->report_count;
    c->reports_pointer = r->report_count > 1 ? STR("") : STR_NONE;
    for (unsigned i = 0; i < r->report_count; i++) {
        report_of(c, r, &r->reports[i], r->reports[i].offset, &c->reports[i]);
    }
}

/* Some of them name their token, some leave it to the stream's credential; one in front is malformed. */
static void lines_of(struct cmd *c, const struct recipe *r) {
    c->type = CMD_REPORT_LINES;
    c->lines = arena_alloc(&c->arena, (c->report_count + 1) * sizeof(struct report_line));
    c->line_count = c->report_count + 1;
    c->line_cred = c->cred;
    c->lines_of_many = r->lines_of_many;
    c->stream = (const void *) (uintptr_t) (1 + r->task.b[15] % 3); /* several workers share one */
    c->lines[0].refusal = STR("{\"malformed\":true}");
    for (size_t i = 0; i < c->report_count; i++) {
        c->lines[i + 1] = (struct report_line){.task = r->task,
                                               .report = &c->reports[i],
                                               .has_token = r->cred == CRED_WORKER && i % 2,
                                               .token_task = r->cred_id,
                                               .token_attempt = r->cred_gen};
    }
}

static void task_new_of(struct cmd *c, const struct recipe *r) {
    c->task_new = (struct task_new){.kind = name_or_none(c, "kind", r->kind),
                                    .queue = name_or_none(c, "queue", r->queue),
                                    .input = r->input ? text(c, "[%u]", r->input) : STR_NONE,
                                    .metadata = STR("{}"),
                                    .on_session_end = r->policy,
                                    .lease_ms = r->lease_ms,
                                    .timeout_ms = r->timeout_ms,
                                    .deadline_ms = r->deadline_ms,
                                    .backoff_ms = r->backoff_ms,
                                    .ttl_ms = r->ttl_ms,
                                    .not_before_ms = r->not_before_ms,
                                    .cancel_unwatched_ms = r->unwatched_ms,
                                    .max_attempts = r->attempts};
}

static void watch_of(struct cmd *c, const struct recipe *r) {
    c->watch = (struct watch_args){
        .target = r->target, .output = r->output, .page = r->page, .outlives_rotation = r->sse, .end_refused = !r->page && !r->sse};
    if (r->cursor[0]) {
        c->watch.cursor = text(c, "%s", r->cursor);
    }
}

static void request_of(struct cmd *c, const struct recipe *r) {
    char task[ID_TEXT_LEN + 1], session[ID_TEXT_LEN + 1];
    id_format(r->task, ID_TASK, task);
    id_format(r->session, ID_SESSION, session);
    c->method = STR("POST");
    c->path = text(c, "/v1/%d/%s/%s", (int) r->type, session, task);
    c->body = text(c, "%d %d %d %u %u %u%s", r->key, r->user, r->kind, r->input, r->reason, r->answer, r->other_body ? " other" : "");
    c->idempotency_key = r->idem[0] ? text(c, "%s", r->idem) : STR_NONE;
}

static struct cmd *command_of(const struct recipe *r, unsigned loop) {
    struct cmd *c = cmd_create(r->type, loop);
    c->cred = cred_of(c, r);
    c->session = r->session;
    c->task = r->task;
    c->into = r->into;
    c->wait_ms = r->wait_ms;
    c->etag = r->etag;
    c->offset = r->offset;
    c->after_version = r->after_version;
    c->has_after_version = r->after_version != 0;
    c->expects_session = r->cred == CRED_SESSION;
    c->session_new = (struct session_new){name_or_none(c, "key", r->key), name_or_none(c, "user", r->user), r->idle_ms, r->age_ms, STR("{}")};
    c->ref = (struct session_ref){.id = r->into, .pointer = STR("/session")};
    if (r->type == CMD_TASK_CREATE || r->type == CMD_TASK_BIND) {
        c->ref.key = c->session_new.key;
        c->ref.user = c->session_new.user;
    }
    c->list = (struct list_args){.limit = r->limit, .after = r->after, .state = r->state, .session = r->session, .own_session = r->cred != CRED_KEY};
    c->reason = r->reason ? text(c, "reason %u", r->reason) : STR_NONE;
    c->request = text(c, "q%u", r->question);
    c->answer_value = text(c, "%u", r->answer);
    c->queue = name_or_none(c, "queue", r->queue);
    c->max = r->max;
    c->lease_ms = r->lease_ms;
    c->token = (struct cred){.kind = CRED_WORKER, .id = r->token_task, .gen = r->token_attempt};
    task_new_of(c, r);
    watch_of(c, r);
    reports_of(c, r);
    request_of(c, r);
    if (r->lines) {
        lines_of(c, r);
    }
    if (r->type == CMD_AUTH) {
        c->early = (struct problem){.err = ERR_FORBIDDEN};
    }
    return c;
}

/* ---- sending ---- */

static bool is_dead(const struct recipe *r) {
    struct known_session *s = r->cred == CRED_SESSION ? session_known(r->cred_id) : NULL;
    struct known_task *t = r->cred == CRED_WATCH ? task_known(r->cred_id) : NULL;
    return (s && r->cred_gen < s->gen) || (t && r->cred_gen < t->watch_gen);
}

void command_send(const struct recipe *r, unsigned loop, struct call **ret_call) {
    struct call *call = mem_alloc(sizeof(*call));
    struct known_session *s = r->cred == CRED_SESSION ? session_known(r->cred_id) : NULL;
    call->r = *r;
    call->number = ++sim.calls_made;
    call->cmd = command_of(r, loop);
    call->cmd->owner = call;
    call->iat_s = call->cmd->cred.iat_s;
    call->made = instant_now();
    call->cred_dead = is_dead(r);
    call->session_over = s && s->ended;
    call->failures = sim.failures;
    s = r->type == CMD_SESSION_ROTATE ? session_known(r->session) : NULL;
    if (s) {
        s->rotations_asked++;
    }
    TAILQ_INSERT_TAIL(&sim.calls, call, link);
    letter_send(loop, (struct letter){.type = LETTER_SUBMIT, .call = call});
    trace("call %llu: command %d of loop %u, credential %d %s gen %u, session %s, task %s, into %s, key %d, user %d, wait %lld %s%s",
          (unsigned long long) call->number, (int) r->type, loop, (int) r->cred, name_of(r->cred_id), r->cred_gen, name_of(r->session),
          name_of(r->task), name_of(r->into), r->key, r->user, (long long) r->wait_ms, r->idem, r->other_body ? " other" : "");
    if (ret_call) {
        *ret_call = call;
    }
}

void recipe_key(struct recipe *r, enum cmd_type type) {
    *r = (struct recipe){.type = type,
                         .cred = CRED_KEY,
                         .key = -1,
                         .user = -1,
                         .queue = -1,
                         .kind = -1,
                         .jwt_key = -1,
                         .jwt_user = -1,
                         .state = -1,
                         .lease_ms = -1,
                         .unwatched_ms = -1,
                         .attempts = 1,
                         .max = 1,
                         .limit = 1000,
                         .wait_ms = CMD_NO_WAIT};
}

/* ---- whose credential ---- */

static void by_session(struct recipe *r, const struct known_session *s) {
    r->cred = CRED_SESSION;
    r->cred_id = s->id;
    r->cred_gen = s->gen > 1 && chance(12) ? s->gen - 1 : s->gen;
}

static void by_jwt(struct recipe *r) {
    r->cred = CRED_JWT;
    r->jwt_key = (int) dice(KEYS);
    r->jwt_user = chance(2) ? (int) dice(USERS) : -1;
    r->jwt_age_s = (int64_t) dice(chance(2) ? 2 : 60);
}

void command_jwt(void) {
    struct recipe r;
    recipe_key(&r, clock_dice(4) ? CMD_SESSION_GET : CMD_SESSION_END);
    r.cred = CRED_JWT;
    r.jwt_key = (int) clock_dice(2);
    r.jwt_age_s = (int64_t) clock_dice(clock_dice(2) ? 3 : 900);
    command_send(&r, (unsigned) clock_dice(LOOPS), NULL);
}

static void cred_for_task(struct recipe *r, const struct known_task *t) {
    struct known_session *s = chance(10) ? session_random() : session_known(t->session);
    uint64_t which = dice(10);
    if (which < 3 && s) {
        by_session(r, s);
    } else if (which < 5 && t->watch_gen) {
        r->cred = CRED_WATCH;
        r->cred_id = t->id;
        r->cred_gen = t->watch_gen > 1 && chance(8) ? t->watch_gen - 1 : t->watch_gen;
    } else if (which < 6 && chance(3)) {
        by_jwt(r);
    }
}

static void cred_for_session(struct recipe *r) {
    struct known_session *s = chance(20) ? session_random() : session_known(r->session);
    if (chance(2) && s) {
        by_session(r, s);
    } else if (chance(6)) {
        by_jwt(r);
    }
}

/* ---- what to ask for ---- */

static void fill_session_new(struct recipe *r) {
    r->key = chance(3) ? -1 : (int) dice(KEYS);
    r->user = chance(2) ? -1 : (int) dice(USERS);
    r->idle_ms = spans_ms[dice(5)];
    r->age_ms = spans_ms[dice(5)] * 3;
}

static void fill_task_new(struct recipe *r) {
    r->kind = (int) dice(2);
    r->queue = chance(4) ? -1 : (int) dice(QUEUES);
    r->policy = (enum on_session_end) dice(3);
    r->lease_ms = spans_ms[dice(4)];
    r->timeout_ms = spans_ms[dice(5)];
    r->deadline_ms = chance(3) ? 5000 + (int64_t) dice(20000) : 7 * DAY;
    r->backoff_ms = spans_ms[dice(3)];
    r->ttl_ms = ttls_ms[dice(5)];
    r->unwatched_ms = chance(6) ? (int64_t) dice(5000) : -1;
    r->attempts = r->queue < 0 ? 1 : 1 + (unsigned) dice(3);
    r->not_before_ms = r->queue >= 0 && chance(6) ? instant_now().wall_ms + (int64_t) dice(3000) : 0;
    r->input = chance(2) ? (unsigned) dice(1000000) : 0;
}

/* A session named in a body: by id, or by key and perhaps user. */
static void fill_ref(struct recipe *r) {
    struct known_session *s = session_random();
    if (s && !chance(4)) {
        r->into = s->id;
    } else {
        r->key = (int) dice(KEYS);
        r->user = chance(2) ? -1 : (int) dice(USERS);
    }
}

static bool fill_session(struct recipe *r) {
    struct known_session *s = session_random(), *into = session_random();
    if (s) {
        r->session = s->id;
        r->into = into->id;
        r->key = chance(2) ? -1 : (int) dice(KEYS);
        r->user = chance(2) ? -1 : s->user[0] ? s->user[4] - '0' : (int) dice(USERS);
    }
    return s;
}

static bool fill_task(struct recipe *r) {
    struct known_task *t = task_random();
    if (!t) {
        return false;
    }
    r->task = t->id;
    r->etag = chance(3) ? t->version : 0;
    r->offset = chance(2) ? 0 : t->output_bytes + RECORD * dice(2);
    r->reason = (unsigned) dice(3);
    r->question = t->question[0] && !chance(10) ? (unsigned) atoi(t->question + 1) : 1 + (unsigned) dice(2);
    r->answer = (unsigned) dice(2);
    t->delete_asked |= r->type == CMD_TASK_DELETE;
    t->moved |= r->type == CMD_TASK_BIND; /* perhaps away and back */
    return true;
}

static const struct {
    enum cmd_type type;
    unsigned weight;
    bool of_session, of_task, by_person, waits, idempotent;
} menu[] = {
    {CMD_SESSION_CREATE, 3, false, false, false, false, true},
    {CMD_SESSION_OPEN, 1, false, false, true, false, false},
    {CMD_SESSION_GET, 3, true, false, true, false, false},
    {CMD_SESSION_TOUCH, 2, true, false, false, false, true},
    {CMD_SESSION_ROTATE, 4, true, false, false, false, true},
    {CMD_SESSION_MERGE, 2, true, false, false, false, true},
    {CMD_SESSION_END, 2, true, false, true, false, false},
    {CMD_SESSION_LIST, 1, false, false, false, false, false},
    {CMD_TASK_CREATE, 12, false, false, false, false, true},
    {CMD_TASK_START, 4, true, false, true, false, true},
    {CMD_TASK_GET, 7, false, true, true, true, false},
    {CMD_TASK_RESULT, 2, false, true, true, false, false},
    {CMD_TASK_OUTPUT, 3, false, true, true, true, false},
    {CMD_TASK_INPUT, 2, false, true, false, false, false},
    {CMD_TASK_CANCEL, 3, false, true, true, false, true},
    {CMD_TASK_ANSWER, 4, false, true, true, false, true},
    {CMD_TASK_SEEN, 3, false, true, true, false, true},
    {CMD_TASK_BIND, 4, false, true, false, false, true},
    {CMD_TASK_TOKEN, 2, false, true, false, false, true},
    {CMD_TASK_DELETE, 2, false, true, false, false, false},
    {CMD_TASK_LIST, 2, false, false, true, false, false},
    {CMD_QUEUE_LIST, 1, false, false, false, false, false},
    {CMD_AUTH, 1, true, false, true, false, false},
};

static size_t menu_pick(void) {
    uint64_t total = 0;
    for (size_t i = 0; i < sizeof(menu) / sizeof(menu[0]); i++) {
        total += menu[i].weight;
    }
    uint64_t n = dice(total);
    for (size_t i = 0;; i++) {
        if (n < menu[i].weight) {
            return i;
        }
        n -= menu[i].weight;
    }
}

/* False: there is nothing yet that it could be about. */
static bool fill(struct recipe *r, size_t m) {
    recipe_key(r, menu[m].type);
    if ((menu[m].of_session && !fill_session(r)) || (menu[m].of_task && !fill_task(r))) {
        return false;
    }
    struct known_session *s = session_random();
    switch (r->type) {
    case CMD_SESSION_CREATE: fill_session_new(r); break;
    case CMD_TASK_CREATE: fill_task_new(r), fill_ref(r); break;
    case CMD_TASK_BIND: fill_ref(r); break;
    case CMD_SESSION_LIST:
    case CMD_TASK_LIST:
    case CMD_QUEUE_LIST: r->limit = 1 + (unsigned) dice(20); break;
    default: break;
    }
    if (r->type == CMD_TASK_START || ((r->type == CMD_TASK_LIST || r->type == CMD_SESSION_OPEN) && s && chance(2))) {
        if (r->type == CMD_TASK_START) {
            fill_task_new(r);
        }
        r->session = (struct id){0};
        by_session(r, r->type == CMD_TASK_START ? session_random() : s);
    } else if (menu[m].by_person && menu[m].of_task) {
        cred_for_task(r, task_known(r->task));
    } else if (menu[m].by_person && menu[m].of_session) {
        cred_for_session(r);
    }
    r->wait_ms = menu[m].waits && chance(2) ? waits_ms[dice(5)] : CMD_NO_WAIT;
    return true;
}

/* Said with a key: now for the first time, or again. */
static struct idem *idem_use(struct recipe *r, bool idempotent) {
    static const char *const form = "idem%llu";
    struct idem *i = &sim.idems[dice(IDEMS)];
    if (idempotent && !chance(3)) {
        return NULL;
    }
    if (!idempotent || (i->used && instant_now().engine_ms - i->at_ms > 30000)) {
        return NULL;
    }
    if (i->used) {
        *r = i->r;
        r->other_body = chance(8);
        sim.counts.replays++;
        return i;
    }
    snprintf(r->idem, sizeof(r->idem), form, (unsigned long long) sim.calls_made + 1);
    *i = (struct idem){.r = *r, .used = true, .at_ms = instant_now().engine_ms};
    return i;
}

static void idem_forget(void) {
    struct idem *i = &sim.idems[dice(IDEMS)];
    if (i->used && chance(4)) {
        i->used = i->has_answer = false;
    }
}

/* ---- workers ---- */

static void claim_random(unsigned loop) {
    struct recipe r;
    struct call *call;
    recipe_key(&r, CMD_QUEUE_CLAIM);
    r.worker_key = true;
    r.queue = (int) dice(QUEUES);
    r.max = 1 + (unsigned) dice(3);
    r.lease_ms = chance(2) ? -1 : spans_ms[1 + dice(3)];
    r.wait_ms = chance(2) ? waits_ms[dice(5)] : CMD_NO_WAIT;
    command_send(&r, loop, &call);
}

static struct recipe_report *add_report(struct recipe *r, enum report_type type) {
    struct recipe_report *report = &r->reports[r->report_count++];
    *report = (struct recipe_report){.type = type};
    return report;
}

static void add_output(struct recipe *r, const struct worker *w, uint64_t *at) {
    struct recipe_report *o = add_report(r, REPORT_OUTPUT);
    o->bytes = RECORD * (chance(12) ? 20 : dice(6));
    o->offset = *at;
    o->has_offset = !w->certain || chance(2);
    if (o->has_offset && chance(5)) {
        o->offset -= RECORD * dice(*at / RECORD + 1);
    } else if (o->has_offset && chance(20)) {
        o->offset += RECORD;
    }
    *at = o->offset + o->bytes > *at ? o->offset + o->bytes : *at;
}

static void add_random(struct recipe *r, const struct worker *w, uint64_t *at) {
    uint64_t which = dice(20);
    if (which < 9) {
        struct recipe_report *p = add_report(r, REPORT_PROGRESS);
        p->has_current = chance(2), p->has_total = chance(4), p->clear = chance(15);
        p->current = (unsigned) dice(20), p->total = (unsigned) dice(20), p->message = (unsigned) dice(3);
        p->phase = p->current % 4 ? 0 : p->total % 6,
        p->data = p->total % 4 ? 0 : p->current % 4; /* drawn with the others: seeds stay what they are */
    } else if (which < 15) {
        add_output(r, w, at);
    } else if (which < 17) {
        add_report(r, REPORT_HEARTBEAT);
    } else if (which < 18) {
        struct recipe_report *q = add_report(r, REPORT_INPUT_REQUEST);
        q->message = (unsigned) dice(2), q->clear = chance(2);
    } else {
        struct recipe_report *f = add_report(r, chance(2) ? REPORT_SUCCEED : chance(4) ? REPORT_CANCELLED : REPORT_FAIL);
        f->total = (unsigned) dice(60), f->message = (unsigned) dice(9), f->clear = chance(2), f->retry = !chance(3);
    }
}

static void worker_cred(struct recipe *r, const struct worker *w) {
    r->task = w->task;
    r->cred = w->by_key ? CRED_KEY : CRED_WORKER;
    r->worker_key = w->by_key;
    r->cred_id = w->by_key ? (struct id){0} : w->task;
    r->cred_gen = w->attempt;
}

static void worker_send(struct worker *w, struct recipe *r) {
    struct call *call;
    command_send(r, w->loop, &call);
    call->worker = w;
    w->busy = true;
}

static void worker_report(struct worker *w) {
    struct recipe r;
    uint64_t at = w->offset;
    recipe_key(&r, CMD_TASK_REPORT);
    worker_cred(&r, w);
    unsigned n = 1 + (chance(3) ? (unsigned) dice(REPORTS) : 0);
    while (r.report_count < n) {
        add_random(&r, w, &at);
    }
    r.lines = chance(2);
    r.lines_of_many = chance(2);
    for (unsigned i = 0; r.lines && i < r.report_count; i++) {
        r.reports[i].has_offset = true; /* the line before may be refused */
    }
    if (w->final) {
        r = w->last; /* said again */
    }
    w->last = r;
    worker_send(w, &r);
}

static void worker_act(void) {
    struct worker *w = &sim.workers[dice(WORKERS)];
    struct recipe r;
    if (!w->used || w->busy) {
        return;
    }
    uint64_t which = dice(40);
    if (which == 0) {
        w->used = false; /* never heard of again */
    } else if (which == 1) {
        recipe_key(&r, CMD_QUEUE_RELEASE);
        r.worker_key = true;
        r.queue = (int) dice(QUEUES);
        r.token_task = w->task;
        r.token_attempt = w->attempt;
        command_send(&r, w->loop, NULL);
    } else if (which < 4) {
        recipe_key(&r, which == 2 ? CMD_TASK_CONTROL : chance(2) ? CMD_TASK_INPUT : CMD_REPORT_OPEN);
        worker_cred(&r, w);
        r.after_version = chance(2) ? 0 : dice(50);
        r.wait_ms = which == 2 ? waits_ms[dice(4)] : CMD_NO_WAIT;
        worker_send(w, &r);
    } else {
        worker_report(w);
    }
}

/* ---- one of all this ---- */

void command_random(void) {
    unsigned loop = (unsigned) dice(LOOPS);
    struct recipe r;
    uint64_t which = dice(10);
    idem_forget();
    if (which < 4) {
        worker_act();
        return;
    }
    if (which < 5) {
        claim_random(loop);
        return;
    }
    size_t m = menu_pick();
    if (fill(&r, m)) {
        struct call *call;
        struct idem *i = idem_use(&r, menu[m].idempotent && (r.cred == CRED_KEY || r.cred == CRED_SESSION));
        command_send(&r, loop, &call);
        call->idem = i;
        if (chance(15)) {
            call_abandon(call);
        }
    } else {
        recipe_key(&r, CMD_SESSION_CREATE);
        fill_session_new(&r);
        command_send(&r, loop, NULL);
    }
}

struct call *command_audit(const struct recipe *r) {
    struct call *call;
    command_send(r, (unsigned) dice(LOOPS), &call);
    call->audit = true;
    return call;
}
