/* task_entry.h: a task in memory, and what the engine knows of it besides what the task says itself. */
#ifndef BOWLINE_ENGINE_TASK_ENTRY_H
#define BOWLINE_ENGINE_TASK_ENTRY_H

#include "base/hash.h"
#include "base/wheel.h"
#include "domain/task.h"
#include "engine/cmd.h"
#include "engine/lists.h"

/* Tasks whose rows are to be written, in that order. An array, so that what comes next is known before it is looked at. */
struct changed_tasks {
    struct task_entry **at; /* NULL: it has been written, or left */
    size_t count, cap;
    size_t left; /* those that are not NULL */
};

struct task_entry {
    struct task t;
    struct session_entry *s;
    TAILQ_ENTRY(task_entry) by_version, by_change; /* session_entry.by_version, .by_change */
    TAILQ_ENTRY(task_entry) by_end;                /* session_entry.by_end, if counted_ended */
    struct changed_tasks *changed;                 /* engine.immediate_tasks or one of engine.deferred_tasks; NULL: it is as the store has it */
    size_t changed_at;                             /* its place there */
    uint64_t slot;                                 /* of its progress in the store; 0 as long as it has had no attempt */
    bool row_stale;                                /* more has changed than its progress can say */
    bool has_progress;                             /* there is something in its slot, perhaps older than its row */
    bool counted_ended;
    bool eta_due;   /* t.eta_s is of an earlier change */
    int64_t eta_at; /* of the one that it is to be of */
    struct timer timer;
    struct cmd_list waiters;
    struct channel_list channels;
    unsigned people; /* watchers of its own feed with a session or watch credential, and requests with one that wait for news of it */
    int64_t unwatched_since;
    int64_t output_shown_at; /* when output last made a task event */
    bool output_unshown;
    struct kind *kind;   /* found when it is first needed; kinds stay */
    struct queue *queue; /* set while it is unfinished and has one */
    size_t queue_at;     /* its place in the heap, from 1; 0: not in it */
    int64_t ready;       /* may be claimed from then on; 0: it has not waited in a queue yet */
    bool queue_running;  /* counted as running there */
    UT_hash_handle hh;
};

#endif
