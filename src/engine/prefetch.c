/* What commands will need is fetched while those before them are served: step by step, since each step follows a pointer that the one before has fetched. */
#include "engine/channel.h"
#include "engine/kinds.h"
#include "engine/queue.h"
#include "engine/session_entry.h"
#include "engine/state.h"

#include "base/fetch.h"

static const struct UT_hash_bucket *task_bucket(const struct engine *e, const struct id *id) {
    return hash_bucket(&e->tasks->hh, id, sizeof(*id));
}

static const struct task_entry *task_expected(const struct engine *e, const struct id *id) {
    return hash_expected(&e->tasks->hh, id, sizeof(*id));
}

static void fetch_texts(const struct task *t) {
    const char *const texts[] = {t->kind,           t->title,        t->queue, t->metadata, t->progress.unit, t->progress.message,
                                 t->progress.phase, t->progress.data};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        fetch_ahead(texts[i], 1);
    }
}

void engine_prefetch(const struct engine *e, const struct cmd *c, unsigned steps_left) {
    const struct task_entry *t;
    if (steps_left == ENGINE_PREFETCH_STEPS - 1) {
        fetch_ahead(c, offsetof(struct cmd, session_new));
        fetch_ahead(&c->reports, FETCH_LINE);
        fetch_ahead(&c->answer, sizeof(c->answer));
        return;
    }
    if (c->type != CMD_TASK_REPORT || !e->tasks) {
        return;
    }
    switch (steps_left) {
    case 4: fetch_ahead(task_bucket(e, &c->task), 1); break;
    case 3: fetch_ahead(task_bucket(e, &c->task)->hh_head, sizeof(UT_hash_handle)); break;
    case 2:
        if ((t = task_expected(e, &c->task))) {
            fetch_ahead(t, sizeof(*t));
        }
        break;
    case 1:
        if ((t = task_expected(e, &c->task))) {
            fetch_ahead(t->s, sizeof(*t->s));
            fetch_texts(&t->t);
        }
        break;
    default:
        if ((t = task_expected(e, &c->task))) {
            fetch_ahead(LIST_FIRST(&t->s->channels), sizeof(struct channel));
        }
        break;
    }
}
