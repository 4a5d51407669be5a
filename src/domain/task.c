/*
 *                 start                 succeed · fail · cancel
 *      queued ───────────▶ running ───────────────────────────▶ succeeded · failed · cancelled
 *        ▲  ▲               │   ▲                                          ▲
 *        │  └── requeue ────┘   │ answer                                   │
 *        │               ask │  │                                          │
 *        │                   ▼  │                                          │
 *        └── requeue ── input_required ────────────────────────────────────┘
 */
#include "domain/task.h"

#include "base/mem.h"

#include <assert.h>

#define NO (-1)

static const short next_state[TASK_STATES][TASK_EVENTS] = {
    /*                        START         ASK                  ANSWER        REQUEUE      SUCCEED         FAIL         CANCEL */
    [TASK_QUEUED] = {TASK_RUNNING, NO, NO, NO, NO, TASK_FAILED, TASK_CANCELLED},
    [TASK_RUNNING] = {NO, TASK_INPUT_REQUIRED, NO, TASK_QUEUED, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED},
    [TASK_INPUT_REQUIRED] = {NO, TASK_INPUT_REQUIRED, TASK_RUNNING, TASK_QUEUED, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED},
    [TASK_SUCCEEDED] = {NO, NO, NO, NO, NO, NO, NO},
    [TASK_FAILED] = {NO, NO, NO, NO, NO, NO, NO},
    [TASK_CANCELLED] = {NO, NO, NO, NO, NO, NO, NO},
};

static const char *const state_names[] = {"queued", "running", "input_required", "succeeded", "failed", "cancelled"};

const char *task_state_name(enum task_state s) {
    return state_names[s];
}

int task_state_parse(struct str name) {
    for (int i = 0; i < TASK_STATES; i++) {
        if (str_eqz(name, state_names[i])) {
            return i;
        }
    }
    return NO;
}

int task_next_state(enum task_state s, enum task_event ev) {
    return next_state[s][ev];
}

/* In the same memory where it is no longer, as it mostly is. */
static void replace(char **at, struct str with) {
    if (with.p && *at && with.len <= strlen(*at)) {
        memcpy(*at, with.p, with.len);
        (*at)[with.len] = '\0';
        return;
    }
    char *copy = mem_strdup(with);
    mem_free(*at);
    *at = copy;
}

static void clear(char **at) {
    mem_free(*at);
    *at = NULL;
}

static void task_check(const struct task *t) {
    assert((t->ended_at != 0) == task_is_ended(t));
    assert((t->question_id != NULL) == (t->state == TASK_INPUT_REQUIRED));
    assert(!t->stalled || t->state == TASK_RUNNING);
    assert(t->attempt > 0 || !task_has_worker(t));
    assert(t->output_first <= t->output_bytes && t->output_base <= t->output_bytes);
}

static void close_question(struct task *t) {
    clear(&t->question_id);
    clear(&t->question_prompt);
    clear(&t->question_schema);
}

/* Every change of state passes here. */
static void task_move(struct task *t, enum task_event ev, struct moment now) {
    int next = next_state[t->state][ev];
    assert(next != NO);
    t->state = (enum task_state) next;
    if (t->state != TASK_INPUT_REQUIRED) {
        close_question(t);
    }
    if (t->state != TASK_RUNNING) {
        t->stalled = false;
    }
    if (task_is_ended(t)) {
        t->ended_at = now.wall_ms;
        t->expires_at = now.ms + t->ttl_ms;
        t->deadline_at = 0;
        t->eta_s = -1;
    }
    task_check(t);
}

