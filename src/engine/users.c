/* Users, and the sessions that each of them has. */
#include "engine/users.h"

#include "engine/audit.h"
#include "engine/look_up.h"
#include "engine/residence.h"
#include "engine/session_clocks.h"
#include "engine/session_end.h"
#include "engine/session_entry.h"
#include "engine/sets.h"
#include "engine/state.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

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
struct user_session *user_pick(struct engine *e, struct user *u, struct id but, bool longest_idle) {
    struct user_session *best = NULL;
    for (size_t i = 0; i < u->count; i++) {
        struct user_session *us = &u->sessions[i];
        if (id_eq(us->id, but) || !is_active(e, us)) {
            continue;
        }
        int64_t mine = last_active(e, us), its = best ? last_active(e, best) : 0;
        if (!best || (longest_idle ? mine < its : mine >= its)) {
            best = us;
        }
    }
    return best;
}

void user_step_stands_on(struct engine *e, const struct user *u) {
    const struct session_entry *s;
    LIST_FOREACH (s, &u->here, of_user) {
        step_stands_on(e, s->pending);
    }
}

static size_t active_count(struct engine *e, const struct user *u) {
    size_t active = 0;
    for (size_t i = 0; i < u->count; i++) {
        active += is_active(e, &u->sessions[i]);
    }
    return active;
}

struct idle_session {
    int64_t active_at;
    size_t at; /* in user.sessions */
};

static int by_idleness(const void *a, const void *b) {
    const struct idle_session *x = a, *y = b;
    return x->active_at != y->active_at ? (x->active_at > y->active_at) - (x->active_at < y->active_at) : (x->at > y->at) - (x->at < y->at);
}

/* Its active sessions, the one longest not active first. To be freed with mem_free. */
static struct idle_session *idle_sessions(struct engine *e, const struct user *u, size_t *ret_count) {
    struct idle_session *all = mem_alloc((u->count + 1) * sizeof(*all));
    size_t n = 0;
    for (size_t i = 0; i < u->count; i++) {
        if (is_active(e, &u->sessions[i])) {
            all[n++] = (struct idle_session){.active_at = last_active(e, &u->sessions[i]), .at = i};
        }
    }
    qsort(all, n, sizeof(*all), by_idleness);
    *ret_count = n;
    return all;
}

static enum found active_find(struct engine *e, struct cmd *c, struct user_session *us) {
    struct session_entry *s;
    enum found f = find_session(e, c, us->id, &s);
    us->ended |= f == ABSENT; /* it is no more */
    return f;
}

/* Those that are to be ended, and the one that their tasks are handed over to. FOUND; PARKED; ABSENT: one of them is no more, and others take its place. */
static enum found leaving_find(struct engine *e, struct cmd *c, struct user *u) {
    size_t n, most = (size_t) e->o->max_sessions_per_user;
    struct idle_session *all = idle_sessions(e, u, &n);
    enum found f = n >= most ? active_find(e, c, user_pick(e, u, (struct id){0}, false)) : FOUND;
    for (size_t i = 0; f == FOUND && i + most <= n; i++) {
        f = active_find(e, c, &u->sessions[all[i].at]);
    }
    mem_free(all);
    return f;
}

enum step user_make_room(struct engine *e, struct cmd *c, struct user *u) {
    size_t most = (size_t) e->o->max_sessions_per_user;
    enum found f = ABSENT;
    while (f == ABSENT) {
        f = leaving_find(e, c, u);
    }
    if (f == PARKED) {
        return WAITS;
    }
    while (active_count(e, u) >= most) {
        struct user_session *us = user_pick(e, u, (struct id){0}, true);
        struct session_entry *s = session_resident(e, us->id), *target = NULL;
        enum step step = session_end_prepare(e, c, s, &target);
        assert(step == GO_ON); /* all that it looks for is in memory */
        user_step_stands_on(e, u);
        session_end(e, s, REASON_LIMIT, target);
        audit(c, "session.ended", s->s.id, (struct id){0}, (struct id){0}, end_reason_name(REASON_LIMIT));
    }
    return GO_ON;
}

enum step user_waiting_prepare(struct engine *e, struct cmd *c, struct user *u) {
    for (size_t i = 0; i < u->count; i++) {
        struct session_entry *s;
        enum found f = u->sessions[i].ended ? find_session(e, c, u->sessions[i].id, &s) : FOUND;
        if (f == PARKED) {
            return WAITS;
        }
        if (f == ABSENT) {
            u->sessions[i--] = u->sessions[--u->count]; /* it has been forgotten */
        }
    }
    return GO_ON;
}
