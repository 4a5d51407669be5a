/*
 * run.c: `bowline run`: a command whose life is a task. One loop stands between the command, our own descriptors and the server; only the command's
 * descriptors and ours ever hold it up, never the server.
 */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/options.h"
#include "cli/child.h"
#include "cli/client_ops.h"
#include "cli/exit.h"
#include "cli/guard.h"
#include "cli/progress_scan.h"
#include "cli/relay.h"
#include "cli/reporter.h"
#include "cli/run_terminal.h"
#include "cli/show.h"
#include "cli/task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 100     /* a line that does not end is looked at then */
#define HURRIED_MS 1000 /* after a signal between the command's end and the task's: so long it is tried to tell the server */
#define KIND_MOST 64

struct run {
    struct args *args;
    struct client *client;
    struct client_ops *ops;
    struct reporter *reporter;
    struct progress_scan scan;
    struct signals signals;
    struct run_terminal terminal;
    struct relay out, err, keys;
    char task[64];
    struct buf token;
    bool reports_output;
    double kill_after_s, wait_s, lease_s, timeout_s;

    struct guard guard;
    bool cancelling, suspend;
    bool fresh; /* what was read last has not been looked at without its end */
    bool idle;  /* in the last turn there was nothing to read */
    int64_t started_ms, read_ms;
    size_t read_since; /* the command's end */
    int64_t term_ms;   /* when to end it; INT64_MAX: not */
    bool final_said, gave_up;
};

static void say(struct run *r, const char *text) {
    fprintf(stderr, "bowline run: %s%s\n", text, r->terminal.raw ? "\r" : "");
}

/* ---- the command ---- */

static void command_end(struct run *r) {
    guard_stop(&r->guard, (int64_t) (r->kill_after_s * 1000));
    r->term_ms = INT64_MAX;
    r->cancelling = true;
}

static void progress_say(struct run *r) {
    struct buf current = {0}, total = {0}, unit = {0};
    buf_json_num(&current, r->scan.current);
    buf_json_num(&total, r->scan.total);
    if (r->scan.unit) {
        buf_json_str(&unit, str_of(r->scan.unit));
    } else {
        buf_puts(&unit, "null");
    }
    struct reporter_progress p = {.current = buf_view(&current), .total = buf_view(&total), .unit = buf_view(&unit), .message = STR_NONE};
    reporter_progress(r->reporter, &p);
    buf_fini(&current);
    buf_fini(&total);
    buf_fini(&unit);
}

static void on_piece(void *arg, struct str piece) {
    struct run *r = arg;
    r->read_ms = clock_ms();
    r->read_since += r->guard.exited ? piece.len : 0;
    r->fresh = true;
    if (r->reports_output) {
        reporter_output(r->reporter, piece);
    }
    if (progress_scan_read(&r->scan, piece)) {
        progress_say(r);
    }
}

static void on_keys(void *arg, struct str piece) {
    struct run *r = arg;
    r->suspend |= run_terminal_suspends(&r->terminal, piece);
}

/* Do our standard output and error lead to the same place? Then one pipe keeps what the command writes in order. */
static bool outputs_are_one(void) {
    struct stat out, err;
    return fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 && out.st_dev == err.st_dev && out.st_ino == err.st_ino;
}

static int output_pipes(struct run *r, int ends[2], int err_ends[2]) {
    if (!r->terminal.pty) {
        if (!descriptor_pipe(ends)) {
            return -errno;
        }
        r->out.from = ends[0];
        descriptor_unblock(ends[0]);
    }
    bool one = r->terminal.pty ? isatty(STDERR_FILENO) : outputs_are_one();
    if (!one) {
        if (!descriptor_pipe(err_ends)) {
            return -errno;
        }
        r->err.from = err_ends[0];
        descriptor_unblock(err_ends[0]);
    }
    return 0;
}

