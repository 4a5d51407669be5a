/* output.h: what a task prints. */
#ifndef BOWLINE_ENGINE_OUTPUT_H
#define BOWLINE_ENGINE_OUTPUT_H

#include "base/str.h"

struct engine;
struct task_entry;

/* Adds output, which must not be empty, at the end of what there is; what is more than may be kept is dropped at the front. */
void task_output(struct engine *e, struct task_entry *t, struct str data);
/* On feeds without output it shows as a change of the task, at most once in ENGINE_OUTPUT_SHOW_MS: now. */
void task_show_output(struct engine *e, struct task_entry *t);

#endif
