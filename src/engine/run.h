/* run.h: a command runs. */
#ifndef BOWLINE_ENGINE_RUN_H
#define BOWLINE_ENGINE_RUN_H

#include "engine/cmd.h"

struct engine;

/* Runs it from its start until it is answered or parked. It must be parked nowhere. */
void engine_command(struct engine *e, struct cmd *c);

#endif
