/*
 * What was let out, and what it forbids from then on. A task is shown as a whole in a version: the same version always reads the same, versions never step
 * back, what has ended stays ended as it was; a number of a session stands for one thing; an attempt goes to one worker. All of it also across crashes, so an
 * answer or frame that left before its batch was durable is found out after the next crash at the latest.
 */
#include "sim.h"

#include "base/clock.h"
#include "base/mem.h"
#include "domain/session.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- reading ---- */

uint64_t hash_text(uint64_t h, const void *p, size_t len) {
    const unsigned char *bytes = p;
    for (size_t i = 0; i < len; i++) {
        h = (h ^ bytes[i]) * 0x100000001b3u;
    }
    return (h ^ 0xff) * 0x100000001b3u;
}

uint64_t hash_str(uint64_t h, struct str s) {
    return hash_text(h, s.p ? s.p : "", s.len);
}

struct json *parse(struct arena *a, struct str text) {
    struct json *root;
    struct json_error err;
    if (json_parse(a, text, 64, &root, &err)) {
        broken("what came out is not JSON (%s): %.*s", err.detail, STR_FMT(text));
    }
    return root;
}

const struct json *member_of(const struct json *j, const char *name) {
    const struct json *m = json_get(j, name);
    if (!m) {
        broken("there is no member %s in %.*s", name, STR_FMT(j->raw));
    }
    return m;
}

struct str text_of(const struct json *j, const char *name) {
    const struct json *m = member_of(j, name);
    return m->type == JSON_STRING ? m->string : STR_NONE;
}

uint64_t number_of(const struct json *j, const char *name) {
    return (uint64_t) member_of(j, name)->integer;
}

bool bool_of(const struct json *j, const char *name) {
    return member_of(j, name)->boolean;
}

struct id id_of(struct str text, enum id_kind kind) {
    struct id id = {0};
    if (!id_parse(text, kind, &id)) {
        broken("\"%.*s\" is no id", STR_FMT(text));
    }
    return id;
}

static void keep_text(struct str text, char *to, size_t room) {
    size_t n = text.len < room - 1 ? text.len : room - 1;
    memcpy(to, text.p ? text.p : "", n);
    to[n] = '\0';
}

static int64_t time_of(const struct json *j, const char *name) {
    int64_t ms = 0;
    struct str text = text_of(j, name);
    if (text.p && !time_parse(text, &ms)) {
        broken("%s is no time", name);
    }
    return ms;
}

uint32_t token_gen(struct str text, enum token_kind kind, struct id id) {
    struct token t;
    if (!token_verify(&sim.keys, text, &t) || t.kind != kind || !id_eq(t.id, id)) {
        broken("a token that is none: %.*s", STR_FMT(text));
    }
    return t.gen;
}

/* ---- tables ---- */

struct known_task *task_known(struct id id) {
    struct known_task *t;
    HASH_FIND(hh, sim.tasks, &id, sizeof(id), t);
    return t;
}

struct known_session *session_known(struct id id) {
    struct known_session *s;
    HASH_FIND(hh, sim.sessions, &id, sizeof(id), s);
    return s;
}

#define PICK_BACK(table, back, ret)                                                    \
    do {                                                                               \
        (ret) = (table) ? ELMT_FROM_HH((table)->hh.tbl, (table)->hh.tbl->tail) : NULL; \
        for (uint64_t left = (back); (ret) && left && (ret)->hh.prev; left--) {        \
            (ret) = (ret)->hh.prev;                                                    \
        }                                                                              \
    } while (0)

/* One of the last to have been made, mostly, and one that is still there, mostly. */
struct known_task *task_random(void) {
    struct known_task *t;
    for (int i = 0; i < 4; i++) {
        PICK_BACK(sim.tasks, dice(chance(8) ? HASH_COUNT(sim.tasks) + 1 : 30), t);
        if (!t || (!t->gone && t->state < TASK_SUCCEEDED) || chance(4)) {
            break;
        }
    }
    return t;
}

struct known_session *session_random(void) {
    struct known_session *s;
    for (int i = 0; i < 4; i++) {
        PICK_BACK(sim.sessions, dice(chance(8) ? HASH_COUNT(sim.sessions) + 1 : 9), s);
        if (!s || !s->ended || chance(4)) {
            break;
        }
    }
    return s;
}

