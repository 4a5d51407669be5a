/*
 * Two views of the same run: its pace from the start to now, and its pace of late. Of late means a mean in which what happened at time s counts (s / now) to the
 * fourth power, so that it has no scale of its own: in a task of an hour the last ten minutes count, in one of a minute the last ten seconds, and nothing but one sum has
 * to be kept. A burst is a step in a sum, not a speed. The nearer the end, the more the late pace counts, because what is left is then like what was last.
 *
 * Both are taken in expected time instead of units where finished tasks of the kind have shown how their time falls on their work: a sort that merges fast at the end,
 * or a build whose last files are the large ones, is on time when it is where its kind usually is.
 */
#include "domain/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GROUND_MS 500 /* less time than this is no ground */
#define GROUND_REPORTS 2
#define ETA_MAX_S 1e9
#define LEAD_MS 1000    /* a first report is judged by at least this much of what follows */
#define LEAD_FACTOR 30  /* so much faster than the rest, and it was not work but where an earlier try had ended */
#define BURST_PAUSE 100 /* a pause of at least this part of the time so far ends a burst */
#define BURST_SPAN 32   /* and so does its having lasted for this part */
#define SHAPE_REPORTS 8 /* fewer say too little of how the time fell on the work */
#define SHAPE_GROUND 2  /* from one run alone it cannot be told what is the kind's and what was chance */
#define SHAPE_DOUBT 2   /* how much the spread of the runs counts against their mean */
#define LATE_BOUND 50   /* the late pace is not taken for more than so many times the whole one, nor less */
#define KIND_GROUND 3

void estimate_reset(struct estimate *e, int64_t now_ms) {
    *e = (struct estimate){.from_ms = now_ms, .at_ms = now_ms, .work = -1, .whole = true};
}

void estimate_resume(struct estimate *e, double current, int64_t now_ms) {
    *e = (struct estimate){
        .from_ms = now_ms, .at_ms = now_ms, .work = -1, .from = current, .current = current, .cell = current, .rate = e->rate, .total = e->total};
}

void estimate_pause(struct estimate *e, int64_t now_ms) {
    if (!e->paused_ms) {
        e->paused_ms = now_ms;
    }
}

void estimate_go(struct estimate *e, int64_t now_ms) {
    if (e->paused_ms && now_ms > e->paused_ms) {
        int64_t waited = now_ms - e->paused_ms;
        e->from_ms += waited;
        e->at_ms += waited;
        if (e->first_ms) {
            e->first_ms += waited;
        }
    }
    e->paused_ms = 0;
}

/* The sum of a late-weighed mean after `risen` more came evenly between the times `before` and `now`, both counted from the start. */
static double late_sum(double sum, double risen, double before, double now) {
    if (now <= before) {
        return sum + risen;
    }
    double r = before / now, r4 = r * r * r * r;
    return sum * r4 + risen * (1 - r4 * r) / (5 * (1 - r));
}

/* The mean per unit of time that such a sum stands for. */
static double late_mean(double sum, double now) {
    return sum * 5 / now;
}

/* What the run would have as its sum had it gone evenly. */
static double even_sum(double risen) {
    return risen / 5;
}

/*
 * A worker that goes on where an earlier attempt ended, or that skips what is there already, begins with a step that says nothing of its speed. It shows by how slowly
 * everything after it goes.
 */
static void drop_lead(struct estimate *e) {
    int64_t lead = e->first_ms - e->from_ms, after = e->at_ms - e->first_ms;
    if (!e->first_ms || e->reports < 1 + GROUND_REPORTS || after < LEAD_MS || after < 4 * lead) {
        return;
    }
    int64_t between = after / (e->reports - 1); /* the first report is due what any other is, also where it begins the attempt */
    double lead_risen = e->first - e->from, risen = e->current - e->first;
    if (risen > 0 && lead_risen * (double) after > LEAD_FACTOR * risen * (double) (lead > between ? lead : between)) {
        e->from_ms = e->first_ms;
        e->from = e->first;
        e->recent = even_sum(risen);
        e->cell = e->current;
        e->cell_ms = e->burst_ms = e->at_ms - e->from_ms;
        e->work = -1;
        e->whole = false;
    }
    e->first_ms = 0; /* judged */
}

/*
 * Many workers say nothing for a while and then much at once. What comes in one burst was done since the end of the one before; it is over when there is a pause, or when it
 * has lasted for a part of the run.
 */