void task_init(struct task *t, struct id id, struct id session, const struct task_new *n, struct moment now) {
    *t = (struct task){.id = id,
                       .session = session,
                       .state = TASK_QUEUED,
                       .on_session_end = n->on_session_end,
                       .max_attempts = n->max_attempts,
                       .kind = mem_strdup(n->kind),
                       .title = mem_strdup(n->title),
                       .queue = mem_strdup(n->queue),
                       .metadata = mem_strdup(n->metadata.p ? n->metadata : STR("{}")),
                       .lease_ms = n->lease_ms,
                       .timeout_ms = n->timeout_ms,
                       .backoff_ms = n->backoff_ms,
                       .ttl_ms = n->ttl_ms,
                       .cancel_unwatched_ms = n->cancel_unwatched_ms,
                       .created_at = now.wall_ms,
                       .created_apart = now.wall_ms - now.ms,
                       .updated_at = now.wall_ms,
                       .deadline_at = now.wall_ms + n->deadline_ms,
                       .not_before_at = n->not_before_ms > now.wall_ms ? n->not_before_ms : 0,
                       .ready_at = now.ms,
                       .eta_s = -1,
                       .input_bytes = n->input.p ? n->input.len : 0};
}

void task_fini(struct task *t) {
    char *texts[] = {t->kind,           t->title,         t->queue,         t->metadata,    t->progress.unit,   t->progress.message,
                     t->progress.phase, t->progress.data, t->cancel_reason, t->question_id, t->question_prompt, t->question_schema,
                     t->answer_request, t->answer_value,  t->result,        t->error_type,  t->error_message,   t->error_detail};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        mem_free(texts[i]);
    }
    for (uint32_t i = 0; i < t->final_count; i++) {
        mem_free(t->finals[i].answer);
    }
    mem_free(t->finals);
    *t = (struct task){0};
}

/* All but the phase. */
static void clear_progress(struct task *t) {
    t->progress.has_current = t->progress.has_total = false;
    t->progress.current = t->progress.total = 0;
    clear(&t->progress.unit);
    clear(&t->progress.message);
    clear(&t->progress.data);
}

void task_start(struct task *t, int64_t lease_ms, struct moment now) {
    t->attempt++;
    t->heard = false;
    t->attempt_lost = false;
    t->attempt_lease_ms = lease_ms < 0 ? t->lease_ms : lease_ms;
    t->heard_at = now.ms;
    t->timeout_at = t->timeout_ms ? now.ms + t->timeout_ms : 0;
    if (!t->started_at) {
        t->started_at = now.wall_ms;
        t->started_apart = now.wall_ms - now.ms;
    }
    t->output_base = t->output_bytes;
    clear_progress(t);
    clear(&t->progress.phase);
    clear(&t->answer_request);
    clear(&t->answer_value);
    t->answer_version = 0;
    estimate_reset(&t->estimate, now.ms);
    task_move(t, TASK_EV_START, now);
}

void task_ask(struct task *t, struct str prompt, struct str schema, struct moment now) {
    bool first = t->state != TASK_INPUT_REQUIRED;
    char id[16];
    struct buf text = {0};
    buf_puts(&text, "q");
    buf_u64(&text, ++t->questions);
    size_t len = text.len < sizeof(id) ? text.len : sizeof(id);
    memcpy(id, text.data, len);
    buf_fini(&text);
    replace(&t->question_id, str_n(id, len));
    replace(&t->question_prompt, prompt);
    replace(&t->question_schema, schema);
    estimate_pause(&t->estimate, now.ms);
    if (first && t->timeout_at) {
        t->timeout_at = t->timeout_at > now.ms ? t->timeout_at - now.ms : 1; /* stands still from here */
    }
    task_move(t, TASK_EV_ASK, now);
}

/* The clocks run again. */
static void task_resume_clocks(struct task *t, int64_t now_ms) {
    t->heard_at = now_ms;
    if (t->timeout_at) {
        t->timeout_at += now_ms;
    }
}

void task_answer(struct task *t, struct str value, struct moment now) {
    replace(&t->answer_request, str_of(t->question_id));
    replace(&t->answer_value, value);
    task_resume_clocks(t, now.ms);
    estimate_go(&t->estimate, now.ms);
    task_move(t, TASK_EV_ANSWER, now);
}