void model_number(struct id session, uint64_t seq, struct id task, bool gone) {
    struct known_number *n, key;
    memset(&key, 0, sizeof(key));
    key.key.session = session;
    key.key.seq = seq;
    HASH_FIND(hh, sim.numbers, &key.key, sizeof(key.key), n);
    if (!n) {
        n = mem_alloc(sizeof(*n));
        n->key.session = session;
        n->key.seq = seq;
        n->task = task;
        n->gone = gone;
        HASH_ADD(hh, sim.numbers, key, sizeof(n->key), n);
    } else if (!id_eq(n->task, task) || n->gone != gone) {
        broken("number %llu of session %s stood for task %s%s and now stands for %s%s", (unsigned long long) seq, name_of(session), name_of(n->task),
               n->gone ? " (gone)" : "", name_of(task), gone ? " (gone)" : "");
    }
}

void model_claim(struct id task, uint64_t attempt, const struct call *c) {
    struct known_claim *k, key;
    memset(&key, 0, sizeof(key));
    key.key.task = task;
    key.key.attempt = attempt;
    HASH_FIND(hh, sim.claims, &key.key, sizeof(key.key), k);
    if (k) {
        broken("attempt %llu of task %s was given to two claims, calls %llu and %llu", (unsigned long long) attempt, name_of(task),
               (unsigned long long) k->call, (unsigned long long) c->number);
    }
    k = mem_alloc(sizeof(*k));
    k->key.task = task;
    k->key.attempt = attempt;
    k->call = c->number;
    HASH_ADD(hh, sim.claims, key, sizeof(k->key), k);
}

static void shown_note(struct known_task *t, uint64_t version, uint64_t full, uint64_t loose, struct str text) {
    struct shown *s;
    HASH_FIND(hh, t->shown, &version, sizeof(version), s);
    if (!s) {
        s = mem_alloc(sizeof(*s));
        s->version = version;
        s->full = full;
        s->loose = loose;
        s->text = mem_strdup(text);
        HASH_ADD(hh, t->shown, version, sizeof(s->version), s);
    } else if (s->full != full) {
        broken("task %s reads in two ways in version %llu:\n  %s\n  %.*s", name_of(t->id), (unsigned long long) version, s->text, STR_FMT(text));
    }
}

void model_forget_all(void) {
    struct known_task *t, *t2;
    HASH_ITER (hh, sim.tasks, t, t2) {
        struct shown *s, *s2;
        HASH_ITER (hh, t->shown, s, s2) {
            HASH_DEL(t->shown, s);
            mem_free(s->text);
            mem_free(s);
        }
        HASH_DEL(sim.tasks, t);
        mem_free(t);
    }
    struct known_session *s, *s2;
    HASH_ITER (hh, sim.sessions, s, s2) {
        HASH_DEL(sim.sessions, s);
        mem_free(s);
    }
    struct known_number *n, *n2;
    HASH_ITER (hh, sim.numbers, n, n2) {
        HASH_DEL(sim.numbers, n);
        mem_free(n);
    }
    struct known_claim *k, *k2;
    HASH_ITER (hh, sim.claims, k, k2) {
        HASH_DEL(sim.claims, k);
        mem_free(k);
    }
}

/* ---- tasks ---- */

static bool name_is(const struct json *m, const char *const *names) {
    for (; *names; names++) {
        if (str_eqz(m->name, *names)) {
            return true;
        }
    }
    return false;
}

/* full: everything that belongs to the version. loose: without what output alone changes. Rate and eta are an estimate, left out of both. */
void task_hashes(const struct json *j, uint64_t *ret_full, uint64_t *ret_loose) {
    static const char *const not_its_own[] = {"token", "worker_token", "input", "progress", NULL};
    static const char *const of_output[] = {"version", "updated_at", "output_bytes", NULL};
    static const char *const dates[] = {"created_at", "started_at", "updated_at", "ended_at", "seen_at", "expires_at", NULL};
    uint64_t full = 1, loose = 1;
    for (const struct json *m = j->child; m; m = m->next) {
        if (!name_is(m, not_its_own) && !(sim.steps_clock && name_is(m, dates))) {
            full = hash_str(hash_str(full, m->name), m->raw);
            loose = name_is(m, of_output) ? loose : hash_str(hash_str(loose, m->name), m->raw);
        }
    }
    for (const struct json *m = member_of(j, "progress")->child; m; m = m->next) {
        if (!str_eqz(m->name, "rate") && !str_eqz(m->name, "eta")) {
            full = hash_str(full, m->raw);
            loose = hash_str(loose, m->raw);
        }
    }
    *ret_full = full;
    *ret_loose = loose;
}

