/* Output takes numbers of its own, by the piece. */
#include "engine/output.h"

#include "engine/batch.h"
#include "engine/change.h"
#include "engine/clocks.h"
#include "engine/feed.h"
#include "engine/limits.h"
#include "engine/state.h"
#include "engine/task_clocks.h"
#include "engine/task_entry.h"
#include "engine/wait.h"
#include "engine/writes.h"

/* On feeds without output, output shows as a change of the task at most once a second. */
void task_show_output(struct engine *e, struct task_entry *t) {
    t->output_shown_at = e->now;
    t->output_unshown = false;
    t->t.version = session_number(e, t->s, t->t.version);
    task_to_end(e, t, true);
    task_write_now(e, t);
    feed_task_changed(e, t, true);
    cmd_wake(e, &t->waiters);
}

static void trim_output(struct engine *e, struct task_entry *t) {
    uint64_t most = (uint64_t) e->o->max_output_per_task;
    if (t->t.output_bytes - t->t.output_first > most) {
        t->t.output_first = t->t.output_bytes - most;
        step_session(e, t->s);
        struct store_op *op = batch_op(e, STORE_TRIM_OUTPUT);
        op->id = t->t.id;
        op->number = t->t.output_first;
    }
}

void task_output(struct engine *e, struct task_entry *t, struct str data) {
    while (data.len) {
        struct str piece = str_n(data.p, data.len < ENGINE_OUTPUT_NUMBER ? data.len : ENGINE_OUTPUT_NUMBER);
        uint64_t seq = session_number(e, t->s, t->t.version);
        step_session(e, t->s);
        struct store_op *op = batch_op(e, STORE_ADD_OUTPUT);
        op->row.output = (struct output_row){.task = t->t.id, .offset = t->t.output_bytes, .seq = seq, .data = batch_text(e, piece)};
        t->t.version = t->t.output_seq = seq;
        t->t.output_bytes += piece.len;
        task_write_now(e, t);
        feed_output(e, t, seq, t->t.output_bytes - piece.len, piece);
        data = str_from(data, piece.len);
    }
    t->t.updated_at = wall_of(e, e->now);
    trim_output(e, t);
    task_to_end(e, t, true);
    cmd_wake(e, &t->waiters);
    if (e->now - t->output_shown_at >= ENGINE_OUTPUT_SHOW_MS) {
        task_show_output(e, t);
    } else {
        t->output_unshown = true;
    }
    task_rearm(e, t);
}
