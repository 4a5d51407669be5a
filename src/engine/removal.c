/* A task is forgotten. */
#include "engine/removal.h"

#include "engine/batch.h"
#include "engine/feed.h"
#include "engine/gone.h"
#include "engine/limits.h"
#include "engine/residence.h"
#include "engine/rows.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/sweep.h"
#include "engine/tombstones.h"
#include "engine/writes.h"

void task_remove(struct engine *e, struct task_entry *t, enum gone_reason reason) {
    struct session_entry *s = t->s;
    size_t ops = e->open->b.count;
    tombstone_put(e, t);
    gone_add(e, s, t->t.id, reason);
    progress_row_drop(e, t);
    struct store_op *op = batch_op(e, STORE_DELETE_TASK);
    op->id = t->t.id;
    uint64_t output = t->t.output_bytes - t->t.output_first; /* perhaps byte by byte: that many rows */
    if (t->t.input_bytes + t->t.result_bytes + output > ENGINE_SWEEP_LARGE || output > ENGINE_SWEEP_LARGE / 16) {
        op->number = 1;
        sweep_forget_soon(e);
    }
    if (reason == GONE_EXPIRED) {
        sweep_mark(e, ops);
    }
    session_pend(e, s);
    feed_task_removed(e, t);
    task_entry_free(e, t);
    if (s->s.state == SESSION_ENDED) {
        session_write_now(e, s); /* when it may be forgotten has changed */
        session_rearm(e, s);
    }
}
