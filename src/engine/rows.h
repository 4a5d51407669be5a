/* rows.h: sessions and tasks to rows and back. */
#ifndef BOWLINE_ENGINE_ROWS_H
#define BOWLINE_ENGINE_ROWS_H

#include "domain/task.h"
#include "store/store.h"

struct engine;
struct session_entry;
struct task_entry;

/* False: the row cannot be read, which is logged, and *ret holds nothing. */
bool task_from_row(struct engine *e, const struct task_row *row, struct task *ret) MUST_CHECK;
int task_of_row(const struct task_row *row, struct task *ret) MUST_CHECK; /* 0 or -1; ret is to be task_fini'd in any case */
/* What a query has found of a session, with the tasks made of its rows, which are the session's from then on. reload: its numbers go on above the reservation. */
struct session_entry *session_from_rows(struct engine *e, const struct store_query *q, struct task *tasks, size_t count, bool reload);
/* Puts its row into the open batch. */
void session_row_put(struct engine *e, struct session_entry *s);
void task_row_put(struct engine *e, struct task_entry *t); /* or that of its progress where nothing else has changed */
void progress_row_drop(struct engine *e, struct task_entry *t);
/* At the start: value is the meta value "slots", or none. */
void slots_from_row(struct engine *e, struct str value);

#endif
