/*
 * top.c: `bowline top`: asks a server for what goes on there, all at once and again and again, and shows it. What a server's answer says is shown until the next round is
 * complete; a round that fails leaves the last one standing and says so.
 */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/options.h"
#include "cli/child.h"
#include "cli/client_ops.h"
#include "cli/exit.h"
#include "cli/show.h"
#include "cli/text.h"
#include "cli/top_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ANSWER_S 10
#define ANSWER_DEPTH 1100

enum question { SESSIONS, QUEUES, RUNNING, ASKING, QUEUED, METRICS, QUESTIONS };

static const char *const paths[QUESTIONS] = {
    [SESSIONS] = "/v1/sessions?state=active&limit=500", [QUEUES] = "/v1/queues?limit=200",
    [RUNNING] = "/v1/tasks?state=running&limit=500",    [ASKING] = "/v1/tasks?state=input_required&limit=100",
    [QUEUED] = "/v1/tasks?state=queued&limit=100",      [METRICS] = "/metrics",
};

struct top;
struct asked {
    struct top *top;
    struct client_op *op;
    struct buf body; /* of the last good answer, as text */
    struct arena arena;
    struct json *root;
};

struct top {
    struct args *args;
    struct client *client;
    struct client_ops *ops;
    struct signals signals;
    struct asked asked[QUESTIONS];
    struct buf trouble;
    struct termios before;
    bool screen, raw, quit, answered;
    int code;
    unsigned pending;
    double every_s;
    int64_t round_ms, server_apart_ms; /* when the next round begins; how far its clock is before ours */
    double reports, changes, reports_per_s, changes_per_s;
    int64_t counted_ms;
};

/* ---- the terminal ---- */

static void screen_enter(struct top *t) {
    if (!t->screen || t->raw) {
        return;
    }
    if (isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp() && tcgetattr(STDIN_FILENO, &t->before) == 0) {
        struct termios modes = t->before;
        modes.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
        modes.c_cc[VMIN] = 1;
        modes.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSADRAIN, &modes);
        t->raw = true;
    }
    fputs("\033[?1049h\033[?25l\033[?7l", stdout); /* another screen, no cursor, no wrapping */
    fflush(stdout);
}

static void screen_leave(struct top *t) {
    if (!t->screen) {
        return;
    }
    fputs("\033[?7h\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (t->raw) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
        t->raw = false;
    }
}

static void draw(struct top *t) {
    struct winsize size = {0};
    struct buf out = {0};
    const char *no_colour = getenv("NO_COLOR");
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    struct top_look look = {.screen = t->screen,
                            .colour = t->screen && !(no_colour && no_colour[0]),
                            .utf8 = text_is_utf8(),
                            .columns = size.ws_col ? size.ws_col : 80,
                            .rows = size.ws_row ? size.ws_row : 24};
    struct top_state state = {.url = client_url(t->client),
                              .trouble = t->trouble.len ? buf_z(&t->trouble) : NULL,
                              .sessions = t->asked[SESSIONS].root,
                              .queues = t->asked[QUEUES].root,
                              .running = t->asked[RUNNING].root,
                              .asking = t->asked[ASKING].root,
                              .queued = t->asked[QUEUED].root,
                              .metrics = buf_view(&t->asked[METRICS].body),
                              .reports_per_s = t->reports_per_s,
                              .changes_per_s = t->changes_per_s,
                              .now_ms = clock_wall_ms() + t->server_apart_ms};
    top_view_draw(&state, &look, &out);
    fwrite(buf_view(&out).p, 1, out.len, stdout);
    if (fflush(stdout)) {
        t->quit = true;
    }
    buf_fini(&out);
}

/* ---- asking ---- */

static void rates_count(struct top *t) {
    struct str metrics = buf_view(&t->asked[METRICS].body);
    double reports = metric_value(metrics, "bowline_reports_total"), changes = metric_value(metrics, "bowline_changes_total");
    int64_t now = clock_ms();
    if (t->counted_ms && now > t->counted_ms && reports >= t->reports) {
        double seconds = (double) (now - t->counted_ms) / 1000;
        t->reports_per_s = (reports - t->reports) / seconds;
        t->changes_per_s = (changes - t->changes) / seconds;
    }
    t->reports = reports;
    t->changes = changes;
    t->counted_ms = now;
}

static void answer_keep(struct asked *q, const struct client_reply *reply) {
    struct json_error error;
    arena_fini(&q->arena);
    q->root = NULL;
    buf_clear(&q->body);
    buf_str(&q->body, buf_view(&reply->body));
    if (q == &q->top->asked[METRICS]) {
        rates_count(q->top);
    } else if (json_parse(&q->arena, buf_view(&q->body), ANSWER_DEPTH, &q->root, &error)) {
        q->root = NULL;
    }
}

static void round_end(struct top *t) {
    if (t->quit) {
        return;
    }
    draw(t);
    t->answered = true;
    t->quit = !t->screen;
}

static void answer_refused(struct top *t, const struct client_reply *reply) {
    bool refused = reply->status >= 400 && reply->status < 500 && reply->status != 429;
    if (refused || !t->answered) {
        screen_leave(t);
        t->screen = false;
        t->quit = true;
        if (reply->status) {
            t->code = client_say_problem(t->args, reply);
        } else {
            t->code =
                args_fail(t->args, BOWLINE_EXIT_UNREACHABLE, "%s does not answer: %.*s", client_url(t->client), STR_FMT(buf_view(&reply->body)));
        }
        return;
    }
    buf_clear(&t->trouble);
    if (reply->status) {
        buf_printf(&t->trouble, "the server answers %d; this is how it stood before", reply->status);
    } else {
        buf_puts(&t->trouble, "the server is out of reach; this is how it stood before: ");
        text_put_clean(&t->trouble, buf_view(&reply->body));
    }
}

