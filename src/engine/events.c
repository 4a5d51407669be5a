/* What feeds say. */
#include "engine/events.h"

#include "engine/channel.h"
#include "engine/kinds.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include "base/json.h"

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
