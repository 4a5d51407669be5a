/*
 * Feeds as the loops see them. One channel per watched session or task and loop. A channel that is live is sent each change as it happens; one that has just been
 * opened, or lost what a failed batch took back, is behind: it is served from its session's order of changes, a few frames a step, until it has caught up. Watchers
 * read from what their loop has of the feed; only output that lies further back is asked for again (cmd_watch_refill).
 */
#include "engine/internal.h"

#include "base/json.h"
#include "base/mem.h"

#define FEED_NAME 16 /* the last characters of the id: its random part */

void cursor_prefix(const struct engine *e, enum id_kind kind, struct id id, struct buf *out) {
    char text[ID_TEXT_LEN + 1];
    id_format(id, kind, text);
    buf_puts(out, e->epoch);
    buf_char(out, '-');
    buf_put(out, text + ID_TEXT_LEN - FEED_NAME, FEED_NAME);
    buf_char(out, '-');
}

enum cursor_is cursor_parse(const struct engine *e, enum id_kind kind, struct id id, struct str text, struct cursor *ret) {
    *ret = (struct cursor){0};
    if (!text.p || text.len == 0) {
        return CURSOR_NONE;
    }
    struct buf prefix = {0};
    cursor_prefix(e, kind, id, &prefix);
    bool good = text.len > prefix.len && memcmp(text.p, prefix.data, prefix.len) == 0;
    struct str rest = str_from(text, prefix.len);
    buf_fini(&prefix);
    return good && cursor_read(rest, ret) ? CURSOR_GOOD : CURSOR_USELESS;
}

/* ---- events as text ---- */

void task_entry_write(struct engine *e, struct task_entry *t, bool open, struct buf *out) {
    task_estimate(e, t);
    task_write(&t->t, e->apart, open, out);
}

void task_event(struct engine *e, struct task_entry *t, uint64_t seq, struct buf *out) {
    buf_puts(out, "{\"seq\":");
    buf_u64(out, seq);
    buf_puts(out, ",\"task\":");
    size_t from = out->len;
    task_entry_write(e, t, false, out);
    buf_one_line(out, from); /* opaque values may hold line breaks between their tokens: an event is one line */
    buf_char(out, '}');
}

void gone_event(const struct gone_entry *g, struct buf *out) {
    char id[ID_TEXT_LEN + 1];
    id_format(g->task, ID_TASK, id);
    buf_printf(out, "{\"seq\":%llu,\"gone\":\"%s\",\"reason\":\"%s\"}", (unsigned long long) g->seq, id, gone_reason_name(g->reason));
}

void output_event(struct id task, uint64_t seq, uint64_t offset, struct str data, struct buf *out) {
    char id[ID_TEXT_LEN + 1];
    id_format(task, ID_TASK, id);
    buf_printf(out, "{\"seq\":%llu,\"task\":\"%s\",\"offset\":%llu,", (unsigned long long) seq, id, (unsigned long long) offset);
    if (utf8_valid(data)) {
        buf_puts(out, "\"data\":");
        buf_json_str(out, data);
    } else {
        buf_puts(out, "\"data_base64\":\"");
        buf_base64(out, data.p, data.len);
        buf_char(out, '"');
    }
    buf_char(out, '}');
}

struct frame *feed_frame(struct engine *e, enum frame_kind kind, const struct channel *ch, uint64_t seq, struct id key, const char *event,
                         const struct buf *data) {
    struct buf *id = &e->cursor_text;
    buf_clear(id);
    cursor_prefix(e, ch->kind == CHANNEL_TASK ? ID_TASK : ID_SESSION, ch->id, id);
    cursor_write(id, STR(""), (struct cursor){.number = seq});
    struct frame *f = id->failed || data->failed ? NULL : frame_create(kind, seq, key.b, buf_view(id), str_of(event), buf_view(data));
    e->counts.frames++;
    return f;
}

static void send_frame(struct engine *e, struct channel *ch, uint64_t needs, struct frame *f) {
    engine_post(e, needs, ch->loop, (struct mail){.type = MAIL_FRAME, .channel = ch->number, .frame = f});
}

/* One frame per feed, shared by its channels on all loops. */
struct fan {
    struct frame *frame;
    uint64_t seq;
};

static void channel_retire(struct engine *e, struct channel *ch);

static void fan_out(struct engine *e, struct channel *ch, struct fan *fan, enum frame_kind kind, uint64_t needs, uint64_t seq, struct id key,
                    const char *event, const struct buf *data) {
    struct frame *f = fan->frame && fan->seq == seq ? frame_ref(fan->frame) : feed_frame(e, kind, ch, seq, key, event, data);
    if (!f) { /* there was no memory for it */
        channel_fall_behind(e, ch, ch->sent);
        return;
    }
    if (!fan->frame) {
        *fan = (struct fan){frame_ref(f), seq};
    }
    send_frame(e, ch, needs, f);
    ch->sent = seq;
}

/* What changes is sent to it at once. */
static bool keeps_up(const struct channel *ch) {
    return !ch->behind && !ch->retired;
}

