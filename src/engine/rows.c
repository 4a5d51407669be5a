/* Rows to entries and back. */
#include "engine/rows.h"

#include "engine/batch.h"
#include "engine/change.h"
#include "engine/channel.h"
#include "engine/clocks.h"
#include "engine/kinds.h"
#include "engine/limits.h"
#include "engine/queue.h"
#include "engine/residence.h"
#include "engine/session_clocks.h"
#include "engine/session_entry.h"
#include "engine/state.h"
#include "engine/task_clocks.h"
#include "engine/users.h"

#include "base/mem.h"
#include "base/log.h"

#include <stdlib.h>

/* What queries of the store say of states. */
_Static_assert(STORE_SESSION_ACTIVE == (int) SESSION_ACTIVE, "the store looks for another state than the active one");

_Static_assert(STORE_TASK_ENDED == (int) TASK_SUCCEEDED && TASK_FAILED > TASK_SUCCEEDED && TASK_CANCELLED > TASK_SUCCEEDED &&
                   TASK_QUEUED < TASK_SUCCEEDED && TASK_RUNNING < TASK_SUCCEEDED && TASK_INPUT_REQUIRED < TASK_SUCCEEDED,
               "the store takes other states for ended ones");

static int by_change_seq(const void *a, const void *b) {
    const struct task_entry *x = *(struct task_entry *const *) a, *y = *(struct task_entry *const *) b;
    return (x->t.change_seq > y->t.change_seq) - (x->t.change_seq < y->t.change_seq);
}

static void order_by_change(struct session_entry *s) {
    size_t n = s->unfinished + s->ended, i = 0;
    struct task_entry **all = mem_alloc(n * sizeof(struct task_entry *)), *t;
    TAILQ_FOREACH (t, &s->by_version, by_version) {
        all[i++] = t;
    }
    qsort(all, n, sizeof(struct task_entry *), by_change_seq);
    TAILQ_INIT(&s->by_change);
    for (i = 0; i < n; i++) {
        TAILQ_INSERT_TAIL(&s->by_change, all[i], by_change);
    }
    mem_free(all);
}

static void take_text(char **at, struct str text) {
    mem_free(*at);
    *at = mem_strdup(text);
}

static void take_progress(struct task *t, const struct progress_row *p) {
    t->version = t->change_seq = p->version;
    t->updated_at = p->updated_at;
    t->heard = p->heard;
    t->stalled = p->stalled;
    t->progress.has_current = p->has_current;
    t->progress.current = p->current;
    t->progress.has_total = p->has_total;
    t->progress.total = p->total;
    take_text(&t->progress.unit, p->unit);
    take_text(&t->progress.message, p->message);
    take_text(&t->progress.phase, p->phase);
    take_text(&t->progress.data, p->data);
    t->estimate.rate = p->rate;
    t->eta_s = p->eta;
}

int task_of_row(const struct task_row *row, struct task *ret) {
    *ret = (struct task){.id = row->id, .session = row->session, .state = (enum task_state) row->state, .version = row->version};
    if (task_read_body(ret, row->body)) {
        return -1;
    }
    ret->kind = mem_strdup(row->kind);
    ret->queue = mem_strdup(row->queue);
    if (row->progress && row->progress->version > row->version) {
        take_progress(ret, row->progress);
    }
    return 0;
}

bool task_from_row(struct engine *e, const struct task_row *row, struct task *ret) {
    struct task t;
    if (task_of_row(row, &t)) {
        char id[ID_TEXT_LEN + 1];
        id_format(row->id, ID_TASK, id);
        log_error("store_bad_row", "task=%s", id);
        task_fini(&t);
        return false;
    }
    task_bound(&t, e->now);
    if (t.state == TASK_RUNNING) {
        t.heard_at = e->now; /* leases start anew, so that workers can come back */
    }
    estimate_resume(&t.estimate, t.progress.current, e->now); /* rate and eta stand as of the last change; new ground has to be found for the next */
    estimate_set_total(&t.estimate, t.progress.has_total ? t.progress.total : 0);
    if (t.state == TASK_INPUT_REQUIRED) {
        estimate_pause(&t.estimate, e->now);
    }
    *ret = t;
    return true;
}

