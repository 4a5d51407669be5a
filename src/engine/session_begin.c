/* A session is made. */
#include "engine/session_begin.h"

#include "engine/clocks.h"
#include "engine/keys.h"
#include "engine/limits.h"
#include "engine/look_up.h"
#include "engine/moves.h"
#include "engine/residence.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/users.h"
#include "engine/writes.h"

#include "base/mem.h"

enum step session_create(struct engine *e, struct cmd *c, const struct session_new *n, struct session_entry **ret) {
    struct user *u = NULL;
    if (n->user.p && (find_user(e, c, n->user, &u) == PARKED || user_waiting_prepare(e, c, u) == WAITS || user_make_room(e, c, u) == WAITS)) {
        return WAITS;
    }
    struct session s = {.id = id_make(&e->ids, e->now),
                        .gen = 1,
                        .user = mem_strdup(n->user),
                        .metadata = mem_strdup(n->metadata.p ? n->metadata : STR("{}")),
                        .created_at = wall_of(e, e->now),
                        .created_apart = e->apart,
                        .active_at = e->now,
                        .idle_timeout_ms = n->idle_timeout_ms,
                        .max_age_ms = n->max_age_ms};
    struct session_entry *se = session_entry_create(e, &s);
    if (n->key.p) {
        se->s.jwt_from_s = old_key_jwt_from(e, c, n->key);
        session_set_key(e, se, n->key);
    }
    se->reserved_pending = ENGINE_RESERVE;
    session_write_now(e, se);
    user_add(e, se);
    if (u) {
        user_take_waiting(e, u, se);
    }
    session_rearm(e, se);
    e->counts.created++;
    *ret = se;
    return GO_ON;
}
