#include "cli/progress_choice.h"

#include <string.h>
#include <strings.h>

#define END_RATIO 0.995 /* of the total: some never show the last step */
#define SILENT_RISES 10
#define BARE_RISES 3 /* of a number without a bar, to get the place of one beside a bar */
#define SILENT_ENDS 1
#define SILENT_ENDS_ENCLOSING 5

/* ---- labels ---- */

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

/* "12", "1.2", "50K", "12s": changes from line to line. */
static bool is_number(const char *word, size_t len) {
    size_t digits = strspn(word, "0123456789");
    return digits && (digits >= len || len - digits <= 3);
}

/* The words of a text, with one blank between them and without numbers. As much as fits. */
static void label_of(const char *text, size_t len, char label[LABEL_MOST + 1]) {
    size_t out = 0;
    for (const char *end = text + len; text < end && out < LABEL_MOST;) {
        const char *word = text;
        while (text < end && is_word(*text)) {
            text++;
        }
        size_t length = (size_t) (text - word);
        if (!length) {
            text++;
        } else if (!is_number(word, length)) {
            if (out) {
                label[out++] = ' ';
            }
            length = length < LABEL_MOST - out ? length : LABEL_MOST - out;
            memcpy(label + out, word, length);
            out += length;
        }
    }
    label[out] = 0;
}

static bool same_first_word(const char *a, const char *b) {
    size_t len = strcspn(a, " ");
    return len == strcspn(b, " ") && strncmp(a, b, len) == 0;
}

/* ---- counters ---- */

static double ratio_of(const struct counter *k) {
    return k->current / k->total;
}

static bool is_of_kind(const struct counter *k, const struct reading *r) {
    return k->used && k->type == r->type && k->nth == r->nth;
}

static bool better(const struct progress_choice *c, const struct counter *k, const struct counter *best) {
    return !best || ratio_of(k) > ratio_of(best) || (ratio_of(k) == ratio_of(best) && k == c->followed);
}

/* It is at its end, and another of its name has begun since and goes on: a further loop of the same kind. */
static bool is_past(const struct progress_choice *c, const struct counter *k, const struct reading *r) {
    for (const struct counter *i = c->counters; i < c->counters + COUNTERS_MOST && k->ended; i++) {
        if (is_of_kind(i, r) && strcmp(i->label, k->label) == 0 && i->seen_before > k->seen) {
            return true;
        }
    }
    return false;
}

/* The highest of that name that is not above it. ret_known: there is one of that name at all. */
static struct counter *counter_of_label(struct progress_choice *c, const struct reading *r, const char *label, bool *ret_known) {
    struct counter *best = NULL;
    for (struct counter *k = c->counters; k < c->counters + COUNTERS_MOST; k++) {
        if (!is_of_kind(k, r) || strcmp(k->label, label) != 0) {
            continue;
        }
        *ret_known = true;
        bool fits = r->current >= k->current && r->current / r->total >= ratio_of(k);
        if (fits && better(c, k, best) && !is_past(c, k, r)) {
            best = k;
        }
    }
    return best;
}

/* One that it may continue although the text has changed. */
static struct counter *counter_continued(struct progress_choice *c, const struct reading *r, const char *label) {
    struct counter *best = NULL;
    for (struct counter *k = c->counters; k < c->counters + COUNTERS_MOST && r->place != PLACE_TEXT; k++) {
        bool fits = is_of_kind(k, r) && k->total == r->total && r->current > k->current;
        if (fits && (r->place == PLACE_ANYWHERE || same_first_word(k->label, label)) && better(c, k, best)) {
            best = k;
        }
    }
    return best;
}

/* The one that has not been seen for longest makes way. */
static struct counter *counter_add(struct progress_choice *c, const struct reading *r) {
    struct counter *k = c->counters == c->followed ? c->counters + 1 : c->counters;
    for (struct counter *i = k + 1; i < c->counters + COUNTERS_MOST; i++) {
        bool sooner = k->used && (!i->used || i->seen < k->seen);
        k = i != c->followed && sooner ? i : k;
    }
    *k = (struct counter){.used = true, .type = r->type, .nth = r->nth, .born = c->lines};
    return k;
}

static void followed_is_seen(struct progress_choice *c) {
    c->ends = 0;
    for (struct counter *k = c->counters; k < c->counters + COUNTERS_MOST; k++) {
        k->rises = 0;
    }
}

