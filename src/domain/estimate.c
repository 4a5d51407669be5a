#include "domain/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ESTIMATE_GROUND_MS 500   /* less time than this is no ground */
#define ESTIMATE_SLOPES_MAX (ESTIMATE_SAMPLES * (ESTIMATE_SAMPLES - 1) / 2)
#define KIND_GROUND 3

void estimate_reset(struct estimate *e, int64_t now_ms) {
    *e = (struct estimate){.count = 1};
    e->sample[0].at_ms = now_ms;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

/*
 * The median of the slopes between all pairs of samples of the later half (Theil 1950, Sen 1968): bursts and single pauses do not move it,
 * a lasting change of speed does. The pace over the whole run is mixed in, so that work that comes in waves is not judged by one wave.
 */
static double estimate_rate(const struct estimate *e) {
    const unsigned last = e->count - 1;
    int64_t span = e->sample[last].at_ms - e->sample[0].at_ms;
    double risen = e->sample[last].current - e->sample[0].current;
    if (e->count < 3 || span < ESTIMATE_GROUND_MS || risen <= 0) {
        return 0;
    }
    double slopes[ESTIMATE_SLOPES_MAX];
    unsigned n = 0;
    for (unsigned i = e->count / 2; i < e->count; i++) {
        for (unsigned j = i + 1; j < e->count; j++) {
            double dt = (double) (e->sample[j].at_ms - e->sample[i].at_ms) / 1000;
            if (dt > 0) {
                slopes[n++] = (e->sample[j].current - e->sample[i].current) / dt;
            }
        }
    }
    double whole = risen * 1000 / (double) span;
    if (n == 0) {
        return whole;
    }
    qsort(slopes, n, sizeof(slopes[0]), compare_doubles);
    double recent = slopes[n / 2];
    return recent > 0 ? sqrt(recent * whole) : whole;
}

void estimate_add(struct estimate *e, double current, int64_t now_ms) {
    if (e->count && current < e->sample[e->count - 1].current) {
        estimate_reset(e, now_ms);
        e->sample[0].current = current;
        return;
    }
    if (e->count && now_ms <= e->sample[e->count - 1].at_ms) {
        e->sample[e->count - 1].current = current;
        return;
    }
    if (e->count == ESTIMATE_SAMPLES) {
        for (unsigned i = 1; i < ESTIMATE_SAMPLES / 2; i++) {
            e->sample[i] = e->sample[i * 2];
        }
        e->count = ESTIMATE_SAMPLES / 2;
    }
    e->sample[e->count].at_ms = now_ms;
    e->sample[e->count].current = current;
    e->count++;
    e->rate = estimate_rate(e);
}

double estimate_eta_s(const struct estimate *e, double current, double total) {
    if (e->rate <= 0 || total <= 0) {
        return -1;
    }
    double left = total > current ? (total - current) / e->rate : 0;
    return isfinite(left) && left < 1e9 ? left : -1;
}

void kind_add(struct kind_durations *k, int64_t duration_ms) {
    k->ms[k->at] = duration_ms < 0 ? 0 : duration_ms > UINT32_MAX ? UINT32_MAX : (uint32_t) duration_ms;
    k->at = (k->at + 1) % KIND_DURATIONS;
    if (k->count < KIND_DURATIONS) {
        k->count++;
    }
}

double kind_eta_s(const struct kind_durations *k, int64_t elapsed_ms) {
    double longer[KIND_DURATIONS];
    unsigned n = 0;
    for (unsigned i = 0; i < k->count; i++) {
        if (k->ms[i] > elapsed_ms) {
            longer[n++] = k->ms[i];
        }
    }
    if (n < KIND_GROUND) {
        return -1;
    }
    qsort(longer, n, sizeof(longer[0]), compare_doubles);
    return (longer[n / 2] - (double) elapsed_ms) / 1000;
}
