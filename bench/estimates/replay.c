/*
 * Drives the estimator as the engine does, with recorded runs of one kind, one after the other. Standard input: a line "run" begins a run, "t_ms current total" is a
 * report (t rising), "end t_ms" the task's success. Prints "rate eta kind_eta" after each report, -1 where there is no ground.
 *   --alone   every run is the first of its kind
 *   --time    plays all reports a thousand times and prints nanoseconds of the processor per report and the bytes of one estimate
 */
#include "domain/estimate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINES_MAX 200000

enum what { RUN, REPORT, END };

struct line {
    enum what what;
    long long at_ms;
    double current, total;
};

static struct line lines[LINES_MAX];

static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static size_t read_lines(void) {
    char text[256];
    size_t count = 0;
    while (count < LINES_MAX && fgets(text, sizeof(text), stdin)) {
        struct line *l = &lines[count];
        if (strncmp(text, "run", 3) == 0) {
            l->what = RUN;
        } else if (sscanf(text, "end %lld", &l->at_ms) == 1) {
            l->what = END;
        } else if (sscanf(text, "%lld %lf %lf", &l->at_ms, &l->current, &l->total) == 3) {
            l->what = REPORT;
        } else {
            fprintf(stderr, "replay: not a line of a run: %s", text);
            exit(1);
        }
        count++;
    }
    return count;
}

static void play(size_t count, bool alone, bool print, double *sum) {
    struct kind_durations kind = {0};
    struct estimate e;
    estimate_reset(&e, 0);
    for (size_t i = 0; i < count; i++) {
        const struct line *l = &lines[i];
        if (l->what == RUN) {
            estimate_reset(&e, 0);
        } else if (l->what == END && !alone) {
            kind_add(&kind, l->at_ms);
            kind_add_shape(&kind, &e, l->at_ms);
        } else if (l->what == REPORT) {
            estimate_set_total(&e, l->total);
            estimate_add(&e, l->current, l->at_ms);
            double eta = estimate_eta_s(&e, &kind, l->at_ms);
            *sum += eta;
            if (print) {
                printf("%.9g %.9g %.9g\n", e.rate > 0 ? e.rate : -1, eta, kind_eta_s(&kind, l->at_ms));
            }
        }
    }
}

int main(int argc, char **argv) {
    bool alone = false, timed = false;
    for (int i = 1; i < argc; i++) {
        alone |= strcmp(argv[i], "--alone") == 0;
        timed |= strcmp(argv[i], "--time") == 0;
    }
    size_t count = read_lines();
    double sum = 0, from = cpu_ns();
    const int rounds = timed ? 1000 : 1;
    for (int i = 0; i < rounds; i++) {
        play(count, alone, !timed, &sum);
    }
    if (timed) {
        printf("%.1f %zu %g\n", (cpu_ns() - from) / rounds / (double) (count ? count : 1), sizeof(struct estimate), sum);
    }
    return 0;
}
