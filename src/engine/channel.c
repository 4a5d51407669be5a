/*
 * A channel that is live is sent each change as it happens; one that has just been opened, or lost what a failed batch took back, is behind: it is served from its
 * session's order of changes, a few frames a step, until it has caught up.
 */
#include "engine/channel.h"

#include "engine/events.h"
#include "engine/feed.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/outbox.h"
#include "engine/residence.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include "base/mem.h"

void engine_unwatch(struct engine *e, unsigned endpoint, uint64_t number, uint32_t tag) {
    struct channel *ch;
    (void) endpoint;
    HASH_FIND(hh, e->channels, &number, sizeof(number), ch);
    if (!ch) {
        return;
    }
    struct session_entry *s = ch->t ? ch->t->s : ch->s;
    bool person = !(tag & WATCHER_KEY);
    ch->people -= person;
    ch->own -= tag == WATCHER_SESSION;
    if (s) {
        session_keep_alive(e, s);
        s->watchers--;
        s->own -= tag == WATCHER_SESSION;
        s->used_at = e->now;
    }
    if (person && ch->t) {
        ch->t->people--;
        ch->t->unwatched_since = e->now;
    } else if (person && s) {
        s->people--;
        s->unwatched_since = e->now;
    }
    if (--ch->watchers == 0) {
        channel_close(e, ch);
    }
    if (s) {
        session_rearm(e, s);
    }
}

static void channel_retire(struct engine *e, struct channel *ch);

void feed_gone_forgotten(struct engine *e, struct session_entry *s, uint64_t seq) {
    struct channel *ch;
    LIST_FOREACH (ch, &s->channels, of_object) {
        if (ch->behind && ch->sent < seq) { /* its loop may still have states of what is gone, and will never be told */
            channel_retire(e, ch);
        }
    }
}

void feed_task_unlink(struct engine *e, struct task_entry *t) {
    struct channel *ch;
    (void) e;
    LIST_FOREACH (ch, &t->s->channels, of_object) {
        if (ch->at == t) {
            ch->at = TAILQ_NEXT(t, by_version);
        }
    }
}

static struct task_entry *first_after(struct session_entry *s, uint64_t seq) {
    struct task_entry *t, *found = NULL;
    TAILQ_FOREACH_REVERSE(t, &s->by_version, task_list, by_version) {
        if (t->t.version <= seq) {
            break;
        }
        found = t;
    }
    return found;
}

static void channel_not_behind(struct engine *e, struct channel *ch) {
    if (ch->behind) {
        ch->behind = false;
        TAILQ_REMOVE(&e->behind, ch, of_behind);
    }
}

/* Its watchers come back with their cursors, to another one. */
static void channel_retire(struct engine *e, struct channel *ch) {
    const struct session_entry *s = ch->t ? ch->t->s : ch->s;
    if (!ch->retired) {
        ch->retired = true;
        channel_not_behind(e, ch);
        engine_post(e, s ? s->pending : 0, ch->endpoint,
                    (struct message){.type = MESSAGE_DISCONNECT,
                                     .channel = ch->number,
                                     .disconnect = disconnect_create(DISCONNECT_ANYBODY, DISCONNECT_ANY_GEN, DISCONNECT_AWAY, NULL, STR_NONE)});
    }
}

void channel_fall_behind(struct engine *e, struct channel *ch, uint64_t sent) {
    if (ch->kind != CHANNEL_SESSION) { /* these are not sent from the order of changes */
        channel_retire(e, ch);
        return;
    }
    ch->sent = sent < ch->sent ? sent : ch->sent;
    ch->at = NULL;
    if (!ch->behind && !ch->retired && ch->s) {
        ch->behind = true;
        TAILQ_INSERT_TAIL(&e->behind, ch, of_behind);
    }
}

static struct gone_entry *gone_after(struct session_entry *s, uint64_t seq) {
    struct gone_entry *g, *found = NULL;
    TAILQ_FOREACH_REVERSE(g, &s->gone, gone_list, link) {
        if (g->seq <= seq) {
            break;
        }
        found = g;
    }
    return found;
}

/* Sends what comes next of the states and of those gone. False: there was no memory. */
static bool pump_one(struct engine *e, struct channel *ch, struct gone_entry **g) {
    struct task_entry *t = ch->at;
    struct buf *text = &e->scratch;
    struct frame *f;
    bool gone = *g && (!t || (*g)->seq < t->t.version);
    uint64_t seq = gone ? (*g)->seq : t->t.version;
    buf_clear(text);
    if (gone) {
        gone_event(*g, text);
        f = feed_frame(e, FRAME_GONE, ch, seq, (*g)->task, "task", text);
    } else {
        task_event(e, t, seq, text);
        f = feed_frame(e, FRAME_STATE, ch, seq, t->t.id, "task", text);
    }
    if (!f) {
        return false;
    }
    if (gone) {
        *g = TAILQ_NEXT(*g, link);
    } else {
        ch->at = TAILQ_NEXT(t, by_version);
    }
    ch->sent = seq;
    feed_send(e, ch, ch->s->pending, f);
    return true;
}