static char **run_environment(struct run *r) {
    struct buf task = {0}, token = {0}, url = {0}, attempt = {0};
    const char *dot = strstr(buf_z(&r->token), ".x");
    buf_printf(&task, "BOWLINE_TASK=%s", r->task);
    buf_printf(&token, "BOWLINE_TOKEN=%s", buf_z(&r->token));
    buf_printf(&url, "BOWLINE_URL=%s", client_url(r->client));
    buf_printf(&attempt, "BOWLINE_ATTEMPT=%d", dot ? atoi(dot + 2) : 1);
    const char *const changes[] = {buf_z(&task), buf_z(&token), buf_z(&url), buf_z(&attempt)};
    char **envp = child_environment(changes, 4);
    buf_fini(&task);
    buf_fini(&token);
    buf_fini(&url);
    buf_fini(&attempt);
    return envp;
}

static int command_start(struct run *r) {
    int ends[2] = {-1, -1}, err_ends[2] = {-1, -1};
    struct run_terminal *t = &r->terminal;
    int wrong = output_pipes(r, ends, err_ends);
    if (!wrong) {
        char **envp = run_environment(r);
        int out = t->pty ? t->slave : ends[1];
        struct child_spec spec = {.argv = r->args->rest,
                                  .envp = envp,
                                  .in = t->pty && t->keys ? t->slave : -1,
                                  .out = out,
                                  .err = err_ends[1] >= 0 ? err_ends[1] : out,
                                  .report = -1,
                                  .terminal = t->pty};
        r->started_ms = clock_ms();
        wrong = guard_start(&r->guard, &spec, &r->signals);
        child_environment_free(envp);
    }
    descriptor_close(&ends[1]);
    descriptor_close(&err_ends[1]);
    descriptor_close(&t->slave);
    if (t->pty) {
        r->out.from = t->master;
    }
    return wrong ? args_fail(r->args, BOWLINE_EXIT_FAILED, "the command cannot be started: %s", strerror(-wrong)) : 0;
}

/* ---- signals ---- */

/* As if we had been stopped as any command: the terminal as it was, then on from here. */
static void run_stop(struct run *r) {
    run_terminal_leave(&r->terminal);
    guard_signal(&r->guard, r->terminal.pty ? SIGSTOP : SIGTSTP); /* on its own terminal the key has sent SIGTSTP already, to who wants it */
    raise(SIGSTOP);
    run_terminal_enter(&r->terminal);
    run_terminal_resize(&r->terminal);
    guard_signal(&r->guard, SIGCONT);
}

static void command_stopped(struct run *r, int number) {
    if ((number == SIGTTIN || number == SIGTTOU) && run_terminal_give(&r->terminal, r->guard.command)) {
        guard_signal(&r->guard, SIGCONT);
    } else if (number == SIGTSTP && r->terminal.given) {
        run_stop(r);
        if (run_terminal_give(&r->terminal, r->guard.command)) {
            guard_signal(&r->guard, SIGCONT);
        }
    }
}

static void command_exited(struct run *r) {
    relay_owe(&r->out);
    relay_owe(&r->err);
    r->read_ms = r->guard.exited_ms;
    r->idle = false;
    if (!r->terminal.pty) { /* else it stays as it is until what is still to come has been shown */
        run_terminal_leave(&r->terminal);
    }
}

static void command_look(struct run *r) {
    bool exited = r->guard.exited;
    for (int stopped; guard_next(&r->guard, &stopped);) {
        if (stopped) {
            command_stopped(r, stopped);
        }
    }
    if (r->guard.exited && !exited) {
        command_exited(r);
    }
}

static void signal_take(struct run *r, int number) {
    switch (number) {
    case SIGCHLD: guards_reap(); break;
    case SIGWINCH: run_terminal_resize(&r->terminal); break;
    case SIGTSTP: run_stop(r); break;
    case SIGCONT:
        run_terminal_enter(&r->terminal);
        guard_signal(&r->guard, SIGCONT);
        break;
    default:
        if (r->final_said) {
            r->gave_up = true; /* there is only the server left to wait for, or who reads what we show */
        } else {
            guard_signal(&r->guard, number);
        }
    }
}

