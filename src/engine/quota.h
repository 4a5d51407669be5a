/* quota.h: a session keeps no more tasks than it may: the oldest of those that have ended leave. */
#ifndef BOWLINE_ENGINE_QUOTA_H
#define BOWLINE_ENGINE_QUOTA_H

#include <stdbool.h>

struct engine;
struct session_entry;

/* It holds more tasks than may be kept, and some of them have ended. */
bool session_over_quota(const struct engine *e, const struct session_entry *s);
/* The oldest ended ones expire, as many as find room in the open batch. By the session's timer only. */
void session_evict_ended(struct engine *e, struct session_entry *s);

#endif
