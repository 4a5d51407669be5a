/* session_entry.h: a session in memory, with all of its tasks; and those that have left it. */
#ifndef BOWLINE_ENGINE_SESSION_ENTRY_H
#define BOWLINE_ENGINE_SESSION_ENTRY_H

#include "base/hash.h"
#include "base/wheel.h"
#include "domain/session.h"
#include "engine/lists.h"
#include "engine/task_entry.h"

struct gone_entry {
    TAILQ_ENTRY(gone_entry) link;
    uint64_t seq;
    struct id task;
    enum gone_reason reason;
    int64_t at;
};

struct session_entry {
    struct session s;
    uint64_t seq;
    uint64_t reserved;         /* durable: numbers up to it may be given out */
    uint64_t reserved_pending; /* will be, once the batch that says so is */
    uint64_t reserved_written; /* as its row says that was last put into a batch */
    uint64_t gone_floor;
    uint64_t pending; /* newest set with a durable change of this session */
    uint64_t touched; /* newest set with any row of it */
    struct task_list by_version, by_change;
    struct task_list by_end; /* those that have ended, the oldest end first, but for ends_mixed */
    bool ends_mixed;         /* tasks that had ended came from elsewhere: to be sorted when the order counts */
    struct gone_list gone;
    unsigned gone_count, unfinished, ended;
    struct channel_list channels;
    unsigned watchers; /* of its feeds and those of its tasks */
    unsigned own;      /* of them, with its own credential, plain polls aside */
    unsigned people;
    unsigned waiting; /* requests with its own credential that wait for news of one of its tasks */
    int64_t unwatched_since;
    TAILQ_ENTRY(session_entry) of_write;
    enum session_write_state { WRITE_NONE, WRITE_DEFERRED, WRITE_IMMEDIATE } write;
    int64_t active_written; /* idle clock and due time as the store has them */
    int64_t due_written;
    int64_t used_at;
    bool ending; /* a command that ends it is under way */
    struct timer timer;
    struct user *user;
    LIST_ENTRY(session_entry) of_user; /* user.here */
    UT_hash_handle hh, hh_key;
};

/* The generation that counts of a task's watch tokens. */
static inline uint32_t task_watch_gen(const struct task_entry *t) {
    return t->t.watch_base + t->s->s.gen;
}

#endif
