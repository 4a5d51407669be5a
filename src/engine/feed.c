/* What happens goes to the channels that keep up: one frame per feed, shared by its channels on all loops. */
#include "engine/feed.h"

#include "engine/channel.h"
#include "engine/events.h"
#include "engine/kinds.h"
#include "engine/outbox.h"
#include "engine/session_entry.h"
#include "engine/state.h"

void feed_send(struct engine *e, struct channel *ch, uint64_t needs, struct frame *f) {
    engine_post(e, needs, ch->endpoint, (struct message){.type = MESSAGE_FRAME, .channel = ch->number, .frame = f});
}

/* One frame per feed, shared by its channels on all loops. */
struct fan {
    struct frame *frame;
    uint64_t seq;
};

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
    feed_send(e, ch, needs, f);
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
