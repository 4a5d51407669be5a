/* Queries answered by looking at every row of a table: plain, so that the other store can be held against it. */
#include "base/mem.h"
#include "tests/store/memory_rows.h"
#include "store/rows.h"

#include <assert.h>
#include <stdlib.h>

#define each_row(m, t, i) (size_t i = 0; i < (m)->table[t].count; i++)

static const struct session_row *session_at(const struct memory_rows *m, size_t i) {
    return &memory_row_at(m, TABLE_SESSIONS, i)->row.session;
}

static const struct task_row *task_at(const struct memory_rows *m, size_t i) {
    return &memory_row_at(m, TABLE_TASKS, i)->row.task;
}

static const struct session_row *find_session(const struct memory_rows *m, struct id id) {
    const struct store_op *op = memory_rows_find(m, &(struct store_op){.type = STORE_PUT_SESSION, .row.session.id = id});
    return op ? &op->row.session : NULL;
}

static bool push_task(const struct memory_rows *m, struct arena *a, struct task_rows *rows, const struct task_row *from) {
    struct task_row *row = rows_push(a, rows->list, rows->count);
    if (!row || !rows_copy_task(a, from, row)) {
        return false;
    }
    if (!from->slot || from->state >= STORE_TASK_ENDED) {
        return true;
    }
    const struct store_op *op = memory_rows_find(m, &(struct store_op){.type = STORE_PUT_PROGRESS, .row.progress.slot = from->slot});
    if (!op || !id_eq(op->row.progress.task, from->id)) {
        return true;
    }
    row->progress = arena_alloc(a, sizeof(*row->progress));
    return row->progress && rows_copy_progress(a, &op->row.progress, row->progress);
}

static bool push_session(struct arena *a, struct session_rows *rows, const struct session_row *from) {
    struct session_row *row = rows_push(a, rows->list, rows->count);
    return row && rows_copy_session(a, from, row);
}

