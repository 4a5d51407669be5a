/*
 * serve.c: `bowline serve`. The main thread makes everything ready, says so, and then only waits for signals and for the threads' ends.
 * Signals are blocked in all threads and read from a descriptor here, so that no handler interrupts anything.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/options.h"
#include "base/secret.h"
#include "cli/exit.h"
#include "cli/help.h"
#include "server/server.h"
#include "server/start.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROLES_ALL (ROLE_BACKEND | ROLE_WORKER | ROLE_OPERATOR)
#define LOG_PATIENCE_MS (3 * SEC) /* what is left of the log is written by then, or never: its reader has stopped reading */
#define LOOPS_LATE_MS (15 * SEC)  /* past the drain time: loops that have not ended by then are left behind */

struct serve {
    struct options options;
    struct options_sources sources;
    struct address address;
    struct keyring *keys; /* in memory for secrets */
    struct api_shared shared;
    struct server *server;
    unsigned loops;
    int listen_fds[LOOPS_MAX];
    int signal_fd;
    unsigned stops; /* SIGTERM and SIGINT so far */
};

static int signals_take(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void signals_read(struct serve *v) {
    struct signalfd_siginfo info;
    while (read(v->signal_fd, &info, sizeof info) == (ssize_t) sizeof info) {
        v->stops++;
        if (v->stops == 1) {
            log_info("stopping", "signal=%u drain_ms=%lld", info.ssi_signo, (long long) v->options.drain_time);
        } else {
            log_warn("stopped-at-once", "signal=%u", info.ssi_signo);
            (void) log_flush(LOG_PATIENCE_MS);
            _exit(BOWLINE_EXIT_INTERRUPTED);
        }
    }
}

/* Sleeps until a signal or a notice of the server came, or until_ms. False when that time has passed. */
static bool serve_wait(struct serve *v, int64_t until_ms) {
    int64_t wait_ms = until_ms - clock_ms();
    if (wait_ms <= 0) {
        return false;
    }
    struct pollfd fds[] = {{.fd = v->signal_fd, .events = POLLIN}, {.fd = server_notice_fd(v->server), .events = POLLIN}};
    (void) poll(fds, 2, wait_ms > 60 * SEC ? (int) (60 * SEC) : (int) wait_ms);
    server_notice_clear(v->server);
    signals_read(v);
    return true;
}

static int options_take(struct serve *v, int argc, char **argv, struct buf *err) {
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    if (options_load(&v->options, &v->sources, argc, argv, environ, err)) {
        return -1;
    }
    options_wipe_environment(environ);
    for (int i = 0; i < 4; i++) {
        if (strcmp(v->options.log_level, levels[i]) == 0) {
            log_set_level((enum log_level) i);
            return start_address(v->options.listen, &v->address, err);
        }
    }
    buf_printf(err, "log_level: \"%s\" is none of error, warn, info, debug", v->options.log_level);
    return -1;
}

static int data_take(struct serve *v, struct store **ret_store, struct buf *err) {
    const char *dir = v->options.data;
    char key[API_KEY_MAX];
    if (start_folder(dir, err)) {
        return -1;
    }
    struct store *store = start_store(dir, server_sink(v->server), err);
    if (!store) {
        return -1;
    }
    if (start_secret(dir, v->keys, err) || start_api_key(dir, key, err)) {
        store_destroy(store);
        return -1;
    }
    int failed = api_shared_add_key(&v->shared, STR("default"), ROLES_ALL, str_of(key), err);
    explicit_bzero(key, sizeof key);
    if (failed) {
        store_destroy(store);
        return -1;
    }
    *ret_store = store;
    return 0;
}

static int server_begin(struct serve *v, struct buf *err) {
    struct store *store = NULL;
    if (start_port_free(&v->address, err) || data_take(v, &store, err)) {
        return -1;
    }
    if (start_listen(&v->address, v->loops, v->listen_fds, err)) {
        store_destroy(store);
        return -1;
    }
    v->shared.version = STR(BOWLINE_VERSION);
    v->shared.port = v->address.port;
    struct server_config config = {&v->options, v->keys, &v->shared, v->listen_fds, store};
    return server_start(v->server, &config, err);
}

static void say_listening(const struct serve *v) {
    struct buf url = {0};
    start_url(&v->address, &url);
    printf("bowline %s listening on %s\n", BOWLINE_VERSION, buf_z(&url));
    fflush(stdout);
    log_info("started", "version=%s port=%d loops=%u", BOWLINE_VERSION, v->address.port, v->loops);
    buf_fini(&url);
}

static int server_end(struct serve *v) {
    int64_t late = clock_ms() + v->options.drain_time + LOOPS_LATE_MS;
    server_drain(v->server, v->options.drain_time);
    bool in_time = true;
    while (!server_drained(v->server) && in_time) {
        in_time = serve_wait(v, late);
    }
    server_stop(v->server);
    bool hangs = !in_time && v->loops == 1; /* then the engine hangs with it */
    bool waits = true;
    while (!server_stopped(v->server) && waits) {
        waits = serve_wait(v, hangs ? late + LOOPS_LATE_MS : clock_ms() + 60 * SEC) || !hangs;
    }
    if (!in_time) {
        log_error("loops-left-behind", "after_ms=%lld", (long long) (v->options.drain_time + LOOPS_LATE_MS));
        (void) log_flush(LOG_PATIENCE_MS);
        _exit(BOWLINE_EXIT_FAILED);
    }
    return BOWLINE_EXIT_OK;
}

static int serve_until_signal(struct serve *v) {
    bool said = false;
    while (!v->stops) {
        (void) serve_wait(v, clock_ms() + 60 * SEC);
        if (!said && server_ready(v->server)) {
            said = true;
            say_listening(v);
        }
    }
    int code = server_end(v);
    log_info("stopped", "code=%d", code);
    return code;
}

static int serve_say(const struct buf *err, int code) {
    (void) log_flush(LOG_PATIENCE_MS);
    fprintf(stderr, "bowline serve: %.*s\n", STR_FMT(buf_view(err)));
    if (code == BOWLINE_EXIT_USAGE) {
        fputs("  `bowline help serve` shows every option\n", stderr);
    }
    return code;
}

static int serve_run(struct serve *v, struct buf *err) {
    v->signal_fd = signals_take();
    umask(077);
    int failed = log_start();
    if (failed) {
        log_warn("log-without-thread", "reason=\"%s\"", strerror(failed));
    }
    v->loops = start_loops(v->options.loops);
    v->server = server_create(v->loops);
    int code = start_raise_limits(v->loops, err) || server_begin(v, err) ? serve_say(err, BOWLINE_EXIT_FAILED) : serve_until_signal(v);
    server_destroy(v->server);
    log_stop(LOG_PATIENCE_MS);
    close(v->signal_fd);
    return code;
}

int serve_main(int argc, char **argv) {
    if (help_wanted(argc, argv)) {
        return help_command("serve");
    }
    (void) prctl(PR_SET_DUMPABLE, 0); /* a dump of its memory would hold keys, and what people sent */
    struct serve *v = calloc(1, sizeof *v);
    struct buf err = {0};
    int code = BOWLINE_EXIT_USAGE;
    if (v) {
        v->keys = secret_alloc(sizeof *v->keys);
    }
    if (!v || options_take(v, argc, argv, &err) || api_shared_init(&v->shared, &v->options, v->keys, &err)) {
        serve_say(&err, code);
    } else {
        code = serve_run(v, &err);
        api_shared_fini(&v->shared);
    }
    if (v) {
        options_fini(&v->options);
        secret_free(v->keys);
    }
    buf_fini(&err);
    free(v);
    return code;
}
