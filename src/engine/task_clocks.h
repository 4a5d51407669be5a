/* task_clocks.h: what happens to a task by itself: its leases, deadlines and expiry, and its cancellation when nobody watches. */
#ifndef BOWLINE_ENGINE_TASK_CLOCKS_H
#define BOWLINE_ENGINE_TASK_CLOCKS_H

#include "base/str.h"

struct engine;
struct task_entry;

/* Sets its timer to what is next. To be called after each change of what that depends on (task_changed does). */
void task_rearm(struct engine *e, struct task_entry *t);
/* Asks for its cancellation, unless it has ended or that has been asked before. */
void task_cancel(struct engine *e, struct task_entry *t, struct str reason);

#endif
