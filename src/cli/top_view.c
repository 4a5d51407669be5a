#include "cli/top_view.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/show.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>

#define BAR_COLUMNS 16
#define LINE_COLUMNS 160 /* of plain lines */

/* ---- what there is ---- */

double metric_value(struct str metrics, const char *name) {
    size_t len = strlen(name);
    while (metrics.len) {
        const char *end = memchr(metrics.p, '\n', metrics.len);
        size_t line = end ? (size_t) (end - metrics.p) : metrics.len;
        if (line > len + 1 && memcmp(metrics.p, name, len) == 0 && metrics.p[len] == ' ') {
            char text[40] = "";
            memcpy(text, metrics.p + len + 1, line - len - 1 < sizeof text - 1 ? line - len - 1 : sizeof text - 1);
            return strtod(text, NULL);
        }
        metrics = str_from(metrics, line + 1);
    }
    return NAN;
}

struct list {
    const struct json **items;
    size_t count, cap;
};

static void list_add(struct list *l, const struct json *page) {
    const struct json *items = json_get(page, "items");
    for (const struct json *i = items ? items->child : NULL; i; i = i->next) {
        if (l->count == l->cap) {
            l->cap = l->cap ? l->cap * 2 : 64;
            l->items = mem_resize(l->items, l->cap * sizeof(struct json *));
        }
        l->items[l->count++] = i;
    }
}

static void list_fini(struct list *l) {
    mem_free(l->items);
}

static bool page_goes_on(const struct json *page) {
    return member_text(page, "next").p;
}

/* Times are written so that their texts sort as they do. */
static int by_change(const void *a, const void *b) {
    const struct json *x = *(const struct json *const *) a, *y = *(const struct json *const *) b;
    int order = str_cmp(member_text(y, "updated_at"), member_text(x, "updated_at"));
    return order ? order : str_cmp(member_text(y, "id"), member_text(x, "id"));
}

static double unfinished(const struct json *session) {
    double n = member_number_of(json_get(session, "tasks"), "unfinished");
    return isnan(n) ? 0 : n;
}

static int by_unfinished(const void *a, const void *b) {
    const struct json *x = *(const struct json *const *) a, *y = *(const struct json *const *) b;
    double more = unfinished(y) - unfinished(x);
    return more > 0 ? 1 : more < 0 ? -1 : str_cmp(member_text(y, "id"), member_text(x, "id"));
}

static double busy(const struct json *queue) {
    double queued = member_number_of(queue, "queued"), running = member_number_of(queue, "running");
    return (isnan(queued) ? 0 : queued) + (isnan(running) ? 0 : running);
}

static int by_busy(const void *a, const void *b) {
    double more = busy(*(const struct json *const *) b) - busy(*(const struct json *const *) a);
    return more > 0 ? 1 : more < 0 ? -1 : 0;
}

/* ---- lines ---- */

struct pen {
    const struct top_look *look;
    struct buf *out;
    int left; /* rows */
};

static void colour(const struct pen *p, const char *code) {
    if (p->look->colour) {
        buf_printf(p->out, "\033[%sm", code);
    }
}

/* A line cut to the width. False when there is no room for another. */
static bool line_put(struct pen *p, struct str text, const char *style) {
    if (p->left == 0) {
        return false;
    }
    p->left--;
    colour(p, style);
    text_put_cut(p->out, text, p->look->screen ? p->look->columns - 1 : LINE_COLUMNS);
    colour(p, "0");
    buf_puts(p->out, p->look->screen ? "\033[K\n" : "\n");
    return true;
}

static bool heading_put(struct pen *p, const char *text) {
    if (p->left > 1) {
        (void) line_put(p, STR(""), "0");
    }
    return line_put(p, str_of(text), "1");
}

static void more_put(struct pen *p, size_t shown, size_t count, bool goes_on) {
    struct buf line = {0};
    if (shown < count || goes_on) {
        buf_printf(&line, "  and %zu%s more", count - shown, goes_on ? " or" : "");
        (void) line_put(p, buf_view(&line), "2");
    }
    buf_fini(&line);
}