void feed_task_changed(struct engine *e, struct task_entry *t, bool output_only) {
    struct session_entry *s = t->s;
    if (LIST_EMPTY(&s->channels) && LIST_EMPTY(&t->channels)) {
        return;
    }
    struct fan of_session = {0}, of_task = {0};
    struct channel *ch;
    struct buf *text = &e->scratch;
    uint64_t seq = output_only ? t->t.version : t->t.change_seq;
    buf_clear(text);
    task_event(e, t, seq, text);
    LIST_FOREACH (ch, &s->channels, of_object) {
        if (keeps_up(ch) && (ch->kind == CHANNEL_SESSION || !output_only)) {
            fan_out(e, ch, &of_session, FRAME_STATE, s->pending, seq, t->t.id, "task", text);
        }
    }
    LIST_FOREACH (ch, &t->channels, of_object) {
        if (keeps_up(ch) && !output_only) {
            fan_out(e, ch, &of_task, FRAME_STATE, s->pending, seq, t->t.id, "task", text);
            ch->stated = true;
        }
    }
    frame_unref(of_session.frame);
    frame_unref(of_task.frame);
}

void feed_output(struct engine *e, struct task_entry *t, uint64_t seq, uint64_t offset, struct str data) {
    struct fan of_session = {0}, of_task = {0};
    struct channel *ch;
    struct buf text = {0};
    LIST_FOREACH (ch, &t->s->channels, of_object) {
        if (keeps_up(ch) && ch->kind == CHANNEL_SESSION_OUTPUT) {
            if (!text.len) {
                output_event(t->t.id, seq, offset, data, &text);
            }
            fan_out(e, ch, &of_session, FRAME_LOG, t->s->pending, seq, t->t.id, "output", &text);
        }
    }
    LIST_FOREACH (ch, &t->channels, of_object) {
        if (keeps_up(ch)) {
            if (!text.len) {
                output_event(t->t.id, seq, offset, data, &text);
            }
            fan_out(e, ch, &of_task, FRAME_LOG, t->s->pending, seq, t->t.id, "output", &text);
        }
    }
    frame_unref(of_session.frame);
    frame_unref(of_task.frame);
    buf_fini(&text);
}

void feed_task_removed(struct engine *e, struct task_entry *t) {
    struct channel *ch;
    struct fan fan = {0};
    struct buf text = {0};
    LIST_FOREACH (ch, &t->channels, of_object) {
        ch->removed = true;
        if (ch->stated || ch->retired) {
            continue; /* the loop has the last one, or nobody waits for it */
        }
        if (!text.len) {
            task_event(e, t, t->t.change_seq, &text);
        }
        fan_out(e, ch, &fan, FRAME_STATE, t->s->pending, t->t.change_seq, t->t.id, "task", &text);
    }
    frame_unref(fan.frame);
    buf_fini(&text);
}

void feed_gone(struct engine *e, struct session_entry *s, const struct gone_entry *g) {
    struct fan fan = {0};
    struct channel *ch;
    struct buf text = {0};
    gone_event(g, &text);
    LIST_FOREACH (ch, &s->channels, of_object) {
        if (keeps_up(ch)) {
            fan_out(e, ch, &fan, FRAME_GONE, s->pending, g->seq, g->task, "task", &text);
        }
    }
    frame_unref(fan.frame);
    buf_fini(&text);
}

void feed_gone_forgotten(struct engine *e, struct session_entry *s, uint64_t seq) {
    struct channel *ch;
    LIST_FOREACH (ch, &s->channels, of_object) {
        if (ch->behind && ch->sent < seq) { /* its loop may still have states of what is gone, and will never be told */
            channel_retire(e, ch);
        }
    }
}

/* ---- channels ---- */

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
        engine_post(e, s ? s->pending : 0, ch->loop,
                    (struct mail){.type = MAIL_DISCONNECT,
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
    send_frame(e, ch, ch->s->pending, f);
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
            engine_post(e, s->pending, ch->loop, (struct mail){.type = MAIL_SYNCED, .channel = ch->number, .pos = s->seq});
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

struct channel *channel_open(struct engine *e, unsigned loop, enum channel_kind kind, struct session_entry *s, struct task_entry *t) {
    struct channel *ch;
    LIST_FOREACH (ch, kind == CHANNEL_TASK ? &t->channels : &s->channels, of_object) {
        if (ch->loop == loop && ch->kind == kind && !ch->retired) {
            return ch;
        }
    }
    ch = mem_alloc(sizeof(*ch));
    ch->number = ++e->channel_numbers;
    ch->loop = loop;
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
    engine_post(e, 0, ch->loop, (struct mail){.type = MAIL_DROP, .channel = ch->number}); /* what still waits for it is thrown away */
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

/* ---- cutting ---- */

void channels_disconnect(struct engine *e, struct channel_list *list, uint64_t needs, uint32_t mask, uint32_t below, enum disconnect_how how,
                         const char *event, struct str data) {
    struct channel *ch;
    LIST_FOREACH (ch, list, of_object) {
        engine_post(e, needs, ch->loop,
                    (struct mail){.type = MAIL_DISCONNECT, .channel = ch->number, .disconnect = disconnect_create(mask, below, how, event, data)});
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