static void on_answer(void *arg, const struct client_reply *reply) {
    struct asked *q = arg;
    struct top *t = q->top;
    q->op = NULL;
    t->pending--;
    if (reply->status == 200) {
        int64_t apart = reply->date_s ? reply->date_s * 1000 - clock_wall_ms() : 0;
        t->server_apart_ms = llabs(apart) > 2 * SEC ? apart : 0;
        answer_keep(q, reply);
    } else if (!t->quit) {
        answer_refused(t, reply);
    }
    if (!t->pending) {
        round_end(t);
    }
}

static void round_begin(struct top *t, int64_t now) {
    buf_clear(&t->trouble);
    t->round_ms = now + (int64_t) (t->every_s * 1000);
    t->pending = QUESTIONS;
    for (int i = 0; i < QUESTIONS; i++) {
        struct client_request q = {.path = paths[i]};
        t->asked[i].op = client_ops_start(t->ops, &q, ANSWER_S * SEC, on_answer, &t->asked[i]);
    }
}

/* ---- the loop ---- */

static void signal_take(struct top *t, int number) {
    if (number == SIGWINCH || number == SIGCONT) {
        screen_enter(t);
        if (t->answered) {
            draw(t);
        }
    } else if (number == SIGTSTP) {
        screen_leave(t);
        raise(SIGSTOP);
        screen_enter(t);
    } else if (number != SIGCHLD) {
        t->quit = true;
        t->code = 128 + number;
    }
}

static void keys_take(struct top *t) {
    char keys[64];
    ssize_t n = read(STDIN_FILENO, keys, sizeof keys);
    if (n <= 0) {
        t->raw = false;
        t->quit = true;
    }
    for (ssize_t i = 0; i < n; i++) {
        t->quit |= keys[i] == 'q' || keys[i] == 'Q';
        t->round_ms = keys[i] == ' ' || keys[i] == '\n' ? 0 : t->round_ms;
    }
}

static void top_loop(struct top *t) {
    while (!t->quit) {
        int64_t now = clock_ms();
        if (!t->pending && now >= t->round_ms) {
            round_begin(t, now);
        }
        struct pollfd fds[2] = {{.fd = t->signals.fd, .events = POLLIN}, {.fd = t->raw ? STDIN_FILENO : -1, .events = POLLIN}};
        client_ops_wait(t->ops, fds, 2, t->pending ? ANSWER_S * SEC : t->round_ms - now);
        if (fds[1].revents) {
            keys_take(t);
        }
        for (int number; (number = signals_next(&t->signals));) {
            signal_take(t, number);
        }
    }
}

static int top_prepare(struct top *t) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT};
    const char *term = getenv("TERM");
    if (client_token(t->client)) {
        return args_wrong(t->args,
                          "it shows what goes on everywhere, which wants an API key with the role operator: --key-file or BOWLINE_KEY, not a token");
    }
    int wrong = signals_open(&t->signals, numbers, sizeof numbers / sizeof *numbers);
    if (wrong) {
        return args_fail(t->args, BOWLINE_EXIT_FAILED, "%s", strerror(-wrong));
    }
    t->screen = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !args_has(t->args, "once");
    for (int i = 0; i < QUESTIONS; i++) {
        t->asked[i].top = t;
    }
    screen_enter(t);
    return 0;
}

static int top_run(struct args *a) {
    struct top t = {.args = a, .signals = {.fd = -1}, .reports_per_s = NAN, .changes_per_s = NAN};
    int code = args_number(a, "every", 0.1, 3600, 1, &t.every_s);
    code = code ? code : client_open(a, &t.client);
    code = code ? code : client_ops_open(a, t.client, &t.ops);
    code = code ? code : top_prepare(&t);
    if (!code) {
        top_loop(&t);
        screen_leave(&t);
        code = t.code;
    }
    client_ops_close(t.ops);
    client_close(t.client);
    if (t.signals.fd >= 0) {
        signals_close(&t.signals);
    }
    for (int i = 0; i < QUESTIONS; i++) {
        arena_fini(&t.asked[i].arena);
        buf_fini(&t.asked[i].body);
    }
    buf_fini(&t.trouble);
    return code;
}

static const struct flag top_flags[] = {
    {"every", "SECONDS", "How often it is looked at; 1 if not given"},
    {"once", NULL, "One look, as plain lines, also on a terminal"},
    {NULL, NULL, NULL},
};

static const struct action top_action = {
    "top",
    "",
    0,
    0,
    "Shows what goes on: queues, tasks with their progress, and sessions",
    top_flags,
    "  bowline top --key-file bowline-data/api.key\n"
    "  bowline top --once | grep stalled\n",
    top_run,
};

const struct command top_command = {"top",
                                    "Show what goes on, live",
                                    "On a terminal the screen is redrawn in place; q quits, the space bar looks again at once. Elsewhere it is one "
                                    "look as plain lines. The key needs the\n"
                                    "role operator.\n",
                                    &top_action,
                                    1,
                                    true,
                                    NULL};
