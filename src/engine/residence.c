/*
 * Which sessions are in memory. A session with its tasks is there as a whole or not at all: loaded by one query when a command needs it (which waits), let go when
 * nobody watches and nothing in it is unfinished. Memory is asked first, always. That a look-up found
 * nothing counts for a while only, shorter than any session stays, and not if what it looked for has become durable and left memory since it was asked
 * (look_up_missed) or a batch has failed: what was made and let go meanwhile would be missed.
 */
#include "engine/internal.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

struct store_query *query_create(enum store_query_type type, int purpose, void *owner) {
    struct store_query *q = mem_alloc(sizeof(*q));
    q->type = type;
    q->purpose = purpose;
    q->owner = owner;
    return q;
}

void query_free(struct store_query *q) {
    if (q) {
        if (q->type == STORE_GET_OUTPUT) {
            buf_fini(&q->ask.output.bytes);
        }
        arena_fini(&q->arena);
        mem_free(q);
    }
}

void query_send(struct engine *e, struct store_query *q) {
    e->queries++;
    store_query(e->store, q);
}

struct session_entry *session_resident(struct engine *e, struct id id) {
    struct session_entry *s;
    HASH_FIND(hh, e->sessions, &id, sizeof(id), s);
    return s;
}

struct task_entry *task_resident(struct engine *e, struct id id) {
    struct task_entry *t = e->found;
    if (!t || !id_eq(t->t.id, id)) {
        HASH_FIND(hh, e->tasks, &id, sizeof(id), t);
        e->found = t;
    }
    return t;
}

/* ---- looking things up ---- */