static int slot_cmp(const void *left, const void *right) {
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static bool slots_differ(const struct memory_rows *m) {
    uint64_t *slots = mem_alloc(m->table[TABLE_TASKS].count * sizeof(*slots));
    size_t count = 0;
    bool differ = true;
    for
        each_row(m, TABLE_TASKS, i) {
            slots[count] = task_at(m, i)->slot;
            count += slots[count] != 0;
        }
    qsort(slots, count, sizeof(*slots), slot_cmp);
    for (size_t i = 1; i < count; i++) {
        differ = differ && slots[i - 1] != slots[i];
    }
    mem_free(slots);
    return differ;
}

bool memory_rows_are_tidy(const struct memory_rows *m) {
    for
        each_row(m, TABLE_PROGRESS, i) {
            const struct progress_row *p = &memory_row_at(m, TABLE_PROGRESS, i)->row.progress;
            const struct store_op *op = memory_rows_find(m, &(struct store_op){.type = STORE_PUT_TASK, .row.task.id = p->task});
            if (!op || op->row.task.slot != p->slot || op->row.task.state >= STORE_TASK_ENDED) {
                return false;
            }
        }
    return slots_differ(m);
}

/* ---- one session, one task, one key ---- */

static bool answer_session_gone(const struct memory_rows *m, struct store_query *q) {
    for
        each_row(m, TABLE_GONE, i) {
            const struct gone_row *from = &memory_row_at(m, TABLE_GONE, i)->row.gone;
            if (id_eq(from->session, q->ask.session)) {
                struct gone_row *row = rows_push(&q->arena, q->answer.session.gone.list, q->answer.session.gone.count);
                if (!row) {
                    return false;
                }
                *row = *from;
            }
        }
    return true;
}

static bool answer_load_session(const struct memory_rows *m, struct store_query *q) {
    const struct session_row *session = find_session(m, q->ask.session);
    if (!session) {
        return true;
    }
    q->answer.session.found = true;
    bool ok = rows_copy_session(&q->arena, session, &q->answer.session.row);
    for
        each_row(m, TABLE_TASKS, i) {
            if (ok && id_eq(task_at(m, i)->session, q->ask.session)) {
                ok = push_task(m, &q->arena, &q->answer.session.tasks, task_at(m, i));
            }
        }
    rows_sort_tasks(&q->answer.session.tasks);
    return ok && answer_session_gone(m, q);
}

static bool answer_find_task(const struct memory_rows *m, struct store_query *q) {
    const struct store_op *op = memory_rows_find(m, &(struct store_op){.type = STORE_PUT_TASK, .row.task.id = q->ask.task});
    if (op) {
        q->answer.task.found = true;
        q->answer.task.session = op->row.task.session;
        return true;
    }
    op = memory_rows_find(m, &(struct store_op){.type = STORE_PUT_TOMBSTONE, .row.tombstone.task = q->ask.task});
    if (op) {
        q->answer.task.tombstone = arena_alloc(&q->arena, sizeof(*q->answer.task.tombstone));
        return q->answer.task.tombstone && rows_copy_tombstone(&q->arena, &op->row.tombstone, q->answer.task.tombstone);
    }
    return true;
}

static bool put_old_key(struct arena *a, const struct old_key_row *r, struct old_key_row **ret_row) {
    if (!r) {
        return true;
    }
    *ret_row = arena_alloc(a, sizeof(**ret_row));
    return *ret_row && rows_copy_old_key(a, r, *ret_row);
}

static bool answer_find_key(const struct memory_rows *m, struct store_query *q) {
    for
        each_row(m, TABLE_SESSIONS, i) {
            const struct session_row *r = session_at(m, i);
            if (r->state == STORE_SESSION_ACTIVE && r->key_hash.p && str_eq(r->key_hash, q->ask.key_hash)) {
                q->answer.key.found = true;
                q->answer.key.session = r->id;
            }
        }
    const struct old_key_row *newest = NULL;
    for
        each_row(m, TABLE_OLD_KEYS, i) {
            const struct old_key_row *r = &memory_row_at(m, TABLE_OLD_KEYS, i)->row.old_key;
            newest = str_eq(r->key_hash, q->ask.key_hash) ? r : newest; /* they are in order */
        }
    return put_old_key(&q->arena, newest, &q->answer.key.old_key);
}

static bool key_among(struct str key, struct str keys) {
    for (size_t at = 0; keys.p && at < keys.len; at += KEY_HASH_BYTES) {
        if (str_eq(key, str_n(keys.p + at, KEY_HASH_BYTES))) {
            return true;
        }
    }
    return false;
}

static bool answer_find_old_key(const struct memory_rows *m, struct store_query *q) {
    const struct old_key_row *first = NULL;
    for
        each_row(m, TABLE_OLD_KEYS, i) {
            const struct old_key_row *r = &memory_row_at(m, TABLE_OLD_KEYS, i)->row.old_key;
            bool over = r->expires_at != 0 && r->expires_at <= q->ask.old_key.now;
            if (key_among(r->key_hash, q->ask.old_key.hashes) && !over && r->jwt_from_s > q->ask.old_key.after_s &&
                (!first || rows_old_key_cmp(r, first) < 0)) {
                first = r;
            }
        }
    return put_old_key(&q->arena, first, &q->answer.old_key);
}

static bool answer_find_idempotency(const struct memory_rows *m, struct store_query *q) {
    const struct store_op *op =
        memory_rows_find(m, &(struct store_op){.type = STORE_PUT_IDEMPOTENCY, .row.idempotency.scope = q->ask.idempotency.scope});
    if (!op || (op->row.idempotency.expires_at != 0 && op->row.idempotency.expires_at <= q->ask.idempotency.now)) {
        return true;
    }
    q->answer.idempotency = arena_alloc(&q->arena, sizeof(*q->answer.idempotency));
    return q->answer.idempotency && rows_copy_idempotency(&q->arena, &op->row.idempotency, q->answer.idempotency);
}

/* ---- ids by something ---- */

static void count_tasks(const struct memory_rows *m, struct id session, uint32_t ret_counts[2]) {
    for
        each_row(m, TABLE_TASKS, i) {
            if (id_eq(task_at(m, i)->session, session)) {
                ret_counts[task_at(m, i)->state >= STORE_TASK_ENDED]++;
            }
        }
}

static bool has_tasks(const struct memory_rows *m, struct id session) {
    uint32_t counts[2] = {0};
    count_tasks(m, session, counts);
    return counts[0] + counts[1] > 0;
}

static bool answer_find_user(const struct memory_rows *m, struct store_query *q) {
    for (size_t i = m->table[TABLE_SESSIONS].count; i-- > 0;) {
        const struct session_row *r = session_at(m, i);
        bool theirs = r->user.p && q->ask.user.p && str_eq(r->user, q->ask.user);
        if (theirs && (r->state == STORE_SESSION_ACTIVE || has_tasks(m, r->id)) && !push_session(&q->arena, &q->answer.user, r)) {
            return false;
        }
    }
    return true;
}

struct due {
    int64_t at;
    struct id id, session;
};

static int due_cmp(const void *left, const void *right) {
    const struct due *a = left, *b = right;
    return a->at != b->at ? (a->at > b->at) - (a->at < b->at) : id_cmp(a->id, b->id);
}

static bool is_due(int64_t at, const struct store_query *q) {
    return at > 0 && at <= q->ask.due.now;
}

static bool answer_due_sessions(const struct memory_rows *m, struct store_query *q, struct due *due) {
    size_t count = 0;
    for
        each_row(m, TABLE_SESSIONS, i) {
            const struct session_row *r = session_at(m, i);
            if (is_due(r->due_at, q)) {
                due[count++] = (struct due){.at = r->due_at, .id = r->id};
            }
        }
    qsort(due, count, sizeof(*due), due_cmp);
    bool ok = true;
    for (size_t i = 0; i < count && i < q->ask.due.limit && ok; i++) {
        ok = rows_push_id(&q->arena, &q->answer.due.sessions, due[i].id);
    }
    return ok;
}

static bool answer_due_tasks(const struct memory_rows *m, struct store_query *q, struct due *due) {
    size_t count = 0;
    for
        each_row(m, TABLE_TASKS, i) {
            const struct task_row *r = task_at(m, i);
            if (is_due(r->due_at, q)) {
                due[count++] = (struct due){r->due_at, r->id, r->session};
            }
        }
    qsort(due, count, sizeof(*due), due_cmp);
    bool ok = true;
    for (size_t i = 0; i < count && i < q->ask.due.limit && ok; i++) {
        ok = rows_push_id(&q->arena, &q->answer.due.tasks, due[i].id) && rows_push_id(&q->arena, &q->answer.due.task_sessions, due[i].session);
    }
    return ok;
}

static bool answer_due(const struct memory_rows *m, struct store_query *q) {
    size_t most = m->table[TABLE_SESSIONS].count > m->table[TABLE_TASKS].count ? m->table[TABLE_SESSIONS].count : m->table[TABLE_TASKS].count;
    struct due *due = mem_alloc(most * sizeof(*due));
    bool ok = answer_due_sessions(m, q, due) && answer_due_tasks(m, q, due);
    mem_free(due);
    return ok;
}

/* ---- what a start needs ---- */

static int id_order(const void *left, const void *right) {
    const struct id *a = left, *b = right;
    return id_cmp(*a, *b);
}

static bool answer_unfinished(const struct memory_rows *m, struct store_query *q) {
    struct id_list *ids = &q->answer.start.sessions;
    for
        each_row(m, TABLE_TASKS, i) {
            if (task_at(m, i)->state < STORE_TASK_ENDED && !rows_push_id(&q->arena, ids, task_at(m, i)->session)) {
                return false;
            }
        }
    if (ids->count) {
        qsort(ids->list, ids->count, sizeof(ids->list[0]), id_order);
    }
    size_t kept = 0;
    for (size_t i = 0; i < ids->count; i++) {
        if (kept == 0 || !id_eq(ids->list[kept - 1], ids->list[i])) {
            ids->list[kept++] = ids->list[i];
        }
    }
    ids->count = kept;
    return true;
}

static bool copy_meta(const struct memory_rows *m, struct store_query *q, struct str name, struct str *ret_value) {
    const struct store_op *op = memory_rows_find(m, &(struct store_op){.type = STORE_PUT_META, .name = name});
    return rows_copy_str(&q->arena, op ? op->data : STR_NONE, ret_value);
}

static bool answer_start(const struct memory_rows *m, struct store_query *q) {
    for
        each_row(m, TABLE_KINDS, i) {
            struct kind_row *row = rows_push(&q->arena, q->answer.start.kinds, q->answer.start.kind_count);
            if (!row || !rows_copy_kind(&q->arena, &memory_row_at(m, TABLE_KINDS, i)->row.kind, row)) {
                return false;
            }
        }
    return answer_unfinished(m, q) && copy_meta(m, q, STR("clean"), &q->answer.start.clean) &&
           copy_meta(m, q, STR("epoch"), &q->answer.start.epoch) && copy_meta(m, q, STR("slots"), &q->answer.start.slots) &&
           copy_meta(m, q, STR("clock"), &q->answer.start.clock);
}

/* ---- input, result, output ---- */

static bool copy_blob(const struct memory_rows *m, struct arena *a, enum store_op_type type, struct id id, struct str *ret_text) {
    const struct store_op *op = memory_rows_find(m, &(struct store_op){.type = type, .id = id});
    return rows_copy_str(a, op ? op->data : STR_NONE, ret_text);
}

static bool answer_get_input(const struct memory_rows *m, struct store_query *q) {
    const struct id_list *tasks = &q->ask.inputs;
    q->answer.inputs.list = arena_alloc(&q->arena, tasks->count * sizeof(struct str));
    bool ok = q->answer.inputs.list;
    for (size_t i = 0; i < tasks->count && ok; i++) {
        ok = copy_blob(m, &q->arena, STORE_PUT_INPUT, tasks->list[i], &q->answer.inputs.list[i]);
        q->answer.inputs.count++;
    }
    return ok;
}

static bool answer_get_result(const struct memory_rows *m, struct store_query *q) {
    return copy_blob(m, &q->arena, STORE_PUT_RESULT, q->ask.task, &q->answer.result);
}

static bool join_output(struct store_query *q, const struct output_row *const *rows, size_t count) {
    for (size_t i = 0; i < count && i < STORE_JOIN_ROWS && rows_join_output(q, rows[i]->offset, rows[i]->data); i++) {
    }
    return !q->ask.output.bytes.failed;
}

/* Copies the rows as long as what was copied before is less than the limit, the first in any case. */
static bool push_output(struct store_query *q, const struct output_row *const *rows, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count && (i == 0 || bytes < q->ask.output_after.limit); i++) {
        struct output_row *row = rows_push(&q->arena, q->answer.output_after.list, q->answer.output_after.count);
        if (!row || !rows_copy_output(&q->arena, rows[i], row)) {
            return false;
        }
        bytes += row->data.len;
    }
    return true;
}

