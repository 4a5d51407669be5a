/*
 * sim [SEED [STEPS]]: one run. Each step is one of: a command is made, letters reach the engine and it runs, mail is delivered, a reader reads, time passes, the
 * store turns nasty, the machine crashes, the server stops cleanly, everything stands still and is audited. The same seed gives the same run.
 */
#include "sim.h"

#include "base/log.h"
#include "base/mem.h"
#include "engine/channel.h"
#include "engine/query.h"
#include "engine/residence.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TRACE_LINES 60
#define TRACE_BYTES 900
#define STEPS 20000
#define SETTLE_ROUNDS 3000

struct sim sim;

/* ---- chance ---- */

static uint64_t random_next(void) { /* SplitMix64 (Steele, Lea and Flood, 2014) */
    uint64_t z = sim.random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t dice(uint64_t below) {
    return below ? random_next() % below : 0;
}

bool chance(unsigned one_in) {
    return dice(one_in) == 0;
}

static void random_bytes(void *arg, void *out, size_t len) {
    unsigned char *p = out;
    (void) arg;
    while (len--) {
        *p++ = (unsigned char) random_next();
    }
}

/* ---- the trace ---- */

static char traced[TRACE_LINES][TRACE_BYTES];
static uint64_t traced_count;
static bool trace_all;

void trace(const char *fmt, ...) {
    char *line = traced[traced_count++ % TRACE_LINES];
    int n = snprintf(line, TRACE_BYTES, "%6llu %8lld ms  ", (unsigned long long) sim.step, (long long) (sim.now_ms % 100000000));
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, TRACE_BYTES - (size_t) n, fmt, ap);
    va_end(ap);
    if (trace_all) {
        fprintf(stderr, "%s\n", line);
    }
}

static void trace_print(void) {
    uint64_t first = traced_count > TRACE_LINES ? traced_count - TRACE_LINES : 0;
    for (uint64_t i = first; i < traced_count && !trace_all; i++) {
        fprintf(stderr, "%s\n", traced[i % TRACE_LINES]);
    }
    fprintf(stderr, "sim: seed %llu failed at step %llu\n", (unsigned long long) sim.seed, (unsigned long long) sim.step);
}

