/*
 * tool.h: what every measurement needs: clocks, the CPU time and memory of another process, medians, faults, rows of the table. One thread.
 */
#ifndef BOWLINE_BENCH_TOOL_H
#define BOWLINE_BENCH_TOOL_H

#include "base/str.h"

#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>

/* A server to be measured. */
struct target {
    struct sockaddr_in address;
    char host[64]; /* what the Host header says; "" if there is no such server */
    pid_t pid;     /* whose CPU time and memory count */
    char key[160]; /* API key; "" if it needs none */
};

/* What is to be measured: the command line. */
struct plan {
    const char *measurement;
    struct target server, peer;
    unsigned watchers, runs;
    double seconds;
};

_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Something arrived that should not have, or did not arrive: the figure does not count. The first ten are shown. */
void fault(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
unsigned fault_count(void);
void fault_add(unsigned count); /* those of another process */

int64_t now_ns(void);
/* CPU seconds that all threads of a process have used so far, user and system. */
double cpu_seconds(pid_t pid);
/* The part of them spent in user mode (to a hundredth of a second). */
double cpu_user_seconds(pid_t pid);

struct memory {
    double pss_bytes, rss_bytes;
};
struct memory memory_of(pid_t pid);

double median(double *values, unsigned count); /* sorts them */
/* The value that a share of them does not exceed; sorts them. NaN without any. */
double quantile(double *values, size_t count, double share);

/* One line of the table: what was measured, the figure, its unit, a remark. */
void row(const char *what, double value, const char *unit, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ---- text that arrived ---- */

/* What stands behind the first `mark`; STR_NONE if it does not occur. */
struct str text_behind(struct str text, const char *mark);
/* The digits at the beginning. */
uint64_t text_number(struct str text);
/* Copies what stands behind the first `mark` up to `end` into out (NUL-terminated); false if it is not there or does not fit. */
bool text_copy(struct str text, const char *mark, char end, char *out, size_t cap);

#endif
