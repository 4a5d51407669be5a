/* keys.h: the keys of sessions; and when a key was lost, so that JWTs of before do not count for whoever gets it next. */
#ifndef BOWLINE_ENGINE_KEYS_H
#define BOWLINE_ENGINE_KEYS_H

#include "base/hash.h"
#include "engine/clocks.h"
#include "engine/cmd.h"
#include "engine/found.h"
#include "engine/session_entry.h"

/* A key that led to a session which ended or rotated, until the set that says so is durable. */
struct old_key {
    uint8_t hash[32];
    int64_t jwt_from_s;
    uint64_t set;
    UT_hash_handle hh;
};

/* How a key is kept: its HMAC with this set of secrets. */
void session_key_hash(const struct engine *e, unsigned set, struct str key, uint8_t out[32]);
void session_set_key(struct engine *e, struct session_entry *s, struct str key); /* which no other active session has */
void session_unkey(struct engine *e, struct session_entry *s);
/* It is about to lose its key, or (kept) its older JWTs: that is written with the open batch. */
void session_old_key(struct engine *e, struct session_entry *s, bool kept);
/* JWTs for this key count only if issued at or after this second; 0: any. */
int64_t old_key_jwt_from(struct engine *e, struct cmd *c, struct str key);
/* Whose an old JWT is: c->e.jwt_session and jwt_gen. GO_ON, WAITS, or ABSENT: it has been answered. */
enum step old_key_find(struct engine *e, struct cmd *c) MUST_CHECK;
void old_keys_durable(struct engine *e, uint64_t upto); /* up to this set, and those that failed; UINT64_MAX: all are let go */
void old_keys_put_back(struct engine *e);               /* the wall clock has gone back: those that are not durable yet */

/* The newest `iat` that the session has been used with, if it lies ahead; else 0. Where it lies further ahead than any is taken, the clock has gone back. */
static inline int64_t jwt_ahead_s(const struct engine *e, const struct session_entry *s) {
    int64_t by = s->s.jwt_seen_s - wall_second(e);
    return by > 0 && by <= ENGINE_JWT_SKEW_S ? s->s.jwt_seen_s : 0;
}

#endif
