/*
 * needs.h: what must be durable before the answer of a command leaves: what it has read, and what it has changed. Look-ups (look_up.h) note by themselves what they
 * find; whoever reads by other ways notes it here. What the command changes need not be noted: it is its step's set (sets.h).
 */
#ifndef BOWLINE_ENGINE_NEEDS_H
#define BOWLINE_ENGINE_NEEDS_H

#include "engine/cmd.h"

struct engine;

/* It runs from its start, or its next line does: it has read nothing yet. */
void needs_begin(struct cmd *c);
/* It has read what this set holds. */
void needs_set(struct engine *e, struct cmd *c, uint64_t set);
/* It has read this session, or one of its tasks. */
void needs_session(struct engine *e, struct cmd *c, const struct session_entry *s);
/* What it says stands on all that is known in memory. */
void needs_all(struct engine *e, struct cmd *c);
/* It has looked for what is not there: a refusal stands on all that is known in memory. */
void needs_absence(struct cmd *c);
/* The set that must be durable by what is known now. */
uint64_t needs_of(struct engine *e, struct cmd *c);

#endif
