/*
 * estimate.h: how fast a task goes and how long it still takes, from its own reports and from how finished tasks of its kind went; null rather than a guess without
 * ground. Constant memory and a few dozen floating-point operations a report. docs/estimates.md says how good it is.
 */
#ifndef BOWLINE_DOMAIN_ESTIMATE_H
#define BOWLINE_DOMAIN_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

/* A run is cut into eighths of its work; how its time falls on them is its shape. */
#define ESTIMATE_PARTS 8

struct estimate {
    double rate; /* units per second of late, as of the newest report; 0: no ground for one */

    int64_t from_ms;   /* what is known begins here; waiting for people is taken out of all times */
    int64_t first_ms;  /* of the first report since */
    int64_t at_ms;     /* of the newest report */
    int64_t paused_ms; /* since when it waits; 0: it does not */
    double from, first, current;
    int64_t cell_ms;                      /* from from_ms to the end of the last burst */
    int64_t burst_ms;                     /* from from_ms to the first report after it */
    double cell;                          /* current at that time */
    double recent;                        /* units risen up to there, each weighed by how late it came */
    double total;                         /* 0: not known */
    double work, recent_work;             /* cell and recent in parts of the expected time; work < 0: nothing yet */
    int64_t work_ms;                      /* up to where work was followed, from from_ms */
    uint32_t mark_ms[ESTIMATE_PARTS - 1]; /* when each part was done, from from_ms; 0: not yet */
    uint32_t reports;
    bool whole; /* from_ms is the start of the attempt */
    bool total_changed;
};

/* How long finished tasks of a kind took: the last few durations, and the mean of their shapes. */
#define KIND_DURATIONS 33
struct kind_durations {
    unsigned count, at;
    uint32_t ms[KIND_DURATIONS];
    unsigned shapes;                  /* how many the mean is of, at most KIND_SHAPES */
    double shape[ESTIMATE_PARTS - 1]; /* part of the time that had passed at the end of each eighth but the last, rising */
    double spread;                    /* mean squared distance of the shapes from their mean */
    double trust;                     /* 0 to 1, from the three above */
};
#define KIND_SHAPES 16

/* An attempt begins. */
void estimate_reset(struct estimate *e, int64_t now_ms);
/* Goes on from `current` without knowledge of what was before, as after a restart; the rate stands until there is new ground. */
void estimate_resume(struct estimate *e, double current, int64_t now_ms);
/* Time from estimate_pause to estimate_go is not the task's own. */
void estimate_pause(struct estimate *e, int64_t now_ms);
void estimate_go(struct estimate *e, int64_t now_ms);
/* How much there is to do; 0: not known. */
void estimate_set_total(struct estimate *e, double total);
/* Takes a report of `current` at now_ms (never falling). A large step backwards starts anew. */
void estimate_add(struct estimate *e, double current, int64_t now_ms);
/* Seconds to go as of now_ms (not before the newest report), or negative if there is no ground for an estimate. `k` may be NULL. */
double estimate_eta_s(struct estimate *e, const struct kind_durations *k, int64_t now_ms);
/* The task's own time so far, or negative if its start was not seen. */
int64_t estimate_elapsed_ms(const struct estimate *e, int64_t now_ms);

void kind_add(struct kind_durations *k, int64_t duration_ms);
/* Learns from a task that has succeeded, if the whole of it was seen. */
void kind_add_shape(struct kind_durations *k, const struct estimate *e, int64_t now_ms);
/* Sets trust; after reading a shape back from storage. */
void kind_trust_shape(struct kind_durations *k);
/* Whether a shape read back from storage is one: rising, between 0 and 1. */
bool kind_shape_valid(const double shape[ESTIMATE_PARTS - 1]);
/* Seconds to go after elapsed_ms by the median of those that took longer; negative without ground (fewer than 3). */
double kind_eta_s(const struct kind_durations *k, int64_t elapsed_ms);

#endif