static int output_cmp(const void *left, const void *right) {
    const struct output_row *a = *(const struct output_row *const *) left, *b = *(const struct output_row *const *) right;
    if (a->seq != b->seq) {
        return a->seq < b->seq ? -1 : 1;
    }
    int c = id_cmp(a->task, b->task);
    return c ? c : (a->offset > b->offset) - (a->offset < b->offset);
}

static bool answer_get_output(const struct memory_rows *m, struct store_query *q) {
    const struct output_row **rows = mem_alloc(m->table[TABLE_OUTPUT].count * sizeof(struct output_row *));
    size_t count = 0;
    for
        each_row(m, TABLE_OUTPUT, i) {
            const struct output_row *r = &memory_row_at(m, TABLE_OUTPUT, i)->row.output;
            if (id_eq(r->task, q->ask.output.task) && (r->offset >= q->ask.output.offset || r->offset + r->data.len > q->ask.output.offset)) {
                rows[count++] = r;
            }
        }
    bool ok = join_output(q, rows, count);
    mem_free(rows);
    return ok;
}

static bool id_among(struct id id, const struct id_list *ids) {
    for (size_t i = 0; i < ids->count; i++) {
        if (id_eq(ids->list[i], id)) {
            return true;
        }
    }
    return false;
}

static bool answer_get_output_after(const struct memory_rows *m, struct store_query *q) {
    const struct output_row **rows = mem_alloc(m->table[TABLE_OUTPUT].count * sizeof(struct output_row *));
    size_t count = 0;
    for
        each_row(m, TABLE_OUTPUT, i) {
            const struct output_row *r = &memory_row_at(m, TABLE_OUTPUT, i)->row.output;
            if (r->seq > q->ask.output_after.seq && id_among(r->task, &q->ask.output_after.tasks)) {
                rows[count++] = r;
            }
        }
    qsort(rows, count, sizeof(struct output_row *), output_cmp);
    bool ok = push_output(q, rows, count);
    mem_free(rows);
    return ok;
}

