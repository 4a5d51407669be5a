/* store_harness.h: a store of either sort behind calls that wait, and answers as text so that two can be compared. For tests. */
#ifndef BOWLINE_TESTS_STORE_HARNESS_H
#define BOWLINE_TESTS_STORE_HARNESS_H

#include "base/mem.h"
#include "tests/store/memory.h"
#include "store/sqlite/sqlite.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct harness {
    struct store *store;
    bool memory;
    char dir[64], path[96];
    uint64_t number;
    pthread_mutex_t mutex;
    pthread_cond_t came;
    struct store_batch *batch_back;
    unsigned queries_back;
};

static inline void harness_batch_done(void *arg, struct store_batch *b) {
    struct harness *h = arg;
    pthread_mutex_lock(&h->mutex);
    h->batch_back = b;
    pthread_cond_broadcast(&h->came);
    pthread_mutex_unlock(&h->mutex);
}

static inline void harness_query_done(void *arg, struct store_query *q) {
    struct harness *h = arg;
    pthread_mutex_lock(&h->mutex);
    *(bool *) q->owner = true;
    h->queries_back++;
    pthread_cond_broadcast(&h->came);
    pthread_mutex_unlock(&h->mutex);
}

static inline struct store_sink harness_sink(struct harness *h) {
    return (struct store_sink){.batch_done = harness_batch_done, .query_done = harness_query_done, .arg = h};
}

static inline void harness_make_dir(struct harness *h) {
    strcpy(h->dir, "/tmp/bowline-store-XXXXXX");
    if (!mkdtemp(h->dir)) {
        abort();
    }
    snprintf(h->path, sizeof(h->path), "%s/bowline.db", h->dir);
}

static inline void harness_init(struct harness *h) {
    memset(h, 0, sizeof(*h));
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->came, NULL);
}

static inline enum sqlite_open_error harness_open(struct harness *h) {
    enum sqlite_open_error e = SQLITE_OPEN_OK;
    struct buf err = {0};
    h->store = sqlite_store_open(h->path, harness_sink(h), &e, &err);
    if (!h->store && err.len == 0) {
        abort(); /* a refusal says why */
    }
    buf_fini(&err);
    return e;
}

static inline void harness_start(struct harness *h, bool memory) {
    harness_init(h);
    h->memory = memory;
    if (memory) {
        h->store = memory_store_create(harness_sink(h));
    } else {
        harness_make_dir(h);
        if (harness_open(h) != SQLITE_OPEN_OK) {
            abort();
        }
    }
}

static inline void harness_remove_dir(struct harness *h) {
    DIR *d = opendir(h->dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", h->dir, e->d_name);
        if (e->d_name[0] != '.') {
            remove(path);
        }
    }
    if (d) {
        closedir(d);
    }
    rmdir(h->dir);
}

static inline void harness_stop(struct harness *h) {
    store_destroy(h->store);
    h->store = NULL;
    if (h->dir[0]) {
        harness_remove_dir(h);
    }
    pthread_cond_destroy(&h->came);
    pthread_mutex_destroy(&h->mutex);
}

/* Comes back with the batch. */
static inline void harness_submit(struct harness *h, struct store_batch *b) {
    h->batch_back = NULL;
    store_submit(h->store, b);
    while (h->memory && !h->batch_back) {
        memory_store_step(h->store, 1);
    }
    pthread_mutex_lock(&h->mutex);
    while (!h->batch_back) {
        pthread_cond_wait(&h->came, &h->mutex);
    }
    pthread_mutex_unlock(&h->mutex);
}

/* All of it as one set. */
static inline enum store_result harness_apply(struct harness *h, struct store_op *ops, size_t count) {
    struct store_set set = {0};
    struct store_batch b = {.number = ++h->number, .ops = ops, .count = count, .sets = &set, .set_count = 1};
    harness_submit(h, &b);
    return set.result;
}

/* The answer's memory is the caller's: arena_fini(&q->arena). */
static inline void harness_ask(struct harness *h, struct store_query *q) {
    bool back = false;
    q->owner = &back;
    store_query(h->store, q);
    while (h->memory && !back) {
        memory_store_step(h->store, 0);
    }
    pthread_mutex_lock(&h->mutex);
    while (!back) {
        pthread_cond_wait(&h->came, &h->mutex);
    }
    pthread_mutex_unlock(&h->mutex);
    q->owner = NULL;
}

/* ---- makers ---- */

static inline struct id nth_id(uint64_t n) {
    struct id id = {{1}};
    for (int i = 0; i < 8; i++) {
        id.b[8 + i] = (uint8_t) (n >> (56 - 8 * i));
    }
    return id;
}

static inline struct store_op op_session(uint64_t n, const char *user, const char *key, uint8_t state) {
    return (struct store_op){.type = STORE_PUT_SESSION,
                             .row.session = {.id = nth_id(n),
                                             .state = state,
                                             .gen = 1,
                                             .seq = n * 10,
                                             .user = str_of(user),
                                             .key_hash = str_of(key),
                                             .metadata = STR("{}"),
                                             .created_at = 1000,
                                             .active_at = 1500,
                                             .idle_timeout = 60000,
                                             .max_age = 0}};
}

