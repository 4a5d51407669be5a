/* channel.h: one watched feed on one loop: opened by its first watcher, closed with its last. */
#ifndef BOWLINE_ENGINE_CHANNEL_H
#define BOWLINE_ENGINE_CHANNEL_H

#include "base/feed.h"
#include "base/hash.h"
#include "engine/lists.h"
#include "engine/session_entry.h"

struct engine;

enum channel_kind { CHANNEL_SESSION, CHANNEL_SESSION_OUTPUT, CHANNEL_TASK };

/* One watched feed on one loop. */
struct channel {
    uint64_t number;
    unsigned endpoint;
    enum channel_kind kind;
    struct id id;            /* of the session or task */
    struct session_entry *s; /* NULL while the session is being loaded again, and for tasks */
    struct task_entry *t;
    unsigned watchers, people;
    unsigned own;          /* of them, with the session's credential, plain polls aside */
    uint64_t sent;         /* everything up to it is with the loop or on its way */
    bool behind;           /* on engine.behind */
    bool stated;           /* of a task: its state has been sent, at least once */
    bool removed;          /* its task is no more: what its loop has is all there is */
    bool retired;          /* nothing more is sent to it, and nobody new watches it: it lacks something for good, or its session has ended */
    struct task_entry *at; /* catching up: the next task to send */
    LIST_ENTRY(channel) of_object;
    TAILQ_ENTRY(channel) of_behind;
    UT_hash_handle hh;
};

#define DISCONNECT_ANYBODY (WATCHER_SESSION | WATCHER_WATCH | WATCHER_KEY)
#define DISCONNECT_ANY_GEN UINT32_MAX

/* The one that is there, or a new one. t is NULL for feeds of sessions. The caller counts its watcher. */
struct channel *channel_open(struct engine *e, unsigned endpoint, enum channel_kind kind, struct session_entry *s, struct task_entry *t);
/* Nobody watches it any more. */
void channel_close(struct engine *e, struct channel *ch);
/* Its session may be back in memory: then it goes on from there. */
void channel_reattach(struct engine *e, struct channel *ch);
bool channel_pump(struct engine *e, struct channel *ch); /* sends a few of those that it is behind with. False: there was no memory */
/* What came after `sent` is not with its loop, and has to be sent (again). Where that cannot be, its watchers are sent away with their cursors. */
void channel_fall_behind(struct engine *e, struct channel *ch, uint64_t sent);
void channels_catch_up(struct engine *e, struct session_entry *s); /* none is behind any more */
void channels_finish(struct session_entry *s);                     /* what has been sent to them is the end: sending them away is the caller's */
/* Those of the list who came as mask says (enum watcher_tag), with a generation below `below`, are sent away, with an event unless that is NULL. */
void channels_disconnect(struct engine *e, struct channel_list *list, uint64_t needs, uint32_t mask, uint32_t below, enum disconnect_how how,
                         const char *event, struct str data);
/* The same for all feeds of a session, with its state as the event. */
void session_disconnect(struct engine *e, struct session_entry *s, uint32_t mask, uint32_t below, enum disconnect_how how, const char *state,
                        const char *reason);
/* The task leaves its session's lists, or its place there: channels that are catching up step over it. */
void feed_task_unlink(struct engine *e, struct task_entry *t);
/* What has gone up to seq is forgotten: channels that it has not been sent to are of no more use. */
void feed_gone_forgotten(struct engine *e, struct session_entry *s, uint64_t seq);

#endif
