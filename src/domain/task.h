/*
 * task.h: a task (contract section 4) and every move it can make. Pure: no clock, no I/O, no threads; time comes in, in milliseconds.
 * Times are of two clocks, as struct moment says: what people are shown and what is set by a date is Unix time, what is a duration steady time.
 * Which state follows which event stands in one table (task.c); task_move makes every move and checks the invariant after it.
 */
#ifndef BOWLINE_DOMAIN_TASK_H
#define BOWLINE_DOMAIN_TASK_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "domain/estimate.h"
#include "domain/report.h"

#define TASK_GIVEN_BACK_MAX 5 /* attempts that end without any report and are not counted */
#define TASK_BACKOFF_MAX_MS 3600000
#define TASK_FINALS_MAX 100 /* so many attempts may fail; the last may succeed in its turn */
#define TASK_FINALS_BYTES (256 * 1024)

enum task_state { TASK_QUEUED, TASK_RUNNING, TASK_INPUT_REQUIRED, TASK_SUCCEEDED, TASK_FAILED, TASK_CANCELLED, TASK_STATES };

enum task_event {
    TASK_EV_START,   /* a worker has it */
    TASK_EV_ASK,     /* a question is open */
    TASK_EV_ANSWER,  /* it is answered */
    TASK_EV_REQUEUE, /* the attempt is over, the task is not */
    TASK_EV_SUCCEED,
    TASK_EV_FAIL,
    TASK_EV_CANCEL, /* is cancelled now */
    TASK_EVENTS
};

enum on_session_end { END_KEEP, END_CANCEL, END_HANDOVER };

/* What it is created with; texts are the caller's. */
struct task_new {
    struct str kind, title, queue; /* title and queue may be none */
    struct str input;              /* JSON text; none if not given */
    struct str metadata;           /* JSON text */
    enum on_session_end on_session_end;
    int64_t lease_ms, timeout_ms, deadline_ms, backoff_ms, ttl_ms;
    int64_t not_before_ms;       /* Unix; 0 none */
    int64_t cancel_unwatched_ms; /* -1: never */
    unsigned max_attempts;
};

/* The final report by which an attempt's worker ended it, so that saying it again gets the same answer. */
struct task_final {
    uint32_t attempt;
    uint8_t hash[32];
    char *answer;
};

struct task {
    struct id id, session;
    enum task_state state;
    enum on_session_end on_session_end;
    uint64_t version;    /* number of the last change */
    uint64_t change_seq; /* number of the last change other than output */
    uint64_t output_seq; /* number of the last output; 0 none */
    uint64_t moved_seq;  /* number of the move into its session; 0 if it was made there */
    uint32_t
        watch_base; /* its watch tokens have the number watch_base + the session's generation (modulo 2^32), so that a rotation raises those of all tasks at once */
    uint32_t attempt;       /* 0 until a worker has it */
    uint32_t attempts_used; /* failed, timed out or lost */
    uint32_t given_back;    /* ended without any report and not counted */
    uint32_t max_attempts;
    char *kind, *title, *queue, *metadata; /* title and queue may be NULL */
    int64_t lease_ms, timeout_ms, backoff_ms, ttl_ms, cancel_unwatched_ms;
    /* Unix time: */
    int64_t created_at, started_at, updated_at, ended_at, seen_at;
    int64_t created_apart, started_apart; /* Unix less steady time at these */
    int64_t deadline_at;                  /* 0: none, once ended */
    int64_t not_before_at;                /* 0: none */
    /* steady, as all that follow: */
    int64_t expires_at;
    int64_t ready_at;       /* may be claimed from then on, but for not_before_at */
    int64_t handover_until; /* waits for its user's next session until then; 0: does not */

    /* the attempt */
    bool heard;        /* its worker has reported */
    bool attempt_lost; /* it was ended by silence or by its timeout */
    int64_t attempt_lease_ms;
    int64_t heard_at;   /* start of the lease */
    int64_t timeout_at; /* 0: none. While a question is open: what is left of it, in ms */
    bool stalled;
    struct {
        bool has_current, has_total;
        double current, total;
        char *unit, *message;
        char *phase; /* NULL: the attempt has not said any; "": it has left the last one */
        char *data;  /* JSON text */
    } progress;
    struct estimate estimate;
    double eta_s; /* as of updated_at; negative: no ground for one */

    bool cancel_requested;
    char *cancel_reason;
    int64_t cancel_at; /* when it was requested */
    uint64_t cancel_version;

    uint64_t output_bytes; /* end of the task's whole output */
    uint64_t output_first; /* first byte still kept */
    uint64_t output_base;  /* where this attempt's output begins */

    uint32_t questions;                                    /* asked so far: names the next one */
    char *question_id, *question_prompt, *question_schema; /* the open one */
    char *answer_request, *answer_value;                   /* the last answer of this attempt */
    uint64_t answer_version;

