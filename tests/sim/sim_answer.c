/* What an answer may say, given what was asked, with which credential, and what is known; each goes to sim_model.c with what it shows. */
#include "sim.h"

#include "domain/session.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- answers ---- */

static bool tombstones_last(void) {
    return sim.options.tombstone_ttl > 3600 * SEC;
}

static void problem_check(const struct call *c) {
    enum err err = c->cmd->answer.problem.err;
    const struct recipe *r = &c->r;
    bool by_key = r->cred == CRED_KEY, task_at_stake = err == ERR_NOT_FOUND && by_key && !id_is_none(r->task);
    if (err == ERR_INTERNAL || err == ERR_NONE) {
        broken("call %llu failed with %s", (unsigned long long) c->number, err_code(err));
    }
    if (err == ERR_UNAVAILABLE && c->failures == sim.failures && !sim.dead && !sim.stopping) {
        broken("call %llu was refused with 503 although the store is well", (unsigned long long) c->number);
    }
    if (err == ERR_UNAUTHENTICATED && by_key) {
        broken("call %llu: the key was refused", (unsigned long long) c->number);
    }
    if (task_at_stake && task_known(r->task) && tombstones_last() && !sim.dead && !c->cmd->answer.problem.places) {
        broken("task %s was shown and now never was", name_of(r->task));
    }
    if (err == ERR_NOT_FOUND && by_key && !id_is_none(r->session) && sim.options.ended_session_ttl > 3600 * SEC && session_known(r->session) &&
        !sim.dead && !c->cmd->answer.problem.places) {
        broken("session %s was shown and now never was", name_of(r->session));
    }
    bool watching = r->type == CMD_WATCH; /* a feed that is over is 410 as well */
    struct known_task *t = err == ERR_GONE && by_key && !watching && !id_is_none(r->task) ? task_known(r->task) : NULL;
    if (t && !sim.dead) {
        t->gone = true;
        t->floor_call = sim.calls_made;
    }
}

/* A JWT that names a user is served for that user's sessions alone, whoever else has had its key. */
static void sub_check(const struct call *c, struct id session, struct str user) {
    char sub[16];
    snprintf(sub, sizeof(sub), "user%d", c->r.jwt_user);
    if (c->r.cred == CRED_JWT && c->r.jwt_user >= 0 && !str_eqz(user, sub)) {
        broken("call %llu of %s was told of session %s of \"%.*s\"", (unsigned long long) c->number, sub, name_of(session), STR_FMT(user));
    }
}

/* Was the credential one that may be told this? */
static void entitled_check(const struct call *c, const struct json *task) {
    struct id id = id_of(text_of(task, "id"), ID_TASK), session = id_of(text_of(task, "session"), ID_SESSION);
    const struct recipe *r = &c->r;
    bool good = true;
    if (r->cred == CRED_SESSION) {
        good = id_eq(session, r->cred_id);
    } else if (r->cred == CRED_WATCH || r->cred == CRED_WORKER) {
        good = id_eq(id, r->cred_id);
    }
    const struct known_session *s = session_known(session);
    if (s && s->user[0]) {
        sub_check(c, session, str_of(s->user));
    }
    if (!good) {
        broken("call %llu was told of task %s, which is not its own", (unsigned long long) c->number, name_of(id));
    }
}

static void credential_check(const struct call *c) {
    if (c->cred_dead && c->r.type != CMD_SESSION_OPEN) {
        broken("call %llu was served although its credential had died", (unsigned long long) c->number);
    }
    bool may = c->r.type == CMD_SESSION_END || c->r.type == CMD_SESSION_OPEN || (c->r.type == CMD_WATCH && c->cmd->answer.status == 204);
    if (c->session_over && !may && !c->r.idem[0]) {
        broken("call %llu was served although its session had ended", (unsigned long long) c->number);
    }
}

static void idempotency_check(struct call *c, const struct answer *a) {
    struct idem *i = c->idem;
    bool fresh = i && instant_now().engine_ms - i->at_ms < sim.options.idempotency_ttl && strcmp(i->r.idem, c->r.idem) == 0;
    if (!fresh) {
        return;
    }
    uint64_t h = hash_text(hash_str((uint64_t) a->status + 1, buf_view(&a->body)), a->location.p ? a->location.p : "", a->location.len);
    if (c->r.other_body && i->has_answer) {
        broken("call %llu: an idempotency key was taken with another body", (unsigned long long) c->number);
    }
    if (!c->r.other_body && i->has_answer && h != i->answer) {
        broken("call %llu: said again, it was answered in another way: %.*s", (unsigned long long) c->number, STR_FMT(buf_view(&a->body)));
    }
    if (!c->r.other_body) {
        i->has_answer = true;
        i->answer = h;
    }
}

static void claimed(struct call *c, const struct json *root) {
    for (const struct json *j = member_of(root, "tasks")->child; j; j = j->next) {
        struct known_task *t = model_task(j, false);
        uint32_t attempt = token_gen(text_of(j, "worker_token"), TOKEN_WORKER, t->id);
        if (attempt != number_of(j, "attempt")) {
            broken("task %s was claimed with a token of another attempt", name_of(t->id));
        }
        model_claim(t->id, attempt, c);
        sim.counts.claims++;
    }
}

