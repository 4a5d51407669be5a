#include "base/options_rows.h"

#include "base/mem.h"

#include <stdio.h>

/* Defaults as text; those of numbers are written at the start of the program. */
#define DEF_BYTES 24
static char number_defs[OPTION_ROWS][DEF_BYTES];

#define T(opt, d, words)                      \
    {.name = #opt,                            \
     .type = OPT_TEXT,                        \
     .def = d,                                \
     .text = words,                           \
     .offset = offsetof(struct options, opt), \
     .secret =                                \
         OPTION_ROW_##opt == OPTION_ROW_api_keys || OPTION_ROW_##opt == OPTION_ROW_jwt_secrets || OPTION_ROW_##opt == OPTION_ROW_webhook_secret},
#define N(opt, kind, d, lo, hi, words)     \
    {.name = #opt,                         \
     .type = kind,                         \
     .def = number_defs[OPTION_ROW_##opt], \
     .least = lo,                          \
     .most = hi,                           \
     .text = words,                        \
     .offset = offsetof(struct options, opt)},
const struct option_row option_rows[] = {OPTION_TABLE(T, N)};
#undef T
#undef N

const unsigned option_count = OPTION_ROWS;

static void number_def_write(unsigned row, enum option_type type, int64_t value) {
    struct buf b = {0};
    option_write_number(type, value, &b);
    snprintf(number_defs[row], DEF_BYTES, "%s", buf_z(&b));
    buf_fini(&b);
}

__attribute__((constructor)) static void number_defs_write(void) {
#define T(name, def, text)
#define N(name, type, def, least, most, text) number_def_write(OPTION_ROW_##name, type, def);
    OPTION_TABLE(T, N)
#undef T
#undef N
}

/* ---- words ---- */

static const char *const when_words[WHEN_COUNT] = {[WHEN_UNFINISHED] = "unfinished", [WHEN_ALWAYS] = "always", [WHEN_NEVER] = "never"};

/* -1: it is none. */
static int64_t word_read(enum option_type type, struct str text) {
    bool yes = str_eqz(text, "true"), no = str_eqz(text, "false");
    if (yes || no) {
        return type == OPT_SWITCH ? yes : yes ? WHEN_ALWAYS : WHEN_NEVER;
    }
    for (int i = 0; type == OPT_WHEN && i < WHEN_COUNT; i++) {
        if (str_eqz(text, when_words[i])) {
            return i;
        }
    }
    return -1;
}

bool option_goes_bare(enum option_type type) {
    return type == OPT_SWITCH || type == OPT_WHEN;
}

bool option_is_bare_value(enum option_type type, const char *z) {
    return z && word_read(type, str_of(z)) >= 0;
}

/* ---- reading ---- */

static int fail_kind(const struct option_row *row, struct str text, struct buf *why) {
    static const char *const kinds[] = {
        [OPT_DURATION] = "a number of seconds", [OPT_SIZE] = "a number of bytes",           [OPT_COUNT] = "a whole number",
        [OPT_SWITCH] = "true or false",         [OPT_WHEN] = "unfinished, always or never",
    };
    buf_json_str(why, text);
    buf_printf(why, " is not %s", kinds[row->type]);
    return -1;
}

static int fail_bounds(const struct option_row *row, struct str text, bool too_large, struct buf *why) {
    buf_str(why, text);
    buf_puts(why, too_large ? " is too large, the most is " : " is too small, the least is ");
    option_write_number(row->type, too_large ? row->most : row->least, why);
    return -1;
}

/* Digits of *text from *at on, times ten to the `scale` digits; saturates. False without any. */
static bool read_digits(struct str text, size_t *at, int64_t *value) {
    size_t from = *at;
    for (; *at < text.len && text.p[*at] >= '0' && text.p[*at] <= '9'; ++*at) {
        int64_t digit = text.p[*at] - '0';
        *value = *value > (INT64_MAX - digit) / 10 ? INT64_MAX : *value * 10 + digit;
    }
    return *at > from;
}

/* Seconds to milliseconds: behind the point at most three digits. */
static bool read_duration(struct str text, size_t *at, int64_t *value) {
    if (!read_digits(text, at, value)) {
        return false;
    }
    size_t point = *at;
    bool fraction = point < text.len && text.p[point] == '.';
    if (fraction) {
        ++*at;
        if (!read_digits(text, at, value) || *at - point > 4) {
            return false;
        }
    }
    for (size_t digits = fraction ? *at - point - 1 : 0; digits < 3; digits++) {
        *value = *value > INT64_MAX / 10 ? INT64_MAX : *value * 10;
    }
    return true;
}

int option_read_number(const struct option_row *row, struct str text, int64_t *ret, struct buf *why) {
    if (option_goes_bare(row->type)) {
        int64_t word = word_read(row->type, text);
        if (word < 0) {
            return fail_kind(row, text, why);
        }
        *ret = word;
        return 0;
    }
    bool negative = text.len > 1 && text.p[0] == '-';
    size_t at = negative;
    int64_t value = 0;
    bool ok = row->type == OPT_DURATION ? read_duration(text, &at, &value) : read_digits(text, &at, &value);
    if (!ok || at != text.len) {
        return fail_kind(row, text, why);
    }
    value = negative ? -value : value;
    if (value < row->least || value > row->most) {
        return fail_bounds(row, text, value > row->most, why);
    }
    *ret = value;
    return 0;
}

/* ---- writing ---- */

void option_write_number(enum option_type type, int64_t value, struct buf *out) {
    if (option_goes_bare(type)) {
        buf_puts(out, type == OPT_WHEN ? when_words[value] : value ? "true" : "false");
        return;
    }
    if (type != OPT_DURATION) {
        buf_i64(out, value);
        return;
    }
    buf_i64(out, value / 1000);
    if (value % 1000) {
        char digits[8];
        int len = snprintf(digits, sizeof(digits), ".%03d", (int) (value % 1000));
        while (digits[len - 1] == '0') {
            len--;
        }
        buf_put(out, digits, (size_t) len);
    }
}

void options_write_value(const struct options *o, unsigned row, struct buf *out) {
    const void *member = (const char *) o + option_rows[row].offset;
    if (option_rows[row].type == OPT_TEXT) {
        buf_puts(out, *(char *const *) member);
    } else {
        option_write_number(option_rows[row].type, *(const int64_t *) member, out);
    }
}

static void write_padded(struct buf *out, struct str s, size_t width) {
    buf_str(out, s);
    for (size_t i = s.len; i < width; i++) {
        buf_char(out, ' ');
    }
}

static void write_shown_value(const struct options *o, unsigned row, struct buf *out) {
    size_t from = out->len;
    options_write_value(o, row, out);
    if (option_rows[row].secret && out->len > from) {
        out->len = from;
        buf_puts(out, "(hidden)");
    } else if (out->len == from) {
        buf_puts(out, "\"\"");
    }
}

void options_write_all(const struct options *o, const struct options_sources *from, struct buf *out) {
    static const char *const sources[] = {"default", "file", "environment", "flag"};
    enum { VALUE_WIDTH_MAX = 40 };
    size_t name_width = 0, value_width = 0;
    struct buf value = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < option_count; i++) {
            buf_clear(&value);
            write_shown_value(o, i, &value);
            if (pass == 0) {
                size_t name_len = strlen(option_rows[i].name);
                name_width = name_len > name_width ? name_len : name_width;
                value_width = value.len > value_width && value.len <= VALUE_WIDTH_MAX ? value.len : value_width;
                continue;
            }
            write_padded(out, str_of(option_rows[i].name), name_width + 2);
            write_padded(out, buf_view(&value), value_width);
            buf_printf(out, "  %s\n", sources[from->from[i]]);
        }
    }
    buf_fini(&value);
}

