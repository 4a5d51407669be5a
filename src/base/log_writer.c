/*
 * log_writer.c: a ring of bytes between those who say something and one thread that writes. The writer takes what stands in one piece and gives
 * its room back once it is written. When the process aborts, a handler waits until the writer is done with its piece and writes the rest itself, without the
 * lock, which somebody may hold who will never let go of it: at worst the last line is torn.
 */
#include "base/log_writer.h"

#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PIECE_BYTES (64 * 1024)
#define ABORT_PIECE_BYTES 4096 /* what a pipe that polls as writable takes without blocking (PIPE_BUF) */
#define ABORT_PATIENCE_MS 1000

struct log_writer {
    pthread_mutex_t lock;
    pthread_cond_t came, went;
    pthread_t thread;
    char *ring;
    atomic_uint_fast64_t in, out;  /* bytes ever taken, with the lock held, and written, by the writer alone */
    atomic_bool writing, aborting; /* the writer writes a piece; it is not to begin another one */
    bool stopping, ended;
};

static struct log_writer writer = {.lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};
static atomic_bool writer_on;

/* The first bytes that wait behind `out`, in one piece. */
static size_t writer_piece(uint64_t out, size_t most, const char **ret_piece) {
    uint64_t in = atomic_load(&writer.in);
    size_t at = out % LOG_BUFFER_BYTES, len = (size_t) (in - out);
    len = len < LOG_BUFFER_BYTES - at ? len : LOG_BUFFER_BYTES - at;
    *ret_piece = writer.ring + at;
    return len < most ? len : most;
}

/* False if it is not to be written any more. */
static bool writer_write(const char *piece, size_t len) {
    atomic_store(&writer.writing, true);
    bool wanted = !atomic_load(&writer.aborting);
    if (wanted) {
        log_write(piece, len);
        atomic_fetch_add(&writer.out, len);
    }
    atomic_store(&writer.writing, false);
    return wanted;
}

static void *writer_main(void *arg) {
    (void) arg;
    pthread_setname_np(pthread_self(), "log");
    const char *piece;
    pthread_mutex_lock(&writer.lock);
    for (;;) {
        size_t len = writer_piece(atomic_load(&writer.out), PIECE_BYTES, &piece);
        if (len) {
            pthread_mutex_unlock(&writer.lock);
            while (!writer_write(piece, len)) {
                pause(); /* the process ends */
            }
            pthread_mutex_lock(&writer.lock);
            pthread_cond_broadcast(&writer.went);
        } else if (writer.stopping) {
            break;
        } else {
            pthread_cond_wait(&writer.came, &writer.lock);
        }
    }
    writer.ended = true;
    pthread_cond_broadcast(&writer.went);
    pthread_mutex_unlock(&writer.lock);
    return NULL;
}

bool log_writer_take(const char *line, size_t len) {
    if (!atomic_load_explicit(&writer_on, memory_order_acquire)) {
        return false;
    }
    pthread_mutex_lock(&writer.lock);
    while (LOG_BUFFER_BYTES - (atomic_load(&writer.in) - atomic_load(&writer.out)) < len) {
        pthread_cond_wait(&writer.went, &writer.lock);
    }
    size_t at = atomic_load(&writer.in) % LOG_BUFFER_BYTES, first = LOG_BUFFER_BYTES - at < len ? LOG_BUFFER_BYTES - at : len;
    memcpy(writer.ring + at, line, first);
    memcpy(writer.ring, line + first, len - first);
    atomic_fetch_add(&writer.in, len);
    pthread_cond_signal(&writer.came);
    pthread_mutex_unlock(&writer.lock);
    return true;
}

/* ---- waiting for it ---- */

static struct timespec until_of(int64_t at_most_ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += at_most_ms / 1000;
    t.tv_nsec += at_most_ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

bool log_flush(int64_t at_most_ms) {
    if (!atomic_load_explicit(&writer_on, memory_order_acquire)) {
        return true;
    }
    struct timespec until = until_of(at_most_ms);
    pthread_mutex_lock(&writer.lock);
    uint64_t upto = atomic_load(&writer.in);
    int rc = 0;
    while (atomic_load(&writer.out) < upto && rc == 0) {
        rc = pthread_cond_timedwait(&writer.went, &writer.lock, &until);
    }
    bool all = atomic_load(&writer.out) >= upto;
    pthread_mutex_unlock(&writer.lock);
    return all;
}

/* ---- when the process aborts ---- */

static void abort_write(int signal_number) {
    (void) signal_number;
    const struct timespec moment = {.tv_nsec = 1000000};
    const char *piece;
    size_t len;
    if (!atomic_load_explicit(&writer_on, memory_order_acquire)) {
        return;
    }
    atomic_store(&writer.aborting, true);
    for (int i = 0; i < ABORT_PATIENCE_MS && atomic_load(&writer.writing); i++) {
        nanosleep(&moment, NULL);
    }
    uint64_t out = atomic_load(&writer.out);
    while ((len = writer_piece(out, ABORT_PIECE_BYTES, &piece))) {
        struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
        ssize_t n = poll(&fd, 1, ABORT_PATIENCE_MS) == 1 ? write(STDERR_FILENO, piece, len) : -1;
        if (n <= 0) {
            return;
        }
        out += (size_t) n;
    }
}

static void abort_notice(bool on) {
    struct sigaction action = {.sa_handler = on ? abort_write : SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(SIGABRT, &action, NULL);
}

/* ---- its life ---- */

static void conditions_init(void) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&writer.went, &attr);
    pthread_condattr_destroy(&attr);
}

/* Signals are the program's affair, not this thread's. */
static int thread_start(void) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&writer.thread, NULL, writer_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int log_start(void) {
    writer.ring = malloc(LOG_BUFFER_BYTES);
    if (!writer.ring) {
        return ENOMEM;
    }
    writer.stopping = writer.ended = false;
    conditions_init();
    int rc = thread_start();
    if (rc) {
        pthread_cond_destroy(&writer.went);
        free(writer.ring);
        return rc;
    }
    abort_notice(true);
    atomic_store_explicit(&writer_on, true, memory_order_release);
    return 0;
}

void log_stop(int64_t at_most_ms) {
    if (!atomic_load(&writer_on)) {
        return;
    }
    (void) log_flush(at_most_ms);
    struct timespec until = until_of(at_most_ms);
    int rc = 0;
    pthread_mutex_lock(&writer.lock);
    writer.stopping = true;
    pthread_cond_signal(&writer.came);
    bool written = atomic_load(&writer.in) == atomic_load(&writer.out);
    while (written && !writer.ended && rc == 0) {
        rc = pthread_cond_timedwait(&writer.went, &writer.lock, &until);
    }
    bool ended = writer.ended;
    pthread_mutex_unlock(&writer.lock);
    abort_notice(false);
    atomic_store(&writer_on, false);
    if (!ended) {
        pthread_detach(writer.thread); /* nobody reads: it holds on to the ring, and goes with the process */
        return;
    }
    pthread_join(writer.thread, NULL);
    pthread_cond_destroy(&writer.went);
    free(writer.ring);
    writer.ring = NULL;
}