static void end_burst(struct estimate *e, int64_t now_ms) {
    int64_t at = e->at_ms - e->from_ms, pause = now_ms - e->at_ms;
    if (at > e->cell_ms && (pause * BURST_PAUSE >= at || (at - e->burst_ms) * BURST_SPAN >= at)) {
        e->recent = late_sum(e->recent, e->current - e->cell, (double) e->cell_ms, (double) at);
        e->cell = e->current;
        e->cell_ms = at;
    }
    if (at <= e->cell_ms) {
        e->burst_ms = now_ms - e->from_ms;
    }
}

static double recent_at(const struct estimate *e) {
    return late_sum(e->recent, e->current - e->cell, (double) e->cell_ms, (double) (e->at_ms - e->from_ms));
}

static bool has_ground(const struct estimate *e) {
    return e->reports >= GROUND_REPORTS && e->at_ms - e->from_ms >= GROUND_MS && e->current > e->from;
}

static void mark_parts(struct estimate *e, double current, int64_t now_ms) {
    for (int i = 0; i < ESTIMATE_PARTS - 1; i++) {
        double at = e->total * (i + 1) / ESTIMATE_PARTS;
        if (current < at) {
            return;
        }
        if (!e->mark_ms[i]) {
            double part = current > e->current && at > e->current ? (at - e->current) / (current - e->current) : 0;
            double ms = (double) (e->at_ms - e->from_ms) + part * (double) (now_ms - e->at_ms);
            e->mark_ms[i] = ms < 1 ? 1 : ms < UINT32_MAX ? (uint32_t) ms : UINT32_MAX;
        }
    }
}

void estimate_set_total(struct estimate *e, double total) {
    total = total > 0 ? total : 0;
    if (total != e->total) {
        e->total_changed |= e->total > 0 || e->current > e->from;
        e->total = total;
    }
}

void estimate_add(struct estimate *e, double current, int64_t now_ms) {
    if (now_ms < e->at_ms) {
        now_ms = e->at_ms;
    }
    if (!isfinite(current)) {
        return;
    }
    if (current < e->current && current - e->from <= (e->current - e->from) / 2) {
        estimate_resume(e, current, now_ms);
        e->rate = 0;
        return;
    }
    if (e->total > 0 && e->whole) {
        mark_parts(e, current, now_ms);
    }
    end_burst(e, now_ms);
    e->current = current;
    e->at_ms = now_ms;
    if (e->reports++ == 0) {
        e->first_ms = now_ms;
        e->first = current;
    }
    drop_lead(e);
    if (has_ground(e)) {
        double span_s = (double) (e->at_ms - e->from_ms) / 1000, rate = late_mean(recent_at(e), span_s), whole = (e->current - e->from) / span_s;
        e->rate = rate > 0 && isfinite(rate) ? rate : isfinite(whole) ? whole : 0;
    }
}

/* The part of a run's time that is expected to have passed when `share` of its work is done. */
static double expected_part(const struct kind_durations *k, double share) {
    share = share > 0 ? share < 1 ? share : 1 : 0;
    double x = share * ESTIMATE_PARTS;
    int i = x < ESTIMATE_PARTS - 1 ? (int) x : ESTIMATE_PARTS - 1;
    double low = i ? k->shape[i - 1] : 0, high = i < ESTIMATE_PARTS - 1 ? k->shape[i] : 1;
    double seen = low + (high - low) * (x - i);
    return share + (seen - share) * k->trust;
}

/* The pace as of now: of the whole run, drawn towards that of late the nearer the end is. */
static double pace(double risen, double recent, double share, double at_ms, double now_ms) {
    double whole = risen / now_ms, late = late_mean(late_sum(recent, 0, at_ms, now_ms), now_ms);
    double least = whole / LATE_BOUND, most = whole * LATE_BOUND;
    late = late < least ? least : late > most ? most : late;
    return whole * pow(late / whole, share * share * share * share);
}

/* Milliseconds to go by expected time; negative where the shape cannot be used. */
static double left_by_shape(struct estimate *e, const struct kind_durations *k, double share, double now_ms) {
    double work = expected_part(k, share), from = expected_part(k, e->from / e->total), cell = expected_part(k, e->cell / e->total);
    if (e->work < 0) {
        e->recent_work = even_sum(cell - from);
    } else if (e->cell_ms > e->work_ms) {
        e->recent_work = late_sum(e->recent_work, cell - e->work, (double) e->work_ms, (double) e->cell_ms);
    }
    e->work = cell;
    e->work_ms = e->cell_ms;
    double at = (double) (e->at_ms - e->from_ms), recent = late_sum(e->recent_work, work - cell, (double) e->cell_ms, at);
    return work > from ? (1 - work) / pace(work - from, recent, share, at, now_ms) : -1;
}

