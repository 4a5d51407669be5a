/* Look-ups under way: sessions with their tasks as a whole, made of their rows a piece at a time, and what leads to them. */
#include "engine/load.h"

#include "engine/answer.h"
#include "engine/due.h"
#include "engine/idempotency.h"
#include "engine/keys.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/look_up.h"
#include "engine/query.h"
#include "engine/report_lines.h"
#include "engine/residence.h"
#include "engine/rows.h"
#include "engine/sets.h"
#include "engine/state.h"
#include "engine/tombstones.h"
#include "engine/users.h"
#include "engine/wait.h"

#include "base/mem.h"
#include "base/log.h"
#include "base/crypto.h"

struct load_key load_key_of(int what, const void *key, size_t len) {
    struct load_key k;
    memset(&k, 0, sizeof(k));
    k.what = what;
    if (len <= sizeof(k.key)) {
        memcpy(k.key, key, len);
    } else {
        crypto_sha256(str_n(key, len), k.key);
    }
    return k;
}

static struct store_query *look_up_query(const struct engine *e, struct load *l, const void *key, size_t len) {
    static const enum store_query_type types[] = {
        [LOOK_SESSION] = STORE_LOAD_SESSION,         [LOOK_TASK] = STORE_FIND_TASK, [LOOK_KEY] = STORE_FIND_KEY, [LOOK_USER] = STORE_FIND_USER,
        [LOOK_IDEMPOTENCY] = STORE_FIND_IDEMPOTENCY,
    };
    struct store_query *q = query_create(types[l->key.what], QUERY_LOAD, l);
    struct str text = str_n(key, len);
    switch ((enum look_up) l->key.what) {
    case LOOK_SESSION: memcpy(&q->ask.session, key, sizeof(q->ask.session)); break;
    case LOOK_TASK: memcpy(&q->ask.task, key, sizeof(q->ask.task)); break;
    case LOOK_KEY: q->ask.key_hash = arena_str(&q->arena, text); break;
    case LOOK_USER: q->ask.user = arena_str(&q->arena, text); break;
    case LOOK_IDEMPOTENCY:
        q->ask.idempotency.scope = arena_str(&q->arena, text);
        q->ask.idempotency.now = e->now;
        break;
    }
    return q;
}

struct load *load_begin(struct engine *e, enum look_up what, const void *key, size_t len, bool low_priority) {
    struct load_key k = load_key_of(what, key, len);
    struct load *l;
    HASH_FIND(hh, e->loads, &k, sizeof(k), l);
    if (l) {
        return l;
    }
    l = mem_alloc(sizeof(*l));
    l->key = k;
    l->stamp = ++e->look_clock;
    l->asked_at = e->now;
    TAILQ_INIT(&l->waiters);
    HASH_ADD(hh, e->loads, key, sizeof(l->key), l);
    struct store_query *q = look_up_query(e, l, key, len);
    q->low_priority = low_priority;
    e->counts.loads++;
    query_send(e, q);
    return l;
}

void session_load(struct engine *e, struct id id, bool reload) {
    struct load *l = load_begin(e, LOOK_SESSION, &id, sizeof(id), false);
    l->reload |= reload;
}

void session_load_first(struct engine *e, struct id id) {
    struct load *l = load_begin(e, LOOK_SESSION, &id, sizeof(id), false);
    l->reload |= e->unclean;
    e->loads_left += !l->first;
    l->first = true;
}

bool session_reloading(struct engine *e, struct cmd *c, struct id id) {
    struct load_key k = load_key_of(LOOK_SESSION, &id, sizeof(id));
    struct load *l;
    HASH_FIND(hh, e->loads, &k, sizeof(k), l);
    if (!l || !l->reload) {
        return false;
    }
    cmd_park(c, &l->waiters);
    return true;
}

static void *copy_into(struct cmd *c, const void *p, size_t bytes) {
    void *copy = arena_alloc(&c->arena, bytes);
    if (copy) {
        memcpy(copy, p, bytes);
    }
    return copy;
}

static void take_session(struct engine *e, struct load *l, struct store_query *q) {
    struct id id;
    memcpy(&id, l->key.key, sizeof(id));
    if (q->answer.session.found && !session_resident(e, id)) {
        step_begin(e);
        session_from_rows(e, q, l->piece.tasks, l->piece.count, l->reload);
        l->piece.count = 0;
    }
}

/* A look-up that found the name of a session: its waiters wait on for the session itself. */
static void wait_on(struct engine *e, struct load *l, struct id session) {
    struct cmd_list *next = session_resident(e, session) ? &e->ready : &load_begin(e, LOOK_SESSION, &session, sizeof(session), false)->waiters;
    while (!TAILQ_EMPTY(&l->waiters)) {
        struct cmd *c = TAILQ_FIRST(&l->waiters);
        cmd_unpark(e, c);
        cmd_park(c, next);
    }
}

static void take_user(struct engine *e, struct store_query *q) {
    struct user *u;
    HASH_FIND(hh, e->users, q->ask.user.p, q->ask.user.len, u);
    if (u && !u->stale) {
        return;
    }
    user_learn(u ? u : user_create(e, q->ask.user), &q->answer.user);
}

