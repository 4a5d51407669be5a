/*
 * rows.h: what the stores have in common: copies of rows into arenas, and lists that grow in an arena. Private to this room.
 * Functions that copy return false when there is no memory; what they wrote until then is harmless.
 */
#ifndef BOWLINE_STORE_ROWS_H
#define BOWLINE_STORE_ROWS_H

#include "store/store.h"

#define ROWS_FORGET_MOST 500 /* rows of each sort that one STORE_FORGET deletes; of output pieces of ROWS_FORGET_OUTPUT */
#define ROWS_FORGET_OUTPUT 8

bool rows_copy_str(struct arena *a, struct str from, struct str *ret_str) MUST_CHECK;
bool rows_copy_session(struct arena *a, const struct session_row *from, struct session_row *ret_row) MUST_CHECK;
bool rows_copy_task(struct arena *a, const struct task_row *from, struct task_row *ret_row) MUST_CHECK;
bool rows_copy_progress(struct arena *a, const struct progress_row *from, struct progress_row *ret_row) MUST_CHECK;
bool rows_copy_output(struct arena *a, const struct output_row *from, struct output_row *ret_row) MUST_CHECK;
bool rows_copy_tombstone(struct arena *a, const struct tombstone_row *from, struct tombstone_row *ret_row) MUST_CHECK;
bool rows_copy_idempotency(struct arena *a, const struct idempotency_row *from, struct idempotency_row *ret_row) MUST_CHECK;
bool rows_copy_old_key(struct arena *a, const struct old_key_row *from, struct old_key_row *ret_row) MUST_CHECK;
bool rows_copy_kind(struct arena *a, const struct kind_row *from, struct kind_row *ret_row) MUST_CHECK;
/* The op with its name, its data and the row that its type says. */
bool rows_copy_op(struct arena *a, const struct store_op *from, struct store_op *ret_op) MUST_CHECK;

/* The places of the batch's ops, those of a set together and in their order; sets in theirs. The caller's. */
size_t *rows_by_set(const struct store_batch *b);
/* Gives all sets of a batch the same result, and the batch. */
void rows_set_results(struct store_batch *b, enum store_result result);

/* The list with room for one more behind its first count elements; NULL when there is no memory. */
void *rows_reserve(struct arena *a, void *list, size_t count, size_t element_bytes) MUST_CHECK;
/* A zeroed element behind the last one, counted; NULL when there is no memory (the list is then lost). */
#define rows_push(arena, list, count) (((list) = rows_reserve((arena), (list), (count), sizeof(*(list)))) ? &(list)[(count)++] : NULL)

/* Takes back whatever stands in the answer: nothing found. The arena keeps its memory. */
void rows_clear_answer(struct store_query *q);

/* One more id; false when there is no memory. */
bool rows_push_id(struct arena *a, struct id_list *list, struct id id) MUST_CHECK;

/* Of one more row of output, what belongs into the bytes of STORE_GET_OUTPUT. False: no more rows (or, where `bytes` has failed, no memory). */
bool rows_join_output(struct store_query *q, uint64_t offset, struct str data) MUST_CHECK;

/* By version, then by id. */
void rows_sort_tasks(struct task_rows *tasks);

/* Which was earlier, of one key or of several. */
int rows_old_key_cmp(const struct old_key_row *a, const struct old_key_row *b);

/* Bytes by memcmp, then by length; STR_NONE as empty. */
int rows_str_cmp(struct str a, struct str b);

#endif
