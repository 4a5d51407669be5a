/* wait.h: commands that wait: on one list at most, until they are woken or their time is up. */
#ifndef BOWLINE_ENGINE_WAIT_H
#define BOWLINE_ENGINE_WAIT_H

#include "engine/cmd.h"
#include "engine/found.h"

struct engine;
struct task_entry;

/* Puts it on the list; it must be on none. The list must outlive it there, or wake it. */
void cmd_park(struct cmd *c, struct cmd_list *list);
/* Takes it off its list, if it is on one. */
void cmd_unpark(struct engine *e, struct cmd *c);
/* All of them run again in this pass. */
void cmd_wake(struct engine *e, struct cmd_list *list);
/* Parks it for `Prefer: wait`. WAITS, or GO_ON when it does not wait (any longer): it is answered with what there is. */
enum step cmd_wait(struct engine *e, struct cmd *c, struct cmd_list *list) MUST_CHECK;
/* The same for news of a task: while it waits, the person whose credential it has watches the task. */
enum step cmd_wait_watching(struct engine *e, struct cmd *c, struct task_entry *t) MUST_CHECK;

#endif
