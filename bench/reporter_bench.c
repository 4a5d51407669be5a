/*
 * What a report costs the worker that makes it, through the C library: the caller's time alone, while the library's own thread sends to a server.
 *
 *   reporter-bench [URL KEY]      without a server: one that is away, which is the worst case, as nothing is ever taken off its hands
 *
 * Prints nanoseconds per call: as a whole, and percentiles over groups of 100 calls.
 */
#include <bowline.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CALLS 2000000
#define GROUP 100

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;
    return (x > y) - (x < y);
}

static void call_progress(bowline_reporter *r, int i) {
    bowline_reporter_progress(r, i, CALLS);
}

static void call_should_stop(bowline_reporter *r, int i) {
    (void) i;
    (void) bowline_reporter_should_stop(r); /* in another object: it is called */
}

static void call_output(bowline_reporter *r, int i) {
    (void) i;
    while (bowline_reporter_output(r, "0123456789abcde\n", 16) == BOWLINE_FULL) {
        if (bowline_reporter_flush(r, 1000, NULL) != BOWLINE_OK) {
            return;
        }
    }
}

static void measure(const char *name, bowline_reporter *r, void (*call)(bowline_reporter *, int), int calls) {
    int64_t *groups = malloc(sizeof *groups * (size_t) (calls / GROUP));
    if (!groups) {
        return;
    }
    int64_t start = now_ns();
    for (int g = 0; g < calls / GROUP; g++) {
        int64_t before = now_ns();
        for (int i = 0; i < GROUP; i++) {
            call(r, g * GROUP + i);
        }
        groups[g] = now_ns() - before;
    }
    int64_t all = now_ns() - start;
    size_t n = (size_t) (calls / GROUP);
    qsort(groups, n, sizeof *groups, by_size);
    printf("%-12s %8d calls  mean %6.1f ns  p50 %6.1f  p99 %6.1f  p99.9 %6.1f\n", name, calls, (double) all / calls, (double) groups[n / 2] / GROUP,
           (double) groups[n * 99 / 100] / GROUP, (double) groups[n * 999 / 1000] / GROUP);
    free(groups);
}

static int complain(const char *what, int error) {
    fprintf(stderr, "%s: %s\n", what, bowline_strerror(error));
    return 1;
}

int main(int argc, char **argv) {
    bool there = argc > 2;
    struct bowline_client_options client_options = {.url = there ? argv[1] : "http://127.0.0.1:1", .credential = there ? argv[2] : NULL};
    struct bowline_task_options task_options = {.session = {.key = "reporter-bench"}, .kind = "bench"};
    struct bowline_reporter_options options = {.task = "tsk_00000000000000000000000000"};
    struct bowline_task *task = NULL;
    bowline_client *client;
    bowline_reporter *reporter;
    int error = bowline_client_open(&client_options, &client);
    if (error) {
        return complain("client", error);
    }
    if (there) {
        error = bowline_task_create(client, &task_options, &task, NULL);
        if (error) {
            return complain("task", error);
        }
        options.task = task->id;
        options.worker_token = task->worker_token;
    }
    error = bowline_reporter_open(client, &options, &reporter);
    if (error) {
        return complain("reporter", error);
    }
    measure("progress", reporter, call_progress, CALLS);
    measure("should_stop", reporter, call_should_stop, CALLS);
    if (there) {
        measure("output", reporter, call_output, 200000);
        error = bowline_reporter_succeed(reporter, NULL);
        error = error ? error : bowline_reporter_flush(reporter, 10000, NULL);
    }
    bowline_reporter_free(reporter);
    bowline_task_free(task);
    bowline_client_close(client);
    return error ? complain("flush", error) : 0;
}
