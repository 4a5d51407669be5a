/* cmd_report.h: what workers say, and what they are told. */
#ifndef BOWLINE_ENGINE_CMD_REPORT_H
#define BOWLINE_ENGINE_CMD_REPORT_H

#include "engine/handler.h"

cmd_handler cmd_task_report, cmd_report_open, cmd_task_control;

#endif
