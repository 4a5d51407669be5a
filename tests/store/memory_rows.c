/*
 * Each op is a few rows put or removed. What that displaced is written down in a journal, so that a change set which cannot be applied to its end is undone
 * from its end.
 */
#include "tests/store/memory_rows.h"

#include "base/mem.h"
#include "store/rows.h"

#include <assert.h>
#include <stdlib.h>

/* ---- keys ---- */

static enum memory_table table_of(enum store_op_type type) {
    switch (type) {
    case STORE_PUT_SESSION: return TABLE_SESSIONS;
    case STORE_PUT_TASK: return TABLE_TASKS;
    case STORE_PUT_PROGRESS: return TABLE_PROGRESS;
    case STORE_PUT_INPUT: return TABLE_INPUTS;
    case STORE_PUT_RESULT: return TABLE_RESULTS;
    case STORE_ADD_OUTPUT: return TABLE_OUTPUT;
    case STORE_PUT_GONE: return TABLE_GONE;
    case STORE_PUT_TOMBSTONE: return TABLE_TOMBSTONES;
    case STORE_PUT_IDEMPOTENCY: return TABLE_IDEMPOTENCY;
    case STORE_PUT_OLD_KEY: return TABLE_OLD_KEYS;
    case STORE_PUT_KIND: return TABLE_KINDS;
    case STORE_PUT_META: return TABLE_META;
    default: assert(!"an op that puts a row"); return TABLE_COUNT;
    }
}

static int id_number_cmp(struct id a, uint64_t a_number, struct id b, uint64_t b_number) {
    int c = id_cmp(a, b);
    return c ? c : (a_number > b_number) - (a_number < b_number);
}

/* Both of the same type. */
static int key_cmp(const struct store_op *a, const struct store_op *b) {
    switch (a->type) {
    case STORE_PUT_SESSION: return id_cmp(a->row.session.id, b->row.session.id);
    case STORE_PUT_TASK: return id_cmp(a->row.task.id, b->row.task.id);
    case STORE_PUT_PROGRESS: return (a->row.progress.slot > b->row.progress.slot) - (a->row.progress.slot < b->row.progress.slot);
    case STORE_PUT_INPUT:
    case STORE_PUT_RESULT: return id_cmp(a->id, b->id);
    case STORE_ADD_OUTPUT: return id_number_cmp(a->row.output.task, a->row.output.offset, b->row.output.task, b->row.output.offset);
    case STORE_PUT_GONE: return id_number_cmp(a->row.gone.session, a->row.gone.seq, b->row.gone.session, b->row.gone.seq);
    case STORE_PUT_TOMBSTONE: return id_cmp(a->row.tombstone.task, b->row.tombstone.task);
    case STORE_PUT_IDEMPOTENCY: return rows_str_cmp(a->row.idempotency.scope, b->row.idempotency.scope);
    case STORE_PUT_OLD_KEY: {
        int c = rows_str_cmp(a->row.old_key.key_hash, b->row.old_key.key_hash);
        return c ? c : rows_old_key_cmp(&a->row.old_key, &b->row.old_key);
    }
    case STORE_PUT_KIND: {
        int c = rows_str_cmp(a->row.kind.kind, b->row.kind.kind);
        return c ? c : rows_str_cmp(a->row.kind.phase, b->row.kind.phase);
    }
    case STORE_PUT_META: return rows_str_cmp(a->name, b->name);
    default: assert(!"an op that puts a row"); return 0;
    }
}

