/* state.h: what an engine consists of. Each member is changed by the module whose subject it is. */
#ifndef BOWLINE_ENGINE_STATE_H
#define BOWLINE_ENGINE_STATE_H

#include "base/buf.h"
#include "base/id.h"
#include "base/times.h"
#include "base/wheel.h"
#include "domain/task.h"
#include "engine/cmd.h"
#include "engine/engine.h"
#include "engine/limits.h"
#include "engine/lists.h"
#include "engine/task_entry.h"

struct engine {
    struct engine_config config;
    const struct options *o;
    struct store *store;
    int64_t now;          /* engine time, which is steady: all durations, and the wheel */
    int64_t apart;        /* Unix time less engine time: changes when the wall clock steps */
    int64_t shift;        /* engine time less the steady time that it is given */
    int64_t wall_read;    /* the wall clock as it was read */
    int64_t wall_highest; /* since it last went back */
    int64_t clock_written, clock_written_highest;
    bool clocks_begun;
    uint64_t put_back; /* the set that puts rows back which a clock that was ahead had dated */
    struct wheel wheel;
    struct id_maker ids;
    char epoch[16];

    enum { ENGINE_NEW, ENGINE_LOADING, ENGINE_SERVING, ENGINE_STOPPING, ENGINE_STOPPED } state;
    bool unclean;      /* the last stop was not a clean one */
    bool dead;         /* an fsync failed: nothing is written any more */
    bool stop_clean;   /* it was serving when it was stopped: the next start may go on without a gap */
    bool stop_pending; /* and the batch that says so is on its way */
    size_t loads_left; /* while loading */

    struct session_entry *sessions;
    struct session_entry *sessions_by_key;
    struct task_entry *tasks;
    struct task_entry *found; /* the task that was looked up last: often it is looked up again at once */
    struct user *users;
    struct queue *queues;
    struct kind *kinds;
    struct tombstone *tombstones;
    struct old_key *old_keys;
    struct idempotency *idempotency;
    struct load *loads;
    struct load_list pieces; /* those that go on in the next pass */
    struct channel *channels;
    uint64_t channel_numbers;
    unsigned detached; /* channels whose session was thrown away and is being loaded again */
    struct behind_list behind;

    struct batch *open, *inflight, *spare;
    struct batch *settled;         /* came back with sets that failed, while that is being dealt with */
    const struct cmd *running;     /* the command that runs */
    uint32_t step;                 /* the set of this step in the open batch, plus 1; 0: it has changed nothing yet */
    uint64_t durable;              /* the last of the sets that are through */
    uint64_t slot, slots_reserved; /* the last that was given to a task, and the bound in storage; no slot is given twice */
    uint64_t slots_set;            /* the set with that bound */
    uint64_t marked;               /* the set that names the epoch and says that this run has not stopped cleanly */
    uint64_t look_clock;           /* rises with each look-up asked and each row that left memory */
    uint64_t looks_failed;         /* look-ups asked before count no more if they found nothing: a set has failed since */
    struct recent *recent;
    struct recent_list recent_order;
    unsigned queries; /* with the store */
    struct stopped_list stopped;
    struct changed_tasks immediate_tasks;
    struct changed_tasks deferred_tasks[2]; /* one side takes in; the other is due, and turns are taken */
    unsigned deferred_side;                 /* that takes in */
    struct session_list immediate_sessions, deferred_sessions;
    struct timer deferred_timer, due_timer, forget_timer;
    unsigned sweep_room;  /* rows for the sweep in one batch: fewer if they take long */
    unsigned sweep_turns; /* rows that try again at */
    int64_t sweep_turn;   /* the last turn of those that found no room */
    bool due_under_way, kinds_changed;
    struct id due[2 * ENGINE_DUE_LIMIT];   /* sessions to be loaded since something in them is due */
    unsigned due_at, due_count, due_loads; /* the next of them, and how many are on their way */

    int64_t waits_end;               /* no command waits beyond it */
    struct cmd_list ready;           /* to be run again in this pass */
    struct cmd_list held;            /* came before the engine was serving */
    struct buf scratch, cursor_text; /* of a moment */

    struct {
        uint64_t commands, changes, reports, batches, batch_ops, batch_failures, frames, loads, evictions, created, swept, ended[TASK_STATES];
        struct times batch_times, sweep_times;
    } counts;
};

#endif
