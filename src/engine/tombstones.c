/* Tasks that are gone, until the store knows. */
#include "engine/tombstones.h"

#include "engine/batch.h"
#include "engine/kinds.h"
#include "engine/load.h"
#include "engine/look_up.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include "base/mem.h"

void tombstone_put(struct engine *e, struct task_entry *t) {
    struct tombstone *dead = mem_alloc(sizeof(*dead));
    dead->kind = mem_strdup(str_of(t->t.kind));
    dead->set = step_set(e);
    dead->row = (struct tombstone_row){.task = t->t.id,
                                       .session = t->t.session,
                                       .watch_gen = task_watch_gen(t),
                                       .attempt = t->t.attempt,
                                       .kind = str_of(dead->kind),
                                       .state = (uint8_t) t->t.state,
                                       .ended_at = t->t.ended_at,
                                       .gone_at = e->now};
    HASH_ADD(hh, e->tombstones, row.task, sizeof(dead->row.task), dead);
    struct store_op *op = batch_op(e, STORE_PUT_TOMBSTONE);
    op->row.tombstone = dead->row;
    op->row.tombstone.kind = batch_text(e, dead->row.kind);
}

void tombstones_durable(struct engine *e, uint64_t upto) {
    struct tombstone *dead, *next;
    HASH_ITER (hh, e->tombstones, dead, next) {
        if (dead->set <= upto || set_has_failed(e, dead->set)) {
            look_up_missed(e, LOOK_TASK, &dead->row.task, sizeof(dead->row.task));
            HASH_DELETE(hh, e->tombstones, dead);
            mem_free(dead->kind);
            mem_free(dead);
        }
    }
}