/* Where the key of probe stands or would stand. */
static size_t table_place(const struct memory_rows *m, enum memory_table t, const struct store_op *probe, bool *ret_there) {
    size_t low = 0, high = m->table[t].count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = key_cmp(memory_row_at(m, t, mid), probe);
        if (c == 0) {
            *ret_there = true;
            return mid;
        }
        if (c < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *ret_there = false;
    return low;
}

const struct store_op *memory_rows_find(const struct memory_rows *m, const struct store_op *probe) {
    bool there;
    enum memory_table t = table_of(probe->type);
    size_t at = table_place(m, t, probe, &there);
    return there ? memory_row_at(m, t, at) : NULL;
}

/* ---- rows in and out of their tables ---- */

static void row_free(struct memory_row *row) {
    if (row) {
        arena_fini(&row->arena);
        mem_free(row);
    }
}

static struct memory_row *row_create(const struct store_op *op) {
    struct memory_row *row = mem_alloc(sizeof(*row));
    if (!rows_copy_op(&row->arena, op, &row->op)) {
        row_free(row);
        return NULL;
    }
    return row;
}

static struct memory_row *table_take(struct memory_rows *m, enum memory_table t, size_t at) {
    struct memory_row **list = m->table[t].list, *row = list[at];
    memmove(list + at, list + at + 1, (--m->table[t].count - at) * sizeof(struct memory_row *));
    return row;
}

static void table_insert(struct memory_rows *m, enum memory_table t, size_t at, struct memory_row *row) {
    if (m->table[t].count == m->table[t].cap) {
        m->table[t].cap = m->table[t].cap ? m->table[t].cap * 2 : 16;
        m->table[t].list = mem_resize(m->table[t].list, m->table[t].cap * sizeof(struct memory_row *));
    }
    struct memory_row **list = m->table[t].list;
    memmove(list + at + 1, list + at, (m->table[t].count++ - at) * sizeof(struct memory_row *));
    list[at] = row;
}

/* ---- the journal of one change set ---- */

struct change {
    enum memory_table table;
    struct memory_row *before; /* what was there, or NULL; no longer in the table */
    struct memory_row *after;  /* what is there now, or NULL */
};

struct journal {
    struct memory_rows *rows;
    struct change *list;
    size_t count, cap;
};

static void journal_note(struct journal *j, enum memory_table t, struct memory_row *before, struct memory_row *after) {
    if (j->count == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 64;
        j->list = mem_resize(j->list, j->cap * sizeof(j->list[0]));
    }
    j->list[j->count++] = (struct change){t, before, after};
}

static bool journal_put(struct journal *j, const struct store_op *op) {
    struct memory_row *after = row_create(op);
    if (!after) {
        return false;
    }
    bool there;
    enum memory_table t = table_of(op->type);
    size_t at = table_place(j->rows, t, op, &there);
    struct memory_row *before = there ? table_take(j->rows, t, at) : NULL;
    table_insert(j->rows, t, at, after);
    journal_note(j, t, before, after);
    return true;
}

static void journal_remove_at(struct journal *j, enum memory_table t, size_t at) {
    journal_note(j, t, table_take(j->rows, t, at), NULL);
}

static void journal_remove(struct journal *j, const struct store_op *probe) {
    bool there;
    enum memory_table t = table_of(probe->type);
    size_t at = table_place(j->rows, t, probe, &there);
    if (there) {
        journal_remove_at(j, t, at);
    }
}

static void journal_undo(struct journal *j) {
    while (j->count) {
        struct change *c = &j->list[--j->count];
        bool there;
        size_t at = table_place(j->rows, c->table, c->after ? &c->after->op : &c->before->op, &there);
        if (c->after) {
            row_free(table_take(j->rows, c->table, at));
        }
        if (c->before) {
            table_insert(j->rows, c->table, at, c->before);
        }
    }
}

static void journal_keep(struct journal *j) {
    for (size_t i = 0; i < j->count; i++) {
        row_free(j->list[i].before);
    }
    j->count = 0;
}

/* ---- ops ---- */

static bool key_is_free(const struct memory_rows *m, const struct session_row *r) {
    if (r->state != STORE_SESSION_ACTIVE || !r->key_hash.p) {
        return true;
    }
    for (size_t i = 0; i < m->table[TABLE_SESSIONS].count; i++) {
        const struct session_row *other = &memory_row_at(m, TABLE_SESSIONS, i)->row.session;
        if (other->state == STORE_SESSION_ACTIVE && other->key_hash.p && str_eq(other->key_hash, r->key_hash) && !id_eq(other->id, r->id)) {
            return false;
        }
    }
    return true;
}

static void delete_gone(struct journal *j, struct id session, uint64_t upto) {
    for (size_t i = j->rows->table[TABLE_GONE].count; i-- > 0;) {
        const struct gone_row *r = &memory_row_at(j->rows, TABLE_GONE, i)->row.gone;
        if (id_eq(r->session, session) && r->seq <= upto) {
            journal_remove_at(j, TABLE_GONE, i);
        }
    }
}

/* Rows of output that end at or before upto. */
static void delete_output(struct journal *j, struct id task, uint64_t upto) {
    for (size_t i = j->rows->table[TABLE_OUTPUT].count; i-- > 0;) {
        const struct output_row *r = &memory_row_at(j->rows, TABLE_OUTPUT, i)->row.output;
        if (id_eq(r->task, task) && r->offset + r->data.len <= upto) {
            journal_remove_at(j, TABLE_OUTPUT, i);
        }
    }
}

static void delete_task(struct journal *j, struct id task) {
    journal_remove(j, &(struct store_op){.type = STORE_PUT_TASK, .row.task.id = task});
    journal_remove(j, &(struct store_op){.type = STORE_PUT_INPUT, .id = task});
    journal_remove(j, &(struct store_op){.type = STORE_PUT_RESULT, .id = task});
    delete_output(j, task, UINT64_MAX);
}

/* ---- forgetting: the rows that are over first, at most so many ---- */

struct over {
    int64_t at;
    const struct store_op *op;
};

static int over_cmp(const void *left, const void *right) {
    const struct over *a = left, *b = right;
    int c = (a->at > b->at) - (a->at < b->at);
    return c ? c : key_cmp(a->op, b->op);
}

/* When a row is over; 0 never. */
static int64_t over_at(const struct store_op *op) {
    switch (op->type) {
    case STORE_PUT_IDEMPOTENCY: return op->row.idempotency.expires_at;
    case STORE_PUT_OLD_KEY: return op->row.old_key.expires_at;
    default: return op->row.tombstone.gone_at;
    }
}

static void forget_table(struct journal *j, enum memory_table t, int64_t until) {
    struct over *over = mem_alloc(j->rows->table[t].count * sizeof(*over));
    size_t count = 0;
    for (size_t i = 0; i < j->rows->table[t].count; i++) {
        const struct store_op *op = memory_row_at(j->rows, t, i);
        int64_t at = over_at(op);
        if (at <= until && (at > 0 || t == TABLE_TOMBSTONES)) {
            over[count++] = (struct over){at, op};
        }
    }
    qsort(over, count, sizeof(*over), over_cmp);
    for (size_t i = 0; i < count && i < ROWS_FORGET_MOST; i++) {
        journal_remove(j, over[i].op);
    }
    mem_free(over);
}

static void forget(struct journal *j, int64_t now, int64_t tombstone_ttl) {
    forget_table(j, TABLE_IDEMPOTENCY, now);
    forget_table(j, TABLE_OLD_KEYS, now);
    forget_table(j, TABLE_TOMBSTONES, now - tombstone_ttl);
}

/* The lower one first: where two become the same, the last stays. */
static bool bound_old_keys(struct journal *j, int64_t most) {
    for (size_t i = 0; i < j->rows->table[TABLE_OLD_KEYS].count; i++) {
        struct store_op was = *memory_row_at(j->rows, TABLE_OLD_KEYS, i), now = was;
        now.row.old_key.jwt_from_s = most;
        if (was.row.old_key.jwt_from_s > most) {
            if (!journal_put(j, &now)) {
                return false;
            }
            journal_remove(j, &was);
            i = (size_t) -1; /* they stand elsewhere now */
        }
    }
    return true;
}

static bool bound_jwt_from(struct journal *j, int64_t most) {
    for (size_t i = 0; i < j->rows->table[TABLE_SESSIONS].count; i++) {
        struct store_op now = *memory_row_at(j->rows, TABLE_SESSIONS, i);
        if (now.row.session.jwt_from_s > most) {
            now.row.session.jwt_from_s = most - (now.row.session.rotated_at > 0);
            if (!journal_put(j, &now)) {
                return false;
            }
        }
    }
    return bound_old_keys(j, most);
}

static bool apply_op(struct journal *j, const struct store_op *op) {
    switch (op->type) {
    case STORE_PUT_SESSION: return key_is_free(j->rows, &op->row.session) && journal_put(j, op);
    case STORE_DELETE_SESSION:
        journal_remove(j, &(struct store_op){.type = STORE_PUT_SESSION, .row.session.id = op->id});
        delete_gone(j, op->id, UINT64_MAX);
        return true;
    case STORE_DELETE_TASK: delete_task(j, op->id); return true;
    case STORE_DELETE_PROGRESS: journal_remove(j, &(struct store_op){.type = STORE_PUT_PROGRESS, .row.progress.slot = op->number}); return true;
    case STORE_DELETE_KIND: journal_remove(j, &(struct store_op){.type = STORE_PUT_KIND, .row.kind = op->row.kind}); return true;
    case STORE_TRIM_OUTPUT: delete_output(j, op->id, op->number); return true;
    case STORE_DELETE_GONE: delete_gone(j, op->id, op->number); return true;
    case STORE_BOUND_JWT_FROM: return bound_jwt_from(j, (int64_t) op->number);
    case STORE_FORGET: forget(j, (int64_t) op->number, (int64_t) op->number2); return true;
    default: return journal_put(j, op);
    }
}

bool memory_rows_apply(struct memory_rows *m, const struct store_op *ops, const size_t *places, size_t count) {
    struct journal j = {.rows = m};
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        ok = apply_op(&j, &ops[places[i]]);
    }
    if (ok) {
        journal_keep(&j);
    } else {
        journal_undo(&j);
    }
    mem_free(j.list);
    return ok;
}

void memory_rows_fini(struct memory_rows *m) {
    for (int t = 0; t < TABLE_COUNT; t++) {
        for (size_t i = 0; i < m->table[t].count; i++) {
            row_free(m->table[t].list[i]);
        }
        mem_free(m->table[t].list);
        m->table[t].list = NULL;
        m->table[t].count = m->table[t].cap = 0;
    }
}
