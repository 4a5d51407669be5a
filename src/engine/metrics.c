/* What the engine counts, as OpenMetrics text. */
#include "engine/session_entry.h"
#include "engine/state.h"

static void gauge(struct buf *out, const char *name, const char *help, uint64_t v) {
    buf_printf(out, "# TYPE bowline_%s gauge\n# HELP bowline_%s %s\nbowline_%s %llu\n", name, name, help, name, (unsigned long long) v);
}

static void counter(struct buf *out, const char *name, const char *help, uint64_t v) {
    buf_printf(out, "# TYPE bowline_%s counter\n# HELP bowline_%s %s\nbowline_%s_total %llu\n", name, name, help, name, (unsigned long long) v);
}

void engine_metrics(struct engine *e, struct buf *out) {
    uint64_t unfinished = 0, watchers = 0;
    for (struct session_entry *s = e->sessions; s; s = s->hh.next) {
        unfinished += s->unfinished;
        watchers += s->watchers;
    }
    gauge(out, "sessions_resident", "Sessions in memory.", HASH_COUNT(e->sessions));
    gauge(out, "tasks_resident", "Tasks in memory.", HASH_COUNT(e->tasks));
    gauge(out, "tasks_unfinished", "Tasks that have not ended.", unfinished);
    gauge(out, "watchers", "Watchers of feeds.", watchers);
    gauge(out, "writable", "1 while the store can be written.", !e->dead);
    counter(out, "commands", "Commands taken.", e->counts.commands);
    counter(out, "reports", "Reports applied.", e->counts.reports);
    counter(out, "changes", "Changes of tasks.", e->counts.changes);
    counter(out, "frames", "Events rendered.", e->counts.frames);
    counter(out, "sessions_created", "Sessions made.", e->counts.created);
    counter(out, "store_batches", "Batches given to the store.", e->counts.batches);
    counter(out, "store_operations", "Row operations in them.", e->counts.batch_ops);
    counter(out, "store_batch_failures", "Batches that failed.", e->counts.batch_failures);
    counter(out, "swept_rows", "Row operations that took away what was over.", e->counts.swept);
    times_write(&e->counts.batch_times, "store_batch", "How long batches took from when they were given to the store until they were durable.", out);
    times_write(&e->counts.sweep_times, "sweep", "How long taking away what is over took within a batch.", out);
    counter(out, "store_lookups", "Sessions and keys looked up in the store.", e->counts.loads);
    counter(out, "sessions_let_go", "Sessions that left memory.", e->counts.evictions);
    buf_puts(out, "# TYPE bowline_tasks_ended counter\n# HELP bowline_tasks_ended Tasks that have ended, by state.\n");
    for (int i = TASK_SUCCEEDED; i < TASK_STATES; i++) {
        buf_printf(out, "bowline_tasks_ended_total{state=\"%s\"} %llu\n", task_state_name((enum task_state) i),
                   (unsigned long long) e->counts.ended[i]);
    }
}
