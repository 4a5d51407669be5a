#include "cli/watch_view.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/show.h"
#include "cli/text.h"

#include <math.h>
#include <stdio.h>

#define BAR_COLUMNS 20
#define NAME_COLUMNS_MOST 30

/* ---- tasks ---- */

static void task_clear(struct watched_task *t) {
    mem_free(t->name);
    mem_free(t->phase);
    mem_free(t->message);
    mem_free(t->unit);
    *t = (struct watched_task){0};
}

static void task_remove(struct watch_view *v, struct watched_task *t) {
    task_clear(t);
    size_t at = (size_t) (t - v->tasks);
    memmove(t, t + 1, (v->count - at - 1) * sizeof *t);
    v->count--;
}

void watch_view_reset(struct watch_view *v) {
    while (v->count) {
        task_clear(&v->tasks[--v->count]);
    }
    v->dirty = true;
}

void watch_view_fini(struct watch_view *v) {
    watch_view_reset(v);
    mem_free(v->tasks);
    buf_fini(&v->above);
    *v = (struct watch_view){0};
}

static struct watched_task *task_find(struct watch_view *v, struct str id) {
    for (size_t i = 0; i < v->count; i++) {
        if (str_eqz(id, v->tasks[i].id)) {
            return &v->tasks[i];
        }
    }
    return NULL;
}

static struct watched_task *task_add(struct watch_view *v) {
    if (v->count == v->cap) {
        v->cap = v->cap ? v->cap * 2 : 16;
        v->tasks = mem_resize(v->tasks, v->cap * sizeof *v->tasks);
    }
    v->tasks[v->count] = (struct watched_task){0};
    return &v->tasks[v->count++];
}

static char *clean_copy(struct str s) {
    struct buf b = {0};
    text_put_clean(&b, s);
    char *copy = mem_strdup(buf_view(&b));
    buf_fini(&b);
    return copy;
}

static void task_fill(struct watched_task *t, const struct json *task, int64_t now_ms) {
    const struct json *p = json_get(task, "progress"), *question = json_get(task, "input_request");
    struct str title = member_text(task, "title"), prompt = member_text(question, "prompt");
    task_clear(t);
    snprintf(t->id, sizeof t->id, "%.*s", STR_FMT(member_text(task, "id")));
    snprintf(t->state, sizeof t->state, "%.*s", STR_FMT(member_text(task, "state")));
    t->name = clean_copy(title.len ? title : member_text(task, "kind"));
    t->phase = clean_copy(member_text(p, "phase").p ? member_text(p, "phase") : STR(""));
    t->message = clean_copy(prompt.p ? prompt : member_text(p, "message").p ? member_text(p, "message") : STR(""));
    t->unit = clean_copy(member_text(p, "unit").p ? member_text(p, "unit") : STR(""));
    t->current = member_number_of(p, "current");
    t->total = member_number_of(p, "total");
    t->ratio = member_number_of(p, "ratio");
    t->eta = member_number_of(p, "eta");
    t->stalled = member_true(task, "stalled");
    t->cancelling = member_true(task, "cancel_requested");
    t->updated_ms = now_ms;
}

static bool state_is_final(struct str state) {
    return str_eqz(state, "succeeded") || str_eqz(state, "failed") || str_eqz(state, "cancelled");
}

/* ---- lines ---- */

static void colour(const struct watch_view *v, struct buf *out, const char *code) {
    if (v->colour) {
        buf_printf(out, "\033[%sm", code);
    }
}

static const char *state_colour(const char *state) {
    switch (state[0]) {
    case 's': return "32"; /* succeeded */
    case 'f': return "31"; /* failed */
    case 'c': return "33"; /* cancelled */
    case 'i': return "35"; /* input_required */
    case 'r': return "36"; /* running */
    default: return "2";
    }
}

/* Time of day, UTC, for lines of a log. */
static void clock_put(struct buf *out, int64_t now_ms) {
    char text[TIME_TEXT_LEN + 1];
    time_format(now_ms, text);
    buf_printf(out, "%.8sZ ", text + 11);
}

static void duration_put(struct buf *out, const struct json *task) {
    int64_t from, to;
    if (time_parse(member_text(task, "started_at"), &from) && time_parse(member_text(task, "ended_at"), &to) && to >= from) {
        buf_puts(out, " after ");
        text_put_seconds(out, (double) (to - from) / 1000);
    }
}

