/* users.h: users and their sessions, those in memory and, unless it is stale, all that the store has. */
#ifndef BOWLINE_ENGINE_USERS_H
#define BOWLINE_ENGINE_USERS_H

#include "base/hash.h"
#include "engine/cmd.h"
#include "engine/found.h"
#include "store/store.h"

struct engine;
struct session_entry;

LIST_HEAD(user_here, session_entry);
struct user {
    char *name;
    struct user_session {
        struct id id;
        int64_t active_at;
        bool ended; /* kept for tasks that wait to be handed over */
    } * sessions;
    size_t count, cap;
    struct user_here here; /* its sessions in memory; with the last of them it goes */
    bool stale;            /* the store has not been asked which others there are, or a failed batch may have changed that */
    UT_hash_handle hh;
};

struct user *user_create(struct engine *e, struct str name);         /* stale: the store has not been asked */
void user_learn(struct user *u, const struct session_rows *rows);    /* all of its sessions that the store has; what is in memory counts more */
void user_add(struct engine *e, struct session_entry *s);            /* a session, of a user or not, is in memory */
void user_forget_session(struct engine *e, struct session_entry *s); /* and leaves it */
struct user_session *user_session_of(struct user *u, struct id id);  /* made if it is not there; valid until the next is made */
/* The active session of the user most (or longest not) active, other than `but`; NULL if there is none. Of equal ones the last (or first). */
struct user_session *user_pick(struct engine *e, struct user *u, struct id but, bool longest_idle);
/* Makes room for one more session of the user by ending those longest not active, once these, and the one that takes over their tasks, are in memory. GO_ON, or WAITS. */
enum step user_make_room(struct engine *e, struct cmd *c, struct user *u) MUST_CHECK;
/* Loads the ended sessions whose tasks wait for this user. GO_ON, or WAITS. */
enum step user_waiting_prepare(struct engine *e, struct cmd *c, struct user *u) MUST_CHECK;
/* What the step does is decided by which sessions the user has, and which of them are active: it stands on what was changed of any of them. */
void user_step_stands_on(struct engine *e, const struct user *u);
void users_drop(struct engine *e); /* the engine is going */

#endif