void task_succeed(struct task *t, struct str result, uint64_t inline_max, struct moment now) {
    t->result_bytes = result.len;
    if (result.len <= inline_max) {
        replace(&t->result, result);
    }
    task_move(t, TASK_EV_SUCCEED, now);
}

void task_fail(struct task *t, struct str type, struct str message, struct str detail, struct moment now) {
    replace(&t->error_type, type);
    replace(&t->error_message, message);
    replace(&t->error_detail, detail);
    task_move(t, TASK_EV_FAIL, now);
}

void task_cancel_request(struct task *t, struct str reason, struct moment now) {
    assert(!t->cancel_requested && !task_is_ended(t));
    t->cancel_requested = true;
    t->cancel_at = now.ms;
    replace(&t->cancel_reason, reason);
    if (t->state == TASK_QUEUED) {
        task_move(t, TASK_EV_CANCEL, now);
    }
}

void task_cancelled(struct task *t, struct moment now) {
    task_move(t, TASK_EV_CANCEL, now);
}

static int64_t task_backoff(const struct task *t) {
    int64_t wait = t->backoff_ms;
    for (uint32_t i = 1; i < t->attempts_used && wait < TASK_BACKOFF_MAX_MS; i++) {
        wait *= 2;
    }
    return wait < TASK_BACKOFF_MAX_MS ? wait : TASK_BACKOFF_MAX_MS;
}

void task_attempt_over(struct task *t, enum attempt_end how, const struct str error[3], struct moment now) {
    bool unheard = !t->heard && t->given_back < TASK_GIVEN_BACK_MAX;
    bool harmless = how == ATTEMPT_RELEASED || (how != ATTEMPT_FAILED && unheard);
    t->attempt_lost = how == ATTEMPT_LOST || how == ATTEMPT_TIMED_OUT;
    if (!harmless) {
        t->attempts_used++;
    } else if (how != ATTEMPT_RELEASED) {
        t->given_back++;
    }
    if (t->cancel_requested) {
        task_move(t, TASK_EV_CANCEL, now);
    } else if (t->queue && (harmless || t->attempts_used < t->max_attempts)) {
        if (!harmless) {
            t->ready_at = now.ms + task_backoff(t);
        }
        task_move(t, TASK_EV_REQUEUE, now);
    } else if (how == ATTEMPT_FAILED) {
        task_fail(t, error[0], error[1], error[2], now);
    } else if (how == ATTEMPT_TIMED_OUT) {
        task_fail(t, STR("timeout"), STR("the attempt took longer than its timeout"), STR_NONE, now);
    } else {
        task_fail(t, STR("worker-lost"), STR("the worker was silent for longer than its lease"), STR_NONE, now);
    }
}

struct task_trial task_trial_of(const struct task *t) {
    return (struct task_trial){
        .state = t->state, .attempt = t->attempt, .has_queue = t->queue != NULL, .output_offset = t->output_bytes - t->output_base};
}

enum err task_try_report(struct task_trial *trial, const struct report *r) {
    if (trial->state == TASK_QUEUED && !trial->has_queue && trial->attempt == 0) {
        trial->state = TASK_RUNNING;
        trial->attempt = 1;
    }
    if (trial->state >= TASK_SUCCEEDED) {
        return ERR_TASK_ENDED;
    }
    if (trial->state == TASK_QUEUED) {
        return ERR_ATTEMPT_SUPERSEDED;
    }
    switch (r->type) {
    case REPORT_OUTPUT:
        if (r->has_offset && r->offset > trial->output_offset) {
            return ERR_OUTPUT_GAP;
        }
        if (!r->has_offset) {
            trial->output_offset += r->data.len;
        } else if (r->offset + r->data.len > trial->output_offset) {
            trial->output_offset = r->offset + r->data.len;
        }
        break;
    case REPORT_INPUT_REQUEST: trial->state = TASK_INPUT_REQUIRED; break;
    case REPORT_SUCCEED: trial->state = TASK_SUCCEEDED; break;
    case REPORT_FAIL: trial->state = TASK_FAILED; break;
    case REPORT_CANCELLED: trial->state = TASK_CANCELLED; break;
    case REPORT_PROGRESS:
    case REPORT_HEARTBEAT: break;
    }
    return ERR_NONE;
}