/* ---- the parts ---- */

static void bytes_put(struct buf *out, double bytes) {
    double mib = bytes / (1024 * 1024);
    text_put_number(out, mib < 10 ? mib : round(mib));
    buf_puts(out, " MiB");
}

static void metric_put(struct buf *line, const struct top_state *s, const char *name, const char *what) {
    double v = metric_value(s->metrics, name);
    if (!isnan(v)) {
        buf_puts(line, line->len ? "  " : "");
        text_put_number(line, v);
        buf_printf(line, " %s", what);
    }
}

static void head_put(struct pen *p, const struct top_state *s) {
    struct buf line = {0};
    char time[TIME_TEXT_LEN + 1];
    time_format(s->now_ms, time);
    buf_printf(&line, "bowline  %s  %.8sZ", s->url, time + 11);
    (void) line_put(p, buf_view(&line), "1");
    buf_clear(&line);
    metric_put(&line, s, "bowline_tasks_unfinished", "tasks unfinished");
    metric_put(&line, s, "bowline_sessions_resident", "sessions in memory");
    metric_put(&line, s, "bowline_watchers", "watchers");
    metric_put(&line, s, "bowline_http_connections", "connections");
    if (!isnan(s->reports_per_s)) {
        buf_puts(&line, "  ");
        text_put_number(&line, s->reports_per_s);
        buf_puts(&line, " reports/s  ");
        text_put_number(&line, s->changes_per_s);
        buf_puts(&line, " changes/s");
    }
    double memory = metric_value(s->metrics, "process_resident_memory_bytes");
    if (!isnan(memory)) {
        buf_puts(&line, "  ");
        bytes_put(&line, memory);
    }
    (void) line_put(p, buf_view(&line), "0");
    if (s->trouble) {
        (void) line_put(p, str_of(s->trouble), "31");
    }
    buf_fini(&line);
}

static void task_bar(const struct pen *p, const struct json *t, struct buf *line) {
    const struct json *progress = json_get(t, "progress");
    double ratio = member_number_of(progress, "ratio");
    text_put_bar(line, ratio, p->look->columns >= 100 || !p->look->screen ? BAR_COLUMNS : BAR_COLUMNS / 2, p->look->utf8);
    if (isnan(ratio)) {
        buf_puts(line, "       ");
    } else {
        buf_printf(line, " %3d %% ", text_percent(ratio));
    }
}

static const char *task_style(const struct json *t) {
    struct str state = member_text(t, "state");
    return member_true(t, "stalled") ? "33" : str_eqz(state, "input_required") ? "35" : str_eqz(state, "queued") ? "2" : "0";
}

static bool task_put(struct pen *p, const struct json *t) {
    struct buf line = {0};
    struct str title = member_text(t, "title"), state = member_text(t, "state"), prompt = member_text(json_get(t, "input_request"), "prompt");
    text_put_fit(&line, member_text(t, "id"), 31);
    task_bar(p, t, &line);
    text_put_fit(&line, title.p ? title : member_text(t, "kind"), p->look->columns >= 120 || !p->look->screen ? 28 : 18);
    buf_puts(&line, "  ");
    if (str_eqz(state, "queued")) {
        buf_puts(&line, "waiting");
        struct str queue = member_text(t, "queue");
        buf_puts(&line, queue.p ? " in " : "");
        text_put_clean(&line, queue);
    } else if (prompt.p) {
        buf_puts(&line, "asks: ");
        text_put_clean(&line, prompt);
    } else {
        show_progress(json_get(t, "progress"), &line);
    }
    buf_puts(&line, member_true(t, "stalled") ? "  (nothing heard from its worker)" : "");
    buf_puts(&line, member_true(t, "cancel_requested") ? "  (cancelling)" : "");
    bool room = line_put(p, buf_view(&line), task_style(t));
    buf_fini(&line);
    return room;
}

