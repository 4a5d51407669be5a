/*
 * sweep.c: what it costs the others when very much is over at once. Tasks of many sessions, with inputs, results, some with output and some made with an
 * Idempotency-Key, end their time to live within one second; a little later so do their tombstones and the answers kept. Creates at a steady rate are timed to
 * their answer before that (the control) and meanwhile. How long the sweep's part of a commit took, the server says itself.
 */
#include "base/mem.h"
#include "measure.h"
#include "world.h"

#include <stdio.h>

#define SESSIONS 200
#define TASKS 20000
#define STEP 1000 /* tasks made and ended together: fewer than a session may have unfinished */
#define RATE 100
#define CONTROL_S 3
#define SWEEP_S 5
#define INPUT_BYTES 500
#define RESULT_BYTES 2000
#define OUTPUT_BYTES 500

struct sweep {
    struct world world;
    unsigned first;    /* task of this step */
    int64_t target_ns; /* when their time is up */
    char text[RESULT_BYTES + 1];
    double *took; /* ms */
    int64_t *sent_ns;
    unsigned answered, left;
};

/* ---- what will be over ---- */

static void make_put(struct job *j, size_t index, struct buf *out) {
    struct sweep *s = j->arg;
    unsigned task = s->first + (unsigned) index;
    double ttl = (double) (s->target_ns - now_ns()) * 1e-9;
    struct buf body = {0};
    buf_printf(&body, "{\"session\":\"%s\",\"kind\":\"bench\",\"title\":\"Report %u\",\"ttl\":%.3f,\"input\":\"%.*s\"}",
               s->world.sessions[s->world.tasks[task].session].id, task, ttl > 1 ? ttl : 1, INPUT_BYTES, s->text);
    buf_printf(out, "POST /v1/tasks HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n", s->world.target->host,
               s->world.target->key, body.len);
    if (task % 4 == 0) {
        buf_printf(out, "Idempotency-Key: sweep-%u\r\n", task);
    }
    buf_puts(out, "\r\n");
    buf_str(out, buf_view(&body));
    buf_fini(&body);
}

static void make_take(struct job *j, size_t index, const struct answer *a) {
    struct sweep *s = j->arg;
    world_take_create(&s->world, s->first + (unsigned) index, a);
}

static void end_put(struct job *j, size_t index, struct buf *out) {
    struct sweep *s = j->arg;
    struct task *t = &s->world.tasks[s->first + index];
    struct buf body = {0};
    char path[80];
    snprintf(path, sizeof path, "/v1/tasks/%s/reports", t->id);
    buf_char(&body, '[');
    if (index % 5 == 0) {
        buf_printf(&body, "{\"type\":\"output\",\"data\":\"%.*s\"},", OUTPUT_BYTES, s->text);
    }
    buf_printf(&body, "{\"type\":\"succeed\",\"result\":{\"text\":\"%s\"}}]", s->text);
    request_put(out, s->world.target, "POST", path, t->token, NULL, buf_view(&body));
    t->ended = true;
    buf_fini(&body);
}

static void end_take(struct job *j, size_t index, const struct answer *a) {
    struct sweep *s = j->arg;
    world_take_report(&s->world, s->first + (unsigned) index, a->status, a->body);
}

static void fill_step(struct sweep *s) {
    struct job make = {.total = STEP, .put = make_put, .done = make_take, .arg = s};
    struct job end = {.total = STEP, .put = end_put, .done = end_take, .arg = s};
    s->first = s->world.task_count;
    for (unsigned i = 0; i < STEP; i++) {
        (void) world_task_add(&s->world, i % SESSIONS);
    }
    pool_run(&s->world.pool, &make, 8);
    pool_run(&s->world.pool, &end, 8);
}

/* The first step shows how long the others will take, and so when all can be over. */
static void fill(struct sweep *s) {
    s->target_ns = now_ns() + 60 * 1000000000LL;
    int64_t begin = now_ns();
    world_fill(&s->world, SESSIONS, 0);
    s->target_ns = begin + 12 * 1000000000LL; /* not before the answers kept, which are given 12 s as well */
    for (unsigned i = 0; i < TASKS / STEP; i++) {
        fill_step(s);
        if (i == 0) {
            int64_t each = now_ns() - begin, most = begin + each * (TASKS / STEP) * 2 + (CONTROL_S + 2) * 1000000000LL;
            s->target_ns = most > s->target_ns ? most : s->target_ns;
        }
    }
}

