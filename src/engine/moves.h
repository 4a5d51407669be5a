/* moves.h: tasks that go on in another session. */
#ifndef BOWLINE_ENGINE_MOVES_H
#define BOWLINE_ENGINE_MOVES_H

#include "domain/task.h"

struct engine;
struct session_entry;
struct task_entry;
struct user;

/* Into another session: who watched it by the session that it leaves sees it no more, and tokens to watch it count no more. */
void task_move_to(struct engine *e, struct task_entry *t, struct session_entry *to);
bool handover_due(const struct task *t); /* at its session's end it is to go to another session of the same user */
void task_hand_over(struct engine *e, struct task_entry *t, struct session_entry *target);
/* What waits in ended sessions of the user for a new one goes into this one. Those must be in memory: user_waiting_prepare. */
void user_take_waiting(struct engine *e, struct user *u, struct session_entry *into);
/* The tasks of a session in order, as a list that stands while they move. To be freed with mem_free. */
struct task_entry **session_tasks(struct session_entry *s, size_t *ret_count);

#endif