static bool take_number(enum report_field how, double given, bool *has, double *value) {
    if (how == REPORT_KEEP || (how == REPORT_CLEAR && !*has) || (how == REPORT_SET && *has && *value == given)) {
        return false;
    }
    *has = how == REPORT_SET;
    *value = *has ? given : 0;
    return true;
}

static bool take_text(enum report_field how, struct str given, char **value) {
    if (how == REPORT_KEEP || (how == REPORT_CLEAR && !*value) || (how == REPORT_SET && *value && str_eq(given, str_of(*value)))) {
        return false;
    }
    replace(value, how == REPORT_SET ? given : STR_NONE);
    return true;
}

/* Does the report name another phase than the task is in, or none where it is in one? */
static bool phase_differs(const struct task *t, const struct report *r) {
    const char *now = t->progress.phase;
    return (r->has_phase == REPORT_CLEAR && now && *now) || (r->has_phase == REPORT_SET && !(now && str_eqz(r->phase, now)));
}

const char *task_phase_ending(const struct task *t, const struct report *r) {
    return phase_differs(t, r) && t->progress.phase && *t->progress.phase ? t->progress.phase : NULL;
}

/* Numbers and words speak of the phase: they begin anew with it. */
static bool take_phase(struct task *t, const struct report *r, int64_t now_ms) {
    if (!phase_differs(t, r)) {
        return false;
    }
    clear_progress(t);
    replace(&t->progress.phase, r->has_phase == REPORT_SET ? r->phase : STR(""));
    estimate_reset(&t->estimate, now_ms);
    if (t->state == TASK_INPUT_REQUIRED) {
        estimate_pause(&t->estimate, now_ms);
    }
    return true;
}

bool task_progress(struct task *t, const struct report *r, int64_t now_ms) {
    bool differs = take_phase(t, r, now_ms);
    bool moved = take_number(r->has_current, r->current, &t->progress.has_current, &t->progress.current);
    differs |= moved;
    differs |= take_number(r->has_total, r->total, &t->progress.has_total, &t->progress.total);
    differs |= take_text(r->has_unit, r->unit, &t->progress.unit);
    differs |= take_text(r->has_message, r->message, &t->progress.message);
    differs |= take_text(r->has_data, r->progress_data, &t->progress.data);
    estimate_set_total(&t->estimate, t->progress.has_total ? t->progress.total : 0);
    if (moved && t->progress.has_current) {
        estimate_add(&t->estimate, t->progress.current, now_ms);
    }
    return differs;
}

bool task_heard(struct task *t, int64_t now_ms) {
    bool was = t->stalled;
    t->heard = true;
    t->stalled = false;
    t->heard_at = now_ms;
    return was;
}

static void finals_drop(struct task *t) {
    size_t bytes = 0;
    uint32_t first = t->final_count;
    while (first > 0 && t->final_count - first < TASK_FINALS_MAX) {
        bytes += strlen(t->finals[first - 1].answer);
        if (bytes > TASK_FINALS_BYTES && first < t->final_count) {
            break;
        }
        first--;
    }
    for (uint32_t i = 0; i < first; i++) {
        mem_free(t->finals[i].answer);
    }
    t->final_count -= first;
    memmove(t->finals, t->finals + first, t->final_count * sizeof(*t->finals));
}

void task_keep_final(struct task *t, uint32_t attempt, const uint8_t hash[32], struct str answer) {
    t->finals = mem_resize(t->finals, (t->final_count + 1) * sizeof(*t->finals));
    struct task_final *f = &t->finals[t->final_count++];
    f->attempt = attempt;
    memcpy(f->hash, hash, sizeof(f->hash));
    f->answer = mem_strdup(answer);
    finals_drop(t);
}