/* Gives back its counter; ret_rose: it has been seen lower. */
static struct counter *counter_take(struct progress_choice *c, const char *line, const struct reading *r, bool *ret_rose) {
    char label[LABEL_MOST + 1];
    bool known = false;
    label_of(line, r->label_len, label);
    struct counter *k = counter_of_label(c, r, label, &known);
    k = k || known ? k : counter_continued(c, r, label);
    *ret_rose = k && r->current > k->current;
    k = k ? k : counter_add(c, r);
    bool at_end = r->current / r->total >= END_RATIO;
    if (k == c->followed) {
        followed_is_seen(c);
    } else if (*ret_rose && c->followed) {
        k->rises++;
        c->ends += at_end && ratio_of(k) < END_RATIO && k->born > c->followed->seen;
    }
    memcpy(k->label, label, sizeof label);
    k->bar = r->bar;
    k->current = r->current;
    k->total = r->total;
    k->seen_before = k->seen;
    k->seen = c->lines;
    k->ended = at_end;
    return k;
}

/* ---- the choice ---- */

static void follow(struct progress_choice *c, struct counter *k) {
    k->encloses = c->chosen && c->followed && k->born < c->followed->born;
    c->followed = k;
    followed_is_seen(c);
}

static bool tell(struct progress_choice *c, const struct counter *k, const struct reading *r) {
    bool news = !c->found || c->current != k->current || c->total != k->total || strcmp(c->unit, r->unit) != 0;
    c->found = true;
    c->current = k->current;
    c->total = k->total;
    memcpy(c->unit, r->unit, sizeof c->unit);
    return news;
}

static bool makes_way(const struct progress_choice *c, const struct counter *k) {
    const struct counter *now = c->followed;
    if (now->bar && !k->bar && k->rises < BARE_RISES) {
        return false;
    }
    if (now->ended || k->ended) {
        return now->ended;
    }
    return now->encloses ? c->ends >= SILENT_ENDS_ENCLOSING : c->ends >= SILENT_ENDS || k->rises >= SILENT_RISES;
}

/* Those of other kinds are not needed any more. */
static void choose(struct progress_choice *c, struct counter *first) {
    struct counter *told = c->followed;
    if (!told || told->type != first->type || told->nth != first->nth || makes_way(c, first)) {
        follow(c, first);
    }
    c->chosen = true;
    for (struct counter *k = c->counters; k < c->counters + COUNTERS_MOST; k++) {
        k->used &= k->type == first->type && k->nth == first->nth;
    }
}

static bool take_chosen(struct progress_choice *c, const char *line, const struct reading *r) {
    bool rose;
    struct counter *k = counter_take(c, line, r, &rose);
    if (rose && k != c->followed && makes_way(c, k)) {
        follow(c, k);
    }
    return k == c->followed && rose && tell(c, k, r);
}

static bool take_first(struct progress_choice *c, const char *line, const struct reading *found, size_t count) {
    struct counter *risen = NULL, *certain = NULL;
    size_t risen_at = 0, certain_at = 0;
    for (size_t i = 0; i < count; i++) {
        bool rose;
        struct counter *k = counter_take(c, line, &found[i], &rose);
        if (rose && !risen) {
            risen = k;
            risen_at = i;
        }
        if (found[i].certain && !certain) {
            certain = k;
            certain_at = i;
        }
    }
    if (risen) {
        choose(c, risen);
        return risen == c->followed && tell(c, risen, &found[risen_at]);
    }
    if (!certain || c->found) {
        return false;
    }
    follow(c, certain);
    return tell(c, certain, &found[certain_at]);
}

/* "Reading package lists... Done" */
static void done_look(struct progress_choice *c, const char *line) {
    struct counter *now = c->followed;
    char label[LABEL_MOST + 1];
    size_t len = strlen(now->label);
    if (!len || len > LABEL_MOST - 5) {
        return;
    }
    label_of(line, strlen(line), label);
    now->ended |= strncmp(label, now->label, len) == 0 && strncasecmp(label + len, " done", 5) == 0 && !is_word(label[len + 5]);
}

bool progress_choice_take(struct progress_choice *c, const char *line, const struct reading *found, size_t count) {
    c->lines++;
    if (!c->chosen) {
        return count && take_first(c, line, found, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (found[i].type == c->followed->type && found[i].nth == c->followed->nth) {
            return take_chosen(c, line, &found[i]);
        }
    }
    if (!count) {
        done_look(c, line);
    }
    return false;
}
