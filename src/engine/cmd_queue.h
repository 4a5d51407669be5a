/* cmd_queue.h: commands about queues. */
#ifndef BOWLINE_ENGINE_CMD_QUEUE_H
#define BOWLINE_ENGINE_CMD_QUEUE_H

#include "engine/handler.h"

cmd_handler cmd_queue_claim, cmd_queue_release, cmd_queue_list;
/* The peer of a claim is gone: the tasks that it was given, unless their workers have been heard, go back. */
void claims_give_back(struct engine *e, struct cmd *c);

#endif
