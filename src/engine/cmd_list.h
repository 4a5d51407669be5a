/* cmd_list.h: pages of sessions and tasks. */
#ifndef BOWLINE_ENGINE_CMD_LIST_H
#define BOWLINE_ENGINE_CMD_LIST_H

#include "engine/handler.h"

cmd_handler cmd_session_list, cmd_task_list;

#endif
