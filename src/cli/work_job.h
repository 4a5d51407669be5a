/*
 * work_job.h: one task that `bowline work` has claimed: the command that does it, what the command says, and how that is told.
 *
 *     RUNNING ── the command and its output have ended ──▶ TELLING ── the server knows ──▶ DONE
 *        └────── given back (job_release) ─────────────────────────────────────────────────▲
 */
#ifndef BOWLINE_CLI_WORK_JOB_H
#define BOWLINE_CLI_WORK_JOB_H

#include "base/json.h"
#include "cli/client_ops.h"

#define JOB_FDS 6

/* What all jobs of a worker share. */
struct job_plan {
    const char *queue;
    char **argv;
    struct signals *signals;
    struct client_ops *ops;
    bool streams; /* standard output is reported as output instead of being the result */
    double kill_after_s, lease_s;
};

enum job_outcome { JOB_UNKNOWN, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED, JOB_GIVEN_BACK };

struct job;
struct signals;

/* The claimed task as the server gave it. Never NULL: a command that cannot be started has failed. */
struct job *job_create(const struct job_plan *plan, const struct json *task);
void job_destroy(struct job *j); /* accepts NULL; a command that still runs is killed */
/* JOB_FDS descriptors to wait for. */
void job_watch(struct job *j, struct pollfd fds[JOB_FDS]);
void job_turn(struct job *j, const struct pollfd fds[JOB_FDS]);
/* Does what is due; when it wants to be called again, at the latest. */
int64_t job_tick(struct job *j, int64_t now_ms);
/* Stops the command and then gives the task back; waits no longer for a server that has not yet heard of its end. */
void job_release(struct job *j);
bool job_is_done(const struct job *j);
enum job_outcome job_outcome_of(const struct job *j);

#endif
