#include "base/times.h"

static const struct {
    int64_t us;
    const char *seconds;
} steps[TIMES_STEPS] = {{1000, "0.001"}, {2000, "0.002"}, {5000, "0.005"}, {10000, "0.01"},
                        {20000, "0.02"}, {50000, "0.05"}, {100000, "0.1"}, {1000000, "1.0"}};

void times_add(struct times *t, int64_t us) {
    unsigned i = 0;
    while (i < TIMES_STEPS && us > steps[i].us) {
        i++;
    }
    t->count[i]++;
    t->sum_us += us;
    t->longest_us = us > t->longest_us ? us : t->longest_us;
}

static void head(const char *name, const char *type, const char *help, struct buf *out) {
    buf_printf(out, "# TYPE bowline_%s_seconds %s\n# UNIT bowline_%s_seconds seconds\n# HELP bowline_%s_seconds %s\n", name, type, name, name, help);
}

void times_write(const struct times *t, const char *name, const char *help, struct buf *out) {
    uint64_t count = 0;
    head(name, "histogram", help, out);
    for (unsigned i = 0; i <= TIMES_STEPS; i++) {
        count += t->count[i];
        buf_printf(out, "bowline_%s_seconds_bucket{le=\"%s\"} %llu\n", name, i < TIMES_STEPS ? steps[i].seconds : "+Inf", (unsigned long long) count);
    }
    buf_printf(out, "bowline_%s_seconds_sum %.6f\nbowline_%s_seconds_count %llu\n", name, (double) t->sum_us / 1e6, name, (unsigned long long) count);
    buf_printf(out, "# TYPE bowline_%s_longest_seconds gauge\n# UNIT bowline_%s_longest_seconds seconds\n", name, name);
    buf_printf(out, "# HELP bowline_%s_longest_seconds The longest of them so far.\nbowline_%s_longest_seconds %.6f\n", name, name,
               (double) t->longest_us / 1e6);
}
