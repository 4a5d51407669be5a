/* refill.h: what a watcher of output needs that lies further back than its loop remembers. */
#ifndef BOWLINE_ENGINE_REFILL_H
#define BOWLINE_ENGINE_REFILL_H

#include "engine/handler.h"

cmd_handler cmd_watch_refill;

#endif
