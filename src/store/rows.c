#include "store/rows.h"

#include "base/mem.h"

#include <assert.h>
#include <stdlib.h>

bool rows_copy_str(struct arena *a, struct str from, struct str *ret_str) {
    *ret_str = arena_str(a, from);
    return ret_str->p || !from.p;
}

bool rows_copy_session(struct arena *a, const struct session_row *from, struct session_row *ret_row) {
    *ret_row = *from;
    return rows_copy_str(a, from->user, &ret_row->user) && rows_copy_str(a, from->key_hash, &ret_row->key_hash) &&
           rows_copy_str(a, from->metadata, &ret_row->metadata);
}

bool rows_copy_task(struct arena *a, const struct task_row *from, struct task_row *ret_row) {
    *ret_row = *from;
    ret_row->progress = NULL;
    return rows_copy_str(a, from->kind, &ret_row->kind) && rows_copy_str(a, from->queue, &ret_row->queue) &&
           rows_copy_str(a, from->body, &ret_row->body);
}

bool rows_copy_progress(struct arena *a, const struct progress_row *from, struct progress_row *ret_row) {
    *ret_row = *from;
    return rows_copy_str(a, from->unit, &ret_row->unit) && rows_copy_str(a, from->message, &ret_row->message) &&
           rows_copy_str(a, from->phase, &ret_row->phase) && rows_copy_str(a, from->data, &ret_row->data);
}

bool rows_copy_output(struct arena *a, const struct output_row *from, struct output_row *ret_row) {
    *ret_row = *from;
    return rows_copy_str(a, from->data, &ret_row->data);
}

bool rows_copy_tombstone(struct arena *a, const struct tombstone_row *from, struct tombstone_row *ret_row) {
    *ret_row = *from;
    return rows_copy_str(a, from->kind, &ret_row->kind);
}

bool rows_copy_idempotency(struct arena *a, const struct idempotency_row *from, struct idempotency_row *ret_row) {
    *ret_row = *from;
    return rows_copy_str(a, from->scope, &ret_row->scope) && rows_copy_str(a, from->request, &ret_row->request) &&
           rows_copy_str(a, from->location, &ret_row->location) && rows_copy_str(a, from->cookie, &ret_row->cookie) &&
           rows_copy_str(a, from->answer, &ret_row->answer);
}

bool rows_copy_old_key(struct arena *a, const struct old_key_row *from, struct old_key_row *ret_row) {
    *ret_row = *from;
    return rows_copy_str(a, from->key_hash, &ret_row->key_hash);
}

bool rows_copy_kind(struct arena *a, const struct kind_row *from, struct kind_row *ret_row) {
    *ret_row = *from;
    return rows_copy_str(a, from->kind, &ret_row->kind) && rows_copy_str(a, from->phase, &ret_row->phase) &&
           rows_copy_str(a, from->body, &ret_row->body);
}

static bool copy_op_row(struct arena *a, const struct store_op *from, struct store_op *ret_op) {
    switch (from->type) {
    case STORE_PUT_SESSION: return rows_copy_session(a, &from->row.session, &ret_op->row.session);
    case STORE_PUT_TASK: return rows_copy_task(a, &from->row.task, &ret_op->row.task);
    case STORE_PUT_PROGRESS: return rows_copy_progress(a, &from->row.progress, &ret_op->row.progress);
    case STORE_ADD_OUTPUT: return rows_copy_output(a, &from->row.output, &ret_op->row.output);
    case STORE_PUT_TOMBSTONE: return rows_copy_tombstone(a, &from->row.tombstone, &ret_op->row.tombstone);
    case STORE_PUT_IDEMPOTENCY: return rows_copy_idempotency(a, &from->row.idempotency, &ret_op->row.idempotency);
    case STORE_PUT_OLD_KEY: return rows_copy_old_key(a, &from->row.old_key, &ret_op->row.old_key);
    case STORE_PUT_KIND:
    case STORE_DELETE_KIND: return rows_copy_kind(a, &from->row.kind, &ret_op->row.kind);
    default: return true;
    }
}

