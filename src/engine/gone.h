/* gone.h: tasks that have left a session, remembered so that readers of its feed can be told. */
#ifndef BOWLINE_ENGINE_GONE_H
#define BOWLINE_ENGINE_GONE_H

#include "base/id.h"
#include "domain/session.h"

struct engine;
struct session_entry;

/* It takes a number; who watches is told, and it is written with the open batch. */
void gone_add(struct engine *e, struct session_entry *s, struct id task, enum gone_reason reason);
/* Forgets those that are too old or too many. */
void gone_trim(struct engine *e, struct session_entry *s);
/* Something has gone that a reader with this cursor would have to be told, and nobody knows of it any more. */
bool gone_is_forgotten(const struct session_entry *s, uint64_t number, uint64_t gone_from);

#endif
