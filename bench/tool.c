#include "tool.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FAULTS_SHOWN 10

static unsigned faults;

void die(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("bowline-bench: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

void fault(const char *fmt, ...) {
    if (++faults <= FAULTS_SHOWN) {
        va_list ap;
        va_start(ap, fmt);
        fputs("bowline-bench: fault: ", stderr);
        vfprintf(stderr, fmt, ap);
        fputc('\n', stderr);
        va_end(ap);
    }
}

unsigned fault_count(void) {
    return faults;
}

void fault_add(unsigned count) {
    faults += count;
}

/* ---- clocks and processes ---- */

int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

double cpu_seconds(pid_t pid) {
    clockid_t id;
    struct timespec t;
    if (clock_getcpuclockid(pid, &id) || clock_gettime(id, &t)) {
        die("process %d is gone", (int) pid);
    }
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static FILE *proc_open(pid_t pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int) pid, name);
    FILE *f = fopen(path, "r");
    if (!f) {
        die("%s: %s", path, strerror(errno));
    }
    return f;
}

double cpu_user_seconds(pid_t pid) {
    char line[1024];
    FILE *f = proc_open(pid, "stat");
    char *at = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    fclose(f);
    for (int field = 2; at && field < 14; field++) {
        at = strchr(at + 1, ' ');
    }
    return at ? strtod(at + 1, NULL) / (double) sysconf(_SC_CLK_TCK) : 0;
}

struct memory memory_of(pid_t pid) {
    struct memory m = {0, 0};
    char line[256];
    FILE *f = proc_open(pid, "smaps_rollup");
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "Pss:", 4) == 0) {
            m.pss_bytes = strtod(line + 4, NULL) * 1024;
        } else if (strncmp(line, "Rss:", 4) == 0) {
            m.rss_bytes = strtod(line + 4, NULL) * 1024;
        }
    }
    fclose(f);
    return m;
}

/* ---- figures ---- */

static int double_cmp(const void *a, const void *b) {
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

double quantile(double *values, size_t count, double share) {
    if (count == 0) {
        return NAN;
    }
    qsort(values, count, sizeof *values, double_cmp);
    size_t at = (size_t) ceil(share * (double) count);
    return values[at ? at - 1 : 0];
}

double median(double *values, unsigned count) {
    return quantile(values, count, 0.5);
}

void row(const char *what, double value, const char *unit, const char *fmt, ...) {
    va_list ap;
    int digits = value >= 1000 || value <= -1000 ? 0 : value >= 100 ? 1 : value >= 1 ? 2 : 3;
    va_start(ap, fmt);
    printf("%s\t%.*f\t%s\t", what, digits, value, unit);
    vprintf(fmt, ap);
    putchar('\n');
    fflush(stdout);
    va_end(ap);
}

/* ---- text ---- */

struct str text_behind(struct str text, const char *mark) {
    size_t len = strlen(mark);
    const char *at = text.len ? memmem(text.p, text.len, mark, len) : NULL;
    return at ? str_from(text, (size_t) (at - text.p) + len) : STR_NONE;
}

uint64_t text_number(struct str text) {
    uint64_t n = 0;
    for (size_t i = 0; i < text.len && text.p[i] >= '0' && text.p[i] <= '9'; i++) {
        n = n * 10 + (uint64_t) (text.p[i] - '0');
    }
    return n;
}

bool text_copy(struct str text, const char *mark, char end, char *out, size_t cap) {
    struct str from = text_behind(text, mark);
    const char *stop = from.len ? memchr(from.p, end, from.len) : NULL;
    size_t len = stop ? (size_t) (stop - from.p) : 0;
    if (!stop || len >= cap) {
        return false;
    }
    memcpy(out, from.p, len);
    out[len] = 0;
    return true;
}
