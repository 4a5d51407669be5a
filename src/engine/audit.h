/* audit.h: who created, rotated, merged, cancelled, bound and ended what: one structured line each, without secrets (docs/operations.md). */
#ifndef BOWLINE_ENGINE_AUDIT_H
#define BOWLINE_ENGINE_AUDIT_H

#include "engine/cmd.h"

/* act: "session.created" and the like. Ids that are none are left out. */
void audit(const struct cmd *c, const char *act, struct id session, struct id task, struct id other_session, const char *reason);

#endif
