/*
 * store_bench.c: what the embedded store can take. With some tasks stored, measures durable batches of task rows: new ones, changes of old ones, and progress, which
 * has narrow rows of its own.
 *
 *     store_bench DIR [tasks stored, default 100000 [the one measurement to do, such as progress]]
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "store/sqlite/sqlite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SESSIONS 10000u
#define BODY_BYTES 400
#define MEASURE_US 3000000

struct bench {
    struct store *store;
    pthread_mutex_t mutex;
    pthread_cond_t came;
    bool back;
    uint64_t number, tasks, seed;
    struct id *ids;
    struct id_maker maker;
    char body[BODY_BYTES];
};

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t draw(struct bench *b) {
    b->seed ^= b->seed << 13;
    b->seed ^= b->seed >> 7;
    b->seed ^= b->seed << 17;
    return b->seed;
}

static void draw_bytes(void *arg, void *out, size_t len) {
    for (size_t i = 0; i < len; i++) {
        ((unsigned char *) out)[i] = (unsigned char) draw(arg);
    }
}

static void batch_done(void *arg, struct store_batch *batch) {
    struct bench *b = arg;
    if (batch->result != STORE_OK) {
        fprintf(stderr, "a batch failed\n");
        exit(1);
    }
    pthread_mutex_lock(&b->mutex);
    b->back = true;
    pthread_cond_signal(&b->came);
    pthread_mutex_unlock(&b->mutex);
}

static void query_done(void *arg, struct store_query *q) {
    struct bench *b = arg;
    (void) q;
    pthread_mutex_lock(&b->mutex);
    b->back = true;
    pthread_cond_signal(&b->came);
    pthread_mutex_unlock(&b->mutex);
}

static void wait_back(struct bench *b) {
    pthread_mutex_lock(&b->mutex);
    while (!b->back) {
        pthread_cond_wait(&b->came, &b->mutex);
    }
    b->back = false;
    pthread_mutex_unlock(&b->mutex);
}

static void apply(struct bench *b, struct store_op *ops, size_t count) {
    struct store_batch batch = {.number = ++b->number, .ops = ops, .count = count, .sets = &(struct store_set){0}, .set_count = 1};
    store_submit(b->store, &batch);
    wait_back(b);
}

static struct store_op task_op(struct bench *b, uint64_t n, uint8_t state) {
    return (struct store_op){.type = STORE_PUT_TASK,
                             .row.task = {.id = b->ids[n],
                                          .session = b->ids[n % SESSIONS],
                                          .state = state,
                                          .version = ++b->number,
                                          .due_at = 1700000000000 + (int64_t) n,
                                          .kind = STR("report"),
                                          .queue = STR("reports"),
                                          .body = str_n(b->body, BODY_BYTES)}};
}

static struct store_op new_task(struct bench *b, unsigned i) {
    (void) i;
    uint64_t n = b->tasks++;
    b->ids[n] = id_make(&b->maker, 1700000000000 + (int64_t) (n / 20));
    return task_op(b, n, 1);
}

/* A task among the newest 5,000: those that are unfinished are new. */
static struct store_op changed_task(struct bench *b, unsigned i) {
    (void) i;
    return task_op(b, b->tasks - 1 - draw(b) % 5000, 1);
}

static struct store_op progress(struct bench *b, unsigned i) {
    (void) i;
    uint64_t n = b->tasks - 1 - draw(b) % 5000;
    return (struct store_op){.type = STORE_PUT_PROGRESS,
                             .row.progress = {.slot = n + 1,
                                              .task = b->ids[n],
                                              .version = ++b->number,
                                              .updated_at = 1700000000000 + (int64_t) b->number,
                                              .heard = true,
                                              .has_current = true,
                                              .has_total = true,
                                              .current = (double) (draw(b) % 1000),
                                              .total = 1000,
                                              .rate = 1.0 / (double) (1 + draw(b) % 1000),
                                              .eta = 1e6 / (double) (1 + draw(b) % 1000),
                                              .unit = STR("records"),
                                              .message = STR("page 17 of 40")}};
}

static struct store_op ended_task(struct bench *b, unsigned i) {
    (void) i;
    return task_op(b, draw(b) % b->tasks, (uint8_t) (3 + draw(b) % 3));
}

typedef struct store_op make_op(struct bench *b, unsigned i);