static struct known_task *task_get(struct id id, struct id session) {
    struct known_task *t = task_known(id);
    if (!t) {
        t = mem_alloc(sizeof(*t));
        t->id = id;
        t->session = session;
        t->moved = true; /* unless it is seen when it is made */
        HASH_ADD(hh, sim.tasks, id, sizeof(t->id), t);
    }
    return t;
}

static uint64_t outcome_of(const struct json *j) {
    return hash_str(hash_str(hash_str(1, member_of(j, "error")->raw), member_of(j, "result")->raw), member_of(j, "result_bytes")->raw);
}

/* A newer version is shown: what may be different now, and what may not. */
static void task_advance(struct known_task *t, const struct json *j) {
    struct str id = text_of(j, "id"), created = text_of(j, "created_at");
    bool first = t->version == 0, was_ended = !first && t->state >= TASK_SUCCEEDED;
    int state = task_state_parse(text_of(j, "state"));
    struct id session = id_of(text_of(j, "session"), ID_SESSION);
    if (!first && !sim.clock_backs && !str_eqz(created, t->created)) {
        broken("task %.*s was created at another time", STR_FMT(id));
    }
    if (was_ended && (state != t->state || (!sim.clock_backs && !str_eqz(text_of(j, "ended_at"), t->ended)) || outcome_of(j) != t->outcome)) {
        broken("task %.*s had ended as %s and is now %s: %.*s", STR_FMT(id), task_state_name((enum task_state) t->state),
               task_state_name((enum task_state) state), STR_FMT(j->raw));
    }
    if (number_of(j, "attempt") < t->attempt || number_of(j, "output_bytes") < t->output_bytes) {
        broken("attempt or output of task %.*s stepped back: %.*s", STR_FMT(id), STR_FMT(j->raw));
    }
    if ((t->cancel_requested && !bool_of(j, "cancel_requested")) || (t->seen && !text_of(j, "seen_at").p)) {
        broken("task %.*s forgot that it was to be cancelled or that it was seen: %.*s", STR_FMT(id), STR_FMT(j->raw));
    }
    t->moved |= !id_eq(t->session, session);
    t->session = session;
    t->state = state;
    t->attempt = (uint32_t) number_of(j, "attempt");
    t->output_bytes = number_of(j, "output_bytes");
    t->cancel_requested = bool_of(j, "cancel_requested");
    t->seen = text_of(j, "seen_at").p != NULL;
    t->has_queue = text_of(j, "queue").p != NULL;
    t->ended_ms = time_of(j, "ended_at");
    t->expires_ms = time_of(j, "expires_at");
    t->outcome = outcome_of(j);
    struct str policy = text_of(j, "on_session_end");
    t->policy = str_eqz(policy, "cancel") ? END_CANCEL : str_eqz(policy, "handover") ? END_HANDOVER : END_KEEP;
    const struct json *question = member_of(j, "input_request");
    keep_text(question->type == JSON_OBJECT ? text_of(question, "id") : STR(""), t->question, sizeof(t->question));
    keep_text(created, t->created, sizeof(t->created));
    keep_text(text_of(j, "ended_at"), t->ended, sizeof(t->ended));
}

void model_version(struct known_task *t, uint64_t version, bool replay) {
    bool older = sim.page && sim.page->number <= t->floor_call && (version < t->floor || t->gone);
    if (replay || older) {
        return;
    }
    if (version < t->floor) {
        broken("task %s was shown in version %llu and is now in %llu", name_of(t->id), (unsigned long long) t->floor, (unsigned long long) version);
    }
    if (t->gone) {
        broken("task %s was gone and is shown again", name_of(t->id));
    }
    t->floor = version;
    t->floor_call = sim.calls_made;
}

void model_task_tokens(struct known_task *t, const struct json *j, bool replay) {
    const struct json *token = json_get(j, "token");
    if (token) {
        uint32_t gen = token_gen(token->string, TOKEN_WATCH, t->id);
        if (gen < t->watch_gen && !replay) {
            broken("the watch tokens of task %s stepped back", name_of(t->id));
        }
        t->watch_gen = gen > t->watch_gen ? gen : t->watch_gen;
    }
}

