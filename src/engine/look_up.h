/*
 * look_up.h: what commands look for: memory first, then the store, for which they are parked. All of these return FOUND; PARKED; or ABSENT: there is none,
 * and nothing has been answered.
 */
#ifndef BOWLINE_ENGINE_LOOK_UP_H
#define BOWLINE_ENGINE_LOOK_UP_H

#include "base/hash.h"
#include "engine/cmd.h"
#include "engine/found.h"
#include "engine/load.h"

struct engine;
struct session_entry;
struct task_entry;
struct user;

/* A row that became durable and left memory: a look-up for it that was asked before may have missed both. */
struct recent {
    struct load_key key;
    uint64_t stamp;
    int64_t at;
    TAILQ_ENTRY(recent) link; /* engine.recent_order */
    UT_hash_handle hh;
};

/* It was removed a short while ago: what a row of the store that was read before says of it is no longer so. False for what is in memory. */
bool task_removed_lately(struct engine *e, struct cmd *c, struct id id);

enum found find_session(struct engine *e, struct cmd *c, struct id id, struct session_entry **ret) MUST_CHECK;
/* ABSENT with *ret_gone set if it was: that lives as long as the command runs. */
enum found find_task(struct engine *e, struct cmd *c, struct id id, struct task_entry **ret, struct tombstone_row **ret_gone) MUST_CHECK;
enum found find_key(struct engine *e, struct cmd *c, struct str key, struct session_entry **ret) MUST_CHECK; /* the active session that has it */
/* With all of the user's sessions. Never ABSENT: of a user without any, one without any is made. */
enum found find_user(struct engine *e, struct cmd *c, struct str name, struct user **ret) MUST_CHECK;
/* Of what is not in memory: PARKED, or ABSENT if the store was asked a short while ago and had none. */
enum found look_up(struct engine *e, struct cmd *c, enum look_up what, const void *key, size_t key_len) MUST_CHECK;
/* This look-up found nothing for the command: so it need not be asked again when the command runs again. */
void negative_add(struct cmd *c, const struct load *l);
/* What the look-up would find has become durable and leaves memory: that it found nothing before counts no more. */
void look_up_missed(struct engine *e, enum look_up what, const void *key, size_t key_len);
void look_ups_drop(struct engine *e); /* the engine is going */

#endif
