/*
 * bulk.c: reports for a second of the server's CPU time, nobody watching: each a request of its own that waits for its answer, or with others under way on its
 * connection; many lines for many tasks in one request; and a stream of lines per task.
 */
#include "base/mem.h"
#include "measure.h"
#include "world.h"

#include <stdio.h>

#define SESSIONS 64
#define TASKS_PER_SESSION 16
#define TASKS (SESSIONS * TASKS_PER_SESSION)
#define SINGLE_REPORTS 40000
#define KINDS 4
#define LANES 4
#define LANE_REQUESTS 50
#define LINES 1000 /* in one request */
#define STREAMS 32
#define PIECES 60 /* of a stream */
#define PIECE_LINES 100
#define RUNS_MAX 9

/* One connection that sends lines and waits for as many answers. */
struct lane {
    struct bulk *bulk;
    struct http http;
    unsigned first, count;   /* its tasks */
    unsigned left;           /* requests or pieces still to be sent */
    unsigned sent, answered; /* lines */
    struct buf partial;      /* of an answer line */
};

struct bulk {
    struct world world;
    struct lane lanes[STREAMS];
    unsigned lane_count, busy;
};

/* ---- one by one ---- */

static void single_put(struct job *j, size_t index, struct buf *out) {
    world_put_progress(j->arg, (unsigned) (index % TASKS), out);
}

static void single_take(struct job *j, size_t index, const struct answer *a) {
    world_take_report(j->arg, (unsigned) (index % TASKS), a->status, a->body);
}

static void single_run(struct bulk *b) {
    struct job j = {.total = SINGLE_REPORTS, .put = single_put, .done = single_take, .arg = &b->world};
    pool_run(&b->world.pool, &j, 1);
}

static void pipelined_run(struct bulk *b) {
    struct job j = {.total = SINGLE_REPORTS, .put = single_put, .done = single_take, .arg = &b->world};
    pool_run(&b->world.pool, &j, 8);
}

/* ---- lines ---- */

static void lane_lines_put(struct lane *l, unsigned lines, bool with_task, struct buf *out) {
    for (unsigned i = 0; i < lines; i++) {
        world_put_report(&l->bulk->world, l->first + l->sent++ % l->count, with_task, out);
        buf_char(out, '\n');
    }
}

static void lane_answers_take(struct lane *l, struct str text) {
    const char *end;
    while (text.len && (end = memchr(text.p, '\n', text.len))) {
        size_t len = (size_t) (end - text.p);
        if (l->partial.len) {
            buf_put(&l->partial, text.p, len);
        }
        struct str line = l->partial.len ? buf_view(&l->partial) : str_n(text.p, len);
        world_take_report(&l->bulk->world, l->first + l->answered++ % l->count, 200, line);
        buf_clear(&l->partial);
        text = str_from(text, len + 1);
    }
    buf_str(&l->partial, text);
}

static bool lanes_over(void *arg) {
    return ((struct bulk *) arg)->busy == 0;
}

static void lanes_open(struct bulk *b, unsigned count, unsigned tasks_each, unsigned left) {
    b->lane_count = b->busy = count;
    for (unsigned i = 0; i < count; i++) {
        b->lanes[i] = (struct lane){.bulk = b, .first = i * tasks_each, .count = tasks_each, .left = left};
        http_open(&b->lanes[i].http, b->world.target, i);
    }
}

static void lanes_wait(struct bulk *b) {
    poller_until(lanes_over, b, 20, "lines");
    for (unsigned i = 0; i < b->lane_count; i++) {
        if (b->lanes[i].sent != b->lanes[i].answered) {
            fault("%u lines were sent, %u answered", b->lanes[i].sent, b->lanes[i].answered);
        }
        http_close(&b->lanes[i].http);
        buf_fini(&b->lanes[i].partial);
    }
}

/* ---- many tasks in one request ---- */

static void request_answer(void *arg, struct http *h, size_t index, const struct answer *a);

static void request_send(struct lane *l) {
    struct buf body = {0};
    lane_lines_put(l, LINES, true, &body);
    request_put(&l->http.out, l->bulk->world.target, "POST", "/v1/reports", l->bulk->world.target->key, "application/x-ndjson", buf_view(&body));
    buf_fini(&body);
    http_sent(&l->http, (struct call){.done = request_answer, .arg = l});
    http_flush(&l->http);
}

static void request_answer(void *arg, struct http *h, size_t index, const struct answer *a) {
    struct lane *l = arg;
    (void) h;
    (void) index;
    lane_answers_take(l, a->body);
    if (--l->left) {
        request_send(l);
    } else {
        l->bulk->busy--;
    }
}

