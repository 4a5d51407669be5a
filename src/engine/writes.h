/*
 * writes.h: which sessions and tasks are to be written. An immediate write goes with the next batch, and answers wait for it; a deferred one follows within
 * ENGINE_DEFER_MS, and nothing waits for it.
 */
#ifndef BOWLINE_ENGINE_WRITES_H
#define BOWLINE_ENGINE_WRITES_H

struct engine;
struct session_entry;
struct task_entry;

/* An immediate write of its row. */
void task_write_now(struct engine *e, struct task_entry *t);
void session_write_now(struct engine *e, struct session_entry *s);
/* A deferred one; an immediate write that is due stays one. */
void task_write_later(struct engine *e, struct task_entry *t);
void session_write_later(struct engine *e, struct session_entry *s);
/* All deferred writes go with the next batch. */
void writes_defer_no_more(struct engine *e);
/* Takes it off the lists of what is to be written: it has been, or is leaving memory. */
void task_written(struct task_entry *t);
void session_written(struct engine *e, struct session_entry *s);
/* Puts the rows of all that is due into the open batch. */
void writes_put(struct engine *e);

#endif