/* ---- what the reporter tells ---- */

static void on_cancel(void *arg) {
    struct run *r = arg;
    if (!r->final_said && !r->cancelling && !(r->guard.exited && r->guard.gone)) {
        say(r, "the task is to be cancelled: the command is stopped");
        command_end(r);
    }
}

static void on_end(void *arg, enum reporter_end how) {
    struct run *r = arg;
    if (how == REPORTER_DELIVERED || r->final_said) {
        if (how != REPORTER_DELIVERED) {
            say(r, "the task had ended before the command did");
        }
        return;
    }
    bool timed_out = r->timeout_s > 0 && clock_ms() - r->started_ms >= (int64_t) (r->timeout_s * 1000) - SEC;
    if (how ==
        REPORTER_ENDED) { /* cancelled or past its deadline while we could not hear of it; or the command has said so itself, and may tidy up */
        r->term_ms = clock_ms() + (int64_t) (r->kill_after_s * 1000);
    } else if (timed_out) {
        say(r, "the task has timed out: the command is stopped");
        command_end(r);
    } else {
        say(r, how == REPORTER_SUPERSEDED ? "the server has given the task up as lost; the command goes on without it"
                                          : "the server does not know the task or its token any more; the command goes on without it");
    }
}

static void on_note(void *arg, const char *text) {
    say(arg, text);
}

/* ---- the loop ---- */

static void due_now(struct run *r, int64_t now) {
    if (now >= r->term_ms && !r->guard.exited) {
        say(r, "the task has ended: the command is stopped");
        command_end(r);
    }
}

/* The command has ended, and everything that it put out has been read; of what its children put out, what came at once. */
static bool command_is_over(const struct run *r, int64_t now) {
    if (!guard_is_over(&r->guard)) {
        return false;
    }
    bool read_all = relay_is_read(&r->out) && relay_is_read(&r->err);
    bool quiet = r->idle && now - r->read_ms >= GUARD_QUIET_MS;
    bool enough = r->guard.late || now - r->guard.over_ms >= GUARD_LINGER_MS || r->read_since >= GUARD_LINGER_BYTES;
    return read_all || ((quiet || enough) && !r->out.owed && !r->err.owed);
}

static bool is_showing(const struct run *r) {
    return r->out.pending.len || r->err.pending.len;
}

