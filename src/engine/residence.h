/* residence.h: which sessions and tasks are in memory; the entries that they have there. */
#ifndef BOWLINE_ENGINE_RESIDENCE_H
#define BOWLINE_ENGINE_RESIDENCE_H

#include "domain/session.h"
#include "domain/task.h"

struct engine;
struct session_entry;
struct task_entry;

struct session_entry *session_resident(struct engine *e, struct id id); /* NULL: it is not in memory */
struct task_entry *task_resident(struct engine *e, struct id id);
/* The new entry is the owner of *s or *t. */
struct session_entry *session_entry_create(struct engine *e, struct session *s);
struct task_entry *task_entry_create(struct engine *e, struct session_entry *s, struct task *t);
/* Out of all lists and out of memory, without a trace in the store. Whoever waits for it is woken; its channels are left detached. */
void task_entry_free(struct engine *e, struct task_entry *t);
/* Out of memory with all of its tasks, whatever is unwritten of it. Its channels stay, detached. */
void session_drop(struct engine *e, struct session_entry *s);
/* Lets it go if nobody needs it; first its exact numbers are written. s may be no more afterwards. */
void session_maybe_evict(struct engine *e, struct session_entry *s);

#endif