static int us_cmp(const void *a, const void *b) {
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static void measure(struct bench *b, const char *name, make_op *make, unsigned size) {
    struct store_op *ops = mem_alloc(size * sizeof(*ops));
    int64_t *took = mem_alloc(200000 * sizeof(*took));
    size_t batches = 0;
    int64_t start = now_us(), last = start, cpu = -clock_cpu_us();
    while (last - start < MEASURE_US && batches < 200000) {
        for (unsigned i = 0; i < size; i++) {
            ops[i] = make(b, i);
        }
        int64_t sent = now_us();
        apply(b, ops, size);
        last = now_us();
        took[batches++] = last - sent;
    }
    cpu += clock_cpu_us();
    qsort(took, batches, sizeof(*took), us_cmp);
    double seconds = (double) (last - start) / 1e6;
    printf("%-8s batches of %4u: %7.0f batches/s %8.0f ops/s  CPU %6.2f us/op   p50 %6lld us  p99 %6lld us  most %6lld us\n", name, size,
           (double) batches / seconds, (double) batches * size / seconds, (double) cpu / (double) (batches * size), (long long) took[batches / 2],
           (long long) took[batches * 99 / 100], (long long) took[batches - 1]);
    fflush(stdout);
    mem_free(took);
    mem_free(ops);
}

static void ask(struct bench *b, struct store_query *q) {
    store_query(b->store, q);
    wait_back(b);
}

static void measure_reads(struct bench *b) {
    const int rounds = 2000;
    int64_t start = now_us();
    for (int i = 0; i < rounds; i++) {
        struct store_query q = {.type = STORE_LOAD_SESSION, .ask.session = b->ids[draw(b) % SESSIONS]};
        ask(b, &q);
        arena_fini(&q.arena);
    }
    printf("load session: %.1f us\n", (double) (now_us() - start) / rounds);
    start = now_us();
    struct store_query q = {.type = STORE_LIST_TASKS, .ask.list_tasks.limit = 100, .ask.list_tasks.state = -1, .ask.list_tasks.kind = STR("none")};
    ask(b, &q);
    arena_fini(&q.arena);
    printf("list that finds none of %llu tasks: %.1f ms\n", (unsigned long long) b->tasks, (double) (now_us() - start) / 1e3);
    start = now_us();
    q = (struct store_query){.type = STORE_START};
    ask(b, &q);
    printf("start, %zu sessions with unfinished tasks: %.1f ms\n", q.answer.start.sessions.count, (double) (now_us() - start) / 1e3);
    arena_fini(&q.arena);
}

static void fill(struct bench *b, uint64_t tasks) {
    struct store_op *ops = mem_alloc(1000 * sizeof(*ops));
    for (uint64_t i = 0; i < SESSIONS; i++) {
        b->ids[i] = id_make(&b->maker, 1600000000000 + (int64_t) i);
    }
    for (uint64_t i = 0; i < SESSIONS; i += 1000) {
        for (uint64_t k = 0; k < 1000; k++) {
            ops[k] = (struct store_op){
                .type = STORE_PUT_SESSION,
                .row.session = {
                    .id = b->ids[i + k], .gen = 1, .seq = 64, .metadata = STR("{}"), .due_at = 1800000000000 + (int64_t) draw(b) % 1000000}};
        }
        apply(b, ops, 1000);
    }
    b->tasks = SESSIONS;
    while (b->tasks < tasks) {
        for (unsigned k = 0; k < 1000; k++) {
            ops[k] = new_task(b, k);
            ops[k].row.task.state = 3;
        }
        apply(b, ops, 1000);
    }
    mem_free(ops);
}

int main(int argc, char **argv) {
    struct bench b = {.mutex = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER, .seed = 88172645463325252u};
    if (argc < 2) {
        fprintf(stderr, "usage: store_bench DIR [tasks]\n");
        return 2;
    }
    b.maker = (struct id_maker){.random = draw_bytes, .random_arg = &b};
    b.ids = mem_alloc(20000000 * sizeof(*b.ids));
    char path[1000];
    snprintf(path, sizeof(path), "%s/bowline.db", argv[1]);
    enum sqlite_open_error e;
    struct buf err = {0};
    b.store = sqlite_store_open(path, (struct store_sink){batch_done, query_done, &b}, &e, &err);
    if (!b.store) {
        fprintf(stderr, "%s\n", buf_z(&err));
        return 1;
    }
    draw_bytes(&b, b.body, BODY_BYTES);
    fill(&b, argc > 2 ? strtoull(argv[2], NULL, 10) : 100000);
    static const struct {
        const char *name;
        make_op *make;
    } parts[] = {{"new", new_task}, {"changed", changed_task}, {"progress", progress}, {"ended", ended_task}};
    static const unsigned sizes[] = {1, 16, 128, 1024, 8192};
    for (int i = 0; i < 5; i++) {
        for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
            if (argc < 4 || strcmp(argv[3], parts[k].name) == 0) {
                measure(&b, parts[k].name, parts[k].make, sizes[i]);
            }
        }
    }
    if (argc < 4) {
        measure_reads(&b);
    }
    store_destroy(b.store);
    mem_free(b.ids);
    return 0;
}
