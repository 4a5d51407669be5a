/* What is under way, and when it comes back. */
#include "tests/store/memory.h"

#include "base/mem.h"
#include "tests/store/memory_rows.h"
#include "store/rows.h"

#include <assert.h>
#include <sys/queue.h>

struct asked {
    struct store_query *query;
    bool answered; /* from what was committed at that time; handed back later */
    TAILQ_ENTRY(asked) link;
};
TAILQ_HEAD(asked_list, asked);

struct memory_store {
    struct store base;
    struct store_sink sink;
    struct memory_rows rows;
    struct store_batch *batch;
    struct asked_list asked;
    enum store_result next; /* of the next batch, unless STORE_OK */
    uint32_t next_dice;     /* which of the sets fail of the next batch that has several, unless 0 */
    bool dead;
    /* The batch with which it died: whether it is on disk shows at the next start. */
    struct store_batch lost;
    struct arena lost_arena;
};

enum dice_bit {
    DICE_BATCH = 1, /* step: the batch goes before the queries. crash: it is committed */
    DICE_STALE =
        2, /* step: a query is answered from what was committed before the batch, though handed back after it. crash: the lost batch is there */
    DICE_PART = 4 /* crash: of a batch that is there only some sets are */
};

static struct memory_store *memory_of(struct store *s) {
    return (struct memory_store *) s;
}

static void memory_submit(struct store *base, struct store_batch *b) {
    struct memory_store *s = memory_of(base);
    assert(!s->batch);
    s->batch = b;
}

static void memory_query(struct store *base, struct store_query *q) {
    struct memory_store *s = memory_of(base);
    struct asked *a = mem_alloc(sizeof(*a));
    a->query = q;
    TAILQ_INSERT_TAIL(&s->asked, a, link);
}

/* ---- commits ---- */

static void memory_forget_lost(struct memory_store *s) {
    arena_fini(&s->lost_arena);
    mem_free(s->lost.ops);
    mem_free(s->lost.sets);
    s->lost = (struct store_batch){0};
}

static void memory_die(struct memory_store *s, const struct store_batch *b) {
    s->dead = true;
    s->lost.ops = mem_alloc((b->count + 1) * sizeof(*s->lost.ops));
    s->lost.sets = mem_alloc((b->set_count + 1) * sizeof(*s->lost.sets));
    s->lost.set_count = b->set_count;
    bool ok = true;
    for (size_t i = 0; i < b->count && ok; i++) {
        ok = rows_copy_op(&s->lost_arena, &b->ops[i], &s->lost.ops[i]);
        s->lost.ops[i].set = b->ops[i].set;
    }
    s->lost.count = ok ? b->count : 0;
}

/* Whether the dice, which are more than 0, let a set fail. */
static bool set_has_bad_luck(uint32_t dice, size_t set) {
    return dice && ((dice + (uint32_t) set * 2654435761u) >> 16) % 3 == 0;
}

/* The sets one by one, but for those that have bad luck; from the last to the first if that is how the dice fall: they do not know of each other. */
static void apply_apart(struct memory_store *s, struct store_batch *b, uint32_t dice) {
    size_t *places = rows_by_set(b), *ends = mem_alloc((b->set_count + 1) * sizeof(*ends));
    for (size_t i = 0; i < b->count; i++) {
        ends[b->ops[places[i]].set] = i + 1;
    }
    for (size_t n = 0; n < b->set_count; n++) {
        size_t set = dice & 1 ? b->set_count - 1 - n : n, begin = ends[set];
        while (begin && b->ops[places[begin - 1]].set == set) {
            begin--;
        }
        bool good = ends[set] == begin || (!set_has_bad_luck(dice, set) && memory_rows_apply(&s->rows, b->ops, places + begin, ends[set] - begin));
        b->sets[set].result = good ? STORE_OK : STORE_FAILED;
        b->result = good ? b->result : STORE_FAILED;
    }
    mem_free(ends);
    mem_free(places);
}

static bool apply_together(struct memory_store *s, const struct store_batch *b) {
    size_t *places = mem_alloc((b->count + 1) * sizeof(*places));
    for (size_t i = 0; i < b->count; i++) {
        places[i] = i;
    }
    bool applied = memory_rows_apply(&s->rows, b->ops, places, b->count);
    mem_free(places);
    return applied;
}

static bool has_several_sets(const struct store_batch *b) {
    for (size_t i = 1; i < b->count; i++) {
        if (b->ops[i].set != b->ops[0].set) {
            return true;
        }
    }
    return false;
}

