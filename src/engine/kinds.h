/* kinds.h: how long the tasks of a kind take, and how long this one still does. */
#ifndef BOWLINE_ENGINE_KINDS_H
#define BOWLINE_ENGINE_KINDS_H

#include "base/hash.h"
#include "domain/estimate.h"
#include "store/store.h"

#include <sys/queue.h>

struct engine;
struct task_entry;

/* What was learned of a kind, or of one of its phases. */
struct learned {
    TAILQ_ENTRY(learned) link; /* kind.phases */
    char *phase;               /* "": the whole task */
    struct kind_durations durations;
    int64_t at; /* when it was learned last */
    bool changed;
};

struct kind {
    char *name;
    struct learned whole;
    TAILQ_HEAD(learned_list, learned) phases; /* at most ENGINE_PHASES, the last to be learned first */
    unsigned phase_count;
    bool changed; /* some of it */
    UT_hash_handle hh;
};

void task_estimate(struct engine *e, struct task_entry *t);                  /* brings t.eta_s up to date */
void learn_phase(struct engine *e, struct task_entry *t, const char *phase); /* the task goes on from this phase to another one */
void learn_task(struct engine *e, struct task_entry *t);                     /* it has succeeded */
void kinds_load(struct engine *e, const struct kind_row *rows, size_t count);
void kinds_write(struct engine *e); /* what was learned since into the open batch */
void kinds_drop(struct engine *e);  /* the engine is going */

#endif