static inline struct store_op op_task(uint64_t n, uint64_t session, uint8_t state, uint64_t version) {
    return (struct store_op){.type = STORE_PUT_TASK,
                             .row.task = {.id = nth_id(n),
                                          .session = nth_id(session),
                                          .state = state,
                                          .version = version,
                                          .kind = STR("report"),
                                          .queue = STR("q"),
                                          .body = STR("body")}};
}

static inline struct store_op op_task_slot(uint64_t n, uint64_t session, uint8_t state, uint64_t version, uint64_t slot) {
    struct store_op op = op_task(n, session, state, version);
    op.row.task.slot = slot;
    return op;
}

static inline struct store_op op_progress(uint64_t slot, uint64_t task, uint64_t version) {
    return (struct store_op){.type = STORE_PUT_PROGRESS,
                             .row.progress = {.slot = slot,
                                              .task = nth_id(task),
                                              .version = version,
                                              .updated_at = 1234567890123,
                                              .heard = true,
                                              .has_current = true,
                                              .current = 0.1,
                                              .has_total = true,
                                              .total = 1e15,
                                              .rate = 2.5,
                                              .eta = 0,
                                              .unit = STR("pages"),
                                              .message = STR(""),
                                              .phase = STR(""),
                                              .data = STR("{\"a\": [1]}")}};
}

static inline struct store_op op_data(enum store_op_type type, uint64_t n, struct str data) {
    return (struct store_op){.type = type, .id = nth_id(n), .data = data};
}

static inline struct store_op op_output(uint64_t task, uint64_t offset, uint64_t seq, const char *data) {
    return (struct store_op){.type = STORE_ADD_OUTPUT, .row.output = {.task = nth_id(task), .offset = offset, .seq = seq, .data = str_of(data)}};
}

static inline struct store_op op_number(enum store_op_type type, uint64_t n, uint64_t number) {
    return (struct store_op){.type = type, .id = nth_id(n), .number = number};
}

/* ---- an answer as text ---- */

static inline void render_str(struct buf *out, struct str s) {
    if (!s.p) {
        buf_puts(out, "none ");
        return;
    }
    buf_printf(out, "%zu:", s.len);
    buf_str(out, s);
    buf_char(out, ' ');
}

static inline void render_id(struct buf *out, struct id id) {
    for (int i = 0; i < 16; i++) {
        buf_printf(out, "%02x", id.b[i]);
    }
    buf_char(out, ' ');
}

static inline void render_session(struct buf *out, const struct session_row *r) {
    buf_puts(out, "\nsession ");
    render_id(out, r->id);
    buf_printf(out, "state=%d reason=%d gen=%u seq=%llu floor=%llu ", r->state, r->reason, r->gen, (unsigned long long) r->seq,
               (unsigned long long) r->gone_floor);
    render_str(out, r->user);
    render_str(out, r->key_hash);
    render_str(out, r->metadata);
    buf_printf(out, "apart=%lld %lld jwt=%lld ", (long long) r->created_apart, (long long) r->ended_apart, (long long) r->jwt_from_s);
    buf_printf(out, "%lld %lld %lld %lld %lld %lld due=%lld ", (long long) r->created_at, (long long) r->ended_at, (long long) r->active_at,
               (long long) r->idle_timeout, (long long) r->max_age, (long long) r->rotated_at, (long long) r->due_at);
    render_id(out, r->merged_into);
}

static inline void render_progress(struct buf *out, const struct progress_row *r) {
    buf_printf(out, "\n  progress slot=%llu ", (unsigned long long) r->slot);
    render_id(out, r->task);
    buf_printf(out, "version=%llu at=%lld %d%d%d%d ", (unsigned long long) r->version, (long long) r->updated_at, r->heard, r->stalled,
               r->has_current, r->has_total);
    buf_printf(out, "%a %a %a %a ", r->current, r->total, r->rate, r->eta);
    render_str(out, r->unit);
    render_str(out, r->message);
    render_str(out, r->phase);
    render_str(out, r->data);
}

static inline void render_task(struct buf *out, const struct task_row *r) {
    buf_puts(out, "\ntask ");
    render_id(out, r->id);
    render_id(out, r->session);
    buf_printf(out, "state=%d version=%llu due=%lld ", r->state, (unsigned long long) r->version, (long long) r->due_at);
    render_str(out, r->kind);
    render_str(out, r->queue);
    render_str(out, r->body);
    buf_printf(out, "slot=%llu ", (unsigned long long) r->slot);
    if (r->progress) {
        render_progress(out, r->progress);
    }
}

static inline void render_tombstone(struct buf *out, const struct tombstone_row *r) {
    if (r) {
        buf_puts(out, "\ntombstone ");
        render_id(out, r->task);
        render_id(out, r->session);
        buf_printf(out, "%u %u %d %lld %lld ", r->watch_gen, r->attempt, r->state, (long long) r->ended_at, (long long) r->gone_at);
        render_str(out, r->kind);
    }
}

