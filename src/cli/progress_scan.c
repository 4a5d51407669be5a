#include "cli/progress_scan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_MOST 1e15

enum { TEXT, ESCAPE, CONTROL, COMMAND, COMMAND_ESCAPE };

struct amount {
    double current, total;
    bool percent;
};

int progress_scan_init(struct progress_scan *s, const char *pattern, char why[160]) {
    *s = (struct progress_scan){0};
    if (!pattern) {
        return 0;
    }
    int wrong = regcomp(&s->pattern, pattern, REG_EXTENDED);
    if (wrong) {
        regerror(wrong, &s->pattern, why, 160);
        return -1;
    }
    s->has_pattern = true;
    if (s->pattern.re_nsub < 1 || s->pattern.re_nsub > 2) {
        snprintf(why, 160, "it has %zu groups: one is the percentage, two are how much of how much", s->pattern.re_nsub);
        progress_scan_fini(s);
        return -1;
    }
    return 0;
}

void progress_scan_fini(struct progress_scan *s) {
    if (s->has_pattern) {
        regfree(&s->pattern);
        s->has_pattern = false;
    }
}

/* ---- numbers in a line ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

/* May a number stand here, or is it a piece of something else? Dots and dashes may lead to it, but "1.2.3", "2026-01-02" and "-5" are no such thing. */
static bool number_may_begin(const char *line, const char *p) {
    char before = p > line ? p[-1] : ' ';
    char further = p - line > 1 ? p[-2] : ' ';
    if (is_word(before) || before == '/') {
        return false;
    }
    if (before == '.' || before == ',') {
        return !is_word(further);
    }
    return before != '-' || !(is_word(further) || is_blank(further));
}

/* Digits, in groups of three with commas or plainly, and a fraction. Gives back where it ends. */
static const char *number_take(const char *p, double *ret_number) {
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

static const char *blanks_skip(const char *p) {
    while (is_blank(*p)) {
        p++;
    }
    return p;
}

static bool percent_follows(const char *p, double number, struct amount *ret_amount) {
    p = blanks_skip(p);
    if (*p != '%' || is_word(p[1]) || number > 100) {
        return false;
    }
    *ret_amount = (struct amount){number, 100, true};
    return true;
}

/* Where the second number begins, or NULL. */
static const char *joint_skip(const char *p) {
    const char *at = blanks_skip(p);
    if (*at == '/') {
        return blanks_skip(at + 1);
    }
    bool of = at > p && (at[0] == 'o' || at[0] == 'O') && (at[1] == 'f' || at[1] == 'F') && is_blank(at[2]);
    return of ? blanks_skip(at + 2) : NULL;
}

static bool number_may_end(const char *p) {
    bool goes_on = (*p == '.' || *p == '-' || *p == ',') && is_digit(p[1]);
    return !is_word(*p) && *p != '/' && *p != '%' && !goes_on;
}

static bool count_follows(const char *p, double number, struct amount *ret_amount) {
    const char *at = joint_skip(p);
    double total;
    if (!at || !is_digit(*at)) {
        return false;
    }
    at = number_take(at, &total);
    if (!number_may_end(at) || !(total > 0) || total > NUMBER_MOST || number > total) {
        return false;
    }
    *ret_amount = (struct amount){number, total, false};
    return true;
}

/* ---- a line ---- */

static bool line_find(const char *line, struct amount *ret_amount) {
    struct amount percent, count;
    bool has_percent = false, has_count = false;
    for (const char *p = line; *p;) {
        if (!is_digit(*p)) {
            p++;
            continue;
        }
        bool whole = number_may_begin(line, p);
        double number;
        p = number_take(p, &number);
        if (whole && !has_percent) {
            has_percent = percent_follows(p, number, &percent);
        }
        if (whole && !has_count) {
            has_count = count_follows(p, number, &count);
        }
    }
    if (!has_percent && !has_count) {
        return false;
    }
    bool agree = has_percent && has_count && fabs(count.current / count.total * 100 - percent.current) <= 1;
    *ret_amount = !has_percent || agree ? count : percent;
    return true;
}

static bool group_number(const char *line, const regmatch_t *group, double *ret_number) {
    if (group->rm_so < 0) {
        return false;
    }
    const char *p = blanks_skip(line + group->rm_so);
    if (!is_digit(*p)) {
        return false;
    }
    const char *end = number_take(p, ret_number);
    return blanks_skip(end) >= line + group->rm_eo;
}

static bool line_match(const struct progress_scan *s, struct amount *ret_amount) {
    regmatch_t group[3];
    struct amount a = {0, 100, s->pattern.re_nsub == 1};
    if (regexec(&s->pattern, s->line, 3, group, 0) || !group_number(s->line, &group[1], &a.current) ||
        (!a.percent && !group_number(s->line, &group[2], &a.total))) {
        return false;
    }
    if (!(a.total > 0) || a.total > NUMBER_MOST || a.current > a.total) {
        return false;
    }
    *ret_amount = a;
    return true;
}

bool progress_scan_look(struct progress_scan *s) {
    struct amount a;
    s->line[s->len] = 0;
    if (s->binary || !(s->has_pattern ? line_match(s, &a) : line_find(s->line, &a))) {
        return false;
    }
    bool news = !s->found || a.current != s->current || a.total != s->total || a.percent != s->percent;
    s->found = true;
    s->current = a.current;
    s->total = a.total;
    s->percent = a.percent;
    return news;
}

/* ---- the stream ---- */

static bool line_end(struct progress_scan *s) {
    bool news = s->len && progress_scan_look(s);
    s->len = 0;
    s->binary = false;
    return news;
}

/* ECMA-48: the final bytes of control sequences that move the cursor: CUU CUD CNL CPL CHA CUP, ED, and HPA, VPA, HVP. */
static bool moves_cursor(char final) {
    return strchr("ABEFGHJ`df", final) != NULL;
}

static bool escape_take(struct progress_scan *s, char c) {
    bool news = false;
    switch (s->escape) {
    case ESCAPE: s->escape = c == '[' ? CONTROL : c && strchr("]P^_X", c) ? COMMAND : TEXT; break;
    case CONTROL:
        if (c >= 0x40 && c <= 0x7e) {
            news = moves_cursor(c) && line_end(s);
            s->escape = TEXT;
        }
        break;
    case COMMAND: s->escape = c == 7 ? TEXT : c == 27 ? COMMAND_ESCAPE : COMMAND; break;
    default: s->escape = TEXT;
    }
    return news;
}

bool progress_scan_read(struct progress_scan *s, struct str piece) {
    double current = s->current, total = s->total;
    bool found = s->found, percent = s->percent, any = false;
    for (size_t i = 0; i < piece.len; i++) {
        char c = piece.p[i];
        if (c == '\n' || c == '\r' || c == '\b') {
            s->escape = TEXT;
            any |= line_end(s);
        } else if (s->escape) {
            any |= escape_take(s, c);
        } else if (c == 27) {
            s->escape = ESCAPE;
        } else {
            s->binary |= (unsigned char) c < ' ' && c != '\t';
            if (s->len < PROGRESS_LINE_MOST) {
                s->line[s->len++] = c;
            }
        }
    }
    return any && (!found || s->current != current || s->total != total || s->percent != percent);
}