void broken(const char *fmt, ...) {
    va_list ap;
    trace_print();
    fputs("sim: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    _exit(1);
}

static void on_abort(int signal) {
    (void) signal;
    trace_print();
    _exit(1);
}

void __asan_on_error(void);
void __asan_on_error(void) {
    trace_print();
}

const char *name_of(struct id id) {
    static char names[8][12];
    static unsigned at;
    char *name = names[at++ % 8], text[ID_TEXT_LEN + 1];
    if (id_is_none(id)) {
        return "-";
    }
    id_format(id, ID_TASK, text);
    memcpy(name, text + ID_TEXT_LEN - 6, 7);
    return name;
}

/* ---- the engine's life ---- */

static bool batch_failed_in_part(const struct store_batch *b) {
    size_t failed = 0, kept = 0;
    for (size_t i = 0; i < b->count; i++) {
        failed += b->sets[b->ops[i].set].result == STORE_FAILED;
        kept += b->sets[b->ops[i].set].result == STORE_OK;
    }
    return failed && kept;
}

static void batch_done(void *arg, struct store_batch *b) {
    (void) arg;
    bool failed = b->result != STORE_OK;
    if (failed) {
        sim.failures++;
        sim.dead |= b->result == STORE_DEAD;
        trace("batch %llu failed: %d", (unsigned long long) b->number, (int) b->result);
        sim.counts.parts += batch_failed_in_part(b);
    } else {
        trace("batch %llu is durable", (unsigned long long) b->number);
    }
    engine_batch_done(sim.engine, b);
}

static void query_done(void *arg, struct store_query *q) {
    (void) arg;
    engine_query_done(sim.engine, q);
}

static void drop_batch(struct store_batch *b) {
    (void) b; /* the engine has it */
}

static void drop_query(struct store_query *q) {
    struct cmd *c = q->purpose == QUERY_CMD ? q->owner : NULL;
    if (c) { /* it lies in none of the engine's lists */
        wheel_cancel(&sim.engine->wheel, &c->e.timer);
        cmd_free(c);
    }
    query_free(q);
}

static struct moment moment(void) {
    return (struct moment){.ms = sim.now_ms, .wall_ms = sim.now_ms + sim.apart_ms};
}

struct instant instant_now(void) {
    sim.engine_last_ms = sim.engine->clocks_begun ? sim.engine->now : sim.engine_last_ms;
    return (struct instant){.engine_ms = sim.engine_last_ms, .wall_ms = moment().wall_ms, .backs = sim.clock_backs};
}

uint64_t clock_dice(uint64_t below) {
    uint64_t was = sim.random;
    sim.random = sim.steps_random;
    uint64_t n = dice(below);
    sim.steps_random = sim.random;
    sim.random = was;
    return n;
}

/* The wall clock is put forward or back. */
static void clock_steps(void) {
    static const int64_t most[] = {10, 3000, 600 * SEC, 3600 * SEC};
    int64_t by = (int64_t) clock_dice((uint64_t) most[clock_dice(4)]) * (clock_dice(2) ? 1 : -1);
    sim.apart_ms += by;
    sim.clock_steps++;
    sim.clock_backs += by < 0;
    trace("the wall clock steps by %lld ms", (long long) by);
}

static void clock_may_step(unsigned one_in) {
    if (sim.steps_clock && clock_dice(one_in) == 0) {
        clock_steps();
    }
}

static void engine_begin(void) {
    struct engine_config config = {&sim.options, &sim.keys, LOOPS, on_mail, NULL, random_bytes, NULL};
    struct store_sink sink = {batch_done, query_done, NULL};
    if (sim.store) {
        memory_store_set_sink(sim.store, sink);
    } else {
        sim.store = memory_store_create(sink);
    }
    sim.dead = sim.stopping = false;
    sim.engine = engine_create(&config, moment());
    engine_start(sim.engine, sim.store);
}

static void letters_lost(void) {
    for (unsigned l = 0; l < LOOPS; l++) {
        while (!TAILQ_EMPTY(&sim.inbox[l])) {
            struct letter *letter = TAILQ_FIRST(&sim.inbox[l]);
            TAILQ_REMOVE(&sim.inbox[l], letter, link);
            mem_free(letter);
        }
    }
}

static void mail_lost(void) {
    for (unsigned l = 0; l < LOOPS; l++) {
        while (!TAILQ_EMPTY(&sim.mail[l])) {
            struct post *p = TAILQ_FIRST(&sim.mail[l]);
            TAILQ_REMOVE(&sim.mail[l], p, link);
            message_discard(&p->mail);
            struct cmd *c = p->mail.type == MESSAGE_ANSWER ? p->mail.cmd : NULL;
            for (size_t i = 0; c && i < c->answer.frame_count; i++) {
                frame_unref(c->answer.frames[i]);
            }
            mem_free(p);
        }
    }
}

/* Process and connections are gone; what was committed stays, and what was under way has a chance. */
static void engine_end(void) {
    struct call *c, *next;
    memory_store_crash(sim.store, (uint32_t) random_next(), drop_batch, drop_query);
    engine_destroy(sim.engine);
    sim.engine = NULL;
    mail_lost();
    letters_lost();
    clients_close(false);
    loops_reset();
    for (c = TAILQ_FIRST(&sim.calls); c; c = next) {
        next = TAILQ_NEXT(c, link);
        call_free(c);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        sim.workers[i].busy = sim.workers[i].certain = false;
    }
}

static void crash(void) {
    trace("crash");
    sim.counts.crashes++;
    engine_end();
    sim.now_ms += (int64_t) dice(chance(3) ? 20000 : 50);
    clock_may_step(4);
    engine_begin();
}

static void stop_cleanly(void) {
    trace("clean stop");
    sim.counts.stops++;
    clients_close(true);
    struct call *c;
    TAILQ_FOREACH (c, &sim.calls, link) {
        if (c->submitted && !c->answered && c->r.type != CMD_WATCH_REFILL && chance(2)) {
            call_abandon(c);
        }
    }
    engine_round(UINT32_MAX, 0);
    sim.stopping = true;
    engine_stop(sim.engine);
    for (int i = 0; !engine_stopped(sim.engine); i++) {
        engine_round(UINT32_MAX, (unsigned) dice(3));
        sim.now_ms += (int64_t) dice(20);
        if (i > SETTLE_ROUNDS) {
            broken("the engine does not stop");
        }
    }
    engine_end();
    clock_may_step(4);
    engine_begin();
}

/* ---- its rounds ---- */

static void letter_open(struct letter *l, unsigned loop) {
    switch (l->type) {
    case LETTER_SUBMIT:
        l->call->submitted = l->call->with_engine = true;
        engine_submit(sim.engine, l->call->cmd);
        break;
    case LETTER_ABANDON: engine_abandon(sim.engine, l->call->cmd); break;
    case LETTER_UNWATCH: engine_unwatch(sim.engine, loop, l->channel, l->tag); break;
    }
}

void engine_round(unsigned letters, unsigned store_steps) {
    engine_at(sim.engine, moment());
    for (unsigned loop = 0; loop < LOOPS; loop++) {
        for (unsigned i = 0; i < letters && !TAILQ_EMPTY(&sim.inbox[loop]); i++) {
            struct letter *l = TAILQ_FIRST(&sim.inbox[loop]);
            TAILQ_REMOVE(&sim.inbox[loop], l, link);
            letter_open(l, loop);
            mem_free(l);
        }
    }
    while (store_steps-- && memory_store_step(sim.store, (uint32_t) random_next())) {
    }
    engine_run(sim.engine, moment());
    engine_check(sim.engine);
    if (!memory_store_is_tidy(sim.store)) {
        broken("progress is stored of a task that has ended or is gone, or a slot was given to two");
    }
}

/* It had come back, perhaps before then. */
static bool left_after(const struct session_entry *s, struct id task, uint64_t seq) {
    const struct gone_entry *g;
    TAILQ_FOREACH_REVERSE(g, &s->gone, gone_list, link) {
        if (g->seq <= seq) {
            return false;
        }
        if (id_eq(g->task, task)) {
            return true;
        }
    }
    return false;
}

struct id *gone_until(struct id session, uint64_t seq, size_t *ret_count) {
    struct session_entry *s = session_resident(sim.engine, session);
    struct id *ids = mem_alloc((s ? s->gone_count + 1 : 1) * sizeof(*ids));
    struct gone_entry *g;
    size_t n = 0;
    for (g = s ? TAILQ_FIRST(&s->gone) : NULL; g && g->seq <= seq; g = TAILQ_NEXT(g, link)) {
        const struct task_entry *t = task_resident(sim.engine, g->task);
        if ((!t || t->s != s) && !left_after(s, g->task, seq)) {
            ids[n++] = g->task;
        }
    }
    *ret_count = n;
    return ids;
}

bool all_is_quiet(void) {
    for (unsigned l = 0; l < LOOPS; l++) {
        if (!TAILQ_EMPTY(&sim.inbox[l]) || !TAILQ_EMPTY(&sim.mail[l])) {
            return false;
        }
    }
    return !clients_moving() && engine_next(sim.engine) > sim.now_ms;
}

void settle(void) {
    for (int i = 0; i < SETTLE_ROUNDS; i++) {
        bool stored = false;
        for (int k = 0; k < 16 && memory_store_step(sim.store, (uint32_t) random_next()); k++) {
            stored = true;
        }
        engine_round(UINT32_MAX, 0);
        for (unsigned l = 0; l < LOOPS; l++) {
            loop_deliver(l, UINT32_MAX);
        }
        clients_read_all();
        if (!stored && all_is_quiet() && !memory_store_step(sim.store, 0)) {
            return;
        }
    }
    broken("it does not come to rest");
}

/* ---- one run ---- */

static int64_t pick(const int64_t *from, size_t count) {
    return from[dice(count)];
}
#define PICK(...) pick((const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void options_draw(void) {
    struct options *o = &sim.options;
    struct options_sources from;
    struct buf err = {0};
    char *none[] = {NULL};
    if (options_load(o, &from, 0, none, none, &err)) {
        broken("options: %s", buf_z(&err));
    }
    o->idle_timeout = PICK(0, 3000, 30000, 1800 * SEC);
    o->max_age = PICK(0, 20000, 120000);
    o->watching_keeps_alive = PICK(WHEN_UNFINISHED, WHEN_ALWAYS, WHEN_NEVER);
    o->ended_session_ttl = PICK(4000, 30000, 7 * DAY);
    o->rotation_grace = PICK(0, 2000, 60000);
    o->handover_wait = PICK(3000, 30 * DAY);
    o->cancel_grace = PICK(0, 1000, 30000);
    o->tombstone_ttl = PICK(5000, 7 * DAY, 7 * DAY);
    o->idempotency_ttl = PICK(10000, DAY);
    o->max_inline_result = PICK(0, 40, 16384);
    o->max_output_per_task = PICK(64, 400, 16 * MIB, 16 * MIB);
    o->max_unfinished_per_session = PICK(4, 1000);
    o->max_tasks_per_session = PICK(6, 10000, 10000);
    o->max_watchers_per_session = PICK(3, 64);
    o->max_sessions_per_user = PICK(2, 100);
    o->max_gone_per_session = PICK(0, 3, 1000, 1000);
}

