/*
 * watch.c: `bowline watch`: one event stream, opened again with its last id whenever it ends, until the server says that there is no more (204), the
 * task has ended, or what was asked for has happened.
 */
#include "cli/commands.h"

#include "base/clock.h"
#include "base/crypto.h"
#include "base/options.h"
#include "base/sse.h"
#include "cli/client.h"
#include "cli/exit.h"
#include "cli/show.h"
#include "cli/text.h"
#include "cli/watch_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DRAW_MS 80
#define TICK_MS 1000
#define RETRY_MS 2000
#define RETRY_MOST_MS (20 * SEC)
#define SILENCE_MS (45 * SEC) /* the server is never silent for longer than 15 s */
#define DATA_DEPTH 1100

struct watch {
    struct args *args;
    struct client *client;
    struct sse sse;
    struct watch_view view;
    struct buf path;
    bool one_task; /* the feed of one task */
    bool live;     /* what stood at the beginning has been seen */
    bool done;     /* with `code` */
    int code;
    int final_code; /* of the one task once it has ended; -1 before */
    int64_t until_ms, drawn_ms;
    unsigned failures; /* in a row */
};

static void watch_done(struct watch *w, int code) {
    if (!w->done) {
        w->done = true;
        w->code = code;
    }
}

static void watch_draw(struct watch *w) {
    struct buf out = {0};
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    int64_t now = clock_ms();
    watch_view_draw(&w->view, size.ws_col ? size.ws_col : 80, size.ws_row ? size.ws_row : 24, now, &out);
    fwrite(buf_view(&out).p, 1, out.len, stdout);
    if (fflush(stdout)) {
        watch_done(w, BOWLINE_EXIT_FAILED);
    }
    w->drawn_ms = now;
    buf_fini(&out);
}

static void watch_note(struct watch *w, const char *note) {
    if (!args_has(w->args, "json")) {
        watch_view_note(&w->view, note, clock_wall_ms());
        watch_draw(w);
    }
}

/* ---- events ---- */

static int outcome_code(struct str state) {
    return str_eqz(state, "succeeded")   ? BOWLINE_EXIT_OK
           : str_eqz(state, "failed")    ? BOWLINE_EXIT_TASK_FAILED
           : str_eqz(state, "cancelled") ? BOWLINE_EXIT_TASK_CANCELLED
                                         : -1;
}

static void on_task(struct watch *w, const struct json *data) {
    const struct json *task = json_get(data, "task");
    struct str gone = member_text(data, "gone");
    if (gone.p) {
        watch_view_gone(&w->view, gone, member_text(data, "reason"), clock_wall_ms());
        if (w->one_task) {
            watch_done(w, BOWLINE_EXIT_REFUSED);
        }
    } else if (task) {
        watch_view_task(&w->view, task, clock_wall_ms());
        w->final_code = w->one_task ? outcome_code(member_text(task, "state")) : -1;
    }
}

static void on_output(struct watch *w, const struct json *data) {
    struct str text = member_text(data, "data"), base64 = member_text(data, "data_base64");
    struct buf decoded = {0};
    if (!text.p && base64.p && base64_decode(base64, &decoded)) {
        text = buf_view(&decoded);
    }
    if (text.len) {
        watch_view_output(&w->view, member_text(data, "task"), text);
    }
    buf_fini(&decoded);
}

static void on_session(struct watch *w, const struct json *data) {
    struct buf note = {0};
    bool rotated = str_eqz(member_text(data, "state"), "rotated");
    buf_puts(&note, "the session was ");
    text_put_clean(&note, member_text(data, "state"));
    struct str reason = member_text(data, "reason");
    buf_puts(&note, reason.p ? ": " : "");
    text_put_clean(&note, reason);
    buf_puts(&note, rotated ? ": its new token is needed" : "");
    watch_view_note(&w->view, buf_z(&note), clock_wall_ms());
    watch_done(w, rotated ? BOWLINE_EXIT_REFUSED : BOWLINE_EXIT_OK);
    buf_fini(&note);
}

static void on_problem(struct watch *w, const struct json *data) {
    struct buf note = {0};
    text_put_clean(&note, member_text(data, "detail"));
    buf_puts(&note, "; trying again later");
    watch_note(w, buf_z(&note));
    buf_fini(&note);
}