static void session_of_row(const struct session_row *row, struct session *ret) {
    *ret = (struct session){.id = row->id,
                            .state = (enum session_state) row->state,
                            .reason = (enum end_reason) row->reason,
                            .gen = row->gen,
                            .user = mem_strdup(row->user),
                            .metadata = mem_strdup(row->metadata),
                            .created_at = row->created_at,
                            .created_apart = row->created_apart,
                            .ended_at = row->ended_at,
                            .ended_apart = row->ended_apart,
                            .rotated_at = row->rotated_at,
                            .active_at = row->active_at,
                            .idle_timeout_ms = row->idle_timeout,
                            .max_age_ms = row->max_age,
                            .merged_into = row->merged_into,
                            .jwt_from_s = row->jwt_from_s};
    if (row->key_hash.len == sizeof(ret->key_hash)) {
        ret->has_key = true;
        memcpy(ret->key_hash, row->key_hash.p, sizeof(ret->key_hash));
    }
}

static void gone_from_rows(struct session_entry *se, const struct gone_rows *rows) {
    for (size_t i = 0; i < rows->count; i++) {
        const struct gone_row *row = &rows->list[i];
        struct gone_entry *g = mem_alloc(sizeof(*g));
        *g = (struct gone_entry){.seq = row->seq, .task = row->task, .reason = (enum gone_reason) row->reason, .at = row->at};
        TAILQ_INSERT_TAIL(&se->gone, g, link);
        se->gone_count++;
    }
}

static uint64_t newest_number(const struct session_entry *s) {
    const struct task_entry *t = TAILQ_LAST(&s->by_version, task_list);
    const struct gone_entry *g = TAILQ_LAST(&s->gone, gone_list);
    uint64_t newest = s->gone_floor;
    newest = t && t->t.version > newest ? t->t.version : newest;
    return g && g->seq > newest ? g->seq : newest;
}

struct session_entry *session_from_rows(struct engine *e, const struct store_query *q, struct task *tasks, size_t count, bool reload) {
    const struct session_row *session = &q->answer.session.row;
    struct session s;
    session_of_row(session, &s);
    session_bound(&s, e->now);
    session_put_back(&s, wall_of(e, e->now), ENGINE_JWT_SKEW_S);
    struct session_entry *se = session_entry_create(e, &s);
    se->seq = se->reserved = se->reserved_pending = se->reserved_written = session->seq;
    se->gone_floor = session->gone_floor;
    se->active_written = s.active_at;
    se->due_written = session->due_at;
    const struct task_row *row = q->answer.session.tasks.list;
    for (size_t i = 0; i < count; i++, row++) {
        while (!id_eq(row->id, tasks[i].id)) {
            row++; /* none was made of it */
        }
        struct task_entry *te = task_entry_create(e, se, &tasks[i]);
        te->slot = row->slot;
        te->has_progress = row->progress != NULL;
        te->output_unshown = te->t.output_seq && te->t.output_seq == te->t.version; /* the stop came before its turn */
    }
    order_by_change(se);
    gone_from_rows(se, &q->answer.session.gone);
    if (e->dead) {
        se->seq = newest_number(se); /* the batch that failed may be on disk after all: nobody may be told of numbers that it could hold */
    }
    user_add(e, se);
    struct channel *ch;
    for (ch = e->detached ? e->channels : NULL; ch; ch = ch->hh.next) {
        channel_reattach(e, ch);
    }
    struct task_entry *t, *next, *last = TAILQ_LAST(&se->by_version, task_list);
    for (t = TAILQ_FIRST(&se->by_version); t; t = next) {
        next = t == last ? NULL : TAILQ_NEXT(t, by_version);
        bool put_back = task_put_back(&t->t, wall_of(e, e->now));
        if (!e->dead && ((reload && !task_is_ended(&t->t)) || t->t.stalled || put_back)) {
            t->t.stalled = false;
            task_changed(e, t, put_back ? LASTING : PASSING); /* what was shown of it may have been more than what was kept */
        } else {
            task_rearm(e, t);
            queue_update(e, t);
        }
    }
    session_rearm(e, se);
    return se;
}