    uint64_t input_bytes; /* 0: none was given */
    char *result;         /* JSON text if it is small enough to be shown */
    uint64_t result_bytes;
    char *error_type, *error_message, *error_detail;

    struct task_final *finals; /* in order of attempt; the newest TASK_FINALS_MAX, and of answers longer than TASK_FINALS_BYTES in all fewer */
    uint32_t final_count;
};

static inline bool task_is_ended(const struct task *t) {
    return t->state >= TASK_SUCCEEDED;
}
static inline bool task_has_worker(const struct task *t) {
    return t->state == TASK_RUNNING || t->state == TASK_INPUT_REQUIRED;
}

const char *task_state_name(enum task_state s);
/* -1 if there is no such state. */
int task_state_parse(struct str name);
/* The state that follows, or -1 where the event cannot happen. */
int task_next_state(enum task_state s, enum task_event ev);

void task_init(struct task *t, struct id id, struct id session, const struct task_new *n, struct moment now);
void task_fini(struct task *t);

/* Each of these is a change that people are shown: the caller numbers it. The event must be possible (task_next_state). */
void task_start(struct task *t, int64_t lease_ms, struct moment now); /* a new attempt; lease_ms < 0: the task's own */
void task_ask(struct task *t, struct str prompt, struct str schema, struct moment now);
void task_answer(struct task *t, struct str value, struct moment now);
void task_succeed(struct task *t, struct str result, uint64_t inline_max, struct moment now);
void task_fail(struct task *t, struct str type, struct str message, struct str detail, struct moment now);
void task_cancel_request(struct task *t, struct str reason, struct moment now); /* reason may be none */
void task_cancelled(struct task *t, struct moment now);

/* How an attempt that did not end by its worker's word is over. */
enum attempt_end { ATTEMPT_FAILED, ATTEMPT_LOST, ATTEMPT_TIMED_OUT, ATTEMPT_RELEASED };
/*
 * Ends the attempt: queued again if something is left, else failed (worker-lost, timeout, or the error given for ATTEMPT_FAILED),
 * or cancelled where cancellation was requested. `error`: type, message, detail of ATTEMPT_FAILED.
 */
void task_attempt_over(struct task *t, enum attempt_end how, const struct str error[3], struct moment now);

/* Would the report be taken? Works on the small copy only, so that an array can be tried as a whole before anything changes. */
struct task_trial {
    enum task_state state;
    uint32_t attempt;
    bool has_queue;
    uint64_t output_offset; /* where this attempt's next output goes */
};
struct task_trial task_trial_of(const struct task *t);
enum err task_try_report(struct task_trial *trial, const struct report *r);

/* The phase that the task is in, and that a report of progress ends by naming another or none; NULL: it ends none. */
const char *task_phase_ending(const struct task *t, const struct report *r);
/* Takes over a progress report; true if anything differs. Names what people see only; the lease is the caller's affair (task_heard). */
bool task_progress(struct task *t, const struct report *r, int64_t now_ms);
/* The worker was heard: restarts the lease; true if that ends `stalled`, which is a change. */
bool task_heard(struct task *t, int64_t now_ms);

/* No duration began in the future: what was stored under a clock that was ahead begins now at the latest. */
void task_bound(struct task *t, int64_t now_ms);
/* What lies in the future of a wall clock that has been put back to wall_ms counts as now. True if anything shown differs. */
bool task_put_back(struct task *t, int64_t wall_ms);

/* What will happen by itself to a task next, and when, in steady time (0: nothing). apart_ms: Unix less steady time now, here and below. */
enum task_clock { CLOCK_NONE, CLOCK_STALLED, CLOCK_LEASE, CLOCK_TIMEOUT, CLOCK_DEADLINE, CLOCK_CANCEL_GRACE, CLOCK_EXPIRE };
enum task_clock task_next_clock(const struct task *t, int64_t cancel_grace_ms, int64_t apart_ms, int64_t *ret_at_ms);

/* Remembers how the attempt ended and what was answered; the oldest go where there is no room. */
void task_keep_final(struct task *t, uint32_t attempt, const uint8_t hash[32], struct str answer);
/* NULL where its worker did not end it, or that is no longer remembered. */
const struct task_final *task_final_of(const struct task *t, uint32_t attempt);

int64_t task_lease_until(const struct task *t); /* 0: no lease, or none running */

/* ---- texts ---- */

/* The task as people see it (contract section 4), without the brace that closes it when `open`. */
void task_write(const struct task *t, int64_t apart_ms, bool open, struct buf *out);
/* The answer to a report, without the brace that closes it when `open`. */
void task_write_report_answer(const struct task *t, int64_t apart_ms, bool open, struct buf *out);
/* What the store keeps beside the columns of its own: JSON text. */
void task_write_body(const struct task *t, struct buf *out);
/* Reads it back; id, session, state, version, kind and queue are the row's. 0 or -1. */
int task_read_body(struct task *t, struct str body) MUST_CHECK;

#endif
