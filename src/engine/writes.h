/*
 * writes.h: which sessions and tasks are to be written. An immediate write goes with the next batch, and answers wait for it; a deferred one follows within
 * ENGINE_SOFT_MS, and nothing waits for it.
 */
#ifndef BOWLINE_ENGINE_WRITES_H
#define BOWLINE_ENGINE_WRITES_H

struct engine;
struct session_entry;
struct task_entry;

void task_dirty(struct engine *e, struct task_entry *t);
void task_soft(struct engine *e, struct task_entry *t); /* no less than before: an immediate write stays one */
void session_dirty(struct engine *e, struct session_entry *s);
void session_soft(struct engine *e, struct session_entry *s);
/* All deferred writes go with the next batch. */
void soft_becomes_dirty(struct engine *e);
/* Takes it off the lists of what is to be written: it has been, or is leaving memory. */
void entry_clean_task(struct task_entry *t);
void entry_clean_session(struct engine *e, struct session_entry *s);
/* Puts the rows of all that is due into the open batch. */
void write_dirty(struct engine *e);

#endif