/* ---- lists ---- */

static bool passes_str(struct str filter, struct str value) {
    return !filter.p || (value.p && str_eq(filter, value));
}

static bool passes_place(struct id after, struct id id) {
    return id_is_none(after) || id_cmp(id, after) < 0;
}

static bool passes_state(int filter, uint8_t state) {
    return filter < 0 || filter == state;
}

static bool answer_list_sessions(const struct memory_rows *m, struct store_query *q) {
    struct session_rows *rows = &q->answer.list_sessions.sessions;
    bool ok = true;
    for (size_t i = m->table[TABLE_SESSIONS].count; i-- > 0 && rows->count < q->ask.list_sessions.limit && ok;) {
        const struct session_row *r = session_at(m, i);
        if (passes_place(q->ask.list_sessions.after, r->id) && passes_state(q->ask.list_sessions.state, r->state) &&
            passes_str(q->ask.list_sessions.user, r->user)) {
            ok = push_session(&q->arena, rows, r);
        }
    }
    uint32_t(*counts)[2] = ok ? arena_alloc(&q->arena, rows->count * sizeof(*counts)) : NULL;
    for (size_t i = 0; counts && i < rows->count; i++) {
        count_tasks(m, rows->list[i].id, counts[i]);
    }
    q->answer.list_sessions.task_counts = counts;
    return counts;
}