static void write_help_row(const struct option_row *row, struct buf *out) {
    static const char *const values[] = {
        [OPT_TEXT] = " TEXT", [OPT_DURATION] = " SECONDS", [OPT_SIZE] = " BYTES", [OPT_COUNT] = " NUMBER", [OPT_SWITCH] = "", [OPT_WHEN] = " WHEN",
    };
    buf_puts(out, "  --");
    for (const char *p = row->name; *p; p++) {
        buf_char(out, *p == '_' ? '-' : *p);
    }
    buf_printf(out, "%s\n      %s", values[row->type], row->text);
    if (row->type != OPT_TEXT && !option_goes_bare(row->type)) {
        buf_printf(out, " (%s; ", row->def);
        option_write_number(row->type, row->least, out);
        buf_puts(out, " to ");
        option_write_number(row->type, row->most, out);
        buf_puts(out, ")");
    } else if (row->type != OPT_SWITCH && row->def[0]) {
        buf_printf(out, " (%s)", row->def);
    }
    buf_char(out, '\n');
}

void options_write_help(struct buf *out) {
    for (unsigned i = 0; i < option_count; i++) {
        write_help_row(&option_rows[i], out);
    }
}

/* ---- names that were meant ---- */

enum { NAME_MAX_BYTES = 64 };

static unsigned least3(unsigned a, unsigned b, unsigned c) {
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Edits that turn a into b: insert, delete, replace, swap neighbours. Both at most NAME_MAX_BYTES. */
static unsigned edit_distance(struct str a, struct str b) {
    unsigned rows[3][NAME_MAX_BYTES + 1];
    for (unsigned j = 0; j <= b.len; j++) {
        rows[0][j] = j;
    }
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            row[j] = least3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a.p[i - 1] != b.p[j - 1]));
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && above2[j - 2] + 1 < row[j]) {
                row[j] = above2[j - 2] + 1;
            }
        }
    }
    return rows[a.len % 3][b.len];
}

const char *nearest_name(struct str typed, const char *const *names, unsigned count) {
    const char *best = NULL;
    unsigned best_distance = 0;
    for (unsigned i = 0; i < count && typed.len <= NAME_MAX_BYTES; i++) {
        struct str name = str_of(names[i]);
        if (name.len > NAME_MAX_BYTES) {
            continue;
        }
        unsigned longer = (unsigned) (typed.len > name.len ? typed.len : name.len);
        unsigned d = edit_distance(typed, name);
        if (d <= longer / 3 && (!best || d < best_distance)) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
