#include "cli/progress_scan.h"

#include <stdio.h>

enum { TEXT, ESCAPE, ESCAPE_MORE, CONTROL, COMMAND, COMMAND_ESCAPE };

struct amount {
    double current, total;
    const char *unit;
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

/* ---- a line ---- */

static bool group_number(const char *line, const regmatch_t *group, double *ret_number) {
    if (group->rm_so < 0) {
        return false;
    }
    const char *p = line + group->rm_so;
    p += strspn(p, " \t");
    if (*p < '0' || *p > '9') {
        return false;
    }
    p = progress_number_take(p, ret_number);
    return p + strspn(p, " \t") >= line + group->rm_eo;
}

static bool line_match(const struct progress_scan *s, struct amount *ret_amount) {
    regmatch_t group[3];
    bool percent = s->pattern.re_nsub == 1;
    struct amount a = {0, 100, percent ? "%" : NULL};
    if (regexec(&s->pattern, s->line, 3, group, 0) || !group_number(s->line, &group[1], &a.current) ||
        (!percent && !group_number(s->line, &group[2], &a.total))) {
        return false;
    }
    if (!(a.total > 0) || a.total > READING_NUMBER_MOST || a.current > a.total) {
        return false;
    }
    *ret_amount = a;
    return true;
}

static bool line_find(struct progress_scan *s, struct amount *ret_amount) {
    struct reading found[READINGS_MOST];
    double duration_s = progress_line_duration(s->line);
    s->duration_s = duration_s > s->duration_s ? duration_s : s->duration_s;
    size_t count = progress_line_read(s->line, s->duration_s, found);
    if (!progress_choice_take(&s->choice, s->line, found, count)) {
        return false;
    }
    *ret_amount = (struct amount){s->choice.current, s->choice.total, s->choice.unit[0] ? s->choice.unit : NULL};
    return true;
}

static bool differs(const struct progress_scan *s, bool found, const struct amount *a) {
    bool unit = s->unit && a->unit ? strcmp(s->unit, a->unit) != 0 : s->unit != a->unit;
    return s->found != found || s->current != a->current || s->total != a->total || unit;
}

bool progress_scan_look(struct progress_scan *s) {
    struct amount a;
    s->line[s->len] = 0;
    if (s->binary || !(s->has_pattern ? line_match(s, &a) : line_find(s, &a))) {
        return false;
    }
    bool news = differs(s, true, &a);
    s->found = true;
    s->current = a.current;
    s->total = a.total;
    s->unit = a.unit;
    return news;
}

/* ---- the stream ---- */

static bool line_end(struct progress_scan *s) {
    bool news = s->len && progress_scan_look(s);
    s->len = 0;
    s->binary = false;
    return news;
}

/* ECMA-48: does a control sequence move the cursor back or to another line, or wipe what stands before it? CUU CUD CUB CNL CPL CHA CUP ED, HPA VPA HVP, SCORC; EL 1 and 2. */
static bool moves_cursor(char final, char parameter) {
    return strchr("ABDEFGHJ`dfu", final) || (final == 'K' && (parameter == '1' || parameter == '2'));
}

/* The character behind ESC. RI, NEL, IND, DECRC and a reset move the cursor, too. */
static bool escape_begin(struct progress_scan *s, char c) {
    s->parameter = 0;
    s->escape = c == '[' ? CONTROL : c && strchr("]P^_X", c) ? COMMAND : c >= ' ' && c <= '/' ? ESCAPE_MORE : TEXT;
    return c && strchr("MED8c", c) && line_end(s);
}

static void line_add(struct progress_scan *s, char c) {
    if (s->len < PROGRESS_LINE_MOST) {
        s->line[s->len++] = c;
    }
}

static bool control_take(struct progress_scan *s, char c) {
    bool news = false;
    if (c >= 0x40 && c <= 0x7e) {
        news = moves_cursor(c, s->parameter) && line_end(s);
        s->escape = TEXT;
        if (c == 'C') {
            line_add(s, ' ');
        }
    } else if (!s->parameter) {
        s->parameter = c;
    }
    return news;
}

static bool escape_take(struct progress_scan *s, char c) {
    switch (s->escape) {
    case ESCAPE: return escape_begin(s, c);
    case ESCAPE_MORE: s->escape = c >= ' ' && c <= '/' ? ESCAPE_MORE : TEXT; break;
    case CONTROL: return control_take(s, c);
    case COMMAND: s->escape = c == 7 ? TEXT : c == 27 ? COMMAND_ESCAPE : COMMAND; break;
    default: s->escape = TEXT;
    }
    return false;
}

/* Tabs, and what makes a sound or changes the set of characters: they do not show. */
static bool is_harmless(char c) {
    return c == '\t' || c == 7 || c == 14 || c == 15;
}

static bool character_take(struct progress_scan *s, char c) {
    if (c == '\n' || c == '\r' || c == '\b' || c == '\f' || c == '\v') {
        s->escape = TEXT;
        return line_end(s);
    }
    if (s->escape) {
        return escape_take(s, c);
    }
    if (c == 27) {
        s->escape = ESCAPE;
        return false;
    }
    bool control = (unsigned char) c < ' ';
    s->binary |= control && !is_harmless(c);
    if (!control || c == '\t') {
        line_add(s, c);
    }
    return false;
}

bool progress_scan_read(struct progress_scan *s, struct str piece) {
    struct amount before = {s->current, s->total, s->unit};
    bool found = s->found, any = false;
    for (size_t i = 0; i < piece.len; i++) {
        any |= character_take(s, piece.p[i]);
    }
    return any && differs(s, found, &before);
}
