/* The life of sessions: the idle clock, the end and what it means for each task, moves between sessions, and the users that several sessions share. */
#include "engine/audit.h"

#include "base/log.h"
#include "base/mem.h"

#include <assert.h>

/* ---- users ---- */

struct user_session *user_session_of(struct user *u, struct id id) {
    for (size_t i = 0; i < u->count; i++) {
        if (id_eq(u->sessions[i].id, id)) {
            return &u->sessions[i];
        }
    }
    if (u->count == u->cap) {
        u->cap = u->cap ? u->cap * 2 : 4;
        u->sessions = mem_resize(u->sessions, u->cap * sizeof(*u->sessions));
    }
    u->sessions[u->count] = (struct user_session){.id = id};
    return &u->sessions[u->count++];
}

static void user_note(struct user *u, const struct session_entry *s) {
    struct user_session *us = user_session_of(u, s->s.id);
    us->active_at = s->s.active_at;
    us->ended = s->s.state == SESSION_ENDED;
}

struct user *user_create(struct engine *e, struct str name) {
    struct user *u = mem_alloc(sizeof(*u));
    u->name = mem_strdup(name);
    u->stale = true;
    LIST_INIT(&u->here);
    HASH_ADD_KEYPTR(hh, e->users, u->name, name.len, u);
    return u;
}

/* A session of a user is in memory. */
void user_add(struct engine *e, struct session_entry *s) {
    struct user *u;
    if (!s->s.user || s->user) {
        return;
    }
    HASH_FIND_STR(e->users, s->s.user, u);
    u = u ? u : user_create(e, str_of(s->s.user));
    user_note(u, s);
    s->user = u;
    LIST_INSERT_HEAD(&u->here, s, of_user);
}

void user_learn(struct user *u, const struct session_rows *rows) {
    struct session_entry *s;
    u->stale = false;
    u->count = 0;
    for (size_t i = 0; i < rows->count; i++) {
        struct user_session *us = user_session_of(u, rows->list[i].id);
        us->active_at = rows->list[i].active_at;
        us->ended = rows->list[i].state == SESSION_ENDED;
    }
    LIST_FOREACH (s, &u->here, of_user) { /* memory knows better */
        user_note(u, s);
    }
}

static void user_free(struct engine *e, struct user *u) {
    HASH_DELETE(hh, e->users, u);
    mem_free(u->sessions);
    mem_free(u->name);
    mem_free(u);
}

void user_forget_session(struct engine *e, struct session_entry *s) {
    struct user *u = s->user;
    if (!u) {
        return;
    }
    user_session_of(u, s->s.id)->active_at = s->s.active_at;
    s->user = NULL;
    LIST_REMOVE(s, of_user);
    if (LIST_EMPTY(&u->here)) {
        user_free(e, u);
    }
}

void users_drop(struct engine *e) {
    struct user *u, *next;
    HASH_ITER (hh, e->users, u, next) { /* those looked up for a session that was never made */
        user_free(e, u);
    }
}

static int64_t last_active(struct engine *e, const struct user_session *us) {
    struct session_entry *s = session_resident(e, us->id);
    if (s) {
        session_keep_alive(e, s);
    }
    return s ? s->s.active_at : us->active_at;
}

static bool is_active(struct engine *e, const struct user_session *us) {
    struct session_entry *s = session_resident(e, us->id);
    return s ? s->s.state == SESSION_ACTIVE : !us->ended;
}

/* The active session of the user most (or longest not) active, other than `but`; NULL if there is none. */
static struct user_session *user_pick(struct engine *e, struct user *u, struct id but, bool longest_idle) {
    struct user_session *best = NULL;
    for (size_t i = 0; i < u->count; i++) {
        struct user_session *us = &u->sessions[i];
        if (id_eq(us->id, but) || !is_active(e, us)) {
            continue;
        }
        int64_t mine = last_active(e, us), its = best ? last_active(e, best) : 0;
        if (!best || (longest_idle ? mine < its : mine > its)) {
            best = us;
        }
    }
    return best;
}