static int64_t sooner(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void loop_turn(struct run *r, int64_t until_ms) {
    struct pollfd fds[2 + 3 * RELAY_FDS], *out = fds + 2, *err = out + RELAY_FDS, *keys = err + RELAY_FDS;
    int64_t now = clock_ms(), due = sooner(reporter_tick(r->reporter, now), until_ms);
    due = sooner(due, r->final_said ? INT64_MAX : r->guard.exited ? now + GUARD_QUIET_MS : r->term_ms);
    due = sooner(due, r->fresh ? r->read_ms + LOOK_MS : INT64_MAX);
    fds[0] = (struct pollfd){.fd = r->signals.fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = r->guard.fd, .events = POLLIN};
    relay_watch(&r->out, out);
    relay_watch(&r->err, err);
    relay_watch(&r->keys, keys);
    if (!r->terminal.raw) {
        keys[0].fd = -1;
    }
    client_ops_wait(r->ops, fds, 2 + 3 * RELAY_FDS, due - now);
    r->idle = !out[0].revents && !err[0].revents;
    relay_turn(&r->out, out);
    relay_turn(&r->err, err);
    relay_turn(&r->keys, keys);
    command_look(r);
    for (int number; (number = signals_next(&r->signals));) {
        signal_take(r, number);
    }
    if (r->suspend) {
        r->suspend = false;
        run_stop(r);
    }
}

static void look_at_line(struct run *r, int64_t now) {
    if (r->fresh && now - r->read_ms >= LOOK_MS) {
        r->fresh = false;
        if (progress_scan_look(&r->scan)) {
            progress_say(r);
        }
    }
}

static void final_say(struct run *r) {
    struct child_end end = child_end_of(r->guard.wait_status, r->guard.exited_ms - r->started_ms);
    struct buf report = {0};
    if (progress_scan_look(&r->scan)) {
        progress_say(r);
    }
    if (r->cancelling) {
        buf_puts(&report, "{\"type\":\"cancelled\"}");
    } else if (end.status == 0) {
        buf_puts(&report, "{\"type\":\"succeed\",\"result\":{\"exit_status\":0,\"seconds\":");
        buf_json_num(&report, (double) end.ms / 1000);
        buf_puts(&report, "}}");
    } else {
        child_end_fail(&end, STR_NONE, false, &report);
    }
    reporter_final(r->reporter, buf_view(&report));
    r->final_said = true;
    buf_fini(&report);
}

/* What the command left behind can write on, but nobody listens. */
static void pipes_hand_over(struct run *r) {
    struct run_terminal *t = &r->terminal;
    int *const fds[] = {t->pty ? &t->master : &r->out.from, &r->err.from};
    guard_drain(&r->guard, fds, 2);
    r->out.from = r->keys.from = -1;
    r->out.owed = r->err.owed = 0;
}

static void undelivered_say(struct run *r) {
    struct buf text = {0};
    uint64_t bytes = reporter_undelivered(r->reporter);
    buf_puts(&text, "the server could not be told how the command ended");
    if (bytes) {
        buf_printf(&text, ", and has not got %llu bytes of its output", (unsigned long long) bytes);
    }
    say(r, buf_z(&text));
    buf_fini(&text);
}

static int run_loop(struct run *r) {
    run_terminal_enter(&r->terminal);
    for (int64_t now = clock_ms(); !command_is_over(r, now); now = clock_ms()) {
        due_now(r, now);
        look_at_line(r, now);
        loop_turn(r, INT64_MAX);
    }
    pipes_hand_over(r);
    final_say(r);
    int64_t said_ms = clock_ms(), until = said_ms + (int64_t) (r->wait_s * 1000);
    for (bool telling = true; !r->gave_up && (telling || is_showing(r));) {
        if (!is_showing(r)) {
            run_terminal_leave(&r->terminal);
        }
        until = r->guard.late ? sooner(until, said_ms + HURRIED_MS) : until;
        telling = !reporter_is_over(r->reporter) && clock_ms() < until;
        if (telling || is_showing(r)) {
            loop_turn(r, telling ? until : INT64_MAX);
        }
    }
    run_terminal_leave(&r->terminal);
    if (!reporter_is_over(r->reporter)) {
        undelivered_say(r);
    }
    return child_end_of(r->guard.wait_status, 0).status;
}

/* ---- the task ---- */

/* The name of the command, as far as it can be a kind. */
static void kind_of_command(const char *command, char kind[KIND_MOST + 1]) {
    const char *base = strrchr(command, '/');
    size_t len = 0;
    for (const char *c = base ? base + 1 : command; *c && len < KIND_MOST; c++) {
        bool upper = *c >= 'A' && *c <= 'Z', first = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9');
        if (upper || first || len) {
            kind[len++] = (char) (upper ? *c - 'A' + 'a' : first || strchr("._-", *c) ? *c : '-');
        }
    }
    kind[len] = 0;
    if (!len) {
        snprintf(kind, KIND_MOST + 1, "command");
    }
}

static int task_make(struct run *r) {
    struct client_reply reply = {0};
    struct answer_json j = {0};
    char kind[KIND_MOST + 1], key[33];
    unsigned char random[16];
    crypto_random(NULL, random, sizeof random);
    for (int i = 0; i < 16; i++) {
        snprintf(key + 2 * i, 3, "%02x", random[i]);
    }
    kind_of_command(r->args->rest[0], kind);
    int code = task_start_ask(r->args, r->client, kind, key, &reply);
    code = code ? code : answer_parse(&j, r->args, &reply);
    if (!code) {
        struct str token = member_text(j.root, "worker_token");
        snprintf(r->task, sizeof r->task, "%.*s", STR_FMT(member_text(j.root, "id")));
        buf_str(&r->token, token);
        code = token.len
                   ? 0
                   : args_fail(r->args, BOWLINE_EXIT_REFUSED, "the task went to a queue: sessions start this kind for workers that claim it there");
    }
    answer_fini(&j);
    client_reply_fini(&reply);
    return code;
}

/* The task that a worker token names. */
static int task_given(struct run *r, const char *token) {
    static const char *const makes[] = {"session", "session-key", "user", "kind", "title", "on-session-end", "lease", "deadline", "ttl", "metadata"};
    for (size_t i = 0; i < sizeof makes / sizeof *makes; i++) {
        if (args_has(r->args, makes[i])) {
            return args_wrong(r->args, "--%s is for a new task, but the token is one of a task; to make a new one, give a key with --key-file",
                              makes[i]);
        }
    }
    const char *dot = strchr(token, '.'), *id = args_get(r->args, "task");
    if (!dot || dot[1] != 'x') {
        return args_wrong(r->args, "that token is to watch a task; reporting wants its worker token (tsk_....x1....)");
    }
    snprintf(r->task, sizeof r->task, "%.*s", (int) (dot - token), token);
    if (id && strcmp(id, r->task) != 0) {
        return args_wrong(r->args, "the token is not that of --task %s", id);
    }
    buf_puts(&r->token, token);
    return 0;
}

static int task_find(struct run *r) {
    const char *token = client_token(r->client);
    bool of_task = token && strncmp(token, "tsk_", 4) == 0;
    if (of_task) {
        return task_given(r, token);
    }
    if (args_has(r->args, "task")) {
        return args_wrong(r->args, "--task goes with the task's worker token: --token or BOWLINE_TOKEN");
    }
    return task_make(r);
}

/* ---- the command line ---- */

static int run_flags(struct run *r) {
    struct args *a = r->args;
    char why[160];
    r->reports_output = !args_has(a, "no-output");
    int code = args_number(a, "kill-after", 0, 1e6, 10, &r->kill_after_s);
    code = code ? code : args_number(a, "wait", 0, 1e9, 60, &r->wait_s);
    code = code ? code : args_number(a, "lease", 0, 1e9, 0, &r->lease_s);
    code = code ? code : args_number(a, "timeout", 0, 1e9, 0, &r->timeout_s);
    if (!code && progress_scan_init(&r->scan, args_get(a, "progress"), why)) {
        code = args_wrong(a, "--progress: %s", why);
    }
    return code;
}

static int run_prepare(struct run *r) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT};
    static const struct reporter_events events = {on_cancel, on_end, on_note};
    int wrong = signals_open(&r->signals, numbers, sizeof numbers / sizeof *numbers);
    wrong = wrong ? wrong : run_terminal_open(&r->terminal);
    if (wrong) {
        return args_fail(r->args, BOWLINE_EXIT_FAILED, "%s", strerror(-wrong));
    }
    srand((unsigned) clock_ms() ^ (unsigned) getpid());
    r->out = (struct relay){.from = -1, .to = STDOUT_FILENO, .borrowed = r->terminal.pty, .saw = on_piece, .arg = r};
    r->err = (struct relay){.from = -1, .to = STDERR_FILENO, .saw = on_piece, .arg = r};
    bool keys = r->terminal.pty && r->terminal.keys;
    r->keys = (struct relay){.from = keys ? STDIN_FILENO : -1, .to = r->terminal.master, .borrowed = true, .saw = on_keys, .arg = r};
    r->reporter = reporter_create(r->ops, r->task, buf_z(&r->token), r->lease_s, &events, r);
    return command_start(r);
}