static void memory_commit(struct memory_store *s, struct store_batch *b) {
    enum store_result result = s->dead ? STORE_DEAD : s->next;
    uint32_t dice = has_several_sets(b) ? s->next_dice : 0;
    s->next = STORE_OK;
    s->next_dice -= dice;
    rows_set_results(b, result);
    if (result == STORE_DEAD && !s->dead) {
        memory_die(s, b);
    } else if (result == STORE_OK && (dice || !apply_together(s, b))) {
        apply_apart(s, b, dice);
    }
}

/* ---- handing back ---- */

static void asked_answer(struct memory_store *s, struct asked *a) {
    if (a && !a->answered) {
        memory_rows_answer(&s->rows, a->query);
        a->answered = true;
    }
}

static void step_batch(struct memory_store *s, uint32_t dice) {
    struct store_batch *b = s->batch;
    if (dice & DICE_STALE) {
        asked_answer(s, TAILQ_FIRST(&s->asked));
    }
    memory_commit(s, b);
    s->batch = NULL;
    s->sink.batch_done(s->sink.arg, b);
}

static void step_query(struct memory_store *s) {
    struct asked *a = TAILQ_FIRST(&s->asked);
    asked_answer(s, a);
    TAILQ_REMOVE(&s->asked, a, link);
    struct store_query *q = a->query;
    mem_free(a);
    s->sink.query_done(s->sink.arg, q);
}

bool memory_store_step(struct store *base, uint32_t dice) {
    struct memory_store *s = memory_of(base);
    bool queries = !TAILQ_EMPTY(&s->asked);
    if (!s->batch && !queries) {
        return false;
    }
    if (s->batch && (!queries || dice & DICE_BATCH)) {
        step_batch(s, dice);
    } else {
        step_query(s);
    }
    return true;
}

void memory_store_fail_next(struct store *base, enum store_result result) {
    memory_of(base)->next = result;
    memory_of(base)->next_dice = 0;
}

void memory_store_fail_sets(struct store *base, uint32_t dice) {
    memory_of(base)->next_dice = dice;
}

/* ---- crashes ---- */

/* All of its sets or some of them; one that could not have been committed is simply not there. */
static void crash_commit(struct memory_store *s, struct store_batch *b, uint32_t dice) {
    apply_apart(s, b, dice & DICE_PART ? dice | DICE_PART : 0);
}

void memory_store_crash(struct store *base, uint32_t dice, void (*drop_batch)(struct store_batch *), void (*drop_query)(struct store_query *)) {
    struct memory_store *s = memory_of(base);
    if (s->lost.count && dice & DICE_STALE) {
        crash_commit(s, &s->lost, dice);
    }
    if (s->batch) {
        if (!s->dead && s->next == STORE_OK && dice & DICE_BATCH) {
            crash_commit(s, s->batch, dice);
        }
        drop_batch(s->batch);
        s->batch = NULL;
    }
    struct asked *a;
    while ((a = TAILQ_FIRST(&s->asked))) {
        TAILQ_REMOVE(&s->asked, a, link);
        rows_clear_answer(a->query);
        drop_query(a->query);
        mem_free(a);
    }
    memory_forget_lost(s);
    s->dead = false;
    s->next = STORE_OK;
    s->next_dice = 0;
}

bool memory_store_is_tidy(struct store *base) {
    return memory_rows_are_tidy(&memory_of(base)->rows);
}

void memory_store_set_sink(struct store *base, struct store_sink sink) {
    struct memory_store *s = memory_of(base);
    assert(!s->batch && TAILQ_EMPTY(&s->asked));
    memory_forget_lost(s);
    s->dead = false;
    s->sink = sink;
}

/* ---- beginning and end ---- */

static void memory_destroy(struct store *base) {
    struct memory_store *s = memory_of(base);
    while (memory_store_step(base, DICE_BATCH)) {
    }
    memory_forget_lost(s);
    memory_rows_fini(&s->rows);
    mem_free(s);
}

static const struct store_ops memory_ops = {.submit = memory_submit, .query = memory_query, .destroy = memory_destroy};

struct store *memory_store_create(struct store_sink sink) {
    struct memory_store *s = mem_alloc(sizeof(*s));
    s->base.ops = &memory_ops;
    s->sink = sink;
    TAILQ_INIT(&s->asked);
    return &s->base;
}