double estimate_eta_s(struct estimate *e, const struct kind_durations *k, int64_t now_ms) {
    double left = e->total - e->current, share = e->current / e->total, risen = e->current - e->from;
    if (!(e->total > 0) || !(e->rate > 0)) {
        return -1;
    }
    if (left <= 0) {
        return 0;
    }
    double at = (double) (e->at_ms - e->from_ms), now = (double) (now_ms - e->from_ms), eta_ms = left / e->rate * 1000;
    if (has_ground(e)) {
        bool shaped = k && k->trust > 0 && !e->total_changed && e->from >= 0;
        eta_ms = shaped ? left_by_shape(e, k, share, now > at ? now : at)
                        : left / pace(risen, recent_at(e), share > 0 ? share : 0, at, now > at ? now : at);
    }
    return eta_ms >= 0 && eta_ms < ETA_MAX_S * 1000 ? eta_ms / 1000 : -1;
}

int64_t estimate_elapsed_ms(const struct estimate *e, int64_t now_ms) {
    return e->whole ? (e->paused_ms ? e->paused_ms : now_ms) - e->from_ms : -1;
}

void kind_add(struct kind_durations *k, int64_t duration_ms) {
    k->ms[k->at] = duration_ms < 0 ? 0 : duration_ms > UINT32_MAX ? UINT32_MAX : (uint32_t) duration_ms;
    k->at = (k->at + 1) % KIND_DURATIONS;
    if (k->count < KIND_DURATIONS) {
        k->count++;
    }
}

bool kind_shape_valid(const double shape[ESTIMATE_PARTS - 1]) {
    double last = 0;
    for (int i = 0; i < ESTIMATE_PARTS - 1; i++) {
        if (!(shape[i] >= last && shape[i] <= 1)) {
            return false;
        }
        last = shape[i];
    }
    return true;
}

/* How far the mean shape is to be believed against an even pace: as far as its distance from one stands out from that of the runs from it. */
void kind_trust_shape(struct kind_durations *k) {
    double distance = 0;
    for (int i = 0; i < ESTIMATE_PARTS - 1; i++) {
        double by = k->shape[i] - (double) (i + 1) / ESTIMATE_PARTS;
        distance += by * by;
    }
    k->trust = 0;
    if (k->shapes >= SHAPE_GROUND && distance > 0) {
        k->trust = distance / (distance + SHAPE_DOUBT * k->spread * k->shapes / (k->shapes - 1));
    }
}

void kind_add_shape(struct kind_durations *k, const struct estimate *e, int64_t now_ms) {
    double shape[ESTIMATE_PARTS - 1], took = (double) estimate_elapsed_ms(e, now_ms);
    if (took < GROUND_MS || e->total_changed || e->reports < SHAPE_REPORTS || !e->mark_ms[ESTIMATE_PARTS - 2]) {
        return;
    }
    for (int i = 0; i < ESTIMATE_PARTS - 1; i++) {
        shape[i] = e->mark_ms[i] / took;
    }
    if (!kind_shape_valid(shape)) {
        return;
    }
    if (k->shapes < KIND_SHAPES) {
        k->shapes++;
    }
    double weight = 1.0 / k->shapes, off = 0;
    for (int i = 0; i < ESTIMATE_PARTS - 1; i++) {
        double by = shape[i] - k->shape[i];
        k->shape[i] += by * weight;
        off += by * by;
    }
    k->spread = (1 - weight) * (k->spread + weight * off);
    kind_trust_shape(k);
}

static int compare_durations(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
    return (x > y) - (x < y);
}

double kind_eta_s(const struct kind_durations *k, int64_t elapsed_ms) {
    uint32_t longer[KIND_DURATIONS];
    unsigned n = 0;
    for (unsigned i = 0; i < k->count; i++) {
        if (k->ms[i] > elapsed_ms) {
            longer[n++] = k->ms[i];
        }
    }
    if (n < KIND_GROUND) {
        return -1;
    }
    qsort(longer, n, sizeof(longer[0]), compare_durations);
    const unsigned middle = n / 2;
    return ((double) longer[middle] - (double) elapsed_ms) / 1000;
}
