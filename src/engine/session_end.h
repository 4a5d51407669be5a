/* session_end.h: the end of a session, and what that means for each of its tasks. */
#ifndef BOWLINE_ENGINE_SESSION_END_H
#define BOWLINE_ENGINE_SESSION_END_H

#include "domain/session.h"
#include "engine/cmd.h"
#include "engine/found.h"

struct engine;
struct session_entry;

/* Loads what ending it needs: GO_ON, with the session that takes over what is handed over, or NULL if that waits for one; or WAITS. */
enum step session_end_prepare(struct engine *e, struct cmd *c, struct session_entry *s, struct session_entry **ret_target) MUST_CHECK;
/* Ends it, which must be active. Who watches is told, and sent away. */
void session_end(struct engine *e, struct session_entry *s, enum end_reason reason, struct session_entry *target);
/* Commands that wait on its tasks run again: what they may see may have changed. */
void session_wake_waiters(struct engine *e, struct session_entry *s);

#endif
