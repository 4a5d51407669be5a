/*
 * Memory is asked first, always. That a look-up found nothing counts for a while only, shorter than any session stays, and not if what it looked for has become
 * durable and left memory since it was asked (look_up_missed) or a batch has failed: what was made and let go meanwhile would be missed.
 */
#include "engine/look_up.h"

#include "engine/keys.h"
#include "engine/limits.h"
#include "engine/load.h"
#include "engine/needs.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/tombstones.h"
#include "engine/users.h"
#include "engine/wait.h"

#include "base/mem.h"

#include <assert.h>

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

static bool negative_valid(const struct engine *e, const struct negative *a, const struct load_key *k) {
    const struct recent *r;
    if (a->stamp < e->looks_failed || a->asked_at + ENGINE_LOOK_MS <= e->now) {
        return false;
    }
    HASH_FIND(hh, e->recent, k, sizeof(*k), r);
    return !r || r->stamp < a->stamp;
}

bool task_removed_lately(struct engine *e, struct cmd *c, struct id id) {
    struct load_key k = load_key_of(LOOK_TASK, &id, sizeof(id));
    const struct tombstone *dead;
    const struct recent *r;
    HASH_FIND(hh, e->tombstones, &id, sizeof(id), dead);
    HASH_FIND(hh, e->recent, &k, sizeof(k), r);
    if (dead) {
        needs_set(e, c, dead->set);
    }
    return (dead || r) && !task_resident(e, id);
}

enum found look_up(struct engine *e, struct cmd *c, enum look_up what, const void *key, size_t len) {
    struct load_key k = load_key_of(what, key, len);
    for (unsigned i = 0; i < c->e.negative_count; i++) {
        const struct negative *a = &c->e.negatives[i];
        if (a->what == k.what && memcmp(a->key, k.key, sizeof(k.key)) == 0 && negative_valid(e, a, &k)) {
            return ABSENT;
        }
    }
    cmd_park(c, &load_begin(e, what, key, len, false)->waiters);
    return PARKED;
}

static struct negative *negative_room(struct cmd *c, const struct load *l) {
    for (unsigned i = 0; i < c->e.negative_count; i++) {
        if (c->e.negatives[i].what == l->key.what && memcmp(c->e.negatives[i].key, l->key.key, sizeof(l->key.key)) == 0) {
            return &c->e.negatives[i];
        }
    }
    if (c->e.negative_count == c->e.negative_cap) {
        unsigned cap = c->e.negative_cap ? c->e.negative_cap * 2 : 4;
        struct negative *more = arena_alloc(&c->arena, cap * sizeof(*more));
        if (!more) {
            return NULL; /* it is asked again */
        }
        if (c->e.negative_count) {
            memcpy(more, c->e.negatives, c->e.negative_count * sizeof(*more));
        }
        c->e.negatives = more;
        c->e.negative_cap = cap;
    }
    return &c->e.negatives[c->e.negative_count++];
}

void negative_add(struct cmd *c, const struct load *l) {
    struct negative *a = negative_room(c, l);
    if (a) {
        a->what = l->key.what;
        a->stamp = l->stamp;
        a->asked_at = l->asked_at;
        memcpy(a->key, l->key.key, sizeof(l->key.key));
    }
}

static enum found noted(struct cmd *c, enum found f) {
    if (f == ABSENT) {
        needs_absence(c);
    }
    return f;
}

enum found find_session(struct engine *e, struct cmd *c, struct id id, struct session_entry **ret) {
    struct session_entry *s = session_resident(e, id);
    if (!s) {
        return noted(c, look_up(e, c, LOOK_SESSION, &id, sizeof(id)));
    }
    s->used_at = e->now;
    needs_session(e, c, s);
    *ret = s;
    return FOUND;
}

enum found find_task(struct engine *e, struct cmd *c, struct id id, struct task_entry **ret, struct tombstone_row **ret_gone) {
    struct task_entry *t = task_resident(e, id);
    if (t) {
        t->s->used_at = e->now;
        needs_session(e, c, t->s);
        *ret = t;
        return FOUND;
    }
    struct tombstone *dead;
    HASH_FIND(hh, e->tombstones, &id, sizeof(id), dead);
    *ret_gone = dead ? &dead->row : c->e.gone && id_eq(c->e.gone->task, id) ? c->e.gone : NULL;
    return noted(c, *ret_gone ? ABSENT : look_up(e, c, LOOK_TASK, &id, sizeof(id)));
}

enum found find_key(struct engine *e, struct cmd *c, struct str key, struct session_entry **ret) {
    for (unsigned i = 0; i < e->config.keys->count; i++) {
        uint8_t hash[32];
        session_key_hash(e, i, key, hash);
        HASH_FIND(hh_key, e->sessions_by_key, hash, sizeof(hash), *ret);
        if (*ret) {
            (*ret)->used_at = e->now;
            needs_session(e, c, *ret);
            return FOUND;
        }
        if (look_up(e, c, LOOK_KEY, hash, sizeof(hash)) == PARKED) {
            return PARKED;
        }
    }
    return noted(c, ABSENT);
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