const struct task_final *task_final_of(const struct task *t, uint32_t attempt) {
    for (uint32_t i = t->final_count; i-- > 0;) {
        if (t->finals[i].attempt == attempt) {
            return &t->finals[i];
        }
    }
    return NULL;
}

static int64_t at_most(int64_t at, int64_t most) {
    return at < most ? at : most;
}

void task_bound(struct task *t, int64_t now_ms) {
    int64_t created_ahead = t->created_at - t->created_apart - now_ms, started_ahead = t->started_at - t->started_apart - now_ms;
    t->created_apart += created_ahead > 0 ? created_ahead : 0;
    t->started_apart += started_ahead > 0 ? started_ahead : 0;
    t->ready_at = at_most(t->ready_at, now_ms + (t->attempts_used ? task_backoff(t) : 0));
    t->cancel_at = at_most(t->cancel_at, now_ms);
    t->expires_at = at_most(t->expires_at, now_ms + t->ttl_ms);
    if (t->state != TASK_INPUT_REQUIRED) { /* else it is what is left */
        t->timeout_at = at_most(t->timeout_at, now_ms + t->timeout_ms);
    }
}

static bool put_back(int64_t *at, int64_t wall_ms) {
    bool ahead = *at > wall_ms;
    *at = ahead ? wall_ms : *at;
    return ahead;
}

bool task_put_back(struct task *t, int64_t wall_ms) {
    int64_t created_ahead = t->created_at - wall_ms, started_ahead = t->started_at - wall_ms;
    if (created_ahead > 0) {
        t->created_apart -= created_ahead;
        t->deadline_at -= t->deadline_at ? created_ahead : 0; /* it is a duration from there */
    }
    if (started_ahead > 0) {
        t->started_apart -= started_ahead;
    }
    bool differs = put_back(&t->created_at, wall_ms);
    differs |= put_back(&t->started_at, wall_ms);
    differs |= put_back(&t->updated_at, wall_ms);
    differs |= put_back(&t->ended_at, wall_ms);
    return put_back(&t->seen_at, wall_ms) || differs;
}

int64_t task_lease_until(const struct task *t) {
    return t->state == TASK_RUNNING && t->attempt_lease_ms ? t->heard_at + t->attempt_lease_ms : 0;
}

static void sooner(enum task_clock clock, int64_t at_ms, enum task_clock *best, int64_t *best_ms) {
    if (at_ms && (!*best_ms || at_ms < *best_ms)) {
        *best = clock;
        *best_ms = at_ms;
    }
}

/* 0 stays 0: none. */
static int64_t steady_of(int64_t wall_at, int64_t apart_ms) {
    if (!wall_at) {
        return 0;
    }
    return wall_at > apart_ms ? wall_at - apart_ms : 1;
}

enum task_clock task_next_clock(const struct task *t, int64_t cancel_grace_ms, int64_t apart_ms, int64_t *ret_at_ms) {
    enum task_clock best = CLOCK_NONE;
    int64_t at = 0;
    if (task_is_ended(t)) {
        sooner(CLOCK_EXPIRE, t->expires_at, &best, &at);
    } else {
        sooner(CLOCK_DEADLINE, steady_of(t->deadline_at, apart_ms), &best, &at);
        if (t->cancel_requested) {
            sooner(CLOCK_CANCEL_GRACE, t->cancel_at + cancel_grace_ms, &best, &at);
        }
    }
    if (t->state == TASK_RUNNING) {
        int64_t until = task_lease_until(t);
        sooner(CLOCK_TIMEOUT, t->timeout_at, &best, &at);
        sooner(CLOCK_LEASE, until, &best, &at);
        if (until && !t->stalled) {
            sooner(CLOCK_STALLED, t->heard_at + t->attempt_lease_ms / 2 + 1, &best, &at);
        }
    }
    *ret_at_ms = at;
    return best;
}
