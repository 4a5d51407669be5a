/* removal.h: a task is forgotten. */
#ifndef BOWLINE_ENGINE_REMOVAL_H
#define BOWLINE_ENGINE_REMOVAL_H

#include "domain/session.h"

struct engine;
struct task_entry;

/* Leaves a gone entry and a tombstone; its rows are deleted with the open batch, and t is no more. */
void task_remove(struct engine *e, struct task_entry *t, enum gone_reason reason);

#endif