static void final_check(const struct call *c, struct str state) {
    enum report_type last = c->r.reports[c->r.report_count - 1].type;
    bool good = last == REPORT_SUCCEED     ? str_eqz(state, "succeeded")
                : last == REPORT_CANCELLED ? str_eqz(state, "cancelled")
                : last == REPORT_FAIL      ? str_eqz(state, "failed") || str_eqz(state, "queued") || str_eqz(state, "cancelled")
                                           : task_state_parse(state) < TASK_SUCCEEDED;
    if (!good) {
        broken("call %llu: the report was answered with the state %.*s", (unsigned long long) c->number, STR_FMT(state));
    }
}

/* What a worker is told. */
static void reported(struct call *c, const struct json *root) {
    struct known_task *t = task_known(c->r.task);
    bool control = c->r.type == CMD_TASK_CONTROL, final = !control && c->r.reports[c->r.report_count - 1].type >= REPORT_SUCCEED;
    uint32_t attempt = c->r.cred == CRED_WORKER ? c->r.cred_gen : 1;
    if (root->type == JSON_NULL || !t) {
        return;
    }
    if (attempt < number_of(root, "attempt") && !final) {
        broken("call %llu: attempt %u reported while %llu was under way", (unsigned long long) c->number, attempt,
               (unsigned long long) number_of(root, "attempt"));
    }
    if (!control) {
        final_check(c, text_of(root, "state"));
    }
    model_version(t, number_of(root, "version"), sim.dead || final);
    if (number_of(root, "version") > t->floor) {
        t->floor = number_of(root, "version");
        t->floor_call = sim.calls_made;
    }
    if (!control && !final && attempt >= t->acked_attempt) {
        t->acked_attempt = attempt;
        t->acked_offset = number_of(root, "output_offset");
    }
}

static void listed(struct call *c, const struct json *root) {
    for (const struct json *j = member_of(root, "items")->child; j; j = j->next) {
        if (c->r.type == CMD_SESSION_LIST) {
            model_session(j, false)->listed = c->audit ? sim.audits : 0;
        } else if (c->r.type == CMD_TASK_LIST) {
            struct known_task *t = model_task(j, false);
            entitled_check(c, j);
            if (c->audit && t->listed == sim.audits) {
                broken("task %s is listed twice", name_of(t->id));
            }
            t->listed = c->audit ? sim.audits : 0;
        }
    }
}

static void output_answer(const struct call *c) {
    const struct answer *a = &c->cmd->answer;
    unsigned attempt = 0, record = 0;
    bool known = false;
    if (a->output_offset % RECORD == 0) {
        output_check(c->r.task, buf_view(&a->body), &attempt, &record, &known);
    }
}

static int64_t made_ms(struct id id) {
    int64_t ms = 0;
    for (int i = 0; i < 6; i++) {
        ms = ms << 8 | id.b[i];
    }
    return ms;
}

static bool session_lives(struct id id) { /* as far as is known */
    const struct known_session *s = session_known(id);
    return s && !s->ended;
}

/* A JWT that was issued before a log-out opens no new session after it. Where the clock has gone back since, its date may come twice. */
static void log_out_check(const struct call *c, const struct json *session, bool lived) {
    if (c->r.cred != CRED_JWT || c->r.idem[0]) {
        return;
    }
    struct id id = id_of(text_of(session, "id"), ID_SESSION);
    const struct instant *out = &sim.log_outs[c->r.jwt_key].made;
    bool same_clock = sim.log_outs[c->r.jwt_key].known && out->backs == sim.clock_backs;
    if (same_clock && c->iat_s <= out->wall_ms / 1000 && made_ms(id) >= out->engine_ms && !str_eqz(text_of(session, "state"), "ended")) {
        broken("call %llu: a JWT of before the log-out has session %s, which was made after it", (unsigned long long) c->number, name_of(id));
    }
    int64_t ended_ms = 0;
    bool now = lived && c->r.type == CMD_SESSION_END && c->made.backs == sim.clock_backs && time_parse(text_of(session, "ended_at"), &ended_ms);
    if (now && ended_ms >= c->made.wall_ms) {
        sim.log_outs[c->r.jwt_key].known = true;
        sim.log_outs[c->r.jwt_key].made = c->made;
    }
}

