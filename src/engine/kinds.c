/*
 * How long tasks of a kind and their phases take, learned from those that got through, and how long a task still takes. A phase is through when its task goes on to another
 * one, or succeeds in it. Kinds stay in memory; of the phases of a kind only those that were learned last.
 */
#include "engine/kinds.h"

#include "engine/kind_rows.h"
#include "engine/limits.h"
#include "engine/state.h"
#include "engine/task_entry.h"

#include "base/mem.h"

static struct kind *kind_of(struct engine *e, struct str name) {
    struct kind *k;
    HASH_FIND(hh, e->kinds, name.p, name.len, k);
    if (!k) {
        k = mem_alloc(sizeof(*k));
        k->name = mem_strdup(name);
        k->whole.phase = mem_strdup(STR(""));
        TAILQ_INIT(&k->phases);
        HASH_ADD_KEYPTR(hh, e->kinds, k->name, name.len, k);
    }
    return k;
}

static struct kind *kind_of_task(struct engine *e, struct task_entry *t) {
    t->kind = t->kind ? t->kind : kind_of(e, str_of(t->t.kind));
    return t->kind;
}

static struct learned *phase_of(struct kind *k, const char *phase) {
    struct learned *l;
    TAILQ_FOREACH (l, &k->phases, link) {
        if (strcmp(l->phase, phase) == 0) {
            return l;
        }
    }
    return NULL;
}

static void learned_free(struct kind *k, struct learned *l) {
    TAILQ_REMOVE(&k->phases, l, link);
    k->phase_count--;
    mem_free(l->phase);
    mem_free(l);
}

/* The phases that were learned last stay. */
static void phases_trim(struct engine *e, struct kind *k) {
    while (k->phase_count > ENGINE_PHASES) {
        struct learned *last = TAILQ_LAST(&k->phases, learned_list);
        learned_row_drop(e, k, last);
        learned_free(k, last);
    }
}

/* ---- how long it still takes ---- */

/* What is known of what the task does now; NULL: nothing. */
static const struct kind_durations *durations_of(struct engine *e, struct task_entry *t) {
    struct kind *k = kind_of_task(e, t);
    const char *phase = t->t.progress.phase;
    const struct learned *l = !phase ? &k->whole : *phase ? phase_of(k, phase) : NULL;
    return l ? &l->durations : NULL;
}

/* Where its own reports give no ground: by how long others took. */
static double eta_by_age(const struct task *t, const struct kind_durations *k, int64_t at_ms) {
    int64_t age = estimate_elapsed_ms(&t->estimate, at_ms);
    if (age < 0 && !t->progress.phase) {
        age = at_ms - (t->started_at - t->started_apart);
    }
    return k && age >= 0 ? kind_eta_s(k, age) : -1;
}

/* As of its last change. Only reckoned when somebody is told. */
void task_estimate(struct engine *e, struct task_entry *te) {
    struct task *t = &te->t;
    if (!te->eta_due) {
        return;
    }
    te->eta_due = false;
    t->eta_s = -1;
    if (t->state != TASK_RUNNING) {
        return;
    }
    const struct kind_durations *k = durations_of(e, te);
    bool both = t->progress.has_current && t->progress.has_total;
    if (both) {
        t->eta_s = estimate_eta_s(&t->estimate, k, te->eta_at);
    }
    if (t->eta_s < 0 && !(both && t->estimate.rate > 0)) {
        t->eta_s = eta_by_age(t, k, te->eta_at);
    }
}

/* ---- learning ---- */

static void learned_add(struct engine *e, struct kind *k, struct learned *l, int64_t took_ms) {
    kind_add(&l->durations, took_ms);
    l->at = e->now;
    l->changed = k->changed = e->kinds_changed = true; /* written with the next batch */
}

void learn_phase(struct engine *e, struct task_entry *t, const char *phase) {
    struct kind *k = kind_of_task(e, t);
    struct learned *l = phase_of(k, phase);
    int64_t took = estimate_elapsed_ms(&t->t.estimate, e->now);
    if (took < 0) {
        return; /* its beginning was not seen */
    }
    if (l) {
        TAILQ_REMOVE(&k->phases, l, link);
    } else {
        l = mem_alloc(sizeof(*l));
        l->phase = mem_strdup(str_of(phase));
        k->phase_count++;
    }
    TAILQ_INSERT_HEAD(&k->phases, l, link);
    learned_add(e, k, l, took);
    kind_add_shape(&l->durations, &t->t.estimate, e->now);
    phases_trim(e, k);
}

/* How long it took is known where the whole attempt was seen, or where nothing but work can have happened since its start. */
void learn_task(struct engine *e, struct task_entry *te) {
    const struct task *t = &te->t;
    struct kind *k = kind_of_task(e, te);
    const char *phase = t->progress.phase;
    int64_t took = phase ? -1 : estimate_elapsed_ms(&t->estimate, e->now);
    if (phase && *phase) {
        learn_phase(e, te, phase);
    }
    if (took < 0 && (t->attempt > 1 || t->questions)) {
        return;
    }
    learned_add(e, k, &k->whole, took < 0 ? e->now - (t->started_at - t->started_apart) : took);
    if (!phase) {
        kind_add_shape(&k->whole.durations, &t->estimate, e->now);
    }
}

/* ---- to the store and back ---- */

static void learned_write(struct engine *e, const struct kind *k, struct learned *l) {
    if (l->changed) {
        learned_row_put(e, k, l);
        l->changed = false;
    }
}

void kinds_write(struct engine *e) {
    for (struct kind *k = e->kinds_changed ? e->kinds : NULL; k; k = k->hh.next) {
        struct learned *l;
        if (!k->changed) {
            continue;
        }
        k->changed = false;
        learned_write(e, k, &k->whole);
        TAILQ_FOREACH (l, &k->phases, link) {
            learned_write(e, k, l);
        }
    }
    e->kinds_changed = false;
}

static void phase_insert(struct kind *k, struct learned *l) {
    struct learned *before = TAILQ_FIRST(&k->phases);
    while (before && before->at > l->at) {
        before = TAILQ_NEXT(before, link);
    }
    if (before) {
        TAILQ_INSERT_BEFORE(before, l, link);
    } else {
        TAILQ_INSERT_TAIL(&k->phases, l, link);
    }
    k->phase_count++;
}

static void kind_load(struct engine *e, const struct kind_row *row) {
    struct learned l = {0};
    if (!learned_from_row(row, &l)) {
        return;
    }
    struct kind *k = kind_of(e, row->kind);
    if (!row->phase.len) {
        k->whole.durations = l.durations;
        k->whole.at = l.at;
        return;
    }
    l.phase = mem_strdup(row->phase);
    phase_insert(k, mem_dup(&l, sizeof(l)));
    phases_trim(e, k); /* those that a batch which failed should have taken away */
}

void kinds_load(struct engine *e, const struct kind_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        kind_load(e, &rows[i]);
    }
}

void kinds_drop(struct engine *e) {
    struct kind *k, *next;
    HASH_ITER (hh, e->kinds, k, next) {
        while (!TAILQ_EMPTY(&k->phases)) {
            learned_free(k, TAILQ_FIRST(&k->phases));
        }
        HASH_DELETE(hh, e->kinds, k);
        mem_free(k->whole.phase);
        mem_free(k->name);
        mem_free(k);
    }
}