static void keys_draw(void) {
    char err[160];
    struct buf text = {0};
    for (uint64_t lines = 1 + dice(2) * dice(SECRET_LINES_MAX); lines; lines--) {
        buf_printf(&text, "secret %llu of the simulation that is long enough\n", (unsigned long long) lines);
    }
    if (keyring_read(&sim.keys, buf_view(&text), err)) {
        broken("keys: %s", err);
    }
    buf_fini(&text);
}

static void time_pass(void) {
    uint64_t how = dice(20);
    int64_t next = engine_next(sim.engine), by = (int64_t) dice(how < 12 ? 5 : how < 17 ? 120 : 1500);
    if (how == 18 && next > sim.now_ms && next < sim.now_ms + 60000) {
        by = next - sim.now_ms;
    } else if (how == 19 && chance(5)) {
        by = 5000 + (int64_t) dice(20000);
    }
    sim.now_ms += by;
}

static void sets_may_fail(void) {
    if (!sim.dead && chance(sim.calm)) {
        memory_store_fail_sets(sim.store, (uint32_t) random_next() | 1u << 31);
    }
}

static void turn_nasty(void) {
    if (sim.dead) {
        return;
    }
    bool dead = chance(6);
    sim.counts.deaths += dead;
    sim.counts.failures += !dead;
    memory_store_fail_next(sim.store, dead ? STORE_DEAD : STORE_FAILED);
}

