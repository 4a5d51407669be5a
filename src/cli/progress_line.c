/*
 * progress_line.c: a line is read in three steps: every number that has the form of progress becomes an item with its place; a bar, if one is drawn, says
 * which items are its own; the rest are put in order, a count that says the same as a percentage first.
 */
#include "cli/progress_line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BAR_LEAST 4       /* characters between the delimiters of a bar */
#define BLANK_BAR_LEAST 5 /* where they are only blanks or dots */
#define DRAWN_BAR_LEAST 3 /* characters that only bars are made of, without delimiters */
#define METER_COLUMNS 12
#define TIME_OVER 1.02 /* a film may be that much longer than it says */

struct item {
    struct reading r;
    const char *start, *end;
};

struct bar {
    const char *start, *end; /* NULL: none */
};

/* ---- characters ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word(char c) {
    return is_digit(c) || is_letter(c) || c == '_';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static bool is_one_of(char c, const char *characters) {
    return c && strchr(characters, c);
}

static const char *blanks_skip(const char *p) {
    while (is_blank(*p)) {
        p++;
    }
    return p;
}

/* ---- numbers ---- */

/* The first thing that is no blank before it. */
static const char *beside_before(const char *line, const char *p) {
    while (p > line && is_blank(p[-1])) {
        p--;
    }
    return p > line ? p - 1 : NULL;
}

/* May a number stand here, or is it a piece of something else? Dots and dashes may lead to it, but "1.2.3", "2026-01-02", "10:30", "-5" and "name[50%]" are no such thing. */
static bool number_may_begin(const char *line, const char *p) {
    const char *beside = beside_before(line, p);
    if (beside && *beside == '[' && beside > line && is_word(beside[-1])) {
        return false;
    }
    char before = p > line ? p[-1] : ' ';
    char further = p - line > 1 ? p[-2] : ' ';
    if (is_word(before) || before == '/' || before == '+') {
        return false;
    }
    if (before == '.' || before == ',') {
        return !is_word(further);
    }
    if (before == ':') {
        return !is_digit(further);
    }
    return before != '-' || !(is_word(further) || is_blank(further));
}

const char *progress_number_take(const char *p, double *ret_number) {
    const char *end = p;
    while (is_digit(*end)) {
        end++;
    }
    while (end - p <= 3 + 4 * 4 && *end == ',' && is_digit(end[1]) && is_digit(end[2]) && is_digit(end[3]) && !is_digit(end[4])) {
        end += 4;
    }
    if (*end == '.' && is_digit(end[1])) {
        for (end += 2; is_digit(*end);) {
            end++;
        }
    }
    char digits[40];
    size_t len = 0;
    for (const char *c = p; c < end && len < sizeof digits - 1; c++) {
        if (*c != ',') {
            digits[len++] = *c;
        }
    }
    digits[len] = 0;
    *ret_number = strtod(digits, NULL);
    return end;
}

/* Does what stands here belong to the number before it, and make it something else: a path, a range, a time? */
static bool goes_on(const char *p) {
    return is_word(*p) || *p == '/' || *p == '%' || (is_one_of(*p, ".-") && is_word(p[1])) || (is_one_of(*p, ",:") && is_digit(p[1]));
}

/* "MB", "KiB", "B", "bytes", or, directly behind the number, "M". Gives back where it ends; p itself if there is none. */
static const char *unit_take(const char *p, double *ret_bytes, char unit[READING_UNIT_MOST + 1]) {
    static const char prefixes[] = "kMGTP";
    const char *start = blanks_skip(p), *at = start;
    const char *prefix = *at == 'K' ? prefixes : is_one_of(*at, prefixes) ? strchr(prefixes, *at) : NULL;
    double bytes = 1, step = 1000;
    if (prefix) {
        at++;
        step = *at == 'i' ? 1024 : 1000;
        at += *at == 'i';
        bytes = pow(step, (double) (prefix - prefixes + 1));
    }
    if (*at == 'B') {
        at++;
    } else if (!prefix && strncasecmp(at, "bytes", 5) == 0) {
        at += 5;
    } else if (!prefix || start > p || step == 1024) {
        return p;
    }
    if (is_word(*at)) {
        return p;
    }
    snprintf(unit, READING_UNIT_MOST + 1, "%.*s", (int) (at - start), start);
    *ret_bytes = bytes;
    return at;
}

/* ---- percentages ---- */

