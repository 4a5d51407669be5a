/* start.h: how an engine begins and stops, as far as its other parts take part in it. */
#ifndef BOWLINE_ENGINE_START_H
#define BOWLINE_ENGINE_START_H

struct engine;
struct store_query;

/* The open batch says which history this is, and that it has not stopped cleanly. To be called again if that batch fails. */
void engine_mark(struct engine *e);
/* What the store had at the start has come. The query stays the caller's. If it could not be read, the engine stops. */
void engine_started(struct engine *e, struct store_query *q);
/* A session was loaded: if it was the last that the start waits for, commands are served from now on. */
void engine_loaded_one(struct engine *e);
/* Once per pass: is everything written that a stop has to wait for? */
void engine_check_stopped(struct engine *e);

#endif