static void requests_run(struct bulk *b) {
    lanes_open(b, LANES, TASKS / LANES, LANE_REQUESTS);
    for (unsigned i = 0; i < LANES; i++) {
        request_send(&b->lanes[i]);
    }
    lanes_wait(b);
}

/* ---- a stream per task ---- */

static void piece_send(struct lane *l) {
    struct buf lines = {0};
    lane_lines_put(l, PIECE_LINES, false, &lines);
    buf_printf(&l->http.out, "%zx\r\n", lines.len);
    buf_str(&l->http.out, buf_view(&lines));
    buf_puts(&l->http.out, "\r\n");
    buf_fini(&lines);
}

static void piece_answer(void *arg, struct http *h, size_t index, struct str piece) {
    struct lane *l = arg;
    (void) index;
    lane_answers_take(l, piece);
    if (l->answered == l->sent && l->left) {
        if (--l->left) {
            piece_send(l);
        } else {
            buf_puts(&h->out, "0\r\n\r\n");
        }
        http_flush(h);
    }
}

static void stream_answer(void *arg, struct http *h, size_t index, const struct answer *a) {
    (void) h;
    (void) index;
    if (a->status != 200) {
        fault("a stream of reports was answered with %d", a->status);
    }
    ((struct lane *) arg)->bulk->busy--;
}

static void streams_run(struct bulk *b) {
    lanes_open(b, STREAMS, 1, PIECES);
    for (unsigned i = 0; i < STREAMS; i++) {
        struct lane *l = &b->lanes[i];
        struct task *t = &b->world.tasks[l->first];
        buf_printf(&l->http.out, "POST /v1/tasks/%s/reports HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", t->id, b->world.target->host,
                   t->token);
        buf_puts(&l->http.out, "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n");
        http_sent(&l->http, (struct call){.done = stream_answer, .piece = piece_answer, .arg = l});
        piece_send(l);
        http_flush(&l->http);
    }
    lanes_wait(b);
}

/* ---- all of them ---- */

static double run_rate(struct bulk *b, pid_t pid, unsigned reports, void (*run)(struct bulk *b), double *ret_wall_rate) {
    double cpu = -cpu_seconds(pid), begin = (double) now_ns();
    run(b);
    *ret_wall_rate = reports / (((double) now_ns() - begin) * 1e-9);
    poller_rest(0.3); /* until the last of them is on disk */
    return reports / (cpu + cpu_seconds(pid));
}

static const struct {
    const char *what, *remark;
    unsigned reports;
    void (*run)(struct bulk *b);
} kinds[KINDS] = {
    {"bulk, a request each", "32 connections, one request under way on each, worker tokens", SINGLE_REPORTS, single_run},
    {"bulk, a request each, pipelined", "the same, 8 under way on each", SINGLE_REPORTS, pipelined_run},
    {"bulk, POST /v1/reports", "1,000 lines in a request, 4 connections", LANES *LANE_REQUESTS *LINES, requests_run},
    {"bulk, a stream of lines per task", "32 streams, 100 lines at a time", STREAMS *PIECES *PIECE_LINES, streams_run},
};

static void row_against(unsigned k, double rate[KINDS]) {
    char what[80];
    snprintf(what, sizeof what, "%s: against a request each", kinds[k].what);
    row(what, rate[k] / rate[0], "x", "target 5; against pipelined ones %.2f", rate[k] / rate[1]);
}

void measure_bulk(const struct plan *p) {
    static struct bulk b;
    double rates[KINDS][RUNS_MAX], wall[KINDS][RUNS_MAX], rate[KINDS];
    world_init(&b.world, &p->server, STREAMS);
    b.world.pool.striped = true; /* a task's reports all on one connection, so that their order is known */
    world_fill(&b.world, SESSIONS, TASKS_PER_SESSION);
    for (unsigned run = 0; run < p->runs; run++) {
        for (unsigned k = 0; k < KINDS; k++) {
            rates[k][run] = run_rate(&b, p->server.pid, kinds[k].reports, kinds[k].run, &wall[k][run]);
        }
    }
    for (unsigned k = 0; k < KINDS; k++) {
        rate[k] = median(rates[k], p->runs);
        row(kinds[k].what, rate[k], "reports/CPU s", "%.2f us each; %s; %.0f/s", 1e6 / rate[k], kinds[k].remark, median(wall[k], p->runs));
    }
    row_against(2, rate);
    row_against(3, rate);
    world_fini(&b.world);
}
