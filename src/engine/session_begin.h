/* session_begin.h: a session is made. */
#ifndef BOWLINE_ENGINE_SESSION_BEGIN_H
#define BOWLINE_ENGINE_SESSION_BEGIN_H

#include "engine/cmd.h"
#include "engine/found.h"

struct engine;
struct session_entry;

/* GO_ON: it is there, and has taken what waits for its user. Or WAITS. The key in n must be that of no active session. */
enum step session_create(struct engine *e, struct cmd *c, const struct session_new *n, struct session_entry **ret) MUST_CHECK;

#endif