static bool word_is_one_of(const char *word, size_t len, const char *const *words) {
    for (; *words; words++) {
        if (strlen(*words) == len && strncasecmp(word, *words, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Is it the share of something that has nothing to do with how far the work is? */
static bool percent_of_other(const char *line, const char *start, const char *end) {
    static const char *const after[] = {"off",    "discount", "full",  "used",   "free",   "idle",    "busy",    "packet", "loss", "cpu",   "mem",
                                        "memory", "coverage", "cover", "passed", "failed", "faster",  "slower",  "less",   "more", "tests", "smaller",
                                        "larger", "better",   "worse", "chance", "cached", "battery", "similar", "match",  NULL};
    static const char *const before[] = {"acc",   "accuracy", "coverage", "cpu",  "gpu",  "mem",     "memory",     "ram",       "swap", "disk",
                                         "usage", "use",      "used",     "util", "load", "battery", "loss",       "rate",      "hit",  "hits",
                                         "ratio", "quality",  "volume",   "vat",  "tax",  "zoom",    "confidence", "threshold", NULL};
    const char *word = blanks_skip(end);
    size_t len = 0;
    while (is_letter(word[len])) {
        len++;
    }
    if (word_is_one_of(word, len, after)) {
        return true;
    }
    const char *to = start;
    while (to > line && is_one_of(to[-1], " \t:=(")) {
        to--;
    }
    for (word = to; word > line && is_letter(word[-1]);) {
        word--;
    }
    return word_is_one_of(word, (size_t) (to - word), before);
}

static enum reading_place place_of(const char *line, const char *start, const char *end, enum reading_place else_place) {
    const char *before = beside_before(line, start), *after = blanks_skip(end);
    if (before && *before == '[' && *after == ']') {
        return PLACE_ANYWHERE;
    }
    return before && *before == '(' && *after == ')' ? PLACE_WORD : else_place;
}

static bool percent_take(const char *line, const char *start, const char *end, double number, struct item *ret_item) {
    end = blanks_skip(end);
    if (*end != '%' || is_word(end[1]) || number > 100) {
        return false;
    }
    *ret_item = (struct item){.r = {.type = READING_PERCENT, .current = number, .total = 100, .unit = "%"}, .start = start, .end = end + 1};
    ret_item->r.place = place_of(line, start, end + 1, PLACE_TEXT);
    return true;
}

/* ---- so much of so much ---- */

/* Where the second number begins, or NULL. */
static const char *joint_skip(const char *p) {
    const char *at = blanks_skip(p);
    if (*at == '/') {
        return blanks_skip(at + 1);
    }
    bool of = at > p && (at[0] == 'o' || at[0] == 'O') && (at[1] == 'f' || at[1] == 'F') && is_blank(at[2]);
    return of ? blanks_skip(at + 2) : NULL;
}

/* "05/12", and "12/15 10:30": not what is counted so. */
static bool is_date(const char *line, const struct item *i, size_t first_digits) {
    const char *behind = blanks_skip(i->end), *time = behind;
    while (is_digit(*time)) {
        time++;
    }
    bool time_follows = time > behind && time - behind <= 2 && *time == ':' && is_digit(time[1]) && is_digit(time[2]);
    const char *before = beside_before(line, i->start);
    bool bracket = before && (*before == '[' || *before == '(');
    return time_follows || (first_digits == 2 && *i->start == '0' && i->r.total <= 31 && !bracket);
}

static bool count_take(const char *line, const char *start, const char *end, double number, struct item *ret_item) {
    double total, bytes = 1, total_bytes = 1;
    struct item i = {.r = {.type = READING_COUNT, .place = PLACE_WORD}, .start = start};
    char unit[READING_UNIT_MOST + 1] = "";
    const char *behind = unit_take(end, &bytes, unit);
    const char *at = joint_skip(behind);
    if (!at || !is_digit(*at)) {
        return false;
    }
    at = progress_number_take(at, &total);
    i.end = unit_take(at, &total_bytes, i.r.unit);
    if (i.end > at) {
        i.r.type = READING_SIZE;
    } else if (behind > end) {
        return false;
    }
    if (behind > end && bytes != total_bytes) {
        number = round(number * bytes / total_bytes * 1000) / 1000;
    }
    if (goes_on(i.end) || !(total > 0) || total > READING_NUMBER_MOST || number > total || is_date(line, &i, (size_t) (end - start))) {
        return false;
    }
    i.r.current = number;
    i.r.total = total;
    i.r.place = place_of(line, start, i.end, PLACE_WORD);
    *ret_item = i;
    return true;
}

/* Everything in the line that has the form of progress. */
static size_t items_find(const char *line, struct item items[READINGS_MOST]) {
    size_t count = 0;
    for (const char *p = line; *p && count < READINGS_MOST;) {
        if (!is_digit(*p)) {
            p++;
            continue;
        }
        double number;
        const char *end = progress_number_take(p, &number);
        struct item *i = &items[count];
        if (number_may_begin(line, p) && (percent_take(line, p, end, number, i) || count_take(line, p, end, number, i))) {
            end = i->end;
            count++;
        }
        p = end;
    }
    return count;
}

/* ---- bars ---- */

/* A character that nothing but bars and the like is made of: heavy lines, blocks, squares, circles and Braille. Its length in bytes, else 0. */
static size_t drawn_character(const char *p) {
    const unsigned char *c = (const unsigned char *) p;
    if (c[0] != 0xe2 || c[1] < 0x80 || c[2] < 0x80) {
        return 0;
    }
    unsigned code = (c[0] & 0x0fu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu);
    bool heavy = code == 0x2501 || (code >= 0x2578 && code <= 0x257b);
    bool block = (code >= 0x2580 && code <= 0x25ff) || (code >= 0x2800 && code <= 0x28ff);
    return heavy || block ? 3 : 0;
}

struct run {
    const char *end;
    size_t characters, drawn, blank, digits;
};

/* As many characters as a bar can be made of stand here. One digit may be the tip of the filled part, as in |##4   |. */
static struct run run_take(const char *p) {
    struct run r = {.end = p};
    for (; *r.end; r.characters++) {
        size_t len = drawn_character(r.end);
        if (len) {
            r.drawn++;
            r.end += len;
        } else if (is_one_of(*r.end, " .#=>-*~+<")) {
            r.blank += *r.end == ' ' || *r.end == '.';
            r.end++;
        } else if (is_digit(*r.end) && !r.digits && (r.end == p || r.end[-1] == '#')) {
            r.digits++;
            r.end++;
        } else {
            break;
        }
    }
    return r;
}

/* A bar between delimiters, of which the first is at p. */
static bool delimited_bar(const char *line, const char *p, struct bar *ret_bar) {
    static const char opens[] = "[|({<", closes[] = "]|)}>";
    if (!is_one_of(*p, opens)) {
        return false;
    }
    struct run r = run_take(p + 1);
    const char *end = r.end;
    char close = closes[strchr(opens, *p) - opens];
    while (close == '>' && end > p + 1 && *end != '>') { /* it has been taken as a part of the bar */
        end--;
    }
    if (*end != close || r.characters < BAR_LEAST || r.digits == r.characters) {
        return false;
    }
    bool blank = r.blank == r.characters;
    if (blank && (r.characters < BLANK_BAR_LEAST || (*p != '[' && !(*p == '|' && p > line && p[-1] == '%')))) {
        return false;
    }
    *ret_bar = (struct bar){p, end + 1};
    return true;
}

static struct bar bar_find(const char *line) {
    struct bar bar = {NULL, NULL};
    for (const char *p = line; *p; p++) {
        if (delimited_bar(line, p, &bar)) {
            break;
        }
        size_t drawn = 0;
        const char *end = p;
        for (size_t len; (len = drawn_character(end)); end += len) {
            drawn++;
        }
        if (drawn >= DRAWN_BAR_LEAST) {
            return (struct bar){p, end};
        }
        p += end > p ? end - p - 1 : 0;
    }
    return bar;
}

/* Is there nothing but blanks and brackets between these places, the second of which is not before the first? */
static bool adjacent(const char *from, const char *to) {
    for (const char *p = from; p < to; p++) {
        if (!is_one_of(*p, " \t[](){}|")) {
            return false;
        }
    }
    return from <= to;
}

static bool agree(const struct reading *count, const struct reading *percent) {
    double most = count->type == READING_SIZE ? 2.5 : 1; /* sizes are told with few digits */
    return fabs(count->current / count->total * 100 - percent->current) <= most;
}

/* Could it be the bar's: behind it, or before it with nothing else between than one other number? */
static bool may_be_own(const struct item *items, size_t count, size_t at, const struct bar *bar) {
    const struct item *i = &items[at];
    if (i->start >= bar->end || adjacent(i->end, bar->start)) {
        return true;
    }
    const struct item *next = at + 1 < count ? &items[at + 1] : NULL;
    return next && next->end <= bar->start && adjacent(i->end, next->start) && adjacent(next->end, bar->start);
}

static bool is_beside(const struct item *i, const struct bar *bar) {
    return i->end <= bar->start ? adjacent(i->end, bar->start) : adjacent(bar->end, i->start);
}

/* Of those that may be the bar's: a count and a percentage that say the same, the ones behind it first. */
static bool pair_pick(const struct item *items, size_t count, const struct bar *bar, const struct item *own[2]) {
    for (size_t i = count; i-- > 0;) {
        bool fits = items[i].r.type != READING_PERCENT && may_be_own(items, count, i, bar);
        for (size_t k = count; k-- > 0 && fits;) {
            if (items[k].r.type == READING_PERCENT && may_be_own(items, count, k, bar) && agree(&items[i].r, &items[k].r)) {
                own[0] = &items[i];
                own[1] = &items[k];
                return true;
            }
        }
    }
    return false;
}

/* Such a pair; or one: a percentage beside the bar, another number beside it, the first one behind it. How many. */
static size_t own_pick(const struct item *items, size_t count, const struct bar *bar, const struct item *own[2]) {
    const struct item *beside[2] = {NULL, NULL}, *behind = NULL;
    if (pair_pick(items, count, bar, own)) {
        return 2;
    }
    for (size_t i = 0; i < count; i++) {
        bool percent = items[i].r.type == READING_PERCENT;
        if (is_beside(&items[i], bar) && !beside[percent]) {
            beside[percent] = &items[i];
        }
        behind = !behind && items[i].start >= bar->end ? &items[i] : behind;
    }
    own[0] = beside[true] ? beside[true] : beside[false] ? beside[false] : behind;
    return own[0] ? 1 : 0;
}

/* Keeps of the items those of the bar, if it has any. */
static bool bar_keep(struct item items[READINGS_MOST], size_t *count, const struct bar *bar) {
    const struct item *own[2] = {NULL, NULL};
    struct item kept[2];
    size_t found = own_pick(items, *count, bar, own);
    const char *start = bar->start;
    for (size_t i = 0; i < found; i++) {
        kept[i] = *own[i];
        start = kept[i].start < start ? kept[i].start : start;
    }
    for (size_t i = 0; i < found; i++) {
        kept[i].start = start;
        kept[i].r.certain = kept[i].r.bar = true;
        kept[i].r.place = PLACE_ANYWHERE;
        items[i] = kept[i];
    }
    *count = found ? found : *count;
    return found;
}

/* ---- programs that have a form of their own ---- */

static bool is_meter_time(const char *word, size_t len) {
    size_t colons = 0;
    for (size_t i = 0; i < len; i++) {
        colons += word[i] == ':';
        if (!is_digit(word[i]) && word[i] != '-' && word[i] != ':') {
            return false;
        }
    }
    return colons == 2;
}

static bool is_meter_amount(const char *word, size_t len) {
    size_t digits = 0;
    for (size_t i = 0; i < len; i++) {
        digits += is_digit(word[i]);
        if (!is_digit(word[i]) && word[i] != '.' && (i + 1 < len || !is_one_of(word[i], "kMGTP"))) {
            return false;
        }
    }
    return digits;
}

/* curl: percent, size, percent, size, percent, size, two speeds, three times, a speed. The first percentage is that of the whole. */
static bool meter_read(const char *line, struct item *ret_item) {
    const char *p = line, *end = NULL;
    double percent = -1, number;
    for (int column = 0; column < METER_COLUMNS; column++) {
        p = blanks_skip(p);
        size_t len = strcspn(p, " \t");
        bool time = column >= 8 && column <= 10;
        if (!len || !(time ? is_meter_time(p, len) : is_meter_amount(p, len))) {
            return false;
        }
        if (column % 2 == 0 && column <= 4 && (progress_number_take(p, &number) != p + len || number > 100)) {
            return false;
        }
        percent = column == 0 ? number : percent;
        end = column == 0 ? p + len : end;
        p += len;
    }
    *ret_item = (struct item){.r = {.type = READING_PERCENT, .current = percent, .total = 100, .unit = "%"}, .start = line, .end = end};
    return !*blanks_skip(p);
}

/* "00:01:02.50": seconds, or -1. */
static double clock_take(const char *p, const char **ret_end) {
    double part[3];
    *ret_end = p;
    for (int i = 0; i < 3; i++) {
        if (!is_digit(*p)) {
            return -1;
        }
        p = progress_number_take(p, &part[i]);
        if (i < 2 && *p++ != ':') {
            return -1;
        }
    }
    *ret_end = p;
    return part[0] * 3600 + part[1] * 60 + part[2];
}

double progress_line_duration(const char *line) {
    static const char name[] = "Duration: ";
    const char *p = blanks_skip(line), *end;
    if (strncmp(p, name, sizeof name - 1) != 0) {
        return 0;
    }
    double seconds = clock_take(p + sizeof name - 1, &end);
    return seconds > 0 && strncmp(end, ", start", 7) == 0 ? seconds : 0;
}

/* ffmpeg: "frame=... time=00:00:01.00 bitrate=...", or "out_time=00:00:01.000000" with -progress. */
static bool time_read(const char *line, double duration_s, struct item *ret_item) {
    static const char status[] = " time=", report[] = "out_time=";
    const char *p = strstr(line, status), *end;
    if (p && strstr(p, " bitrate=")) {
        p += sizeof status - 1;
    } else if (strncmp(line, report, sizeof report - 1) == 0) {
        p = line + sizeof report - 1;
    } else {
        return false;
    }
    double seconds = clock_take(p, &end);
    if (seconds < 0 || !(duration_s > 0) || duration_s > READING_NUMBER_MOST || seconds > duration_s * TIME_OVER) {
        return false;
    }
    seconds = seconds < duration_s ? seconds : duration_s;
    *ret_item = (struct item){.r = {.type = READING_TIME, .current = seconds, .total = duration_s, .unit = "s"}, .start = line, .end = end};
    return true;
}

/* ---- the line ---- */

/* Are there no letters and digits beside the items? */
static bool nothing_else(const char *line, const struct item *items, size_t count) {
    size_t i = 0;
    for (const char *p = line; *p; p++) {
        if (i < count && p == items[i].start) {
            p = items[i++].end;
            if (!*p) {
                break;
            }
        }
        bool sign = (unsigned char) *p == 0xe2; /* dashes, dots, lines, shapes: no letters */
        if (is_word(*p) || ((*p & 0x80) && !sign)) {
            return false;
        }
        p += sign && p[1] && p[2] ? 2 : 0;
    }
    return count;
}

static void others_drop(const char *line, struct item *items, size_t *count) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        bool other = items[i].r.type == READING_PERCENT && items[i].r.place != PLACE_ANYWHERE && percent_of_other(line, items[i].start, items[i].end);
        if (!other) {
            items[kept++] = items[i];
        }
    }
    *count = kept;
}

static void items_number(struct item *items, size_t count) {
    int seen[READING_TIME + 1] = {0};
    for (size_t i = 0; i < count; i++) {
        items[i].r.nth = seen[items[i].r.type]++;
    }
}

/* Counts that say the same as the first percentage, which stands beside them, then by type. */
static int order_of(const struct item *items, size_t count, const struct item *i) {
    for (size_t k = 0; k < count && i->r.type != READING_PERCENT; k++) {
        bool first = items[k].r.type == READING_PERCENT && items[k].r.nth == 0;
        bool beside = items[k].start < i->start ? adjacent(items[k].end, i->start) : adjacent(i->end, items[k].start);
        if (first && (beside || i->start == items[k].start) && agree(&i->r, &items[k].r)) {
            return -1;
        }
    }
    return (int) i->r.type;
}

static size_t readings_give(const char *line, const struct item *items, size_t count, struct reading found[READINGS_MOST]) {
    size_t given = 0;
    for (int order = -1; order <= READING_TIME; order++) {
        for (size_t i = 0; i < count; i++) {
            if (order_of(items, count, &items[i]) == order) {
                found[given] = items[i].r;
                found[given++].label_len = (size_t) (items[i].start - line);
            }
        }
    }
    return given;
}

size_t progress_line_read(const char *line, double duration_s, struct reading found[READINGS_MOST]) {
    struct item items[READINGS_MOST];
    size_t count = 1;
    if (!time_read(line, duration_s, items) && !meter_read(line, items)) {
        count = strpbrk(line, "%/oO") ? items_find(line, items) : 0;
        struct bar bar = count ? bar_find(line) : (struct bar){NULL, NULL};
        if (!bar.start || !bar_keep(items, &count, &bar)) {
            bool alone = nothing_else(line, items, count);
            others_drop(line, items, &count);
            for (size_t i = 0; i < count; i++) {
                items[i].r.certain = alone;
            }
        }
    }
    items_number(items, count);
    return readings_give(line, items, count, found);
}
