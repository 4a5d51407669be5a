/*
 * The sets of a batch lie in a list, each with the place of the one that it is one with (union-find, the first of them is the root). A batch that is with the store
 * takes in only sets that read: they stand for several that an answer waits for.
 */
#include "engine/sets.h"

#include "engine/batch.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include "base/mem.h"

#include <assert.h>

static uint32_t set_root(const struct set_list *l, uint32_t at) {
    while (l->list[at].with != at) {
        l->list[at].with = l->list[l->list[at].with].with;
        at = l->list[at].with;
    }
    return at;
}

static void unite(struct set_list *l, uint32_t a, uint32_t b) {
    a = set_root(l, a);
    b = set_root(l, b);
    if (a != b) {
        l->list[a > b ? a : b].with = a > b ? b : a;
        l->united = true;
    }
}

static uint32_t set_add(struct set_list *l, struct change_set set) {
    assert(l->count < SET_ALL);
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->list = mem_resize(l->list, l->cap * sizeof(*l->list));
    }
    set.with = l->count;
    l->list[l->count] = set;
    return l->count++;
}

static bool with_store(const struct engine *e, uint64_t number) {
    return e->inflight && number > e->durable && set_batch(number) == e->inflight->b.number;
}

/* A set of the open batch. `before`: a set that is with the store. */
static uint32_t set_begin(struct engine *e, struct id session, uint64_t before) {
    if (!before && e->inflight && e->inflight->whole) {
        before = set_number(e->inflight->b.number, SET_ALL);
    }
    return set_add(&e->open->sets, (struct change_set){.session = session, .stands_on = {before}});
}

/* ---- steps ---- */

static void step_goes_on(struct engine *e, uint32_t at) {
    if (e->step) {
        unite(&e->open->sets, e->step - 1, at);
    } else {
        e->step = at + 1;
    }
}

void step_begin(struct engine *e) {
    e->step = 0;
}

uint64_t step_set(struct engine *e) {
    if (!e->step) {
        e->step = set_begin(e, (struct id){0}, 0) + 1;
    }
    return set_number(e->open->b.number, e->step - 1);
}

void step_session(struct engine *e, struct session_entry *s) {
    if (set_batch(s->touched) != e->open->b.number) {
        s->touched = set_number(e->open->b.number, set_begin(e, s->s.id, with_store(e, s->touched) ? s->touched : 0));
    }
    step_goes_on(e, set_at(s->touched));
}

static void stands_on_all(struct engine *e) {
    struct set_list *l = &e->open->sets;
    uint32_t count = l->count, at = set_at(step_set(e));
    for (uint32_t i = 0; i < count; i++) {
        unite(l, l->list[i].reads ? at : i, at);
    }
}

void step_stands_on(struct engine *e, uint64_t needs) {
    if (needs <= e->durable || e->dead) {
        return;
    }
    if (with_store(e, needs)) {
        step_goes_on(e, set_begin(e, (struct id){0}, needs));
    } else if (set_at(needs) == SET_ALL) {
        stands_on_all(e);
        step_stands_on(e, e->inflight ? set_number(e->inflight->b.number, SET_ALL) : 0);
    } else if (e->open->sets.list[set_at(needs)].reads) {
        struct change_set both = e->open->sets.list[set_at(needs)];
        step_stands_on(e, both.stands_on[0]);
        step_stands_on(e, both.stands_on[1]);
    } else {
        step_goes_on(e, set_at(needs));
    }
}

void step_is_all(struct engine *e) {
    e->open->whole = true;
}

/* ---- waiting ---- */

static bool is_one(const struct engine *e, uint64_t a, uint64_t b) {
    const struct batch *of = set_batch(a) == e->open->b.number ? e->open : e->inflight;
    bool places = set_batch(a) == set_batch(b) && set_at(a) != SET_ALL && set_at(b) != SET_ALL;
    return a == b || (places && set_root(&of->sets, set_at(a)) == set_root(&of->sets, set_at(b)));
}

static bool stands_on(const struct change_set *set, uint64_t number) {
    return set->stands_on[0] == number || set->stands_on[1] == number;
}

uint64_t sets_both(struct engine *e, uint64_t a, uint64_t b) {
    if (a <= e->durable || b <= e->durable) {
        return a > b ? a : b;
    }
    if (is_one(e, a, b)) {
        return a;
    }
    uint64_t newer = a > b ? a : b, older = a > b ? b : a, number = set_batch(newer);
    struct batch *of = number == e->open->b.number ? e->open : e->inflight;
    if (set_at(newer) == SET_ALL || stands_on(&of->sets.list[set_at(newer)], older)) {
        return newer;
    }
    if (of->sets.count > SET_ALL / 2) {
        return set_number(number, SET_ALL);
    }
    return set_number(number, set_add(&of->sets, (struct change_set){.stands_on = {b, a}, .reads = true}));
}

uint64_t engine_newest(const struct engine *e) {
    const struct batch *newest = !batch_is_empty(e) ? e->open : e->inflight;
    return newest ? set_number(newest->b.number, SET_ALL) : 0;
}

/* ---- to the store and back ---- */

void sets_close(struct batch *b) {
    struct set_list *l = &b->sets;
    for (uint32_t i = 1; b->whole && i < l->count; i++) {
        unite(l, 0, i);
    }
    for (size_t i = 0; l->united && i < b->b.count; i++) {
        b->b.ops[i].set = set_root(l, b->b.ops[i].set);
    }
    if (b->b.set_cap < l->count) {
        b->b.set_cap = l->cap;
        b->b.sets = mem_resize(b->b.sets, b->b.set_cap * sizeof(*b->b.sets));
    }
    b->b.set_count = l->count;
}

bool set_has_failed(const struct engine *e, uint64_t number) {
    const struct batch *b = set_batch(number) == e->open->b.number ? e->open : e->settled;
    if (!number || !b || b->b.number != set_batch(number)) {
        return false;
    }
    if (set_at(number) == SET_ALL) {
        return b->failed || (b == e->open && e->settled && e->settled->failed);
    }
    return b->sets.list[set_at(number)].failed;
}

static bool foundation_failed(const struct engine *e, const struct change_set *set) {
    return set_has_failed(e, set->stands_on[0]) || set_has_failed(e, set->stands_on[1]);
}

/* Those that are one fail together, and those that read with what they read, which stands before them. */
static void failure_spreads(const struct engine *e, struct batch *b) {
    struct set_list *l = &b->sets;
    for (uint32_t i = 0; i < l->count; i++) {
        struct change_set *set = &l->list[i];
        set->failed |= set->reads ? foundation_failed(e, set) : l->list[set_root(l, i)].failed;
    }
}

void sets_fail(struct engine *e, struct batch *b) {
    struct set_list *sets = &b->sets, *open = &e->open->sets;
    bool all = b->b.result == STORE_DEAD;
    e->settled = b;
    b->failed = true;
    for (uint32_t i = 0; i < b->b.set_count; i++) {
        sets->list[i].failed = b->b.sets[i].result != STORE_OK;
    }
    failure_spreads(e, b);
    e->open->failed = all;
    for (uint32_t i = 0; i < open->count; i++) {
        if (!open->list[i].reads && (all || foundation_failed(e, &open->list[i]))) {
            open->list[set_root(open, i)].failed = e->open->failed = true;
        }
    }
    failure_spreads(e, e->open);
}