bool rows_copy_op(struct arena *a, const struct store_op *from, struct store_op *ret_op) {
    *ret_op = *from;
    return rows_copy_str(a, from->name, &ret_op->name) && rows_copy_str(a, from->data, &ret_op->data) && copy_op_row(a, from, ret_op);
}

#define ROWS_FIRST 8

void *rows_reserve(struct arena *a, void *list, size_t count, size_t element_bytes) {
    bool full = count == 0 || (count >= ROWS_FIRST && (count & (count - 1)) == 0);
    if (!full) {
        return list;
    }
    void *more = arena_alloc(a, (count ? count * 2 : ROWS_FIRST) * element_bytes);
    if (more && count) {
        memcpy(more, list, count * element_bytes);
    }
    return more;
}

size_t *rows_by_set(const struct store_batch *b) {
    size_t *places = mem_alloc((b->count + 1) * sizeof(*places)), *next = mem_alloc((b->set_count + 1) * sizeof(*next));
    for (size_t i = 0; i < b->count; i++) {
        assert(b->ops[i].set < b->set_count);
        next[b->ops[i].set + 1]++;
    }
    for (size_t i = 1; i <= b->set_count; i++) {
        next[i] += next[i - 1];
    }
    for (size_t i = 0; i < b->count; i++) {
        places[next[b->ops[i].set]++] = i;
    }
    mem_free(next);
    return places;
}

void rows_set_results(struct store_batch *b, enum store_result result) {
    b->result = result;
    for (size_t i = 0; i < b->set_count; i++) {
        b->sets[i].result = result;
    }
}

void rows_clear_answer(struct store_query *q) {
    if (q->type == STORE_GET_OUTPUT) {
        q->ask.output.bytes.len = q->ask.output.kept;
    }
    memset(&q->answer, 0, sizeof(q->answer));
}

bool rows_push_id(struct arena *a, struct id_list *list, struct id id) {
    struct id *place = rows_push(a, list->list, list->count);
    if (place) {
        *place = id;
    }
    return place;
}

bool rows_join_output(struct store_query *q, uint64_t offset, struct str data) {
    struct buf *bytes = &q->ask.output.bytes;
    size_t have = bytes->len - q->ask.output.kept, limit = q->ask.output.limit;
    uint64_t at = have ? q->answer.output.offset + have : q->ask.output.offset;
    if (offset > at && bytes->len) {
        return false;
    }
    uint64_t skip = offset < at ? at - offset : 0;
    data = skip < data.len ? str_from(data, skip) : STR("");
    data.len = data.len < limit - have ? data.len : limit - have;
    if (data.len && !have) {
        q->answer.output.offset = offset + skip;
    }
    buf_str(bytes, data);
    return !bytes->failed && bytes->len - q->ask.output.kept < limit;
}

static uint64_t task_version(const struct task_row *r) {
    return r->progress && r->progress->version > r->version ? r->progress->version : r->version;
}

static int task_cmp(const void *left, const void *right) {
    const struct task_row *a = left, *b = right;
    uint64_t x = task_version(a), y = task_version(b);
    return x != y ? (x > y) - (x < y) : id_cmp(a->id, b->id);
}

void rows_sort_tasks(struct task_rows *tasks) {
    if (tasks->count) {
        qsort(tasks->list, tasks->count, sizeof(tasks->list[0]), task_cmp);
    }
}

int rows_old_key_cmp(const struct old_key_row *a, const struct old_key_row *b) {
    int64_t left[] = {a->jwt_from_s, a->at}, right[] = {b->jwt_from_s, b->at};
    for (size_t i = 0; i < 2; i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    int c = id_cmp(a->session, b->session);
    return c ? c : (a->gen > b->gen) - (a->gen < b->gen);
}

int rows_str_cmp(struct str a, struct str b) {
    size_t least = a.len < b.len ? a.len : b.len;
    int c = least ? memcmp(a.p, b.p, least) : 0;
    return c ? c : (a.len > b.len) - (a.len < b.len);
}