/* ---- creates meanwhile ---- */

static void create_answer(void *arg, struct http *h, size_t sent, const struct answer *a) {
    struct sweep *s = arg;
    (void) h;
    s->took[s->answered++] = (double) (now_ns() - s->sent_ns[sent]) * 1e-6;
    if (a->status != 202) {
        fault("a create was answered with %d", a->status);
    }
}

static void create_send(struct sweep *s, unsigned i) {
    struct http *h = &s->world.pool.conns[i % s->world.pool.count];
    world_put_create(&s->world, i % SESSIONS, &h->out); /* in the session of that task */
    http_sent(h, (struct call){.done = create_answer, .arg = s, .index = i});
    s->sent_ns[i] = now_ns();
    http_flush(h);
}

static void creates(struct sweep *s, const char *when, int64_t begin, unsigned seconds) {
    char what[80];
    unsigned count = seconds * RATE, over = 0;
    s->answered = 0;
    s->took = mem_alloc(count * sizeof(double));
    s->sent_ns = mem_alloc(count * sizeof(int64_t));
    for (unsigned i = 0; i < count; i++) {
        int64_t due = begin + (int64_t) i * 1000000000 / RATE;
        while (now_ns() < due) {
            poller_turn(due);
        }
        create_send(s, i);
    }
    poller_rest(0.5);
    if (s->answered != count) {
        fault("of %u new tasks %u were answered", count, s->answered);
    }
    for (unsigned i = 0; i < s->answered; i++) {
        over += s->took[i] > 20;
    }
    snprintf(what, sizeof what, "sweep, create answered %s, p50", when);
    row(what, quantile(s->took, s->answered, 0.5), "ms", "on stable storage, %d creates/s", RATE);
    snprintf(what, sizeof what, "sweep, create answered %s, p99", when);
    row(what, quantile(s->took, s->answered, 0.99), "ms", "%u measured, longest %.2f ms, %u above 20 ms", s->answered,
        quantile(s->took, s->answered, 1), over);
    mem_free(s->took);
    mem_free(s->sent_ns);
}

/* ---- whether it is all gone ---- */

static void look_put(struct job *j, size_t index, struct buf *out) {
    struct sweep *s = j->arg;
    char path[80];
    snprintf(path, sizeof path, "/v1/tasks/%s", s->world.tasks[index].id);
    request_put(out, s->world.target, "GET", path, s->world.target->key, NULL, STR_NONE);
}

static void look_take(struct job *j, size_t index, const struct answer *a) {
    struct sweep *s = j->arg;
    (void) index;
    s->left += a->status != 404;
    if (a->status != 404 && a->status != 410) {
        fault("a task that is over was answered with %d", a->status);
    }
}

static void check_gone(struct sweep *s) {
    struct job look = {.total = TASKS, .put = look_put, .done = look_take, .arg = s};
    pool_run(&s->world.pool, &look, 8);
    if (s->left) {
        fault("of %u tombstones %u were still there", TASKS, s->left);
    }
}

void measure_sweep(const struct plan *p) {
    static struct sweep s;
    (void) memset(s.text, 'x', RESULT_BYTES);
    world_init(&s.world, &p->server, 16);
    fill(&s);
    int64_t control = s.target_ns - CONTROL_S * 1000000000LL - 500000000;
    if (control < now_ns()) {
        fault("it took too long to make the tasks");
        control = now_ns();
    }
    poller_rest((double) (control - now_ns()) * 1e-9);
    double rows = -world_metric(&s.world, "bowline_swept_rows_total");
    creates(&s, "before it", control, CONTROL_S);
    creates(&s, "meanwhile", s.target_ns, SWEEP_S);
    rows += world_metric(&s.world, "bowline_swept_rows_total");
    check_gone(&s);
    double count = world_metric(&s.world, "bowline_sweep_seconds_count");
    row("sweep: longest part of a commit", world_metric(&s.world, "bowline_sweep_longest_seconds") * 1e3, "ms",
        "goal 20: %.0f row operations with %.0f commits, %.0f ms in all", rows, count, world_metric(&s.world, "bowline_sweep_seconds_sum") * 1e3);
    row("sweep: longest round of the engine", world_metric(&s.world, "bowline_engine_round_longest_seconds") * 1e3, "ms",
        "on the clock, since the server was started");
    world_fini(&s.world);
}
