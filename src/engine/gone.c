/* Tasks that have left, one entry for each time. */
#include "engine/gone.h"

#include "engine/batch.h"
#include "engine/change.h"
#include "engine/channel.h"
#include "engine/feed.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/writes.h"

#include "base/mem.h"

static bool gone_is_over(const struct engine *e, const struct session_entry *s) {
    return s->gone_count && (s->gone_count > e->o->max_gone_per_session || TAILQ_FIRST(&s->gone)->at + e->o->tombstone_ttl <= e->now);
}

void gone_trim(struct engine *e, struct session_entry *s) {
    if (e->dead || !gone_is_over(e, s)) {
        return;
    }
    while (gone_is_over(e, s)) {
        struct gone_entry *g = TAILQ_FIRST(&s->gone);
        s->gone_floor = g->seq; /* cursors before it cannot be told any more */
        TAILQ_REMOVE(&s->gone, g, link);
        s->gone_count--;
        mem_free(g);
    }
    feed_gone_forgotten(e, s, s->gone_floor);
    struct store_op *op = batch_op(e, STORE_DELETE_GONE);
    op->id = s->s.id;
    op->number = s->gone_floor;
    session_write_now(e, s);
}

void gone_add(struct engine *e, struct session_entry *s, struct id task, enum gone_reason reason) {
    struct gone_entry *g = mem_alloc(sizeof(*g));
    *g = (struct gone_entry){.seq = session_number(e, s, 0), .task = task, .reason = reason, .at = e->now};
    TAILQ_INSERT_TAIL(&s->gone, g, link);
    s->gone_count++;
    session_pend(e, s);
    struct store_op *op = batch_op(e, STORE_PUT_GONE);
    op->row.gone = (struct gone_row){.session = s->s.id, .seq = g->seq, .task = task, .reason = (uint8_t) reason, .at = g->at};
    feed_gone(e, s, g);
    gone_trim(e, s);
}

/* Something has gone that a reader with this cursor would have to be told, and nobody knows of it any more. */
bool gone_is_forgotten(const struct session_entry *s, uint64_t number, uint64_t gone_from) {
    return number < s->gone_floor && gone_from < s->gone_floor;
}