bool channel_pump(struct engine *e, struct channel *ch) {
    struct session_entry *s = ch->s;
    bool good = true;
    if (!s) {
        channel_not_behind(e, ch);
        return true;
    }
    struct gone_entry *g = gone_after(s, ch->sent);
    for (unsigned i = 0; i < ENGINE_PUMP && good; i++) {
        if (!ch->at) {
            ch->at = first_after(s, ch->sent);
        }
        if (!ch->at && !g) {
            channel_not_behind(e, ch);
            ch->sent = s->seq;
            engine_post(e, s->pending, ch->endpoint, (struct message){.type = MESSAGE_SYNCED, .channel = ch->number, .pos = s->seq});
            return true;
        }
        good = pump_one(e, ch, &g);
    }
    TAILQ_REMOVE(&e->behind, ch, of_behind); /* the others in turn */
    TAILQ_INSERT_TAIL(&e->behind, ch, of_behind);
    return good;
}

void channels_catch_up(struct engine *e, struct session_entry *s) {
    struct channel *ch;
    LIST_FOREACH (ch, &s->channels, of_object) {
        while (ch->behind && channel_pump(e, ch)) {
        }
        if (ch->behind) {
            channel_retire(e, ch);
        }
    }
}

void channels_finish(struct session_entry *s) {
    struct channel *ch;
    LIST_FOREACH (ch, &s->channels, of_object) {
        ch->retired = true;
    }
}

struct channel *channel_open(struct engine *e, unsigned endpoint, enum channel_kind kind, struct session_entry *s, struct task_entry *t) {
    struct channel *ch;
    LIST_FOREACH (ch, kind == CHANNEL_TASK ? &t->channels : &s->channels, of_object) {
        if (ch->endpoint == endpoint && ch->kind == kind && !ch->retired) {
            return ch;
        }
    }
    ch = mem_alloc(sizeof(*ch));
    ch->number = ++e->channel_numbers;
    ch->endpoint = endpoint;
    ch->kind = kind;
    HASH_ADD(hh, e->channels, number, sizeof(ch->number), ch);
    if (kind == CHANNEL_TASK) {
        ch->t = t;
        ch->id = t->t.id;
        ch->sent = t->t.version;
        LIST_INSERT_HEAD(&t->channels, ch, of_object);
    } else {
        ch->s = s;
        ch->id = s->s.id;
        LIST_INSERT_HEAD(&s->channels, ch, of_object);
        if (kind == CHANNEL_SESSION) {
            channel_fall_behind(e, ch, 0);
        } else {
            ch->sent = s->seq;
        }
    }
    return ch;
}

void channel_close(struct engine *e, struct channel *ch) {
    channel_not_behind(e, ch);
    if (ch->s || ch->t) {
        LIST_REMOVE(ch, of_object);
    } else {
        e->detached--;
    }
    engine_post(e, 0, ch->endpoint, (struct message){.type = MESSAGE_DROP, .channel = ch->number}); /* what still waits for it is thrown away */
    HASH_DELETE(hh, e->channels, ch);
    mem_free(ch);
}

void channel_reattach(struct engine *e, struct channel *ch) {
    struct task_entry *t = ch->kind == CHANNEL_TASK && !ch->t ? task_resident(e, ch->id) : NULL;
    struct session_entry *s = ch->kind != CHANNEL_TASK && !ch->s ? session_resident(e, ch->id) : NULL;
    if (t) {
        ch->t = t;
        ch->removed = false;
        e->detached--;
        t->people += ch->people;
        t->s->watchers += ch->watchers;
        t->s->own += ch->own;
        LIST_INSERT_HEAD(&t->channels, ch, of_object);
        channel_fall_behind(e, ch, ch->sent);
    } else if (s) {
        ch->s = s;
        e->detached--;
        s->people += ch->people;
        s->watchers += ch->watchers;
        s->own += ch->own;
        ch->sent = ch->sent < s->seq ? ch->sent : s->seq; /* what was numbered above it has never left */
        LIST_INSERT_HEAD(&s->channels, ch, of_object);
        if (ch->retired && s->s.state == SESSION_ACTIVE) {
            ch->retired = false; /* that its session ended was lost */
            channel_retire(e, ch);
        } else {
            channel_fall_behind(e, ch, ch->sent);
        }
    }
}

void channels_disconnect(struct engine *e, struct channel_list *list, uint64_t needs, uint32_t mask, uint32_t below, enum disconnect_how how,
                         const char *event, struct str data) {
    struct channel *ch;
    LIST_FOREACH (ch, list, of_object) {
        engine_post(
            e, needs, ch->endpoint,
            (struct message){.type = MESSAGE_DISCONNECT, .channel = ch->number, .disconnect = disconnect_create(mask, below, how, event, data)});
    }
}

void session_disconnect(struct engine *e, struct session_entry *s, uint32_t mask, uint32_t below, enum disconnect_how how, const char *state,
                        const char *reason) {
    struct buf data = {0};
    buf_printf(&data, "{\"seq\":%llu,\"state\":\"%s\",\"reason\":", (unsigned long long) s->seq, state);
    buf_json_str(&data, str_of(reason));
    buf_char(&data, '}');
    channels_disconnect(e, &s->channels, s->pending, mask, below, how, "session", buf_view(&data));
    struct task_entry *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) { /* feeds of single tasks that were opened with the session's credential */
        channels_disconnect(e, &t->channels, s->pending, WATCHER_SESSION, below, how, "session", buf_view(&data));
    }
    buf_fini(&data);
}