enum found user_make_room(struct engine *e, struct cmd *c, struct user *u) {
    int64_t active = 0;
    for (size_t i = 0; i < u->count; i++) {
        active += is_active(e, &u->sessions[i]);
    }
    while (active-- >= e->o->max_sessions_per_user) {
        struct user_session *us = user_pick(e, u, (struct id){0}, true);
        struct session_entry *s, *heir = NULL;
        enum found f = find_session(e, c, us->id, &s);
        if (f == PARKED) {
            return PARKED;
        }
        if (f == ABSENT || s->s.state != SESSION_ACTIVE) {
            us->ended = true;
            continue;
        }
        if (session_end_prepare(e, c, s, &heir) == PARKED) {
            return PARKED;
        }
        session_end(e, s, REASON_LIMIT, heir);
        audit(c, "session.ended", s->s.id, (struct id){0}, (struct id){0}, end_reason_name(REASON_LIMIT));
    }
    return FOUND;
}

enum found user_waiting_prepare(struct engine *e, struct cmd *c, struct user *u) {
    for (size_t i = 0; i < u->count; i++) {
        struct session_entry *s;
        enum found f = u->sessions[i].ended ? find_session(e, c, u->sessions[i].id, &s) : FOUND;
        if (f == PARKED) {
            return PARKED;
        }
        if (f == ABSENT) {
            u->sessions[i--] = u->sessions[--u->count]; /* it has been forgotten */
        }
    }
    return FOUND;
}

bool handover_due(const struct task *t) {
    return t->on_session_end == END_HANDOVER && (!task_is_ended(t) || !t->seen_at);
}

/* The tasks of a session in order, as a list that stands while they move. */
static struct task_entry **tasks_of(struct session_entry *s, size_t *ret_count) {
    size_t n = 0;
    struct task_entry **all = mem_alloc((s->unfinished + s->ended) * sizeof(struct task_entry *)), *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        all[n++] = t;
    }
    *ret_count = n;
    return all;
}

static void hand_over(struct engine *e, struct task_entry *t, struct session_entry *heir) {
    t->t.handover_until = 0;
    if (task_is_ended(&t->t)) {
        t->t.expires_at = e->now + t->t.ttl_ms;
    }
    task_move_to(e, t, heir);
}

void user_take_waiting(struct engine *e, struct user *u, struct session_entry *into) {
    for (size_t i = 0; i < u->count; i++) {
        struct session_entry *s = session_resident(e, u->sessions[i].id);
        if (!s || s == into || s->s.state != SESSION_ENDED) {
            continue;
        }
        size_t n;
        struct task_entry **all = tasks_of(s, &n);
        for (size_t k = 0; k < n; k++) {
            if (handover_due(&all[k]->t) && all[k]->t.handover_until > e->now) {
                hand_over(e, all[k], into);
            }
        }
        mem_free(all);
    }
}

/* ---- moves ---- */

void task_move_to(struct engine *e, struct task_entry *t, struct session_entry *to) {
    struct session_entry *from = t->s;
    struct buf gone = {0};
    session_keep_alive(e, from);
    uint32_t watch_gen = task_watch_gen(t) + 1;
    cmd_wake(e, &t->waiters); /* whoever waits may no longer see it, and has watched for the session that it leaves */
    gone_add(e, from, t->t.id, GONE_MOVED);
    gone_event(TAILQ_LAST(&from->gone, gone_list) ? TAILQ_LAST(&from->gone, gone_list)
                                                  : &(struct gone_entry){.seq = from->seq, .task = t->t.id, .reason = GONE_MOVED},
               &gone);
    channels_disconnect(e, &t->channels, from->pending, WATCHER_SESSION, DISCONNECT_ANY_GEN, DISCONNECT_FINISHED, "task", buf_view(&gone));
    channels_disconnect(e, &t->channels, from->pending, WATCHER_WATCH, DISCONNECT_ANY_GEN, DISCONNECT_DEAD, NULL, STR_NONE);
    buf_fini(&gone);
    feed_task_unlink(e, t);
    TAILQ_REMOVE(&from->by_version, t, by_version);
    TAILQ_REMOVE(&from->by_change, t, by_change);
    struct channel *ch;
    LIST_FOREACH (ch, &t->channels, of_object) {
        from->watchers -= ch->watchers;
        from->own -= ch->own;
        to->watchers += ch->watchers;
        to->own += ch->own;
    }
    TAILQ_INSERT_TAIL(&to->by_version, t, by_version);
    TAILQ_INSERT_TAIL(&to->by_change, t, by_change);
    task_count_out(t);
    t->s = to;
    task_count_in(t);
    t->t.session = to->s.id;
    t->t.watch_base = watch_gen - to->s.gen;
    session_pend(e, from);
    t->t.moved_seq = (to->seq > t->t.version ? to->seq : t->t.version) + 1;
    task_changed(e, t, LASTING);
    session_rearm(e, from);
    session_rearm(e, to);
}

