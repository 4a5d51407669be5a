/* auth.h: who is it, is the credential alive, whose is the object. */
#ifndef BOWLINE_ENGINE_AUTH_H
#define BOWLINE_ENGINE_AUTH_H

#include "engine/cmd.h"
#include "engine/found.h"

struct engine;
struct session_entry;
struct task_entry;

enum step authenticate(struct engine *e, struct cmd *c) MUST_CHECK;      /* sets c->e.self if the credential is a session's */
enum step session_has_ended(struct engine *e, struct cmd *c) MUST_CHECK; /* GO_ON: the credential's has not */
enum step entitled_session(struct engine *e, struct cmd *c, struct session_entry **ret) MUST_CHECK; /* the credential's own, or the one of the path */
enum step entitled_task(struct engine *e, struct cmd *c, struct task_entry **ret) MUST_CHECK;       /* the one of the path */
enum step cred_dead(struct engine *e, struct cmd *c);                                               /* always ANSWERED, with 401 */
enum step refuse_gone(struct engine *e, struct cmd *c, const struct tombstone_row *row); /* always ANSWERED, with 410 and what the task was */
bool cred_is_person(const struct cmd *c);
/* Has the attempt of a worker token been, for the task or, with t NULL, for what is known of one that is gone? */
bool worker_token_valid(const struct cred *token, const struct task_entry *t, const struct tombstone_row *row);

#endif
