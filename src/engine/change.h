/* change.h: every change of a task passes here. */
#ifndef BOWLINE_ENGINE_CHANGE_H
#define BOWLINE_ENGINE_CHANGE_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct session_entry;
struct task_entry;

/* LASTING: written with the next batch, and whoever is told of it waits for that. PASSING: progress, which may be lost. */
enum how_lasting { LASTING, PASSING };

/* The task has changed: it takes its number, goes to the end of its session's feed, is counted, told, written, and has its clocks set. */
void task_changed(struct engine *e, struct task_entry *t, enum how_lasting how);
/* The session's next number, above `above` as well. It is reserved in the store before anything with it leaves. */
uint64_t session_number(struct engine *e, struct session_entry *s, uint64_t above);
/* To the end of its session's order of versions and, unless only its output has changed, of changes. */
void task_to_end(struct engine *e, struct task_entry *t, bool output_only);
void task_count_in(struct task_entry *t);  /* it is its session's from now on */
void task_count_out(struct task_entry *t); /* or no longer */

#endif