/* ---- keys ---- */

void session_set_key(struct engine *e, struct session_entry *s, struct str key) {
    session_unkey(e, s);
    session_key_hash(e, 0, key, s->s.key_hash);
    s->s.has_key = true;
    HASH_ADD(hh_key, e->sessions_by_key, s.key_hash, sizeof(s->s.key_hash), s);
}

void session_unkey(struct engine *e, struct session_entry *s) {
    if (s->s.has_key && s->s.state == SESSION_ACTIVE) {
        HASH_DELETE(hh_key, e->sessions_by_key, s);
    }
    s->s.has_key = false;
}

void session_old_key(struct engine *e, struct session_entry *s, bool kept) {
    if (!s->s.has_key) {
        return;
    }
    int64_t ahead_s = jwt_ahead_s(e, s), from_s = ahead_s ? ahead_s + 1 : wall_second(e) + !kept;
    s->s.jwt_from_s = from_s > s->s.jwt_from_s ? from_s : s->s.jwt_from_s; /* those of who had it before are not to become its own */
    int64_t remembered = e->o->ended_session_ttl > ENGINE_KEY_LEAST_MS ? e->o->ended_session_ttl : ENGINE_KEY_LEAST_MS;
    struct store_op *op = batch_op(e, STORE_PUT_OLD_KEY);
    op->row.old_key = (struct old_key_row){.key_hash = batch_text(e, str_n((char *) s->s.key_hash, 32)),
                                           .jwt_from_s = s->s.jwt_from_s,
                                           .at = e->now,
                                           .session = s->s.id,
                                           .gen = s->s.gen,
                                           .expires_at = e->now + remembered};
    struct old_key *k = NULL;
    HASH_FIND(hh, e->old_keys, s->s.key_hash, sizeof(k->hash), k);
    if (!k) {
        k = mem_alloc(sizeof(*k));
        memcpy(k->hash, s->s.key_hash, sizeof(k->hash));
        HASH_ADD(hh, e->old_keys, hash, sizeof(k->hash), k);
    }
    k->jwt_from_s = s->s.jwt_from_s;
    k->batch = e->open->b.number;
}

void old_keys_durable(struct engine *e, uint64_t batch) {
    struct old_key *k, *next;
    HASH_ITER (hh, e->old_keys, k, next) {
        if (k->batch <= batch) {
            look_up_missed(e, LOOK_KEY, k->hash, sizeof(k->hash));
            HASH_DELETE(hh, e->old_keys, k);
            mem_free(k);
        }
    }
}

void old_keys_put_back(struct engine *e) {
    int64_t most = wall_second(e) + 1;
    for (struct old_key *k = e->old_keys; k; k = k->hh.next) {
        k->jwt_from_s = k->jwt_from_s < most ? k->jwt_from_s : most;
    }
}

/* When the key was last lost, as far as that is not durable yet; NULL: it is. */
static struct old_key *old_key_pending(struct engine *e, struct str key) {
    struct old_key *k, *newest = NULL;
    for (unsigned i = 0; i < e->config.keys->count; i++) {
        uint8_t hash[KEY_HASH_BYTES];
        session_key_hash(e, i, key, hash);
        HASH_FIND(hh, e->old_keys, hash, sizeof(hash), k);
        newest = k && (!newest || k->jwt_from_s > newest->jwt_from_s) ? k : newest;
    }
    return newest;
}

int64_t old_key_jwt_from(struct engine *e, struct cmd *c, struct str key) {
    const struct old_key *k = old_key_pending(e, key);
    int64_t from = c->e.old_key ? c->e.old_key->jwt_from_s : 0;
    int64_t most = wall_second(e) + 1 + ENGINE_JWT_SKEW_S; /* it may have been read before the clock went back */
    from = k && k->jwt_from_s > from ? k->jwt_from_s : from;
    return from < most ? from : most;
}

static enum found old_key_unread(struct engine *e, struct cmd *c) {
    cmd_refuse(e, c, 0, ERR_UNAVAILABLE, "The store cannot be read");
    return ABSENT;
}

static enum found old_key_ask(struct engine *e, struct cmd *c) {
    struct store_query *q = query_create(STORE_FIND_OLD_KEY, QUERY_CMD, NULL);
    size_t bytes = (size_t) e->config.keys->count * KEY_HASH_BYTES;
    uint8_t *hashes = arena_alloc(&q->arena, bytes);
    if (!hashes) {
        query_free(q);
        return old_key_unread(e, c);
    }
    for (unsigned i = 0; i < e->config.keys->count; i++) {
        session_key_hash(e, i, c->cred.sid, hashes + (size_t) i * KEY_HASH_BYTES);
    }
    q->ask.old_key.hashes = str_n((char *) hashes, bytes);
    q->ask.old_key.after_s = c->cred.iat_s;
    q->ask.old_key.now = e->now;
    return cmd_query(e, c, q);
}