static void event_show(struct watch *w, struct str event, const struct json *data) {
    if (str_eqz(event, "task")) {
        on_task(w, data);
    } else if (str_eqz(event, "output") && args_has(w->args, "output")) {
        on_output(w, data);
    } else if (str_eqz(event, "session")) {
        on_session(w, data);
    } else if (str_eqz(event, "problem")) {
        on_problem(w, data);
    } else if (str_eqz(event, "reset")) {
        watch_view_reset(&w->view);
        w->live = false;
    } else if (str_eqz(event, "live")) {
        w->live = true;
    }
    if (w->live && w->view.count == 0 && args_has(w->args, "until-idle")) {
        watch_done(w, w->final_code >= 0 ? w->final_code : BOWLINE_EXIT_OK);
    }
}

static bool on_event(void *arg, struct str event, struct str text) {
    struct watch *w = arg;
    struct arena arena = {0};
    struct json *data;
    struct json_error error;
    w->failures = 0;
    if (json_parse(&arena, text, DATA_DEPTH, &data, &error) == 0) {
        event_show(w, event, data);
    }
    arena_fini(&arena);
    if (args_has(w->args, "json")) {
        buf_clear(&w->view.above);
        fwrite(text.p, 1, text.len, stdout);
        putchar('\n');
        if (fflush(stdout)) {
            watch_done(w, BOWLINE_EXIT_FAILED);
        }
    } else if (!w->view.bars || w->done) {
        watch_draw(w);
    }
    return !w->done;
}

/* ---- one connection ---- */

static bool on_data(void *arg, struct str piece) {
    struct watch *w = arg;
    return sse_feed(&w->sse, piece) == SSE_OK && !w->done;
}

static bool time_is_up(struct watch *w) {
    if (clock_ms() < w->until_ms) {
        return false;
    }
    watch_done(w, BOWLINE_EXIT_TIMEOUT);
    return true;
}

/* Draws what is due; when to come again. */
static int64_t on_tick(void *arg) {
    struct watch *w = arg;
    if (time_is_up(w)) {
        return CLIENT_STOP;
    }
    int64_t now = clock_ms(), next = w->drawn_ms + (w->view.dirty ? DRAW_MS : TICK_MS);
    if (w->view.bars && now >= next) {
        watch_draw(w);
        next = now + TICK_MS;
    }
    int64_t wait_ms = w->view.bars ? next - now : TICK_MS;
    return wait_ms < w->until_ms - now ? wait_ms : w->until_ms - now;
}

/* What the end of a connection means. Sets done, or gives back how long to pause before the next one. */
static int64_t after_answer(struct watch *w, const struct client_reply *reply) {
    int64_t retry_ms = w->sse.retry_ms >= 0 ? w->sse.retry_ms : RETRY_MS;
    if (reply->status == 200) {
        if (w->final_code >= 0) {
            watch_done(w, w->final_code);
        }
        return retry_ms / 2 + rand() % (retry_ms / 2 + 1);
    }
    if (reply->status == 204) {
        watch_done(w, w->final_code >= 0 ? w->final_code : BOWLINE_EXIT_OK);
    } else if (reply->status == 503 || reply->status == 429) {
        return reply->retry_after_s * SEC > retry_ms ? reply->retry_after_s * SEC : retry_ms;
    } else if (reply->status == 401 && w->live) {
        watch_done(w, args_fail(w->args, BOWLINE_EXIT_REFUSED, "the key or token is no longer valid"));
    } else {
        watch_done(w, client_say_problem(w->args, reply));
    }
    return 0;
}

static int64_t after_loss(struct watch *w, bool ever) {
    if (!ever) {
        watch_done(w, client_say_unreachable(w->client, w->args));
        return 0;
    }
    if (w->failures++ == 0) {
        watch_note(w, "the connection is lost; trying again");
    }
    int64_t pause_ms = RETRY_MS << (w->failures < 5 ? w->failures - 1 : 4);
    return pause_ms < RETRY_MOST_MS ? pause_ms : RETRY_MOST_MS;
}

static void pause_drawing(struct watch *w, int64_t pause_ms) {
    int64_t until = clock_ms() + pause_ms;
    while (!w->done && clock_ms() < until && !time_is_up(w)) {
        int64_t left = until - clock_ms();
        struct timespec slice = {.tv_nsec = (long) (left < 100 ? left > 0 ? left : 0 : 100) * 1000000};
        nanosleep(&slice, NULL);
        (void) on_tick(w);
    }
}

/* The cursor to come back with; NULL: none yet. */
static const char *last_id(struct watch *w) {
    return w->sse.cursor.len ? buf_z(&w->sse.cursor) : NULL;
}

