/* Output of tasks: from an offset, as one run of bytes, and what came after a number, of several tasks in order. */
#include "store/sqlite/db.h"

#include "store/rows.h"

#include <stdlib.h>

static bool column_output(sqlite3_stmt *st, struct arena *a, struct output_row *ret_row) {
    struct columns c = {.st = st, .arena = a};
    ret_row->task = column_id(&c);
    ret_row->offset = column_u64(&c);
    ret_row->seq = column_u64(&c);
    ret_row->data = column_str(&c);
    return !c.failed;
}

int read_output(struct reader *r, struct store_query *q) {
    struct binder b = bind_start(r->st[READ_OUTPUT]);
    bind_id(&b, &q->ask.output.task);
    bind_u64(&b, q->ask.output.offset);
    bool more = true;
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    for (unsigned rows = 0; rc == SQLITE_ROW && more && rows < STORE_JOIN_ROWS; rows++) {
        const char *data = sqlite3_column_blob(b.st, 3);
        size_t len = (size_t) sqlite3_column_bytes(b.st, 3);
        if (len && !data) {
            return SQLITE_NOMEM;
        }
        more = rows_join_output(q, (uint64_t) sqlite3_column_int64(b.st, 1), str_n(data ? data : "", len));
        rc = more ? sqlite3_step(b.st) : rc;
    }
    return q->ask.output.bytes.failed ? SQLITE_NOMEM : rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

/* A row of output that may be among those asked for: several tasks' rows are put in order before any data is read. */
struct output_pick {
    struct id task;
    uint64_t seq, offset, bytes;
    int64_t rowid;
};

static int output_pick_cmp(const void *left, const void *right) {
    const struct output_pick *a = left, *b = right;
    if (a->seq != b->seq) {
        return a->seq < b->seq ? -1 : 1;
    }
    int c = id_cmp(a->task, b->task);
    return c ? c : (a->offset > b->offset) - (a->offset < b->offset);
}

struct output_picks {
    struct output_pick *list;
    size_t count;
    struct arena arena;
};

/* One task's rows: of it alone no more than the limit can be asked for. */
static int output_pick_task(struct reader *r, const struct store_query *q, const struct id *task, struct output_picks *p) {
    struct binder b = bind_start(r->st[READ_OUTPUT_AFTER]);
    bind_id(&b, task);
    bind_u64(&b, q->ask.output_after.seq);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    uint64_t bytes = 0;
    for (size_t taken = 0; rc == SQLITE_ROW && (taken == 0 || bytes < q->ask.output_after.limit); rc = sqlite3_step(b.st), taken++) {
        struct output_pick *pick = rows_push(&p->arena, p->list, p->count);
        if (!pick) {
            return SQLITE_NOMEM;
        }
        struct columns c = {.st = b.st};
        pick->task = *task;
        pick->rowid = column_i64(&c);
        pick->seq = column_u64(&c);
        pick->offset = column_u64(&c);
        pick->bytes = column_u64(&c);
        bytes += pick->bytes;
    }
    return rc == SQLITE_ROW ? SQLITE_DONE : rc;
}

static int output_fetch(struct reader *r, struct store_query *q, int64_t rowid) {
    struct binder b = bind_start(r->st[READ_OUTPUT_ROW]);
    bind_i64(&b, rowid);
    int rc = b.rc == SQLITE_OK ? sqlite3_step(b.st) : b.rc;
    if (rc != SQLITE_ROW) {
        return rc;
    }
    struct output_row *row = rows_push(&q->arena, q->answer.output_after.list, q->answer.output_after.count);
    return row && column_output(b.st, &q->arena, row) ? SQLITE_DONE : SQLITE_NOMEM;
}

int read_output_after(struct reader *r, struct store_query *q) {
    const struct id_list *tasks = &q->ask.output_after.tasks;
    struct output_picks p = {0};
    int rc = SQLITE_DONE;
    for (size_t i = 0; i < tasks->count && rc == SQLITE_DONE; i++) {
        rc = output_pick_task(r, q, &tasks->list[i], &p);
    }
    if (rc == SQLITE_DONE && p.count) {
        qsort(p.list, p.count, sizeof(p.list[0]), output_pick_cmp);
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < p.count && rc == SQLITE_DONE && (i == 0 || bytes < q->ask.output_after.limit); i++) {
        rc = output_fetch(r, q, p.list[i].rowid);
        bytes += p.list[i].bytes;
    }
    arena_fini(&p.arena);
    return rc;
}