/* Asked once it is durable that the key was lost, so the store knows the earliest time: what comes to it is later. */
enum found old_key_find(struct engine *e, struct cmd *c) {
    const struct old_key *pending = old_key_pending(e, c->cred.sid);
    struct store_query *q = c->e.query;
    if (!id_is_none(c->e.jwt_session)) {
        return FOUND;
    }
    if (!q || q->type != STORE_FIND_OLD_KEY) {
        c->e.waited_durable = false; /* a handler may have waited, for something else */
        return pending && cmd_until_durable(e, c, pending->batch) == PARKED ? PARKED : old_key_ask(e, c);
    }
    if (q->result != STORE_OK) {
        return old_key_unread(e, c);
    }
    bool found = q->answer.old_key;
    if (found) {
        c->e.jwt_session = q->answer.old_key->session;
        c->e.jwt_gen = q->answer.old_key->gen;
    }
    query_free(q); /* no handler is to take it for its own */
    c->e.query = NULL;
    return found ? FOUND : cred_dead(e, c);
}

/* ---- making ---- */

enum found session_create(struct engine *e, struct cmd *c, const struct session_new *n, struct session_entry **ret) {
    struct user *u = NULL;
    if (n->user.p && (find_user(e, c, n->user, &u) == PARKED || user_waiting_prepare(e, c, u) == PARKED || user_make_room(e, c, u) == PARKED)) {
        return PARKED;
    }
    struct session s = {.id = id_make(&e->ids, e->now),
                        .gen = 1,
                        .user = mem_strdup(n->user),
                        .metadata = mem_strdup(n->metadata.p ? n->metadata : STR("{}")),
                        .created_at = wall_of(e, e->now),
                        .created_apart = e->apart,
                        .active_at = e->now,
                        .idle_timeout_ms = n->idle_timeout_ms,
                        .max_age_ms = n->max_age_ms};
    struct session_entry *se = session_entry_create(e, &s);
    if (n->key.p) {
        se->s.jwt_from_s = old_key_jwt_from(e, c, n->key);
        session_set_key(e, se, n->key);
    }
    se->reserved_pending = ENGINE_RESERVE;
    session_dirty(e, se);
    user_add(e, se);
    if (u) {
        user_take_waiting(e, u, se);
    }
    session_rearm(e, se);
    e->counts.created++;
    *ret = se;
    return FOUND;
}

/* ---- clocks ---- */

void session_touch(struct engine *e, struct session_entry *s, bool explicit_touch) {
    s->used_at = e->now;
    if (s->s.state != SESSION_ACTIVE || s->s.active_at == e->now) {
        return;
    }
    s->s.active_at = e->now; /* the timer finds out when it fires */
    if (explicit_touch || e->now - s->active_written >= s->s.idle_timeout_ms / 16) {
        session_soft(e, s);
    }
}

static void end_by_itself(struct engine *e, struct session_entry *s, enum end_reason reason) {
    struct cmd *c = cmd_create(CMD_SESSION_END, 0);
    if (c) {
        s->ending = true;
        c->cred.kind = CRED_KEY;
        c->cred.roles = ROLE_BACKEND;
        c->cred.name = STR("server");
        c->session = s->s.id;
        c->e.internal = true;
        c->e.reason = (int) reason;
        cmd_park(c, &e->ready);
    }
}

static void session_forget(struct engine *e, struct session_entry *s) {
    struct store_op *op = batch_op(e, STORE_DELETE_SESSION);
    op->id = s->s.id;
    sweep_mark(e, e->open->b.count - 1);
    session_pend(e, s);
    session_drop(e, s);
}

void session_keep_alive(struct engine *e, struct session_entry *s) {
    bool watched = s->own || s->waiting;
    bool counts = e->o->watching_keeps_alive == WHEN_ALWAYS || (e->o->watching_keeps_alive == WHEN_UNFINISHED && s->unfinished);
    if (watched && counts) {
        session_touch(e, s, false);
    }
}