void session_row_put(struct engine *e, struct session_entry *s) {
    struct store_op *op = batch_op(e, STORE_PUT_SESSION);
    s->active_written = s->s.active_at;
    s->due_written = session_due_at(e, s);
    s->reserved_written = s->reserved_pending;
    op->row.session = (struct session_row){.id = s->s.id,
                                           .state = (uint8_t) s->s.state,
                                           .reason = (uint8_t) s->s.reason,
                                           .gen = s->s.gen,
                                           .seq = s->reserved_pending,
                                           .gone_floor = s->gone_floor,
                                           .user = batch_text(e, str_of(s->s.user)),
                                           .key_hash = s->s.has_key ? batch_text(e, str_n((char *) s->s.key_hash, 32)) : STR_NONE,
                                           .metadata = batch_text(e, str_of(s->s.metadata)),
                                           .created_at = s->s.created_at,
                                           .created_apart = s->s.created_apart,
                                           .ended_at = s->s.ended_at,
                                           .ended_apart = s->s.ended_apart,
                                           .active_at = s->s.active_at,
                                           .idle_timeout = s->s.idle_timeout_ms,
                                           .max_age = s->s.max_age_ms,
                                           .rotated_at = s->s.rotated_at,
                                           .merged_into = s->s.merged_into,
                                           .jwt_from_s = s->s.jwt_from_s,
                                           .due_at = s->due_written};
}

void slots_from_row(struct engine *e, struct str value) {
    e->slot = 0;
    for (size_t i = 0; i < value.len; i++) {
        e->slot = e->slot * 10 + (uint64_t) (value.p[i] - '0');
    }
    e->slots_reserved = e->slot;
}

static uint64_t slot_next(struct engine *e) {
    if (e->slot == e->slots_reserved) {
        e->slots_reserved += ENGINE_SLOTS;
        struct buf *value = &e->scratch;
        buf_clear(value);
        buf_u64(value, e->slots_reserved);
        struct store_op *op = batch_op(e, STORE_PUT_META);
        op->name = STR("slots");
        op->data = batch_text(e, buf_view(value));
        step_stands_on(e, e->slots_set); /* the bound before: sets are stored in any order, and this must stay behind it */
        e->slots_set = step_set(e);
    }
    step_stands_on(e, e->slots_set);
    return ++e->slot;
}

static void progress_row_put(struct engine *e, struct task_entry *t) {
    const struct task *k = &t->t;
    struct store_op *op = batch_op(e, STORE_PUT_PROGRESS);
    op->row.progress = (struct progress_row){.slot = t->slot,
                                             .task = k->id,
                                             .version = k->version,
                                             .updated_at = k->updated_at,
                                             .heard = k->heard,
                                             .stalled = k->stalled,
                                             .has_current = k->progress.has_current,
                                             .has_total = k->progress.has_total,
                                             .current = k->progress.current,
                                             .total = k->progress.total,
                                             .rate = k->estimate.rate,
                                             .eta = k->eta_s,
                                             .unit = batch_text(e, str_of(k->progress.unit)),
                                             .message = batch_text(e, str_of(k->progress.message)),
                                             .phase = batch_text(e, str_of(k->progress.phase)),
                                             .data = batch_text(e, str_of(k->progress.data))};
    t->has_progress = true;
}

void progress_row_drop(struct engine *e, struct task_entry *t) {
    if (t->has_progress) {
        batch_op(e, STORE_DELETE_PROGRESS)->number = t->slot;
        t->has_progress = false;
    }
}

void task_row_put(struct engine *e, struct task_entry *t) {
    task_estimate(e, t);
    if (!t->row_stale && t->slot) {
        progress_row_put(e, t);
        return;
    }
    if (task_is_ended(&t->t)) {
        progress_row_drop(e, t);
        t->slot = 0;
    } else if (t->t.attempt && !t->slot) {
        t->slot = slot_next(e);
    }
    struct buf *body = &e->scratch;
    buf_clear(body);
    task_write_body(&t->t, body);
    struct store_op *op = batch_op(e, STORE_PUT_TASK);
    op->row.task = (struct task_row){.id = t->t.id,
                                     .session = t->t.session,
                                     .state = (uint8_t) t->t.state,
                                     .version = t->t.version,
                                     .due_at = task_is_ended(&t->t) ? t->t.expires_at : 0,
                                     .slot = t->slot,
                                     .kind = batch_text(e, str_of(t->t.kind)),
                                     .queue = batch_text(e, str_of(t->t.queue)),
                                     .body = batch_text(e, buf_view(body))};
}
