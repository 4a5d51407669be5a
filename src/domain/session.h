/* session.h: a session (contract section 3). Pure. */
#ifndef BOWLINE_DOMAIN_SESSION_H
#define BOWLINE_DOMAIN_SESSION_H

#include "base/buf.h"
#include "base/id.h"

enum session_state { SESSION_ACTIVE, SESSION_ENDED, SESSION_STATES };
enum end_reason { REASON_NONE, REASON_LOGOUT, REASON_IDLE, REASON_MAX_AGE, REASON_MERGED, REASON_OPERATOR, REASON_LIMIT, REASONS };
enum gone_reason { GONE_MOVED, GONE_DELETED, GONE_EXPIRED, GONE_REASONS };

struct session {
    struct id id;
    enum session_state state;
    enum end_reason reason;
    uint32_t gen;
    char *user;     /* NULL: none */
    char *metadata; /* JSON text */
    bool has_key;
    uint8_t key_hash[32];
    int64_t created_at, ended_at;        /* Unix time */
    int64_t created_apart, ended_apart;  /* Unix less steady time at these */
    int64_t rotated_at;                  /* steady */
    int64_t jwt_from_s;                  /* Unix time: JWTs for its key issued before this second are old; 0: none are */
    int64_t jwt_seen_s;                  /* the newest `iat` that has been used for it while in memory */
    int64_t active_at;                   /* steady: start of the idle clock */
    int64_t idle_timeout_ms, max_age_ms; /* 0: never */
    struct id merged_into;
};

const char *session_state_name(enum session_state s);
int session_state_parse(struct str name); /* -1: no such state */
const char *end_reason_name(enum end_reason r);
const char *gone_reason_name(enum gone_reason r);

void session_fini(struct session *s);
/* When it ends by itself, in steady time, and why; 0 if never. */
int64_t session_expires_at(const struct session *s, enum end_reason *ret_reason);
/* When it ended, in steady time. */
int64_t session_ended_ms(const struct session *s);
/* No duration began in the future: what was stored under a clock that was ahead begins now at the latest. */
void session_bound(struct session *s, int64_t now_ms);
/*
 * What lies in the future of a wall clock that has been put back to wall_ms counts as now. True if anything differs. jwt_skew_s: jwt_from_s may be ahead by that much, since
 * those who issue JWTs have clocks of their own.
 */
bool session_put_back(struct session *s, int64_t wall_ms, int64_t jwt_skew_s);
/* The session as people see it. apart_ms: Unix less steady time now. token: text or none (then there is no such member). */
void session_write(const struct session *s, int64_t apart_ms, struct str token, uint32_t unfinished, uint32_t ended, struct buf *out);

#endif
