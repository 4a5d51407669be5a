#include "server/endpoint.h"

#include "base/clock.h"

void endpoint_init(struct endpoint *p, unsigned number, size_t round_max) {
    p->number = number;
    p->round_max = round_max;
    p->to_engine = engine_message_run_init();
    p->taken = engine_message_run_init();
    p->gathered = loop_message_run_init();
    engine_message_queue_init(&p->engine_queue);
    loop_message_queue_init(&p->queue);
}

void endpoint_fini(struct endpoint *p) {
    engine_message_run_fini(&p->to_engine);
    engine_message_run_fini(&p->taken);
    loop_message_run_fini(&p->gathered);
    engine_message_queue_fini(&p->engine_queue);
    loop_message_queue_fini(&p->queue);
}

bool endpoint_post(struct endpoint *p) {
    return engine_message_post(&p->engine_queue, &p->to_engine);
}

bool endpoint_deliver(struct endpoint *p) {
    return loop_message_post(&p->queue, &p->gathered);
}

/* ---- what has come to the engine ---- */

static void message_give(const struct endpoint *p, struct engine *e, const struct engine_message *m) {
    switch (m->type) {
    case ENGINE_SUBMIT: engine_submit(e, m->u.cmd); break;
    case ENGINE_ABANDON: engine_abandon(e, m->u.cmd); break;
    case ENGINE_UNWATCH: engine_unwatch(e, p->number, m->channel, m->tag); break;
    case ENGINE_BATCH_DONE: engine_batch_done(e, m->u.batch); break;
    case ENGINE_QUERY_DONE: engine_query_done(e, m->u.query); break;
    }
}

/* How much work it is: a command can bring many lines. */
static size_t message_weight(const struct engine_message *m) {
    return m->type == ENGINE_SUBMIT ? 1 + m->u.cmd->line_count : 1;
}

#define PREFETCH_APART 2 /* messages between two steps */

static void messages_prefetch(const struct endpoint *p, const struct engine *e) {
    for (unsigned step = 0; step < ENGINE_PREFETCH_STEPS; step++) {
        size_t at = p->next + (size_t) (step + 1) * PREFETCH_APART;
        const struct engine_message *m = at < engine_message_count(&p->taken) ? engine_message_at(&p->taken, at) : NULL;
        if (m && m->type == ENGINE_SUBMIT) {
            engine_prefetch(e, m->u.cmd, step);
        }
    }
}

bool endpoint_serve(struct endpoint *p, struct engine *e) {
    bool all = p->next == engine_message_count(&p->taken);
    if (all) {
        engine_message_clear(&p->taken);
        p->next = 0;
        engine_message_take(&p->engine_queue, &p->taken);
    }
    if (p->next < engine_message_count(&p->taken)) {
        engine_at(e, clock_now()); /* not before they came */
    }
    for (size_t weight = 0; p->next < engine_message_count(&p->taken) && weight < p->round_max;) {
        messages_prefetch(p, e);
        const struct engine_message *m = engine_message_at(&p->taken, p->next++);
        weight += message_weight(m);
        message_give(p, e, m);
    }
    return p->next < engine_message_count(&p->taken) || !all; /* what was left from before says nothing of the box */
}
