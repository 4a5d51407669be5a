/* cmd_task.h: commands about tasks. */
#ifndef BOWLINE_ENGINE_CMD_TASK_H
#define BOWLINE_ENGINE_CMD_TASK_H

#include "engine/cmd.h"
#include "engine/found.h"
#include "engine/handler.h"

struct session_entry;
struct task_entry;

cmd_handler cmd_task_create, cmd_task_start, cmd_task_get, cmd_task_result, cmd_task_output, cmd_task_input, cmd_task_cancel, cmd_task_answer,
    cmd_task_seen, cmd_task_bind, cmd_task_token, cmd_task_delete;
/* Answers with the task, once what it shows is durable. */
void task_answer_to(struct engine *e, struct cmd *c, struct task_entry *t, int status);
/* The session that a body names, by id or key; made where a new key is given. */
enum step find_ref(struct engine *e, struct cmd *c, struct session_entry **ret) MUST_CHECK;

#endif
