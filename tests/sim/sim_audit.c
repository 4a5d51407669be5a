/*
 * Everything stands still: no mail, no store, no reader has anything to do, and time does not pass. Then what the lists say is the state, and it is held against
 * what is known (nothing lost, nothing doubled), what the policies promise (sessions that ended), what each open reader has seen, and who still waits.
 */
#include "sim.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>

#define LIST_PAGE 40

static struct {
    struct id next; /* of the list under way; none: it is complete */
    /* of the output under way */
    uint64_t at, first;
    unsigned attempt, record, acked_records;
    bool known, complete;
} audit;

static void audit_call(const struct recipe *r) {
    command_audit(r);
    settle();
}

/* ---- what comes back ---- */

static void answered_list(struct call *c) {
    struct arena arena = {0};
    const struct json *next = json_get(parse(&arena, buf_view(&c->cmd->answer.body)), "next");
    audit.next = next && next->type == JSON_STRING ? id_of(next->string, c->r.type == CMD_TASK_LIST ? ID_TASK : ID_SESSION) : (struct id){0};
    arena_fini(&arena);
}

static void answered_output(struct call *c) {
    const struct answer *a = &c->cmd->answer;
    struct known_task *t = task_known(c->r.task);
    struct str data = buf_view(&a->body);
    if (a->output_offset != audit.at && (audit.known || sim.options.max_output_per_task > 100000)) {
        broken("output of task %s was asked from %llu and given from %llu", name_of(c->r.task), (unsigned long long) audit.at,
               (unsigned long long) a->output_offset);
    }
    audit.complete = data.len == 0;
    audit.at = a->output_offset + data.len;
    for (; data.len; data = str_from(data, RECORD)) {
        output_check(c->r.task, str_n(data.p, RECORD), &audit.attempt, &audit.record, &audit.known);
        if (audit.attempt == t->acked_attempt % 100) {
            audit.acked_records = audit.record + 1;
        }
    }
}

static void answered_gone(struct call *c) {
    struct known_task *t = task_known(c->r.task);
    const struct problem *p = &c->cmd->answer.problem;
    struct arena arena = {0};
    struct buf text = {0};
    t->gone = true;
    if (p->err != ERR_GONE) {
        return; /* its tombstone may be over, too */
    }
    buf_printf(&text, "{%.*s}", (int) p->extra.len - 1, p->extra.p + 1);
    const struct json *j = parse(&arena, buf_view(&text));
    int64_t gone_ms = 0;
    bool good = time_parse(text_of(j, "gone_at"), &gone_ms) && text_of(j, "ended_at").p && task_state_parse(text_of(j, "state")) >= TASK_SUCCEEDED;
    bool early = !sim.clock_steps && t->expires_ms && gone_ms < t->expires_ms && !t->delete_asked && sim.options.max_tasks_per_session > 1000;
    if (!good || early) {
        broken("task %s is gone, and should not be: %s", name_of(t->id), buf_z(&text));
    }
    buf_fini(&text);
    arena_fini(&arena);
}

void audit_answered(struct call *c) {
    const struct answer *a = &c->cmd->answer;
    bool gone = c->r.type == CMD_TASK_GET && c->r.cred == CRED_KEY && a->type == ANSWER_PROBLEM &&
                (a->problem.err == ERR_GONE || a->problem.err == ERR_NOT_FOUND);
    if (gone) {
        answered_gone(c);
    } else if (a->type == ANSWER_PROBLEM) {
        broken("call %llu: with nothing in its way it was refused with %s", (unsigned long long) c->number, err_code(a->problem.err));
    } else if (c->r.type == CMD_TASK_LIST || c->r.type == CMD_SESSION_LIST) {
        answered_list(c);
    } else if (c->r.type == CMD_TASK_OUTPUT) {
        answered_output(c);
    }
    sim.audit_under_way = false;
}

/* ---- lists ---- */

static void list_all(enum cmd_type type) {
    struct recipe r;
    recipe_key(&r, type);
    r.limit = 2 + (unsigned) dice(LIST_PAGE);
    do {
        r.after = audit.next;
        sim.audit_under_way = true;
        audit_call(&r);
        if (sim.audit_under_way) {
            broken("a list never came back");
        }
    } while (!id_is_none(audit.next));
}

static bool is_listed(unsigned mark) {
    return mark == sim.audits;
}

static void look_for_missing(struct known_task *t) {
    struct recipe r;
    recipe_key(&r, CMD_TASK_GET);
    r.task = t->id;
    audit_call(&r);
    if (!t->gone) {
        broken("task %s is not in the list of all tasks", name_of(t->id));
    }
}