static int run_run(struct args *a) {
    struct run r = {.args = a, .term_ms = INT64_MAX, .signals = {.fd = -1}, .guard = {.fd = -1}, .terminal = {.master = -1, .slave = -1}};
    r.out.from = r.err.from = -1;
    r.out.borrowed = r.keys.borrowed = true;
    int code = run_flags(&r);
    code = code ? code : client_open(a, &r.client);
    code = code ? code : client_ops_open(a, r.client, &r.ops);
    code = code ? code : task_find(&r);
    if (!code) {
        code = run_prepare(&r);
        code = code ? code : run_loop(&r);
        guard_leave(&r.guard);
        signals_close(&r.signals);
    }
    reporter_destroy(r.reporter);
    client_ops_close(r.ops);
    client_close(r.client);
    relay_fini(&r.out);
    relay_fini(&r.err);
    relay_fini(&r.keys);
    run_terminal_close(&r.terminal);
    progress_scan_fini(&r.scan);
    buf_fini(&r.token);
    return code;
}

static const struct flag run_flags_table[] = {
    {"session", "ID", "A new task of this session"},
    {"session-key", "KEY", "The same by the application's own session id; one that is new is made"},
    {"user", "USER", "With --session-key: the session's user"},
    {"task", "ID", "A task that is there already, whose worker token is given with --token or BOWLINE_TOKEN"},
    {"kind", "KIND", "What sort of work; the command's name if not given"},
    {"title", "TEXT", "What people are shown"},
    {"on-session-end", "WHAT", "keep (default), cancel or handover"},
    {"lease", "SECONDS", "When `bowline run` itself is silent for longer, the task is lost; 60 if not given"},
    {"timeout", "SECONDS", "Longest that it may run; then the command is stopped"},
    {"deadline", "SECONDS", "From now, in any state, after which the task has failed"},
    {"ttl", "SECONDS", "How long the task is kept after its end"},
    {"cancel-unwatched", "SECONDS", "Cancel when nobody has watched for that long"},
    {"metadata", "JSON", "An object of your own: JSON, @FILE, or -"},
    {"progress", "PATTERN", "Extended regular expression with one group (a percentage) or two (how much of how much), instead of the usual forms"},
    {"no-output", NULL, "Report no output, only progress and the end"},
    {"kill-after", "SECONDS", "A command that is to stop gets SIGTERM, and SIGKILL after that long; 10 if not given"},
    {"wait", "SECONDS", "When the command has ended and the server is out of reach, try that long to tell it; 60 if not given"},
    {NULL, NULL, NULL},
};

