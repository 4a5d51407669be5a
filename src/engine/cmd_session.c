#include "engine/cmd_session.h"

#include "engine/answer.h"
#include "engine/audit.h"
#include "engine/auth.h"
#include "engine/batch.h"
#include "engine/channel.h"
#include "engine/keys.h"
#include "engine/kinds.h"
#include "engine/look_up.h"
#include "engine/moves.h"
#include "engine/rows.h"
#include "engine/session_begin.h"
#include "engine/session_clocks.h"
#include "engine/session_end.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/users.h"
#include "engine/writes.h"

#include "base/mem.h"
#include "domain/token.h"

void session_answer(struct engine *e, struct cmd *c, struct session_entry *s, int status, bool with_token) {
    struct buf token = {0};
    if (with_token) {
        token_write(e->config.keys, (struct token){TOKEN_SESSION, s->s.id, s->s.gen}, &token);
    }
    session_write(&s->s, e->apart, with_token ? buf_view(&token) : STR_NONE, s->unfinished, s->ended, cmd_json(c, status));
    buf_fini(&token);
    cmd_answer(e, c);
}

/* A user is named that the session does not have. */
static bool other_user(const struct session_entry *s, struct str user) {
    return user.p && !(s->s.user && str_eqz(user, s->s.user));
}

void cmd_session_create(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    enum found f = c->session_new.key.p ? find_key(e, c, c->session_new.key, &s) : ABSENT;
    if (f == FOUND && other_user(s, c->session_new.user)) {
        cmd_refuse_at(e, c, ERR_USER_MISMATCH, STR("/user"), "The session with this key does not belong to this user");
    } else if (f == FOUND) {
        session_answer(e, c, s, 200, true);
    } else if (f == ABSENT && session_create(e, c, &c->session_new, &s) == GO_ON) {
        audit(c, "session.created", s->s.id, (struct id){0}, (struct id){0}, NULL);
        session_answer(e, c, s, 201, true);
    }
}

/* POST /v1/session: the one that the cookie names, if it lives, else a new one. */
void cmd_session_open(struct engine *e, struct cmd *c) {
    struct session_entry *s = NULL;
    if (c->cred.kind == CRED_SESSION) {
        enum found f = find_session(e, c, c->cred.id, &s);
        if (f == PARKED) {
            return;
        }
        if (f == FOUND && s->s.state == SESSION_ACTIVE && s->s.gen == c->cred.gen) {
            session_touch(e, s, false);
            session_answer(e, c, s, 200, false);
            return;
        }
    }
    struct session_new n = {.idle_timeout_ms = e->o->idle_timeout, .max_age_ms = e->o->max_age};
    if (session_create(e, c, &n, &s) != GO_ON) {
        return;
    }
    audit(c, "session.created", s->s.id, (struct id){0}, (struct id){0}, NULL);
    struct buf token = {0};
    token_write(e->config.keys, (struct token){TOKEN_SESSION, s->s.id, s->s.gen}, &token);
    c->answer.cookie = arena_str(&c->arena, buf_view(&token));
    buf_fini(&token);
    session_answer(e, c, s, 201, false);
}

void cmd_session_get(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    if (entitled_session(e, c, &s) == GO_ON) {
        session_answer(e, c, s, 200, false);
    }
}

static bool refuse_ended(struct engine *e, struct cmd *c, struct session_entry *s) {
    if (s->s.state == SESSION_ENDED) {
        cmd_refuse(e, c, ERR_SESSION_ENDED, "The session has ended");
    }
    return s->s.state == SESSION_ENDED;
}

void cmd_session_touch(struct engine *e, struct cmd *c) {
    struct session_entry *s;
    if (entitled_session(e, c, &s) == GO_ON && !refuse_ended(e, c, s)) {
        session_touch(e, s, true);
        session_answer(e, c, s, 200, false);
    }
}

/* ---- login ---- */

/* The session's new generation has raised them; what was opened with the old ones is cut. */
static void cut_watch_tokens(struct engine *e, struct session_entry *s) {
    struct task_entry *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        channels_disconnect(e, &t->channels, s->pending, WATCHER_WATCH, DISCONNECT_ANY_GEN, DISCONNECT_DEAD, NULL, STR_NONE);
    }
}

static void rotate(struct engine *e, struct cmd *c, struct session_entry *s, struct user *u) {
    const struct session_new *n = &c->session_new;
    uint8_t hash[32];
    bool new_key = n->key.p != NULL;
    if (new_key) {
        session_key_hash(e, 0, n->key, hash);
        new_key = !s->s.has_key || memcmp(hash, s->s.key_hash, sizeof(hash)) != 0;
    }
    session_old_key(e, s, !new_key);
    if (new_key) {
        session_unkey(e, s);
        session_row_put(e, s); /* ahead of whoever gets the old key in the same batch */
        s->s.jwt_from_s = old_key_jwt_from(e, c, n->key);
        session_set_key(e, s, n->key);
    }
    s->s.gen++;
    s->s.rotated_at = e->now;
    session_touch(e, s, true);
    session_write_now(e, s);
    cut_watch_tokens(e, s);
    if (u) {
        s->s.user = mem_strdup(n->user);
        user_add(e, s);
        user_take_waiting(e, u, s);
    }
    session_disconnect(e, s, WATCHER_SESSION, s->s.gen, DISCONNECT_AT_ONCE, "rotated", NULL);
    session_wake_waiters(e, s);
    audit(c, "session.rotated", s->s.id, (struct id){0}, (struct id){0}, NULL);
    session_answer(e, c, s, 200, true);
}

