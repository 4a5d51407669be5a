/*
 * estimate.h: how fast a task goes and how long it still takes, from its own reports; null rather than a guess without ground.
 */
#ifndef BOWLINE_DOMAIN_ESTIMATE_H
#define BOWLINE_DOMAIN_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

#define ESTIMATE_SAMPLES 32

struct estimate {
    unsigned count;
    struct {
        int64_t at_ms;
        double current;
    } sample[ESTIMATE_SAMPLES]; /* oldest first, thinned evenly when full */
    double rate;                /* units per second; 0: no ground for one */
};

void estimate_reset(struct estimate *e, int64_t now_ms);
/* Takes a report of `current` at now_ms (rising). A step backwards starts anew. */
void estimate_add(struct estimate *e, double current, int64_t now_ms);
/* Seconds to go, or negative if there is no ground for an estimate. */
double estimate_eta_s(const struct estimate *e, double current, double total);

/* How long finished tasks of a kind took: the last few durations. */
#define KIND_DURATIONS 33
struct kind_durations {
    unsigned count, at;
    uint32_t ms[KIND_DURATIONS];
};
void kind_add(struct kind_durations *k, int64_t duration_ms);
/* Seconds to go after elapsed_ms by the median of those that took longer; negative without ground (fewer than 3). */
double kind_eta_s(const struct kind_durations *k, int64_t elapsed_ms);

#endif
