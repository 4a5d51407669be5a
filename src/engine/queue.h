/* queue.h: what can be claimed, in order of (ready, id), and the claims that wait for it. Queues stay. */
#ifndef BOWLINE_ENGINE_QUEUE_H
#define BOWLINE_ENGINE_QUEUE_H

#include "base/hash.h"
#include "base/wheel.h"
#include "engine/cmd.h"

struct engine;
struct task_entry;

struct queue {
    char *name;
    struct task_entry **heap; /* by (ready, id) */
    size_t count, cap;
    unsigned running;
    struct cmd_list waiters;
    struct timer timer;
    UT_hash_handle hh;
};

struct queue *queue_of(struct engine *e, struct str name);                 /* makes it */
struct queue *queue_find(struct engine *e, struct str name);               /* or NULL */
void queue_update(struct engine *e, struct task_entry *t);                 /* after any change: in if it can be claimed, out if not */
bool queue_before(const struct task_entry *a, const struct task_entry *b); /* the order */
void queue_leave(struct engine *e, struct task_entry *t);
struct task_entry *queue_take(struct engine *e, struct queue *q); /* the first that is ready, or NULL; it stays in the queue until it has changed */
void queue_serve(struct engine *e, struct queue *q);              /* wakes as many waiting claims as there are tasks ready */
void queue_clock_stepped(struct engine *e, struct queue *q);      /* the wall clock: what waits for a date is ordered anew */

#endif