static const struct action run_action = {
    "run",
    "",
    0,
    0,
    "Runs a command as a task: its output, progress and end are reported as they happen",
    run_flags_table,
    "  bowline run --session ses_01J... --title 'Nightly import' -- ./import.sh --all\n"
    "  bowline run --session-key \"$SID\" --on-session-end cancel -- ffmpeg -i in.mov out.mp4\n"
    "  bowline run --token tsk_01J....x1.... -- make -j8\n"
    "  bowline run --session ses_01J... --progress 'page ([0-9]+) of about ([0-9]+)' -- ./render\n",
    run_run,
};

const struct command run_command = {
    "run",
    "Run a command as a task",
    "The command sees what it would see without: its input, a terminal where there is one, signals, and a slow reader of its output. Progress is "
    "read from\n"
    "what it prints: 42%, 3/10, 3 of 10. The exit code is the command's (128 + N after signal N, 127 not found, 126 not executable), and the task\n"
    "succeeds with {\"exit_status\": 0, \"seconds\": ...} or fails with type exit-status or signal. When the task is cancelled, the command is "
    "stopped,\n"
    "with everything that it has started. What it leaves behind when it ends by itself goes on; nobody reads what that writes from then on.\n"
    "The command never waits for the server. If that is out of reach, what is to be told is kept (up to 32 MiB of output, beyond 1 MiB in a\n"
    "temporary file) and told in order, nothing lost or twice, when it is back. In the command's environment are BOWLINE_TASK, BOWLINE_TOKEN and "
    "BOWLINE_URL, so that "
    "it\n"
    "can also say something itself: `bowline report progress 40/100 --message rendering`.\n",
    &run_action,
    1,
    true,
    "COMMAND [ARGUMENT ...]"};
