/* Idempotency-Key: the first 2xx is kept in the transaction of its effect and given again; a second request waits for the first. */
#include "engine/idempotency.h"

#include "engine/answer.h"
#include "engine/batch.h"
#include "engine/kinds.h"
#include "engine/load.h"
#include "engine/look_up.h"
#include "engine/needs.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/wait.h"

#include "base/mem.h"
#include "base/json.h"
#include "base/crypto.h"

static void scope_of(struct engine *e, struct cmd *c, unsigned set, uint8_t out[32]) {
    struct buf text = {0};
    char id[ID_TEXT_LEN + 1];
    struct str parts[4] = {STR_NONE, c->method, c->path, c->idempotency_key};
    if (c->cred.kind == CRED_KEY) {
        parts[0] = c->cred.name;
    } else {
        bool session = c->e.self != NULL;
        id_format(session ? c->e.self->s.id : c->cred.id, session ? ID_SESSION : ID_TASK, id);
        parts[0] = str_n(id, ID_TEXT_LEN);
    }
    buf_u64(&text, c->cred.kind == CRED_KEY);
    for (int i = 0; i < 4; i++) {
        buf_printf(&text, " %zu:", parts[i].len);
        buf_str(&text, parts[i]);
    }
    crypto_hmac(&e->config.keys->set[set].idempotency, buf_view(&text), out);
    buf_fini(&text);
}

static void free_entry(struct engine *e, struct idempotency *i) {
    HASH_DELETE(hh, e->idempotency, i);
    mem_free((void *) i->row.request.p);
    mem_free((void *) i->row.location.p);
    mem_free((void *) i->row.cookie.p);
    mem_free((void *) i->row.answer.p);
    mem_free(i);
}

/* The headers that come of what was answered: those of a task. */
static void headers_again(struct cmd *c) {
    struct json *root;
    struct json_error err;
    if (c->type < CMD_TASK_CREATE || json_parse(&c->arena, buf_view(&c->answer.body), 256, &root, &err)) {
        return;
    }
    const struct json *version = json_get(root, "version"), *state = json_get(root, "state");
    c->answer.etag = version && version->is_integer ? (uint64_t) version->integer : 0;
    if (state && task_state_parse(state->string) < TASK_SUCCEEDED && c->type != CMD_TASK_BIND) {
        c->answer.retry_after_s = 1;
    }
}

static enum step give_again(struct engine *e, struct cmd *c, const struct idempotency_row *row) {
    if (!str_eq(row->request, c->body)) {
        cmd_refuse(e, c, ERR_IDEMPOTENCY_MISMATCH, "This Idempotency-Key was first used with another body");
        return ANSWERED;
    }
    c->answer.type = row->answer.len ? ANSWER_JSON : ANSWER_NONE;
    c->answer.status = row->status;
    buf_clear(&c->answer.body);
    buf_str(&c->answer.body, row->answer);
    c->answer.location = arena_str(&c->arena, row->location);
    c->answer.cookie = arena_str(&c->arena, row->cookie);
    headers_again(c);
    cmd_answer(e, c);
    return ANSWERED;
}

enum step idempotency_begin(struct engine *e, struct cmd *c) {
    uint8_t scope[32];
    struct idempotency *i;
    if (c->e.idempotency) {
        return GO_ON; /* it is run again */
    }
    if (c->e.kept) {
        return give_again(e, c, c->e.kept);
    }
    for (unsigned set = e->config.keys->count; set-- > 0;) { /* the first secret last: its scope is what a new entry gets */
        scope_of(e, c, set, scope);
        HASH_FIND(hh, e->idempotency, scope, sizeof(scope), i);
        if (i && i->under_way) {
            cmd_park(c, &i->waiters);
            return WAITS;
        }
        if (i) {
            needs_set(e, c, i->set);
            return give_again(e, c, &i->row);
        }
        if (look_up(e, c, LOOK_IDEMPOTENCY, scope, sizeof(scope)) == PARKED) {
            return WAITS;
        }
    }
    i = mem_alloc(sizeof(*i));
    memcpy(i->scope, scope, sizeof(scope));
    i->under_way = true;
    TAILQ_INIT(&i->waiters);
    HASH_ADD(hh, e->idempotency, scope, sizeof(i->scope), i);
    c->e.idempotency = i;
    return GO_ON;
}

static struct str keep(struct str s) {
    return s.p ? str_n(mem_dup(s.p, s.len), s.len) : STR_NONE;
}

void idempotency_answered(struct engine *e, struct cmd *c) {
    struct idempotency *i = c->e.idempotency;
    bool good = c->answer.type != ANSWER_PROBLEM && c->answer.status / 100 == 2 && !c->answer.body.failed;
    c->e.idempotency = NULL;
    cmd_wake(e, &i->waiters);
    if (!good) {
        free_entry(e, i);
        return;
    }
    struct str answer = c->answer.type == ANSWER_JSON ? buf_view(&c->answer.body) : STR("");
    i->under_way = false;
    i->row = (struct idempotency_row){.scope = str_n((char *) i->scope, sizeof(i->scope)),
                                      .request = keep(c->body.p ? c->body : STR("")),
                                      .status = c->answer.status,
                                      .location = keep(c->answer.location),
                                      .cookie = keep(c->answer.cookie),
                                      .answer = keep(answer),
                                      .expires_at = e->now + e->o->idempotency_ttl};
    step_stands_on(e, needs_of(e, c));
    struct store_op *op = batch_op(e, STORE_PUT_IDEMPOTENCY);
    op->row.idempotency = i->row;
    op->row.idempotency.scope = batch_text(e, i->row.scope);
    op->row.idempotency.request = batch_text(e, i->row.request);
    op->row.idempotency.location = batch_text(e, i->row.location);
    op->row.idempotency.cookie = batch_text(e, i->row.cookie);
    op->row.idempotency.answer = batch_text(e, i->row.answer);
    i->set = step_set(e);
}

void idempotency_durable(struct engine *e, uint64_t upto) {
    struct idempotency *i, *next;
    HASH_ITER (hh, e->idempotency, i, next) {
        if (!i->under_way && (i->set <= upto || set_has_failed(e, i->set))) {
            look_up_missed(e, LOOK_IDEMPOTENCY, i->scope, sizeof(i->scope));
            free_entry(e, i);
        }
    }
}

void idempotency_drop_all(struct engine *e) {
    struct idempotency *i, *next;
    HASH_ITER (hh, e->idempotency, i, next) {
        free_entry(e, i);
    }
}