static void learn_old_key(const struct engine *e, struct cmd *c, const struct old_key_row *row) {
    if (row && row->expires_at > e->now && (!c->e.old_key || c->e.old_key->jwt_from_s < row->jwt_from_s)) {
        c->e.old_key = copy_into(c, row, sizeof(*row));
    }
}

static void learn_tombstone(const struct engine *e, struct cmd *c, const struct tombstone_row *row) {
    if (row && row->gone_at + e->o->tombstone_ttl > e->now) {
        c->e.gone = copy_into(c, row, sizeof(*row));
        c->e.gone->kind = arena_str(&c->arena, row->kind);
    }
}

static void learn_kept(struct cmd *c, const struct idempotency_row *from) {
    if (from) {
        struct idempotency_row *row = copy_into(c, from, sizeof(*row));
        row->request = arena_str(&c->arena, row->request);
        row->location = arena_str(&c->arena, row->location);
        row->cookie = arena_str(&c->arena, row->cookie);
        row->answer = arena_str(&c->arena, row->answer);
        c->e.kept = row;
    }
}

static void cmd_learn(const struct engine *e, struct cmd *c, const struct store_query *q) {
    switch (q->type) {
    case STORE_FIND_TASK: learn_tombstone(e, c, q->answer.task.tombstone); break;
    case STORE_FIND_KEY: learn_old_key(e, c, q->answer.key.old_key); break;
    case STORE_FIND_IDEMPOTENCY: learn_kept(c, q->answer.idempotency); break;
    default: break;
    }
}

static void waiters_learn(const struct engine *e, struct load *l, const struct store_query *q, bool found) {
    struct cmd *c;
    TAILQ_FOREACH (c, &l->waiters, e.link) {
        cmd_learn(e, c, q);
        if (!found) {
            negative_add(c, l);
        }
    }
}

static void load_failed(struct engine *e, struct load *l) {
    while (!TAILQ_EMPTY(&l->waiters)) {
        struct cmd *c = TAILQ_FIRST(&l->waiters);
        cmd_unpark(e, c);
        if (c->type == CMD_REPORT_LINES) {
            line_unread(e, c, "The store cannot be read"); /* the lines before it stand */
        } else {
            cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be read");
        }
    }
    log_error("store_read_failed", "what=%d", l->key.what);
}

/* What was looked for has been found; for a task or a key *ret_session is where it leads. */
static bool look_up_found(const struct store_query *q, struct id *ret_session) {
    switch (q->type) {
    case STORE_LOAD_SESSION: return q->answer.session.found;
    case STORE_FIND_TASK: *ret_session = q->answer.task.session; return q->answer.task.found;
    case STORE_FIND_KEY: *ret_session = q->answer.key.session; return q->answer.key.found;
    case STORE_FIND_IDEMPOTENCY: return q->answer.idempotency;
    default: return true; /* a user is there in any case */
    }
}

static void load_answered(struct engine *e, struct load *l, struct store_query *q) {
    struct id session = {0};
    bool found = look_up_found(q, &session);
    if (q->type == STORE_LOAD_SESSION) {
        take_session(e, l, q);
    } else if (q->type == STORE_FIND_USER) {
        take_user(e, q);
    }
    waiters_learn(e, l, q, found);
    if (found && !id_is_none(session)) {
        wait_on(e, l, session);
    } else {
        cmd_wake(e, &l->waiters);
    }
}

static void load_done(struct engine *e, struct load *l, struct store_query *q) {
    HASH_DELETE(hh, e->loads, l);
    if (q->result == STORE_OK) {
        load_answered(e, l, q);
    } else {
        load_failed(e, l);
    }
    e->loads_left -= l->first;
    e->due_loads -= l->due;
    sessions_load_due(e);
    load_free(l);
}

void load_free(struct load *l) {
    for (size_t i = 0; i < l->piece.count; i++) {
        task_fini(&l->piece.tasks[i]);
    }
    mem_free(l->piece.tasks);
    query_free(l->piece.query);
    mem_free(l);
}

/* True when all tasks are made of their rows. */
static bool load_go_on(struct engine *e, struct load *l, struct store_query *q) {
    const struct task_rows *rows = &q->answer.session.tasks;
    size_t most = rows->count - l->piece.at < ENGINE_LOAD_PIECE ? rows->count : l->piece.at + ENGINE_LOAD_PIECE;
    if (!l->piece.tasks && rows->count) {
        l->piece.tasks = mem_alloc(rows->count * sizeof(*l->piece.tasks));
    }
    for (; l->piece.at < most; l->piece.at++) {
        l->piece.count += task_from_row(e, &rows->list[l->piece.at], &l->piece.tasks[l->piece.count]);
    }
    return l->piece.at == rows->count;
}

bool engine_loaded(struct engine *e, struct store_query *q) {
    struct load *l = q->owner;
    if (l->key.what == LOOK_SESSION && q->result == STORE_OK && !load_go_on(e, l, q)) {
        l->piece.query = q;
        TAILQ_INSERT_TAIL(&e->pieces, l, piece.link);
        return false;
    }
    load_done(e, l, q);
    return true;
}

bool engine_load_piece(struct engine *e) {
    struct load *l = TAILQ_FIRST(&e->pieces);
    bool done = l && load_go_on(e, l, l->piece.query);
    if (done) {
        TAILQ_REMOVE(&e->pieces, l, piece.link);
        load_done(e, l, l->piece.query);
    }
    return done;
}