static bool task_listed(const struct memory_rows *m, const struct store_query *q, const struct task_row *r) {
    struct str user = q->ask.list_tasks.user;
    struct id session_id = q->ask.list_tasks.session;
    const struct session_row *session = user.p ? find_session(m, r->session) : NULL;
    return passes_place(q->ask.list_tasks.after, r->id) && passes_state(q->ask.list_tasks.state, r->state) &&
           passes_str(q->ask.list_tasks.kind, r->kind) && passes_str(q->ask.list_tasks.queue, r->queue) &&
           (id_is_none(session_id) || id_eq(session_id, r->session)) && passes_str(user, session ? session->user : STR_NONE);
}

static bool answer_list_tasks(const struct memory_rows *m, struct store_query *q) {
    struct task_rows *rows = &q->answer.list_tasks;
    bool ok = true;
    for (size_t i = m->table[TABLE_TASKS].count; i-- > 0 && rows->count < q->ask.list_tasks.limit && ok;) {
        if (task_listed(m, q, task_at(m, i))) {
            ok = push_task(m, &q->arena, rows, task_at(m, i));
        }
    }
    return ok;
}

/* ---- one query ---- */

static bool answer(const struct memory_rows *m, struct store_query *q) {
    switch (q->type) {
    case STORE_LOAD_SESSION: return answer_load_session(m, q);
    case STORE_FIND_TASK: return answer_find_task(m, q);
    case STORE_FIND_KEY: return answer_find_key(m, q);
    case STORE_FIND_OLD_KEY: return answer_find_old_key(m, q);
    case STORE_FIND_USER: return answer_find_user(m, q);
    case STORE_FIND_IDEMPOTENCY: return answer_find_idempotency(m, q);
    case STORE_GET_INPUT: return answer_get_input(m, q);
    case STORE_GET_RESULT: return answer_get_result(m, q);
    case STORE_GET_OUTPUT: return answer_get_output(m, q);
    case STORE_GET_OUTPUT_AFTER: return answer_get_output_after(m, q);
    case STORE_LIST_SESSIONS: return answer_list_sessions(m, q);
    case STORE_LIST_TASKS: return answer_list_tasks(m, q);
    case STORE_DUE: return answer_due(m, q);
    case STORE_START: return answer_start(m, q);
    }
    assert(!"a query of a known type");
    return false;
}

void memory_rows_answer(const struct memory_rows *m, struct store_query *q) {
    rows_clear_answer(q);
    q->result = answer(m, q) ? STORE_OK : STORE_FAILED;
    if (q->result != STORE_OK) {
        rows_clear_answer(q);
    }
}
