/*
 * reporter.h: what one attempt at a task reports, brought to the server in order and exactly once, however often the server or the network goes away.
 *
 * Nothing here waits: what is said is kept (output in memory, and in a bounded temporary file while the server is away; progress as its newest state; questions
 * as they are) and sent in batches, one at a time. A batch whose outcome is unknown is sent again to the letter, which the contract makes harmless; output goes by its offset in the attempt. Until all is
 * said, the task's lease is kept with heartbeats, and a request that is held by the server hears of cancellation.
 */
#ifndef BOWLINE_CLI_REPORTER_H
#define BOWLINE_CLI_REPORTER_H

#include "cli/client_ops.h"

struct reporter;

enum reporter_end {
    REPORTER_DELIVERED,  /* the final report has arrived */
    REPORTER_SUPERSEDED, /* the attempt is over: its lease or time has run out */
    REPORTER_ENDED,      /* the task has ended by other means */
    REPORTER_REFUSED,    /* the token does not count any more, or the task is gone */
};

/* From within these the reporter may be told more, but neither ticked nor destroyed. */
struct reporter_events {
    void (*cancel)(void *arg);                     /* once: cancellation is requested */
    void (*end)(void *arg, enum reporter_end how); /* once: nothing more can be said */
    void (*note)(void *arg, const char *text);     /* something that people should know */
};

/* Members of a progress report as JSON text; STR_NONE: not mentioned. */
struct reporter_progress {
    struct str current, total, unit, message, data, phase; /* a phase that differs from the last one: what is not mentioned is forgotten */
};

/* Starts with a heartbeat. lease_s: 0 where the server's answers shall tell it. */
struct reporter *reporter_create(struct client_ops *ops, const char *task, const char *token, double lease_s, const struct reporter_events *events,
                                 void *arg);
void reporter_destroy(struct reporter *r); /* accepts NULL */

void reporter_output(struct reporter *r, struct str data);
void reporter_progress(struct reporter *r, const struct reporter_progress *p);
/* Another report as JSON, such as a question. */
void reporter_other(struct reporter *r, struct str report);
void reporter_heartbeat(struct reporter *r);
/* The last one, sent when everything before it has arrived. If the server refuses what it says, the task fails with type result-refused. */
void reporter_final(struct reporter *r, struct str report);

/* Says nothing more, and calls no event. */
void reporter_stop(struct reporter *r);

/* Sends what is due. When it wants to be called again, at the latest, in ms of clock_ms. */
int64_t reporter_tick(struct reporter *r, int64_t now_ms);
bool reporter_is_over(const struct reporter *r);
/* The final report given was refused, and another told instead. */
bool reporter_result_is_refused(const struct reporter *r);
/* Bytes of others' reports that wait: a reason to read no more of them. */
size_t reporter_backlog(const struct reporter *r);
/* Bytes of output that have not arrived, those left out included. */
uint64_t reporter_undelivered(const struct reporter *r);

#endif