static struct load_key load_key_of(int what, const void *key, size_t len) {
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

static struct load *load_begin(struct engine *e, enum look_up what, const void *key, size_t len, bool patient) {
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
    q->patient = patient;
    e->counts.loads++;
    query_send(e, q);
    return l;
}

static void recent_free(struct engine *e, struct recent *r) {
    assert(e->recent); /* what is in the order is in the table */
    TAILQ_REMOVE(&e->recent_order, r, link);
    HASH_DELETE(hh, e->recent, r);
    mem_free(r);
}

void look_up_missed(struct engine *e, enum look_up what, const void *key, size_t len) {
    struct load_key k = load_key_of(what, key, len);
    struct recent *r = TAILQ_FIRST(&e->recent_order);
    while (r && r->at + ENGINE_LOOK_MS < e->now) {
        recent_free(e, r);
        r = TAILQ_FIRST(&e->recent_order);
    }
    HASH_FIND(hh, e->recent, &k, sizeof(k), r);
    if (r) {
        TAILQ_REMOVE(&e->recent_order, r, link);
    } else {
        r = mem_alloc(sizeof(*r));
        r->key = k;
        HASH_ADD(hh, e->recent, key, sizeof(r->key), r);
    }
    r->stamp = ++e->look_clock;
    r->at = e->now;
    TAILQ_INSERT_TAIL(&e->recent_order, r, link);
}

void look_ups_drop(struct engine *e) {
    while (!TAILQ_EMPTY(&e->recent_order)) {
        recent_free(e, TAILQ_FIRST(&e->recent_order));
    }
}

static bool absent_counts(const struct engine *e, const struct absent *a, const struct load_key *k) {
    const struct recent *r;
    if (a->stamp < e->looks_failed || a->asked_at + ENGINE_LOOK_MS <= e->now) {
        return false;
    }
    HASH_FIND(hh, e->recent, k, sizeof(*k), r);
    return !r || r->stamp < a->stamp;
}

enum found look_up(struct engine *e, struct cmd *c, enum look_up what, const void *key, size_t len) {
    struct load_key k = load_key_of(what, key, len);
    for (unsigned i = 0; i < c->e.absent_count; i++) {
        const struct absent *a = &c->e.absent[i];
        if (a->what == k.what && memcmp(a->key, k.key, sizeof(k.key)) == 0 && absent_counts(e, a, &k)) {
            return ABSENT;
        }
    }
    cmd_park(c, &load_begin(e, what, key, len, false)->waiters);
    return PARKED;
}

static struct absent *absent_room(struct cmd *c, const struct load *l) {
    for (unsigned i = 0; i < c->e.absent_count; i++) {
        if (c->e.absent[i].what == l->key.what && memcmp(c->e.absent[i].key, l->key.key, sizeof(l->key.key)) == 0) {
            return &c->e.absent[i];
        }
    }
    if (c->e.absent_count == c->e.absent_cap) {
        unsigned cap = c->e.absent_cap ? c->e.absent_cap * 2 : 4;
        struct absent *more = arena_alloc(&c->arena, cap * sizeof(*more));
        if (!more) {
            return NULL; /* it is asked again */
        }
        if (c->e.absent_count) {
            memcpy(more, c->e.absent, c->e.absent_count * sizeof(*more));
        }
        c->e.absent = more;
        c->e.absent_cap = cap;
    }
    return &c->e.absent[c->e.absent_count++];
}

static void note_absent(struct cmd *c, const struct load *l) {
    struct absent *a = absent_room(c, l);
    if (a) {
        a->what = l->key.what;
        a->stamp = l->stamp;
        a->asked_at = l->asked_at;
        memcpy(a->key, l->key.key, sizeof(l->key.key));
    }
}

enum found find_session(struct engine *e, struct cmd *c, struct id id, struct session_entry **ret) {
    struct session_entry *s = session_resident(e, id);
    if (!s) {
        return look_up(e, c, LOOK_SESSION, &id, sizeof(id));
    }
    s->used_at = e->now;
    *ret = s;
    return FOUND;
}

enum found find_task(struct engine *e, struct cmd *c, struct id id, struct task_entry **ret, struct tombstone_row **ret_gone) {
    struct task_entry *t = task_resident(e, id);
    if (t) {
        t->s->used_at = e->now;
        *ret = t;
        return FOUND;
    }
    struct tombstone *dead;
    HASH_FIND(hh, e->tombstones, &id, sizeof(id), dead);
    *ret_gone = dead ? &dead->row : c->e.gone && id_eq(c->e.gone->task, id) ? c->e.gone : NULL;
    return *ret_gone ? ABSENT : look_up(e, c, LOOK_TASK, &id, sizeof(id));
}

void session_key_hash(const struct engine *e, unsigned set, struct str key, uint8_t out[32]) {
    crypto_hmac(&e->config.keys->set[set].session_keys, key, out);
}

enum found find_key(struct engine *e, struct cmd *c, struct str key, struct session_entry **ret) {
    for (unsigned i = 0; i < e->config.keys->count; i++) {
        uint8_t hash[32];
        session_key_hash(e, i, key, hash);
        HASH_FIND(hh_key, e->sessions_by_key, hash, sizeof(hash), *ret);
        if (*ret) {
            (*ret)->used_at = e->now;
            return FOUND;
        }
        if (look_up(e, c, LOOK_KEY, hash, sizeof(hash)) == PARKED) {
            return PARKED;
        }
    }
    return ABSENT;
}

enum found find_user(struct engine *e, struct cmd *c, struct str name, struct user **ret) {
    struct user *u;
    HASH_FIND(hh, e->users, name.p, name.len, u);
    if (u && !u->stale) {
        *ret = u;
        return FOUND;
    }
    cmd_park(c, &load_begin(e, LOOK_USER, name.p, name.len, false)->waiters);
    return PARKED;
}

/* ---- what came back ---- */

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

void sessions_load_due(struct engine *e) {
    bool now = e->state == ENGINE_SERVING && !e->dead && e->sweep_turn <= e->now + ENGINE_DUE_AHEAD_MS;
    while (now && e->due_at < e->due_count && e->due_loads < ENGINE_DUE_LOADS) {
        struct id id = e->due[e->due_at++];
        if (!session_resident(e, id)) { /* its timers do the rest */
            struct load *l = load_begin(e, LOOK_SESSION, &id, sizeof(id), true);
            e->due_loads += !l->due;
            l->due = true;
        }
    }
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
            note_absent(c, l);
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
            cmd_refuse(e, c, 0, ERR_UNAVAILABLE, "The store cannot be read");
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

/* ---- what is due among what is not in memory ---- */

void due_look(struct timer *t, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    sessions_load_due(e);
    if (!e->due_under_way && e->due_at == e->due_count && e->state == ENGINE_SERVING && !e->dead) {
        struct store_query *q = query_create(STORE_DUE, QUERY_DUE, NULL);
        q->ask.due.now = now_ms;
        q->ask.due.limit = ENGINE_DUE_LIMIT;
        e->due_under_way = true;
        query_send(e, q);
    }
    wheel_set(&e->wheel, t, now_ms + ENGINE_DUE_MS, due_look);
}

/* Something in the session is due; `itself`: its own end, or that it is forgotten. */
static void due_session(struct engine *e, struct id id, bool itself, int64_t at) {
    struct session_entry *s = session_resident(e, id);
    if (!s) {
        e->due[e->due_count++] = id;
    } else if (itself && s->due_written && s->due_written <= at) {
        session_soft(e, s);
    }
}

void due_found(struct engine *e, struct store_query *q) {
    const struct id_list *sessions = &q->answer.due.sessions, *of_tasks = &q->answer.due.task_sessions;
    e->due_under_way = false;
    if (sessions->count == ENGINE_DUE_LIMIT || of_tasks->count == ENGINE_DUE_LIMIT) {
        wheel_set(&e->wheel, &e->due_timer, e->now + ENGINE_DUE_MORE_MS, due_look); /* there is more */
    }
    e->due_at = e->due_count = 0;
    for (size_t i = 0; i < sessions->count; i++) {
        due_session(e, sessions->list[i], true, q->ask.due.now);
    }
    for (size_t i = 0; i < of_tasks->count; i++) {
        due_session(e, of_tasks->list[i], false, q->ask.due.now);
    }
    sessions_load_due(e);
}

/* ---- letting go ---- */

void session_drop(struct engine *e, struct session_entry *s) {
    while (!TAILQ_EMPTY(&s->by_version)) {
        task_entry_free(e, TAILQ_FIRST(&s->by_version));
    }
    while (!TAILQ_EMPTY(&s->gone)) {
        struct gone_entry *g = TAILQ_FIRST(&s->gone);
        TAILQ_REMOVE(&s->gone, g, link);
        mem_free(g);
    }
    while (!LIST_EMPTY(&s->channels)) {
        struct channel *ch = LIST_FIRST(&s->channels);
        LIST_REMOVE(ch, of_object);
        ch->s = NULL;
        ch->at = NULL;
        e->detached++;
    }
    entry_clean_session(e, s);
    wheel_cancel(&e->wheel, &s->timer);
    session_unkey(e, s);
    user_forget_session(e, s);
    HASH_DELETE(hh, e->sessions, s);
    session_fini(&s->s);
    mem_free(s);
}

static bool session_is_needed(const struct engine *e, const struct session_entry *s) {
    return s->watchers || s->unfinished || s->pending > e->durable || s->dirt != CLEAN || !LIST_EMPTY(&s->channels) || s->ending ||
           session_is_crowded(e, s) || jwt_ahead_s(e, s) || s->used_at + ENGINE_EVICT_MS > e->now;
}

void session_maybe_evict(struct engine *e, struct session_entry *s) {
    if (e->state != ENGINE_SERVING || e->dead || session_is_needed(e, s)) {
        return;
    }
    struct task_entry *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        if (t->changed || !TAILQ_EMPTY(&t->waiters) || !LIST_EMPTY(&t->channels)) {
            return;
        }
    }
    if (s->seq != s->reserved_pending || s->s.active_at != s->active_written) {
        s->reserved_pending = s->seq; /* exact numbers and times, then it goes */
        session_dirty(e, s);
        return;
    }
    e->counts.evictions++;
    session_drop(e, s);
}