/* A task as a whole is let out. replay: an answer that was given before, or that reads what was last committed after an fsync failed. */
struct known_task *model_task(const struct json *j, bool replay) {
    uint64_t version = number_of(j, "version"), full, loose;
    struct id id = id_of(text_of(j, "id"), ID_TASK), session = id_of(text_of(j, "session"), ID_SESSION);
    struct known_task *t = task_get(id, session);
    replay |= sim.dead;
    task_hashes(j, &full, &loose);
    model_number(session, version, id, false);
    shown_note(t, version, full, loose, j->raw);
    model_version(t, version, replay);
    model_task_tokens(t, j, replay);
    if (version > t->version) {
        task_advance(t, j);
        t->version = version;
        t->full = full;
        t->loose = loose;
    }
    return t;
}

/* ---- sessions ---- */

static void session_ends(struct known_session *s, const struct json *j, bool replay) {
    bool ended = str_eqz(text_of(j, "state"), "ended");
    if (s->ended && !ended && !replay) {
        broken("session %s had ended and lives again", name_of(s->id));
    }
    if (ended) {
        if (s->ended && s->reason[0] && !str_eqz(text_of(j, "reason"), s->reason)) {
            broken("session %s has ended for another reason", name_of(s->id));
        }
        s->ended = true;
        s->ended_ms = time_of(j, "ended_at");
        keep_text(text_of(j, "reason"), s->reason, sizeof(s->reason));
    }
}

struct known_session *model_session(const struct json *j, bool replay) {
    struct id id = id_of(text_of(j, "id"), ID_SESSION);
    struct known_session *s = session_known(id);
    struct str user = text_of(j, "user");
    replay |= sim.dead || (sim.page && s && sim.page->number <= s->shown_call);
    if (!s) {
        s = mem_alloc(sizeof(*s));
        s->id = id;
        s->gen = 1;
        keep_text(text_of(j, "created_at"), s->created, sizeof(s->created));
        HASH_ADD(hh, sim.sessions, id, sizeof(s->id), s);
    }
    if ((!sim.clock_backs && !str_eqz(text_of(j, "created_at"), s->created)) || (s->user[0] && !str_eqz(user, s->user) && !replay)) {
        broken("session %s has another user or time of creation: %.*s", name_of(id), STR_FMT(j->raw));
    }
    if (user.p) {
        keep_text(user, s->user, sizeof(s->user));
    }
    s->shown_call = sim.calls_made;
    session_ends(s, j, replay);
    const struct json *token = json_get(j, "token"), *tasks = member_of(j, "tasks");
    if (token) {
        uint32_t gen = token_gen(token->string, TOKEN_SESSION, id);
        if (gen < s->gen && !replay) {
            broken("the generation of session %s stepped back", name_of(id));
        }
        s->gen = gen > s->gen ? gen : s->gen;
    }
    s->unfinished = (unsigned) number_of(tasks, "unfinished");
    s->finished = (unsigned) number_of(tasks, "ended");
    return s;
}

/* ---- output ---- */

void output_check(struct id task, struct str data, unsigned *attempt, unsigned *record, bool *known) {
    if (data.len % RECORD) {
        broken("output of task %s was cut within a record", name_of(task));
    }
    for (; data.len; data = str_from(data, RECORD)) {
        char text[RECORD + 1];
        unsigned n, i;
        memcpy(text, data.p, RECORD);
        text[RECORD] = '\0';
        if (sscanf(text, "%2u%6u", &n, &i) != 2) {
            broken("output of task %s is not what was written: %s", name_of(task), text);
        }
        bool next = n == *attempt && i == *record + 1, first = n != *attempt && i == 0;
        if (*known && !next && !first) {
            broken("output of task %s has a hole or something twice: %02u/%u and then %02u/%u", name_of(task), *attempt, *record, n, i);
        }
        *attempt = n;
        *record = i;
        *known = true;
    }
}

/* ---- frames ---- */

void model_frame(const struct frame *f) {
    struct arena arena = {0};
    const struct json *root = parse(&arena, frame_data(f)), *task = json_get(root, "task");
    struct known_task *left = f->kind == FRAME_GONE ? task_known(id_of(text_of(root, "gone"), ID_TASK)) : NULL;
    if (f->kind == FRAME_STATE) {
        model_task(task, false);
    } else if (left) {
        left->left = true;
    }
    if (number_of(root, "seq") != f->seq) {
        broken("a frame with another number than its data: %.*s", STR_FMT(frame_data(f)));
    }
    arena_fini(&arena);
}