static void json_answer(struct call *c, const struct json *root) {
    bool replay = c->r.idem[0] != '\0', lived;
    switch (c->r.type) {
    case CMD_SESSION_CREATE:
    case CMD_SESSION_OPEN:
    case CMD_SESSION_GET:
    case CMD_SESSION_TOUCH:
    case CMD_SESSION_ROTATE:
    case CMD_SESSION_END:
    case CMD_SESSION_MERGE:
        lived = session_lives(id_of(text_of(root, "id"), ID_SESSION));
        model_session(root, replay);
        log_out_check(c, root, lived);
        sub_check(c, id_of(text_of(root, "id"), ID_SESSION), text_of(root, "user"));
        break;
    case CMD_SESSION_LIST:
    case CMD_TASK_LIST: listed(c, root); break;
    case CMD_TASK_CREATE:
    case CMD_TASK_START:
    case CMD_TASK_GET:
    case CMD_TASK_CANCEL:
    case CMD_TASK_ANSWER:
    case CMD_TASK_SEEN:
    case CMD_TASK_BIND: {
        entitled_check(c, root);
        bool made = (c->r.type == CMD_TASK_CREATE || c->r.type == CMD_TASK_START) && !replay;
        struct known_task *t = model_task(root, replay);
        t->moved &= !made;
        break;
    }
    case CMD_TASK_RESULT:
        if (c->cmd->answer.status == 202) {
            entitled_check(c, root);
            model_task(root, false);
        }
        break;
    case CMD_TASK_TOKEN:
        if (task_known(c->r.task)) {
            model_task_tokens(task_known(c->r.task), root, replay || sim.dead);
        }
        break;
    case CMD_TASK_CONTROL:
    case CMD_TASK_REPORT: reported(c, root); break;
    case CMD_QUEUE_CLAIM: claimed(c, root); break;
    default: break;
    }
}

static void none_answer(struct call *c) {
    const struct answer *a = &c->cmd->answer;
    struct known_task *t = task_known(c->r.task);
    if (a->status == 304 && t) {
        if (a->etag != c->r.etag) {
            broken("call %llu: 304 for another version", (unsigned long long) c->number);
        }
        model_version(t, a->etag, sim.dead);
    } else if (c->r.type == CMD_TASK_DELETE && t && a->status == 204) {
        t->deleted = t->gone = true;
        t->floor_call = sim.calls_made;
    }
}

static void rotation_told(const struct call *c) {
    struct known_session *s = c->r.type == CMD_SESSION_ROTATE ? session_known(c->r.session) : NULL;
    const struct answer *a = &c->cmd->answer;
    if (s && !(a->type == ANSWER_PROBLEM && a->problem.err == ERR_UNAVAILABLE)) {
        s->rotations_told++;
    }
}

static enum err err_of(struct str code) {
    enum err err = ERR_NONE + 1;
    while (err < ERR_COUNT && !str_eqz(code, err_code(err))) {
        err++;
    }
    return err;
}

/* Of lines, the answer to the last one stands for all, as if it had been sent alone. */
static void lines_fold(struct call *c) {
    struct answer *a = &c->cmd->answer;
    struct str rest = buf_view(&a->body), last = STR_NONE;
    size_t count = 0;
    for (; rest.len; count++) {
        size_t len = (size_t) ((const char *) memchr(rest.p, '\n', rest.len) - rest.p);
        last = str_n(rest.p, len);
        rest = str_from(rest, len + 1);
    }
    if (count != c->cmd->line_count || count < 2 || (count < c->r.report_count + 1 && !a->ends_stream)) {
        broken("call %llu: %zu lines were answered of %u", (unsigned long long) c->number, count, c->r.report_count + 1);
    }
    struct arena arena = {0};
    const struct json *root = parse(&arena, last), *code = json_get(root, "code");
    if (code) {
        *a = (struct answer){.type = ANSWER_PROBLEM, .body = a->body, .problem.err = err_of(code->string)};
    } else {
        struct buf body = {0};
        buf_str(&body, last);
        buf_fini(&a->body);
        a->body = body;
    }
    arena_fini(&arena);
}

void model_answer(struct call *c) {
    struct answer *a = &c->cmd->answer;
    sim.counts.answers++;
    if (c->r.lines && a->type == ANSWER_JSON) {
        lines_fold(c);
    }
    rotation_told(c);
    if (a->type == ANSWER_PROBLEM) {
        trace("call %llu answered: %s", (unsigned long long) c->number, err_code(a->problem.err));
        problem_check(c);
        return;
    }
    trace("call %llu answered: %d", (unsigned long long) c->number, a->status);
    if (a->type == ANSWER_ROTATED) {
        return;
    }
    sim.counts.ok += a->status / 100 == 2;
    credential_check(c);
    if (a->type == ANSWER_REFILL) {
        for (size_t i = 0; i < a->frame_count; i++) {
            model_frame(a->frames[i]);
        }
    } else if (a->type == ANSWER_BYTES) {
        output_answer(c);
    } else if (a->type == ANSWER_NONE) {
        none_answer(c);
    } else if (a->type == ANSWER_JSON) {
        struct arena arena = {0};
        bool page = c->r.type == CMD_SESSION_LIST || c->r.type == CMD_TASK_LIST || c->r.type == CMD_QUEUE_CLAIM;
        idempotency_check(c, a);
        sim.page = page ? c : NULL;
        json_answer(c, parse(&arena, buf_view(&a->body)));
        sim.page = NULL;
        arena_fini(&arena);
    }
}
