/*
 * contender.h: several sides of a comparison, each a process of its own with its own descriptors, that take turns, so that a noisy minute disturbs all of them alike.
 */
#ifndef BOWLINE_BENCH_CONTENDER_H
#define BOWLINE_BENCH_CONTENDER_H

#include "tool.h"

/* What one turn came to. */
struct turn {
    double cpu_s, wall_s;
    double updates;    /* published */
    double deliveries; /* updates times watchers */
    double frames;     /* events that the watchers really read */
};

/* Shared by all sides: an event as the first of them delivered it, for the others to send the same bytes. */
struct sample {
    char bytes[8192];
    size_t len;
};

struct contender {
    const char *name;
    pid_t pid;
    int ask, tell; /* pipes, the parent's ends */
};

struct side {
    const struct plan *plan;
    struct sample *sample;
    int ask, tell; /* the child's ends */
};

struct sample *sample_create(void);

/* Forks; body makes everything ready and then calls side_next until it returns -1. Returns when it is ready. */
void contender_start(struct contender *c, const char *name, const struct plan *plan, struct sample *sample, void (*body)(struct side *s));
void contender_run(struct contender *c, int what, struct turn *ret);
void contender_stop(struct contender *c);

/* In the child: tells what the last turn came to (NULL: ready), then waits for what is to be done next; -1: nothing more. */
int side_next(struct side *s, const struct turn *done);

/* Around one turn. */
void turn_begin(struct turn *t, pid_t pid);
void turn_end(struct turn *t, pid_t pid);

#endif