/* What is read from what was last committed comes back although nothing can be written; then only a restart helps. */
static void leave_death(void) {
    settle();
    struct call *c;
    TAILQ_FOREACH (c, &sim.calls, link) {
        if (c->r.wait_ms <= 0 && !c->answered && !c->abandoned && !(c->r.type == CMD_WATCH && c->r.page)) {
            broken("call %llu does not come back from a store that cannot be written", (unsigned long long) c->number);
        }
    }
    crash();
}

static void step(void) {
    uint64_t which = dice(1000);
    clock_may_step(500);
    if (sim.steps_clock && clock_dice(100) == 0) {
        command_jwt();
    }
    if (which < 290) {
        command_random();
    } else if (which < 570) {
        engine_round(1 + (unsigned) dice(4), (unsigned) dice(4));
    } else if (which < 700) {
        loop_deliver((unsigned) dice(LOOPS), 1 + (unsigned) dice(6));
    } else if (which < 930) {
        client_random();
    } else if (which < 992) {
        time_pass();
    } else if (which < 996) {
        sets_may_fail();
    } else if (!chance(sim.calm)) {
        command_random();
    } else if (chance(4)) {
        turn_nasty();
    } else if (chance(2)) {
        sim.dead &&chance(2) ? leave_death() : crash();
    } else if (chance(4)) {
        stop_cleanly();
    } else if (!sim.dead) {
        audit_all();
    }
    engine_check(sim.engine);
}

