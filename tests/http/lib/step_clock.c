/*
 * Preloaded into the program under test: its clocks are the machine's, apart by what two numbers in the file STEP_CLOCK say, in ms: the wall clock
 * has stepped by the first, and the machine was asleep for the second. They are read at each call, so that a test can step while the program runs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real_gettime)(clockid_t, struct timespec *);
static volatile const int64_t *steps_ms; /* wall, asleep */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STEP_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    *(void **) &real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (fd < 0) {
        abort();
    }
    steps_ms = mmap(NULL, 2 * sizeof(*steps_ms), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (steps_ms == MAP_FAILED) {
        abort();
    }
}

int clock_gettime(clockid_t id, struct timespec *ret) {
    int failed = real_gettime(id, ret);
    int64_t ms = 0;
    if (steps_ms && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        ms = steps_ms[0] + steps_ms[1];
    } else if (steps_ms && id == CLOCK_BOOTTIME) {
        ms = steps_ms[1];
    }
    int64_t ns = ret->tv_nsec + ms % 1000 * 1000000 + 1000000000;
    ret->tv_sec += (time_t) (ms / 1000 + ns / 1000000000 - 1);
    ret->tv_nsec = (long) (ns % 1000000000);
    return failed;
}

time_t time(time_t *ret) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (ret) {
        *ret = t.tv_sec;
    }
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone) {
    struct timespec t;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &t);
    *ret = (struct timeval){t.tv_sec, t.tv_nsec / 1000};
    return 0;
}
