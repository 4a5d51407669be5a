/* commands.h: the client commands, as tables. */
#ifndef BOWLINE_CLI_COMMANDS_H
#define BOWLINE_CLI_COMMANDS_H

#include "cli/args.h"

extern const struct command session_command, task_command, watch_command, run_command, work_command, report_command, top_command;
extern const struct command *const client_commands[]; /* ends with NULL */

#endif
