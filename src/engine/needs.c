/* What a command waits for before it is answered. */
#include "engine/needs.h"

#include "engine/session_entry.h"
#include "engine/sets.h"
#include "engine/state.h"

void needs_begin(struct cmd *c) {
    c->e.needs = 0;
    c->e.absence = false;
}

void needs_set(struct engine *e, struct cmd *c, uint64_t set) {
    c->e.needs = sets_both(e, c->e.needs, set);
}

void needs_session(struct engine *e, struct cmd *c, const struct session_entry *s) {
    needs_set(e, c, s->pending);
}

void needs_all(struct engine *e, struct cmd *c) {
    needs_set(e, c, engine_newest(e));
}

void needs_absence(struct cmd *c) {
    c->e.absence = true;
}

uint64_t needs_of(struct engine *e, struct cmd *c) {
    if (e->running == c && e->step) {
        needs_set(e, c, step_set(e));
    }
    if (c->e.absence && c->answer.type == ANSWER_PROBLEM) {
        needs_all(e, c);
    }
    return c->e.needs;
}