static void begin(uint64_t seed) {
    sim.seed = seed;
    sim.random = seed * 0x2545f4914f6cdd1du + 1;
    sim.now_ms = sim.engine_last_ms = 1800000000000;
    sim.steps_random = ~sim.random;
    sim.steps_clock = seed % 4 != 0;
    TAILQ_INIT(&sim.calls);
    for (unsigned l = 0; l < LOOPS; l++) {
        TAILQ_INIT(&sim.inbox[l]);
        TAILQ_INIT(&sim.mail[l]);
    }
    loops_begin();
    options_draw();
    keys_draw();
    sim.calm = (unsigned) PICK(1, 2, 10);
    engine_begin();
}

/* The last audit, and everybody who waits gets an answer. */
static void end(void) {
    if (sim.dead) {
        crash();
    }
    memory_store_fail_next(sim.store, STORE_OK);
    audit_all();
    for (int i = 0; i < 70; i++) {
        sim.now_ms += 1000;
        settle();
    }
    clients_close(true);
    settle();
    if (!TAILQ_EMPTY(&sim.calls)) {
        broken("call %llu never came back", (unsigned long long) TAILQ_FIRST(&sim.calls)->number);
    }
    stop_cleanly();
    engine_end();
    store_destroy(sim.store);
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_forget(&sim.clients[i]);
    }
    loops_end();
    model_forget_all();
    options_fini(&sim.options);
}

static uint64_t seed_fresh(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t) t.tv_sec * 1000000007u + (uint64_t) t.tv_nsec) % 1000000000;
}

int main(int argc, char **argv) {
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : seed_fresh();
    sim.steps = argc > 2 ? strtoull(argv[2], NULL, 10) : STEPS;
    trace_all = getenv("SIM_TRACE") != NULL;
    log_set_level((enum log_level) - 1);
    signal(SIGABRT, on_abort);
    begin(seed);
    for (; sim.step < sim.steps; sim.step++) {
        step();
    }
    end();
    printf("seed %llu: %llu steps, %llu calls (%llu served, %llu abandoned, %llu said again, %llu claims), %llu frames, %llu events read, %llu "
           "resumed, %llu refills, %llu pages in the snapshot phase, "
           "%llu events renamed, %llu resets, %llu steps of the clock, %llu failed batches (%llu in part), %llu failed fsyncs, %llu crashes, %llu "
           "stops, "
           "%llu audits\n",
           (unsigned long long) seed, (unsigned long long) sim.steps, (unsigned long long) sim.calls_made, (unsigned long long) sim.counts.ok,
           (unsigned long long) sim.counts.abandoned, (unsigned long long) sim.counts.replays, (unsigned long long) sim.counts.claims,
           (unsigned long long) sim.counts.frames, (unsigned long long) sim.counts.events, (unsigned long long) sim.counts.resumes,
           (unsigned long long) sim.counts.refills, (unsigned long long) sim.counts.part_pages, (unsigned long long) sim.counts.renamed,
           (unsigned long long) sim.counts.resets, (unsigned long long) sim.clock_steps, (unsigned long long) sim.counts.failures,
           (unsigned long long) sim.counts.parts, (unsigned long long) sim.counts.deaths, (unsigned long long) sim.counts.crashes,
           (unsigned long long) sim.counts.stops, (unsigned long long) sim.counts.audits);
    return 0;
}
