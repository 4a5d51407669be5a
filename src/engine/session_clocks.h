/* session_clocks.h: the idle clock of a session, and what happens to it by itself. */
#ifndef BOWLINE_ENGINE_SESSION_CLOCKS_H
#define BOWLINE_ENGINE_SESSION_CLOCKS_H

#include <stdbool.h>
#include <stdint.h>

struct engine;
struct session_entry;

/* It is active. explicit_touch: that is written even if the store's idle clock is nearly right. */
void session_touch(struct engine *e, struct session_entry *s, bool explicit_touch);
/* Is it watched so that its idle clock stands still? Then that begins anew: to be called before that may end, and now and then. */
void session_keep_alive(struct engine *e, struct session_entry *s);
/* Sets its timer to what is next. To be called after each change of what that depends on. */
void session_rearm(struct engine *e, struct session_entry *s);
/* When it ends by itself or, if it has ended, may be forgotten; 0: never. */
int64_t session_due_at(const struct engine *e, const struct session_entry *s);

#endif