void cmd_session_rotate(struct engine *e, struct cmd *c) {
    struct session_entry *s, *other = NULL;
    struct user *u = NULL;
    const struct session_new *n = &c->session_new;
    if (entitled_session(e, c, &s) != GO_ON || refuse_ended(e, c, s)) {
        return;
    }
    if (s->s.user && other_user(s, n->user)) {
        cmd_refuse_at(e, c, ERR_USER_MISMATCH, STR("/user"), "The session belongs to another user");
        return;
    }
    enum found f = n->key.p ? find_key(e, c, n->key, &other) : ABSENT;
    if (f == PARKED) {
        return;
    }
    if (f == FOUND && other != s) {
        cmd_refuse_at(e, c, ERR_KEY_IN_USE, STR("/key"), "Another active session has this key");
        return;
    }
    if (n->user.p && !s->s.user &&
        (find_user(e, c, n->user, &u) == PARKED || user_waiting_prepare(e, c, u) == WAITS || user_make_room(e, c, u) == WAITS)) {
        return;
    }
    rotate(e, c, s, u);
}

/* ---- merge ---- */

static bool may_join(const struct session_entry *from, const struct session_entry *to) {
    if (!from->s.user) {
        return true;
    }
    return to->s.user && strcmp(from->s.user, to->s.user) == 0;
}

void cmd_session_merge(struct engine *e, struct cmd *c) {
    struct session_entry *s, *to;
    if (entitled_session(e, c, &s) != GO_ON) {
        return;
    }
    enum found f = find_session(e, c, c->into, &to);
    if (f == PARKED) {
        return;
    }
    if (f == ABSENT) {
        cmd_refuse_at(e, c, ERR_NOT_FOUND, STR("/into"), "There is no such session");
        return;
    }
    if (s == to) {
        cmd_refuse_at(e, c, ERR_INVALID_REQUEST, STR("/into"), "A session cannot be merged into itself");
        return;
    }
    if (s->s.state == SESSION_ENDED && s->s.reason == REASON_MERGED && id_eq(s->s.merged_into, to->s.id)) {
        session_answer(e, c, to, 200, false);
        return;
    }
    if (s->s.state == SESSION_ENDED || to->s.state == SESSION_ENDED) {
        cmd_refuse(e, c, ERR_SESSION_ENDED, s->s.state == SESSION_ENDED ? "The session has ended" : "The session to merge into has ended");
        return;
    }
    if (!may_join(s, to)) {
        cmd_refuse_at(e, c, ERR_USER_MISMATCH, STR("/into"), "The two sessions belong to different users");
        return;
    }
    channels_catch_up(e, s);
    while (!TAILQ_EMPTY(&s->by_version)) {
        task_move_to(e, TAILQ_FIRST(&s->by_version), to);
    }
    s->s.merged_into = to->s.id;
    session_end(e, s, REASON_MERGED, NULL);
    audit(c, "session.merged", s->s.id, (struct id){0}, to->s.id, NULL);
    session_answer(e, c, to, 200, false);
}

/* ---- the end ---- */

static enum end_reason reason_of(const struct cmd *c) {
    if (c->e.internal) {
        return (enum end_reason) c->e.reason;
    }
    bool operator_only = c->cred.kind == CRED_KEY && c->cred.roles == ROLE_OPERATOR;
    return operator_only ? REASON_OPERATOR : REASON_LOGOUT;
}

void cmd_session_end(struct engine *e, struct cmd *c) {
    struct session_entry *s, *target;
    if (entitled_session(e, c, &s) != GO_ON) {
        return;
    }
    if (s->s.state == SESSION_ACTIVE && c->e.internal) {
        session_keep_alive(e, s);
        int64_t at = session_expires_at(&s->s, NULL);
        if (!at || at > e->now) { /* touched in the meantime */
            s->ending = false;
            session_rearm(e, s);
            cmd_refuse(e, c, ERR_NOT_FOUND, NULL);
            return;
        }
    }
    if (s->s.state == SESSION_ACTIVE) {
        if (session_end_prepare(e, c, s, &target) == WAITS) {
            return;
        }
        enum end_reason reason = reason_of(c);
        session_end(e, s, reason, target);
        audit(c, "session.ended", s->s.id, (struct id){0}, (struct id){0}, end_reason_name(reason));
    }
    session_answer(e, c, s, 200, false);
}

void cmd_auth(struct engine *e, struct cmd *c) {
    c->answer.type = ANSWER_NONE;
    c->answer.status = 204;
    cmd_answer(e, c);
}