static inline void render_idempotency(struct buf *out, const struct idempotency_row *r) {
    if (r) {
        buf_printf(out, "\nidempotency %d %lld ", r->status, (long long) r->expires_at);
        render_str(out, r->scope);
        render_str(out, r->request);
        render_str(out, r->location);
        render_str(out, r->cookie);
        render_str(out, r->answer);
    }
}

static inline void render_old_key(struct buf *out, const struct old_key_row *r) {
    if (r) {
        buf_printf(out, "\nold_key %lld %lld %u %lld ", (long long) r->jwt_from_s, (long long) r->at, r->gen, (long long) r->expires_at);
        render_str(out, r->key_hash);
        render_id(out, r->session);
    }
}

static inline void render_ids(struct buf *out, const struct id_list *ids) {
    for (size_t i = 0; i < ids->count; i++) {
        buf_puts(out, "\nid ");
        render_id(out, ids->list[i]);
    }
}

static inline void render_sessions(struct buf *out, const struct session_rows *rows) {
    for (size_t i = 0; i < rows->count; i++) {
        render_session(out, &rows->list[i]);
    }
}

static inline void render_tasks(struct buf *out, const struct task_rows *rows) {
    for (size_t i = 0; i < rows->count; i++) {
        render_task(out, &rows->list[i]);
    }
}

static inline void render_whole_session(struct buf *out, const union store_answer *a) {
    if (a->session.found) {
        render_session(out, &a->session.row);
    }
    render_tasks(out, &a->session.tasks);
    for (size_t i = 0; i < a->session.gone.count; i++) {
        const struct gone_row *r = &a->session.gone.list[i];
        buf_printf(out, "\ngone %llu %d %lld ", (unsigned long long) r->seq, r->reason, (long long) r->at);
        render_id(out, r->session);
        render_id(out, r->task);
    }
}

static inline void render_start(struct buf *out, const union store_answer *a) {
    render_ids(out, &a->start.sessions);
    for (size_t i = 0; i < a->start.kind_count; i++) {
        buf_puts(out, "\nkind ");
        render_str(out, a->start.kinds[i].kind);
        render_str(out, a->start.kinds[i].phase);
        render_str(out, a->start.kinds[i].body);
    }
    buf_puts(out, "\nmeta ");
    render_str(out, a->start.clean);
    render_str(out, a->start.epoch);
    render_str(out, a->start.slots);
}

static inline void render_answer(struct buf *out, const struct store_query *q) {
    const union store_answer *a = &q->answer;
    buf_printf(out, "query=%d result=%d ", (int) q->type, (int) q->result);
    switch (q->type) {
    case STORE_LOAD_SESSION: render_whole_session(out, a); break;
    case STORE_FIND_TASK:
        buf_printf(out, "found=%d ", a->task.found);
        render_id(out, a->task.session);
        render_tombstone(out, a->task.tombstone);
        break;
    case STORE_FIND_KEY:
        buf_printf(out, "found=%d ", a->key.found);
        render_id(out, a->key.session);
        render_old_key(out, a->key.old_key);
        break;
    case STORE_FIND_OLD_KEY: render_old_key(out, a->old_key); break;
    case STORE_FIND_USER: render_sessions(out, &a->user); break;
    case STORE_FIND_IDEMPOTENCY: render_idempotency(out, a->idempotency); break;
    case STORE_GET_INPUT:
        for (size_t i = 0; i < a->inputs.count; i++) {
            render_str(out, a->inputs.list[i]);
        }
        break;
    case STORE_GET_RESULT: render_str(out, a->result); break;
    case STORE_GET_OUTPUT:
        buf_printf(out, "%llu: ", (unsigned long long) a->output.offset);
        buf_str(out, buf_view(&q->ask.output.bytes));
        break;
    case STORE_GET_OUTPUT_AFTER:
        for (size_t i = 0; i < a->output_after.count; i++) {
            const struct output_row *r = &a->output_after.list[i];
            buf_printf(out, "\noutput %llu %llu ", (unsigned long long) r->offset, (unsigned long long) r->seq);
            render_id(out, r->task);
            render_str(out, r->data);
        }
        break;
    case STORE_LIST_SESSIONS:
        render_sessions(out, &a->list_sessions.sessions);
        for (size_t i = 0; i < a->list_sessions.sessions.count; i++) {
            buf_printf(out, "\ncounts %u %u", a->list_sessions.task_counts[i][0], a->list_sessions.task_counts[i][1]);
        }
        break;
    case STORE_LIST_TASKS: render_tasks(out, &a->list_tasks); break;
    case STORE_DUE:
        render_ids(out, &a->due.sessions);
        render_ids(out, &a->due.tasks);
        render_ids(out, &a->due.task_sessions);
        break;
    case STORE_START: render_start(out, a); break;
    }
}

#endif