static void check_counts(void) {
    struct known_task *t;
    struct known_session *s;
    for (s = sim.sessions; s; s = s->hh.next) {
        s->counted[0] = s->counted[1] = 0;
    }
    for (t = sim.tasks; t; t = t->hh.next) {
        s = session_known(t->session);
        if (is_listed(t->listed) && !(s && is_listed(s->listed))) {
            broken("the session of task %s is no more", name_of(t->id));
        } else if (is_listed(t->listed)) {
            s->counted[t->state >= TASK_SUCCEEDED]++;
        } else if (!t->gone) {
            look_for_missing(t);
        }
    }
    for (s = sim.sessions; s; s = s->hh.next) {
        if (is_listed(s->listed) && (s->unfinished != s->counted[0] || s->finished != s->counted[1])) {
            broken("session %s says that it has %u and %u tasks, and has %u and %u", name_of(s->id), s->unfinished, s->finished, s->counted[0],
                   s->counted[1]);
        }
    }
}

/* ---- sessions that ended ---- */

static bool user_has_session(const char *user) {
    for (struct known_session *s = sim.sessions; s; s = s->hh.next) {
        if (is_listed(s->listed) && !s->ended && strcmp(s->user, user) == 0) {
            return true;
        }
    }
    return false;
}

static void check_policy(const struct known_task *t, const struct known_session *s) {
    bool finished = t->state >= TASK_SUCCEEDED;
    if (strcmp(s->reason, "merged") == 0) {
        broken("task %s stayed behind in session %s, which was merged away", name_of(t->id), name_of(s->id));
    }
    if (t->policy == END_CANCEL && !finished && !t->cancel_requested) {
        broken("task %s was to be cancelled with its session %s", name_of(t->id), name_of(s->id));
    }
    if (t->policy == END_CANCEL && !finished && !sim.clock_steps && sim.now_ms > s->ended_ms + sim.options.cancel_grace + 200) {
        broken("task %s outlives its session %s", name_of(t->id), name_of(s->id));
    }
    bool waits =
        !sim.clock_steps && t->policy == END_HANDOVER && s->user[0] && !(finished && t->seen) && sim.now_ms < s->ended_ms + sim.options.handover_wait;
    if (waits && user_has_session(s->user)) {
        broken("task %s waits in session %s, although user %s has another", name_of(t->id), name_of(s->id), s->user);
    }
}

static void check_policies(void) {
    for (struct known_task *t = sim.tasks; t; t = t->hh.next) {
        struct known_session *s = session_known(t->session);
        if (is_listed(t->listed) && s->ended) {
            check_policy(t, s);
        }
    }
}

/* ---- readers ---- */

static bool reads(const struct client *c, const struct known_task *t) {
    return is_listed(t->listed) && (c->target == WATCH_TASK ? id_eq(t->id, c->id) : id_eq(t->session, c->id));
}

static void check_seen(const struct client *c, unsigned number, const struct known_task *t) {
    struct seen_task *seen;
    HASH_FIND(hh, c->view, &t->id, sizeof(t->id), seen);
    bool plain = c->target != WATCH_TASK && !c->output;
    bool good = seen && seen->state && (plain ? seen->version == t->version && seen->full == t->full : seen->loose == t->loose);
    if (!good) {
        broken("client %u saw task %s in version %llu, which stands in %llu", number, name_of(t->id), (unsigned long long) (seen ? seen->version : 0),
               (unsigned long long) t->version);
    }
    bool from_here = c->target == WATCH_TASK || !(t->moved || t->left); /* else what was written elsewhere is not given, also if it has come back */
    bool all = seen->has_output ? seen->offset == t->output_bytes : !t->output_bytes;
    if (!plain && !all && (from_here || seen->offset > t->output_bytes)) {
        broken("client %u has output of task %s up to %llu of %llu", number, name_of(t->id), (unsigned long long) seen->offset,
               (unsigned long long) t->output_bytes);
    }
}

static void check_may_read(const struct client *c, unsigned number) {
    struct known_session *s = c->cred == CRED_SESSION ? session_known(c->cred_id) : c->target == WATCH_TASK ? NULL : session_known(c->id);
    struct known_task *t = c->target == WATCH_TASK ? task_known(c->id) : NULL;
    uint32_t gen = c->watcher->tag[1];
    bool dead = (s && s->ended) || (c->cred == CRED_SESSION && gen < s->gen) || (c->cred == CRED_WATCH && gen < t->watch_gen);
    bool left = t && c->cred == CRED_SESSION && !id_eq(t->session, c->cred_id);
    if (dead || left) {
        broken("client %u still reads although its credential has died or its task has left", number);
    }
    if (t && (t->state >= TASK_SUCCEEDED || !is_listed(t->listed))) {
        broken("client %u still reads the feed of task %s, which has ended", number, name_of(t->id));
    }
    if (!c->watcher->live_sent) {
        broken("client %u was never told that it is live", number);
    }
}