static void session_timer(struct timer *t, int64_t now_ms, void *arg) {
    struct engine *e = arg;
    struct session_entry *s = (struct session_entry *) ((char *) t - offsetof(struct session_entry, timer));
    enum end_reason reason;
    if (e->dead || e->state > ENGINE_SERVING) {
        return;
    }
    if (e->state < ENGINE_SERVING) { /* its time came while the server was down: once all are loaded */
        session_rearm(e, s);
        return;
    }
    session_thin_out(e, s);
    if (s->s.state == SESSION_ACTIVE) {
        session_keep_alive(e, s);
        int64_t at = session_expires_at(&s->s, &reason);
        if (at && at <= now_ms && !s->ending) {
            end_by_itself(e, s, reason);
            return;
        }
    } else {
        int64_t due = session_due_at(e, s);
        if (due && due <= now_ms && s->pending <= e->durable && !s->watchers) {
            if (sweep_may(e, SWEEP_SESSION(s))) {
                session_forget(e, s);
            } else {
                wheel_set(&e->wheel, &s->timer, sweep_turn(e, SWEEP_SESSION(s)), session_timer);
            }
            return;
        }
    }
    struct id id = s->s.id;
    session_maybe_evict(e, s);
    s = session_resident(e, id);
    if (s) {
        session_rearm(e, s);
    }
}

void session_rearm(struct engine *e, struct session_entry *s) {
    int64_t at = session_due_at(e, s);
    int64_t look = s->used_at + ENGINE_EVICT_MS;
    if (look <= e->now) {
        look = e->now + ENGINE_EVICT_MS; /* something keeps it: look again later */
    }
    if (at && at <= e->now) {
        at = s->ending ? 0 : e->now + 1; /* not in this pass again */
    }
    if (!at || look < at) {
        at = look;
    }
    if (session_is_crowded(e, s)) {
        if (s->timer.at_ms && s->timer.at_ms <= e->now + ENGINE_SWEEP_MS) {
            return; /* soon anyway: what ends in it again and again does not put that off */
        }
        at = e->now + ENGINE_SWEEP_MS;
    }
    wheel_set(&e->wheel, &s->timer, at, session_timer);
}

/* ---- the end ---- */

void session_wake_waiters(struct engine *e, struct session_entry *s) {
    struct task_entry *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        cmd_wake(e, &t->waiters);
    }
}

enum found session_end_prepare(struct engine *e, struct cmd *c, struct session_entry *s, struct session_entry **ret_heir) {
    struct task_entry *t;
    bool any = false;
    *ret_heir = NULL;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        any |= handover_due(&t->t);
    }
    struct user *u;
    if (!any || !s->s.user) {
        return FOUND;
    }
    if (find_user(e, c, str_of(s->s.user), &u) == PARKED) {
        return PARKED;
    }
    struct user_session *us;
    while ((us = user_pick(e, u, s->s.id, false))) {
        enum found f = find_session(e, c, us->id, ret_heir);
        if (f != ABSENT) {
            return f;
        }
        us->ended = true; /* it is no more */
    }
    return FOUND;
}

static void treat_task(struct engine *e, struct task_entry *t, struct session_entry *heir) {
    if (handover_due(&t->t) && t->s->s.user) {
        if (heir) {
            hand_over(e, t, heir);
        } else {
            t->t.handover_until = e->now + e->o->handover_wait;
            task_dirty(e, t);
        }
    } else if (t->t.on_session_end == END_CANCEL) {
        task_cancel(e, t, STR("session-ended"));
    }
}

void session_end(struct engine *e, struct session_entry *s, enum end_reason reason, struct session_entry *heir) {
    size_t n;
    struct task_entry **all = tasks_of(s, &n);
    assert(s->s.state == SESSION_ACTIVE);
    channels_catch_up(e, s);
    for (size_t i = 0; i < n; i++) {
        treat_task(e, all[i], heir);
    }
    mem_free(all);
    session_old_key(e, s, false);
    session_unkey(e, s);
    s->s.state = SESSION_ENDED;
    s->s.reason = reason;
    s->s.ended_at = wall_of(e, e->now);
    s->s.ended_apart = e->apart;
    s->ending = false;
    session_row_put(e, s); /* ahead of whoever gets its key in the same batch */
    if (s->user) {
        user_session_of(s->user, s->s.id)->ended = true;
    }
    session_dirty(e, s);
    session_disconnect(e, s, DISCONNECT_ANYBODY, DISCONNECT_ANY_GEN, DISCONNECT_FINISHED, "ended", end_reason_name(reason));
    channels_finish(s);
    session_wake_waiters(e, s);
    session_rearm(e, s);
}
