/* report.c: `bowline report`: the actions of `bowline task report` for commands that run under `bowline run` or `bowline work`. */
#include "cli/commands.h"

#include "cli/task.h"

static const struct action report_action = {
    "report",
    "progress N[/TOTAL] | output TEXT|- | heartbeat | ask PROMPT | succeed [JSON] | fail TYPE MESSAGE | cancelled",
    1,
    4,
    "Says how the work goes, from within a command that `bowline run` or `bowline work` has started",
    task_report_flags,
    "  bowline report progress 40/100 --unit pages --message rendering\n"
    "  bowline report progress --phase uploading --data '{\"failed\": 2}' --message 'almost there'\n"
    "  if [ \"$(bowline report ask 'Overwrite the file?' --schema '{\"type\": \"boolean\"}')\" = true ]; then ...\n"
    "  bowline report fail disk-full 'no space left' --retry\n",
    action_report,
};

const struct command report_command = {
    "report",
    "Report on the task that a command runs for",
    "Task, token and server come from BOWLINE_TASK, BOWLINE_TOKEN and BOWLINE_URL, which `bowline run` and `bowline work` set. `ask` waits for the "
    "answer and\n"
    "prints it: a text as it is, anything else as JSON; it ends with 5 if the task is to be cancelled meanwhile. The others print nothing unless\n"
    "--json is given.\n",
    &report_action,
    1,
    true,
    NULL};
