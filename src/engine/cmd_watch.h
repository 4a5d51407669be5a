/* cmd_watch.h: feeds are opened. */
#ifndef BOWLINE_ENGINE_CMD_WATCH_H
#define BOWLINE_ENGINE_CMD_WATCH_H

#include "base/id.h"
#include "engine/handler.h"

cmd_handler cmd_watch;
void watch_cursor_prefix(struct engine *e, struct cmd *c, struct id session); /* of the feed that it asks for: into its answer */

#endif