static void why_put(struct buf *out, const struct json *task) {
    const struct json *error = json_get(task, "error");
    struct str reason = member_text(task, "cancel_reason");
    if (member_text(error, "type").p) {
        buf_puts(out, ": ");
        text_put_clean(out, member_text(error, "type"));
        buf_puts(out, ": ");
        text_put_clean(out, member_text(error, "message"));
    } else if (reason.p) {
        buf_puts(out, ": ");
        text_put_clean(out, reason);
    }
}

/* One line for a task as it is: everything a log wants to know. */
static void plain_line(struct watch_view *v, const struct json *task, const struct watched_task *t, int64_t now_ms) {
    struct buf *out = &v->above;
    clock_put(out, now_ms);
    buf_printf(out, "%s %s %s", t->id, t->state, t->name);
    if (state_is_final(str_of(t->state))) {
        duration_put(out, task);
        why_put(out, task);
    } else {
        size_t before = out->len;
        buf_puts(out, "  ");
        show_progress(json_get(task, "progress"), out);
        out->len = out->len == before + 2 ? before : out->len;
        buf_puts(out, strcmp(t->state, "input_required") == 0 ? "  asks: " : "");
        buf_puts(out, strcmp(t->state, "input_required") == 0 ? t->message : "");
        buf_puts(out, t->stalled ? "  (nothing heard from its worker)" : "");
        buf_puts(out, t->cancelling ? "  (cancelling)" : "");
    }
    buf_char(out, '\n');
}

static void finished_line(struct watch_view *v, const struct json *task, const struct watched_task *t) {
    static const char *const marks[][2] = {{"+ ", "\xe2\x9c\x94 "}, {"x ", "\xe2\x9c\x98 "}, {"- ", "\xe2\x97\x8b "}};
    int which = t->state[0] == 's' ? 0 : t->state[0] == 'f' ? 1 : 2;
    struct buf *out = &v->above;
    colour(v, out, state_colour(t->state));
    buf_puts(out, marks[which][v->utf8]);
    colour(v, out, "0");
    buf_printf(out, "%s ", t->name);
    colour(v, out, state_colour(t->state));
    buf_puts(out, t->state);
    colour(v, out, "0");
    duration_put(out, task);
    why_put(out, task);
    buf_char(out, '\n');
}

/* ---- events ---- */

void watch_view_task(struct watch_view *v, const struct json *task, int64_t now_ms) {
    struct watched_task *t = task_find(v, member_text(task, "id"));
    bool final = state_is_final(member_text(task, "state"));
    t = t ? t : task_add(v);
    task_fill(t, task, now_ms);
    if (!v->bars) {
        plain_line(v, task, t, now_ms);
    } else if (final) {
        finished_line(v, task, t);
    }
    if (final) {
        task_remove(v, t);
    }
    v->dirty = true;
}

void watch_view_gone(struct watch_view *v, struct str id, struct str reason, int64_t now_ms) {
    struct watched_task *t = task_find(v, id);
    if (t || !v->bars) {
        if (!v->bars) {
            clock_put(&v->above, now_ms);
        }
        text_put_clean(&v->above, v->bars && t ? str_of(t->name) : id);
        buf_puts(&v->above, " gone: ");
        text_put_clean(&v->above, reason);
        buf_char(&v->above, '\n');
    }
    if (t) {
        task_remove(v, t);
    }
    v->dirty = true;
}

void watch_view_output(struct watch_view *v, struct str id, struct str data) {
    const struct watched_task *t = v->bars ? task_find(v, id) : NULL;
    while (data.len) {
        const char *end = memchr(data.p, '\n', data.len);
        struct str line = str_n(data.p, end ? (size_t) (end - data.p) : data.len);
        colour(v, &v->above, "2");
        text_put_clean(&v->above, t ? str_of(t->name) : id);
        buf_puts(&v->above, " | ");
        colour(v, &v->above, "0");
        text_put_clean(&v->above, line);
        buf_char(&v->above, '\n');
        data = str_from(data, line.len + (end ? 1 : 0));
    }
    v->dirty = true;
}

void watch_view_note(struct watch_view *v, const char *note, int64_t now_ms) {
    if (!v->bars) {
        clock_put(&v->above, now_ms);
    }
    buf_printf(&v->above, "%s\n", note);
    v->dirty = true;
}