static int watch_loop(struct watch *w) {
    struct client_reply reply = {0};
    bool ever = false;
    while (!w->done) {
        sse_restart(&w->sse);
        struct client_stream stream = {buf_z(&w->path), last_id(w), on_data, on_tick, w, SILENCE_MS};
        int lost = client_follow(w->client, &stream, &reply);
        ever |= !lost || last_id(w);
        if (!w->done) {
            pause_drawing(w, lost ? after_loss(w, ever) : after_answer(w, &reply));
        }
    }
    client_reply_fini(&reply);
    if (w->view.dirty && !args_has(w->args, "json")) {
        watch_draw(w);
    }
    return w->code;
}

/* ---- the command ---- */

/* The feed: of the operand with a key, else of what the token stands for. */
static int watch_path(struct watch *w) {
    const char *token = client_token(w->client), *id = w->args->operand_count ? w->args->operand[0] : NULL;
    struct buf *path = &w->path;
    if (id && strncmp(id, "tsk_", 4) != 0 && strncmp(id, "ses_", 4) != 0) {
        return args_wrong(w->args, "\"%s\" is neither a session (ses_...) nor a task (tsk_...)", id);
    }
    const char *dot = token && strncmp(token, "tsk_", 4) == 0 ? strchr(token, '.') : NULL;
    w->one_task = id ? id[0] == 't' : dot != NULL;
    if (w->one_task) {
        char task[64];
        snprintf(task, sizeof task, "%.*s", id ? (int) strlen(id) : (int) (dot - token), id ? id : token);
        buf_puts(path, "/v1/tasks/");
        path_put(path, task);
        buf_puts(path, "/events");
    } else if (token) {
        buf_puts(path, "/v1/session/events");
    } else if (id) {
        buf_puts(path, "/v1/sessions/");
        path_put(path, id);
        buf_puts(path, "/events");
    } else {
        return args_wrong(w->args, "what? Give a session or task with a key, or a token of one with --token");
    }
    if (args_has(w->args, "output") && !w->one_task) {
        query_put(path, "output", "1");
    }
    return 0;
}

static void view_begin(struct watch *w) {
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    bool terminal = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;
    w->view.bars = terminal && !args_has(w->args, "json") && !args_has(w->args, "plain");
    w->view.colour = w->view.bars && !(no_colour && no_colour[0]);
    w->view.utf8 = text_is_utf8();
}

static int watch_run(struct args *a) {
    struct watch w = {.args = a, .final_code = -1, .until_ms = INT64_MAX};
    double timeout_s;
    int code = args_number(a, "timeout", 0, 1e9, INFINITY, &timeout_s);
    code = code ? code : client_open(a, &w.client);
    code = code ? code : watch_path(&w);
    if (!code) {
        w.until_ms = isinf(timeout_s) ? INT64_MAX : clock_ms() + (int64_t) (timeout_s * 1000);
        srand((unsigned) clock_ms() ^ (unsigned) getpid());
        w.sse = (struct sse){.event = on_event, .arg = &w, .retry_ms = -1};
        view_begin(&w);
        code = watch_loop(&w);
    }
    sse_fini(&w.sse);
    watch_view_fini(&w.view);
    buf_fini(&w.path);
    client_close(w.client);
    return code;
}

static const struct flag watch_flags[] = {
    {"until-idle", NULL, "Exit once nothing is unfinished"},
    {"output", NULL, "Show what tasks put out, too"},
    {"plain", NULL, "One line per event, also on a terminal"},
    {"timeout", "SECONDS", "Exit after that long, with code 6"},
    {NULL, NULL, NULL},
};

static const struct action watch_action = {"watch",
                                           "[SESSION|TASK]",
                                           0,
                                           1,
                                           "Follows a session's tasks, or one task, as they change",
                                           watch_flags,
                                           "  bowline watch --token ses_01J....g1....\n"
                                           "  bowline watch ses_01J... --key-file bowline-data/api.key\n"
                                           "  bowline watch tsk_01J... --output\n"
                                           "  bowline watch --token ses_01J....g1.... --until-idle --json > events.ndjson\n",
                                           watch_run};

const struct command watch_command = {
    "watch",
    "Follow a session's tasks, or one task, live",
    "On a terminal each unfinished task is a bar; elsewhere each event is a line, and with --json the event's data as it came. A lost connection is\n"
    "opened again where it broke off. Watching one task ends with the task, and the exit code tells how (0, 4 failed, 5 cancelled); watching a\n"
    "session ends with the session.\n",
    &watch_action,
    1,
    true,
    NULL};