static bool queue_put(struct pen *p, const struct json *q) {
    struct buf line = {0};
    double age = member_number_of(q, "oldest_age");
    text_put_fit(&line, member_text(q, "name"), 31);
    buf_printf(&line, "%6.0f waiting %6.0f running", member_number_of(q, "queued"), member_number_of(q, "running"));
    if (!isnan(age)) {
        buf_puts(&line, "  the oldest for ");
        text_put_seconds(&line, age);
    }
    bool room = line_put(p, buf_view(&line), "0");
    buf_fini(&line);
    return room;
}

static bool session_put(struct pen *p, const struct json *s, int64_t now_ms) {
    struct buf line = {0};
    const struct json *tasks = json_get(s, "tasks");
    struct str user = member_text(s, "user");
    int64_t created;
    text_put_fit(&line, member_text(s, "id"), 31);
    buf_printf(&line, "%5.0f unfinished %5.0f ended  ", unfinished(s), member_number_of(tasks, "ended"));
    if (time_parse(member_text(s, "created_at"), &created)) {
        buf_puts(&line, "since ");
        text_put_seconds(&line, now_ms > created ? (double) (now_ms - created) / 1000 : 0);
    }
    buf_puts(&line, user.len ? "  " : "");
    text_put_clean(&line, user);
    bool room = line_put(p, buf_view(&line), unfinished(s) > 0 ? "0" : "2");
    buf_fini(&line);
    return room;
}

/* How many of `count` lines fit when so many rows must be left, with one for "and N more" where that is needed. */
static size_t room_for(const struct pen *p, size_t count, int leave) {
    int room = p->left - 2 - leave;
    if (!p->look->screen || room >= (int) count) {
        return count;
    }
    return room > 1 ? (size_t) room - 1 : 0;
}

static void queues_put(struct pen *p, const struct top_state *s) {
    struct list l = {0};
    list_add(&l, s->queues);
    if (l.count) {
        qsort(l.items, l.count, sizeof(struct json *), by_busy);
        size_t shown = room_for(p, l.count, p->left / 2);
        (void) heading_put(p, "Queues");
        for (size_t i = 0; i < shown; i++) {
            (void) queue_put(p, l.items[i]);
        }
        more_put(p, shown, l.count, page_goes_on(s->queues));
    }
    list_fini(&l);
}

static void tasks_put(struct pen *p, const struct top_state *s) {
    struct list l = {0};
    list_add(&l, s->running);
    list_add(&l, s->asking);
    size_t busy_count = l.count;
    if (l.count) {
        qsort(l.items, l.count, sizeof(struct json *), by_change);
    }
    list_add(&l, s->queued);
    size_t shown = room_for(p, l.count, 5);
    (void) heading_put(p, l.count ? "Tasks, the last to change first" : "No unfinished tasks");
    for (size_t i = 0; i < shown; i++) {
        (void) task_put(p, l.items[i]);
    }
    bool goes_on = page_goes_on(s->running) || page_goes_on(s->asking) || page_goes_on(s->queued);
    more_put(p, shown, l.count, goes_on && busy_count);
    list_fini(&l);
}

static void sessions_put(struct pen *p, const struct top_state *s) {
    struct list l = {0};
    list_add(&l, s->sessions);
    if (l.count) {
        qsort(l.items, l.count, sizeof(struct json *), by_unfinished);
    }
    size_t shown = room_for(p, l.count, 0);
    (void) heading_put(p, l.count ? "Sessions, the busiest first" : "No active sessions");
    for (size_t i = 0; i < shown; i++) {
        (void) session_put(p, l.items[i], s->now_ms);
    }
    more_put(p, shown, l.count, page_goes_on(s->sessions));
    list_fini(&l);
}

void top_view_draw(const struct top_state *s, const struct top_look *look, struct buf *out) {
    struct pen p = {.look = look, .out = out, .left = look->screen ? look->rows - 1 : -1};
    buf_puts(out, look->screen ? "\033[H" : "");
    head_put(&p, s);
    queues_put(&p, s);
    tasks_put(&p, s);
    sessions_put(&p, s);
    buf_puts(out, look->screen ? "\033[J" : "");
}