/* ---- bars ---- */

static void bar_put(const struct watch_view *v, const struct watched_task *t, int columns, struct buf *out) {
    colour(v, out, state_colour(t->state));
    text_put_bar(out, t->ratio, columns, v->utf8);
    colour(v, out, "0");
}

static void joint(struct buf *out, size_t begin) {
    buf_puts(out, out->len > begin ? "  " : "");
}

/* What stands behind the bar: the phase, amounts, time to go, what is being done. */
static void detail_put(const struct watched_task *t, int64_t now_ms, struct buf *out) {
    buf_puts(out, t->phase);
    buf_puts(out, t->phase[0] ? ": " : "");
    size_t begin = out->len;
    if (!isnan(t->current)) {
        text_put_number(out, t->current);
        if (!isnan(t->total)) {
            buf_puts(out, "/");
            text_put_number(out, t->total);
        }
        buf_printf(out, "%s%s", t->unit[0] ? " " : "", t->unit);
    }
    double left = isnan(t->eta) ? NAN : t->eta - (double) (now_ms - t->updated_ms) / 1000;
    if (strcmp(t->state, "running") == 0 && !isnan(left)) {
        joint(out, begin);
        text_put_seconds(out, left > 0 ? left : 0);
    }
    const char *state = t->cancelling                             ? "cancelling"
                        : t->stalled                              ? "nothing heard"
                        : strcmp(t->state, "queued") == 0         ? "waiting"
                        : strcmp(t->state, "input_required") == 0 ? "asks:"
                                                                  : NULL;
    if (state) {
        joint(out, begin);
        buf_puts(out, state);
    }
    if (t->message[0]) {
        buf_puts(out, out->len > begin ? " " : "");
        buf_puts(out, t->message);
    }
    if (out->len == begin && begin) {
        out->len -= 2; /* nothing is said of the phase */
    }
}

static void task_line(const struct watch_view *v, const struct watched_task *t, int columns, int64_t now_ms, struct buf *out) {
    int name = columns / 4 < NAME_COLUMNS_MOST ? columns / 4 : NAME_COLUMNS_MOST;
    int bar = columns >= 60 ? BAR_COLUMNS : columns >= 40 ? BAR_COLUMNS / 2 : 0;
    struct buf detail = {0};
    text_put_fit(out, str_of(t->name), name);
    buf_char(out, ' ');
    bar_put(v, t, bar, out);
    if (isnan(t->ratio)) {
        buf_puts(out, "       ");
    } else {
        buf_printf(out, " %3d %% ", text_percent(t->ratio));
    }
    detail_put(t, now_ms, &detail);
    text_put_cut(out, buf_view(&detail), columns - name - 1 - bar - 7 - 1);
    buf_puts(out, "\033[K\n");
    buf_fini(&detail);
}

static void bars_put(struct watch_view *v, int columns, int rows, int64_t now_ms, struct buf *out) {
    size_t room = rows > 3 ? (size_t) rows - 2 : 1;
    size_t shown = v->count < room ? v->count : room;
    for (size_t i = 0; i < shown; i++) {
        task_line(v, &v->tasks[i], columns, now_ms, out);
    }
    v->drawn = (int) shown;
    if (shown < v->count) {
        buf_printf(out, "and %zu more\033[K\n", v->count - shown);
        v->drawn++;
    }
    buf_puts(out, "\033[J");
}

/* Lines above the bars take the place of what was drawn: each clears to its end before the next. */
static void above_put(struct watch_view *v, struct buf *out) {
    struct str rest = buf_view(&v->above);
    while (rest.len) {
        const char *end = memchr(rest.p, '\n', rest.len);
        size_t len = end ? (size_t) (end - rest.p) : rest.len;
        buf_put(out, rest.p, len);
        buf_puts(out, v->bars ? "\033[K\n" : "\n");
        rest = str_from(rest, len + 1);
    }
    buf_clear(&v->above);
}

void watch_view_draw(struct watch_view *v, int columns, int rows, int64_t now_ms, struct buf *out) {
    if (v->bars && v->drawn) {
        buf_printf(out, "\r\033[%dA", v->drawn);
    }
    above_put(v, out);
    if (v->bars) {
        bars_put(v, columns, rows, now_ms, out);
    }
    v->dirty = false;
}
