/*
 * memory_rows.h: the committed rows of the store for tests: for each sort of row an array sorted by its key. A row is kept as the op that put it.
 * Private to this room.
 */
#ifndef BOWLINE_TESTS_STORE_MEMORY_ROWS_H
#define BOWLINE_TESTS_STORE_MEMORY_ROWS_H

#include "store/store.h"

enum memory_table {
    TABLE_SESSIONS,
    TABLE_TASKS,
    TABLE_PROGRESS,
    TABLE_INPUTS,
    TABLE_RESULTS,
    TABLE_OUTPUT,
    TABLE_GONE,
    TABLE_TOMBSTONES,
    TABLE_IDEMPOTENCY,
    TABLE_OLD_KEYS,
    TABLE_KINDS,
    TABLE_META,
    TABLE_COUNT
};

struct memory_row {
    struct store_op op;
    struct arena arena; /* its texts */
};

struct memory_rows {
    struct {
        struct memory_row **list;
        size_t count, cap;
    } table[TABLE_COUNT];
};

void memory_rows_fini(struct memory_rows *m);
/* The ops at these places, all or, if one of them cannot be (a key that another active session has), none: false. */
bool memory_rows_apply(struct memory_rows *m, const struct store_op *ops, const size_t *places, size_t count) MUST_CHECK;
/* The op that holds the row with the key of `probe` (an op of the type that puts such rows, with its key filled in), or NULL. */
const struct store_op *memory_rows_find(const struct memory_rows *m, const struct store_op *probe);
/* As memory_store_is_tidy. */
bool memory_rows_are_tidy(const struct memory_rows *m);
/* Answers q from what is committed. */
void memory_rows_answer(const struct memory_rows *m, struct store_query *q);

static inline const struct store_op *memory_row_at(const struct memory_rows *m, enum memory_table t, size_t i) {
    return &m->table[t].list[i]->op;
}

#endif