static void check_reader(const struct client *c, unsigned number) {
    check_may_read(c, number);
    for (struct known_task *t = sim.tasks; t; t = t->hh.next) {
        if (reads(c, t)) {
            check_seen(c, number, t);
        }
    }
    for (struct seen_task *seen = c->view; seen; seen = seen->hh.next) {
        if (seen->state && !reads(c, task_known(seen->id))) {
            broken("client %u still has task %s, which has gone from there", number, name_of(seen->id));
        }
    }
}

static void check_readers(void) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (sim.clients[i].state == CLIENT_READING && !sim.clients[i].page) {
            check_reader(&sim.clients[i], i);
        }
    }
}

/* ---- output ---- */

static void read_output(const struct known_task *t) {
    struct recipe r;
    memset(&audit, 0, sizeof(audit));
    recipe_key(&r, CMD_TASK_OUTPUT);
    r.task = t->id;
    for (unsigned i = 0; i < 100 && !audit.complete; i++) {
        r.offset = audit.at;
        audit_call(&r);
    }
    if (audit.at != t->output_bytes || audit.acked_records * RECORD < t->acked_offset * (audit.acked_records > 0)) {
        broken("task %s has output up to %llu of %llu; of attempt %u %llu bytes were taken and %u records are there", name_of(t->id),
               (unsigned long long) audit.at, (unsigned long long) t->output_bytes, t->acked_attempt, (unsigned long long) t->acked_offset,
               audit.acked_records);
    }
    if (t->acked_offset && !audit.acked_records && sim.options.max_output_per_task > 100000) {
        broken("task %s has lost the output of attempt %u", name_of(t->id), t->acked_attempt);
    }
}

static void check_outputs(void) {
    for (struct known_task *t = sim.tasks; t; t = t->hh.next) {
        if (is_listed(t->listed) && (t->output_bytes || t->acked_offset) && chance(4)) {
            read_output(t);
        }
    }
}

/* ---- who waits, who may ---- */

static void check_waiting(void) {
    struct call *c;
    TAILQ_FOREACH (c, &sim.calls, link) {
        struct known_task *t = task_known(c->r.task);
        bool may_wait = c->r.wait_ms > 0 || (c->r.type == CMD_WATCH && c->r.page);
        if (!may_wait && !c->abandoned && !c->answered) {
            broken("call %llu never came back", (unsigned long long) c->number);
        }
        bool news = t && is_listed(t->listed) && !c->answered &&
                    ((c->r.type == CMD_TASK_GET && (t->version != c->r.etag || t->state >= TASK_SUCCEEDED)) ||
                     (c->r.type == CMD_TASK_OUTPUT && (c->r.offset < t->output_bytes || t->state >= TASK_SUCCEEDED)));
        if (news && !c->abandoned) {
            broken("call %llu still waits for what is there", (unsigned long long) c->number);
        }
    }
}

/* Who is entitled is served. */
static void check_served(void) {
    struct known_session *s = session_random();
    struct known_task *t = task_random();
    struct recipe r;
    if (s && is_listed(s->listed) && !s->ended && s->rotations_asked == s->rotations_told) {
        recipe_key(&r, CMD_SESSION_GET);
        r.cred = CRED_SESSION;
        r.cred_id = s->id;
        r.cred_gen = s->gen;
        audit_call(&r);
    }
    if (t && is_listed(t->listed)) {
        recipe_key(&r, CMD_TASK_TOKEN);
        r.task = t->id;
        audit_call(&r);
        recipe_key(&r, CMD_TASK_GET);
        r.task = r.cred_id = t->id;
        r.cred = CRED_WATCH;
        r.cred_gen = t->watch_gen;
        audit_call(&r);
    }
}

void audit_all(void) {
    sim.audits++;
    sim.counts.audits++;
    trace("audit");
    memory_store_fail_next(sim.store, STORE_OK);
    for (int i = 0; i < 12; i++) { /* what is told once a second is told */
        settle();
        sim.now_ms += 100;
    }
    settle();
    memset(&audit, 0, sizeof(audit));
    list_all(CMD_SESSION_LIST);
    list_all(CMD_TASK_LIST);
    check_counts();
    check_policies();
    check_readers();
    check_waiting();
    check_outputs();
    check_served();
}
