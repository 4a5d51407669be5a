/* Keys of sessions, and the history of those that were lost. */
#include "engine/keys.h"

#include "engine/answer.h"
#include "engine/auth.h"
#include "engine/batch.h"
#include "engine/clocks.h"
#include "engine/limits.h"
#include "engine/load.h"
#include "engine/look_up.h"
#include "engine/needs.h"
#include "engine/outbox.h"
#include "engine/query.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include "base/mem.h"
#include "base/crypto.h"

void session_set_key(struct engine *e, struct session_entry *s, struct str key) {
    session_unkey(e, s);
    for (unsigned i = 0; i < e->config.keys->count; i++) { /* whoever had it has lost it before */
        struct old_key *k;
        session_key_hash(e, i, key, s->s.key_hash);
        HASH_FIND(hh, e->old_keys, s->s.key_hash, sizeof(k->hash), k);
        step_stands_on(e, k ? k->set : 0);
    }
    session_key_hash(e, 0, key, s->s.key_hash);
    s->s.has_key = true;
    HASH_ADD(hh_key, e->sessions_by_key, s.key_hash, sizeof(s->s.key_hash), s);
}

void session_unkey(struct engine *e, struct session_entry *s) {
    if (s->s.has_key && s->s.state == SESSION_ACTIVE) {
        HASH_DELETE(hh_key, e->sessions_by_key, s);
    }
    s->s.has_key = false;
}

void session_old_key(struct engine *e, struct session_entry *s, bool kept) {
    if (!s->s.has_key) {
        return;
    }
    int64_t ahead_s = jwt_ahead_s(e, s), from_s = ahead_s ? ahead_s + 1 : wall_second(e) + !kept;
    s->s.jwt_from_s = from_s > s->s.jwt_from_s ? from_s : s->s.jwt_from_s; /* those of who had it before are not to become its own */
    int64_t remembered = e->o->ended_session_ttl > ENGINE_KEY_LEAST_MS ? e->o->ended_session_ttl : ENGINE_KEY_LEAST_MS;
    struct store_op *op = batch_op(e, STORE_PUT_OLD_KEY);
    op->row.old_key = (struct old_key_row){.key_hash = batch_text(e, str_n((char *) s->s.key_hash, 32)),
                                           .jwt_from_s = s->s.jwt_from_s,
                                           .at = e->now,
                                           .session = s->s.id,
                                           .gen = s->s.gen,
                                           .expires_at = e->now + remembered};
    struct old_key *k = NULL;
    HASH_FIND(hh, e->old_keys, s->s.key_hash, sizeof(k->hash), k);
    if (!k) {
        k = mem_alloc(sizeof(*k));
        memcpy(k->hash, s->s.key_hash, sizeof(k->hash));
        HASH_ADD(hh, e->old_keys, hash, sizeof(k->hash), k);
    }
    k->jwt_from_s = s->s.jwt_from_s;
    k->set = step_set(e);
}

void old_keys_durable(struct engine *e, uint64_t upto) {
    struct old_key *k, *next;
    HASH_ITER (hh, e->old_keys, k, next) {
        if (k->set <= upto || set_has_failed(e, k->set)) {
            look_up_missed(e, LOOK_KEY, k->hash, sizeof(k->hash));
            HASH_DELETE(hh, e->old_keys, k);
            mem_free(k);
        }
    }
}

void old_keys_put_back(struct engine *e) {
    int64_t most = wall_second(e) + 1;
    for (struct old_key *k = e->old_keys; k; k = k->hh.next) {
        k->jwt_from_s = k->jwt_from_s < most ? k->jwt_from_s : most;
    }
}

/* When the key was last lost, as far as that is not durable yet; NULL: it is. */
static struct old_key *old_key_pending(struct engine *e, struct str key) {
    struct old_key *k, *newest = NULL;
    for (unsigned i = 0; i < e->config.keys->count; i++) {
        uint8_t hash[KEY_HASH_BYTES];
        session_key_hash(e, i, key, hash);
        HASH_FIND(hh, e->old_keys, hash, sizeof(hash), k);
        newest = k && (!newest || k->jwt_from_s > newest->jwt_from_s) ? k : newest;
    }
    return newest;
}

int64_t old_key_jwt_from(struct engine *e, struct cmd *c, struct str key) {
    const struct old_key *k = old_key_pending(e, key);
    int64_t from = c->e.old_key ? c->e.old_key->jwt_from_s : 0;
    int64_t most = wall_second(e) + 1 + ENGINE_JWT_SKEW_S; /* it may have been read before the clock went back */
    from = k && k->jwt_from_s > from ? k->jwt_from_s : from;
    return from < most ? from : most;
}

static enum step old_key_unread(struct engine *e, struct cmd *c) {
    cmd_refuse(e, c, ERR_UNAVAILABLE, "The store cannot be read");
    return ANSWERED;
}

static enum step old_key_ask(struct engine *e, struct cmd *c) {
    struct store_query *q = query_create(STORE_FIND_OLD_KEY, QUERY_CMD, NULL);
    size_t bytes = (size_t) e->config.keys->count * KEY_HASH_BYTES;
    uint8_t *hashes = arena_alloc(&q->arena, bytes);
    if (!hashes) {
        query_free(q);
        return old_key_unread(e, c);
    }
    for (unsigned i = 0; i < e->config.keys->count; i++) {
        session_key_hash(e, i, c->cred.sid, hashes + (size_t) i * KEY_HASH_BYTES);
    }
    q->ask.old_key.hashes = str_n((char *) hashes, bytes);
    q->ask.old_key.after_s = c->cred.iat_s;
    q->ask.old_key.now = e->now;
    return cmd_query(e, c, q);
}

/* Asked once it is durable that the key was lost, so the store knows the earliest time: what comes to it is later. */
enum step old_key_find(struct engine *e, struct cmd *c) {
    const struct old_key *pending = old_key_pending(e, c->cred.sid);
    struct store_query *q = c->e.query;
    if (!id_is_none(c->e.jwt_session)) {
        return GO_ON;
    }
    if (!q || q->type != STORE_FIND_OLD_KEY) {
        c->e.waited_durable = false; /* a handler may have waited, for something else */
        needs_set(e, c, pending ? pending->set : 0);
        return pending && cmd_until_durable(e, c) == WAITS ? WAITS : old_key_ask(e, c);
    }
    if (q->result != STORE_OK) {
        return old_key_unread(e, c);
    }
    bool found = q->answer.old_key;
    if (found) {
        c->e.jwt_session = q->answer.old_key->session;
        c->e.jwt_gen = q->answer.old_key->gen;
    }
    query_free(q); /* no handler is to take it for its own */
    c->e.query = NULL;
    return found ? GO_ON : cred_dead(e, c);
}

void session_key_hash(const struct engine *e, unsigned set, struct str key, uint8_t out[32]) {
    crypto_hmac(&e->config.keys->set[set].session_keys, key, out);
}
