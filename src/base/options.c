#include "base/options.h"

#include "base/mem.h"
#include "base/options_rows.h"
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define OPTIONS_FILE_MAX (1024 * 1024)

/*
 * Flags, environment and file are read in this order, that of precedence; a value is always checked, and taken when no earlier
 * source gave one. The file comes last because the other two name it.
 */
struct loading {
    struct options *o;
    struct options_sources *from;
    struct buf *err;
    unsigned file_line[OPTION_ROWS]; /* where the file gives it; 0: it does not */
};

/* Where a setting stands, for sentences: --idle-timeout, BOWLINE_IDLE_TIMEOUT, FILE:3: idle_timeout */
struct place {
    enum option_source source;
    const char *file;
    unsigned line;
};

static void write_prefix(struct buf *b, const struct place *at) {
    if (at->source == OPT_FROM_FILE) {
        buf_printf(b, "%s:%u: ", at->file, at->line);
    } else {
        buf_puts(b, at->source == OPT_FROM_FLAG ? "--" : "BOWLINE_");
    }
}

/* The option's name as it is written there. */
static void write_place(struct buf *b, const struct place *at, const char *name) {
    write_prefix(b, at);
    for (const char *p = name; *p; p++) {
        char c = at->source == OPT_FROM_FLAG && *p == '_' ? '-' : *p;
        buf_char(b, at->source == OPT_FROM_ENV && c >= 'a' && c <= 'z' ? (char) (c - 32) : c);
    }
}

static int fail_unknown(struct loading *l, const struct place *at, struct str name, const char *near) {
    write_prefix(l->err, at);
    buf_str(l->err, name);
    buf_puts(l->err, ": there is no such option");
    if (near) {
        buf_puts(l->err, "; did you mean ");
        if (at->source == OPT_FROM_FILE) {
            buf_puts(l->err, near);
        } else {
            write_place(l->err, at, near);
        }
        buf_char(l->err, '?');
    }
    return -1;
}

static int fail_value(struct loading *l, const struct place *at, const struct option_row *row, const char *what) {
    write_place(l->err, at, row->name);
    buf_printf(l->err, ": %s", what);
    return -1;
}

static int find_row(struct str name) {
    for (unsigned i = 0; i < option_count; i++) {
        if (str_eqz(name, option_rows[i].name)) {
            return (int) i;
        }
    }
    return -1;
}

static const char *nearest_row(struct str name) {
    const char *names[OPTION_ROWS];
    for (unsigned i = 0; i < option_count; i++) {
        names[i] = option_rows[i].name;
    }
    return nearest_name(name, names, option_count);
}

static void set_text(struct loading *l, const struct option_row *row, struct str value) {
    char **text = (char **) (void *) ((char *) l->o + row->offset);
    if (row->secret) {
        secret_free(*text);
        *text = secret_strdup(value);
    } else {
        mem_free(*text);
        *text = mem_strdup(value);
    }
}

static int set_value(struct loading *l, unsigned i, struct str value, const struct place *at) {
    const struct option_row *row = &option_rows[i];
    bool taken = at->source > (enum option_source) l->from->from[i] || at->source == OPT_FROM_FLAG;
    if (row->type == OPT_TEXT) {
        if (taken) {
            set_text(l, row, value);
        }
    } else {
        struct buf what = {0};
        int64_t number;
        if (option_read_number(row, value, &number, &what) != 0) {
            int rc = fail_value(l, at, row, buf_z(&what));
            buf_fini(&what);
            return rc;
        }
        if (taken) {
            *(int64_t *) (void *) ((char *) l->o + row->offset) = number;
        }
    }
    if (taken) {
        l->from->from[i] = (unsigned char) at->source;
    }
    return 0;
}

/* ---- flags ---- */

/* Flag names have dashes: an underscore in one is as wrong as any other letter. */
static int find_flag(struct str flag, struct buf *name) {
    buf_clear(name);
    for (size_t i = 0; i < flag.len; i++) {
        buf_char(name, flag.p[i] == '-' ? '_' : flag.p[i]);
    }
    return flag.len && memchr(flag.p, '_', flag.len) ? -1 : find_row(buf_view(name));
}

/* One flag of which the value may be the next argument; *used is how many of the two it took. */
static int load_flag(struct loading *l, struct str flag, const char *next, struct buf *name, int *used) {
    const struct place at = {.source = OPT_FROM_FLAG};
    const char *equals = flag.len ? memchr(flag.p, '=', flag.len) : NULL;
    struct str value = equals ? str_from(flag, (size_t) (equals - flag.p) + 1) : STR_NONE;
    flag.len = equals ? (size_t) (equals - flag.p) : flag.len;
    *used = 1;
    int i = find_flag(flag, name);
    if (i < 0 && str_starts(flag, "no-")) {
        int no = find_flag(str_from(flag, 3), name);
        if (no >= 0 && option_goes_bare(option_rows[no].type) && !equals) {
            return set_value(l, (unsigned) no, STR("false"), &at);
        }
        find_flag(flag, name);
    }
    if (i < 0) {
        return fail_unknown(l, &at, flag, nearest_row(buf_view(name)));
    }
    const struct option_row *row = &option_rows[i];
    if (!equals && option_goes_bare(row->type) && !option_is_bare_value(row->type, next)) {
        value = STR("true");
    } else if (!equals && !next) {
        return fail_value(l, &at, row, "a value is missing");
    } else if (!equals) {
        value = str_of(next);
        *used = 2;
    }
    return set_value(l, (unsigned) i, value, &at);
}

static int load_flags(struct loading *l, int argc, char **argv) {
    struct buf name = {0};
    int rc = 0;
    for (int i = 0, used = 1; i < argc && rc == 0; i += used) {
        struct str arg = str_of(argv[i]);
        if (!str_starts(arg, "--")) {
            buf_printf(l->err, "%s: only options that begin with -- are expected here", argv[i]);
            rc = -1;
        } else {
            rc = load_flag(l, str_from(arg, 2), i + 1 < argc ? argv[i + 1] : NULL, &name, &used);
        }
    }
    buf_fini(&name);
    return rc;
}

/* ---- environment ---- */

/*
 * A name that is near to none of ours is passed over: Kubernetes gives every program BOWLINE_PORT and the like when a service is called bowline.
 * BOWLINE_URL, BOWLINE_KEY and BOWLINE_TOKEN belong to the client commands.
 */
static int load_variable(struct loading *l, struct str name, struct str value, struct buf *lower) {
    const struct place at = {.source = OPT_FROM_ENV};
    if (str_eqz(name, "URL") || str_eqz(name, "KEY") || str_eqz(name, "TOKEN")) {
        return 0;
    }
    bool upper = true;
    buf_clear(lower);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        upper = upper && !(c >= 'a' && c <= 'z');
        buf_char(lower, c >= 'A' && c <= 'Z' ? (char) (c + 32) : c);
    }
    int i = upper ? find_row(buf_view(lower)) : -1;
    if (i >= 0) {
        return set_value(l, (unsigned) i, value, &at);
    }
    const char *near = nearest_row(buf_view(lower));
    return near ? fail_unknown(l, &at, name, near) : 0;
}

static int load_environment(struct loading *l, char **envp) {
    struct buf lower = {0};
    int rc = 0;
    for (; envp && *envp && rc == 0; envp++) {
        struct str all = str_of(*envp);
        const char *equals = strchr(*envp, '=');
        if (equals && str_starts(all, "BOWLINE_")) {
            size_t name_end = (size_t) (equals - *envp);
            rc = load_variable(l, str_n(*envp + 8, name_end - 8), str_from(all, name_end + 1), &lower);
        }
    }
    buf_fini(&lower);
    return rc;
}

/* ---- file ---- */

/* Takes the quotes off; false when there is only the first of them. */
static bool unquote(struct str *value) {
    if (value->len == 0 || (value->p[0] != '"' && value->p[0] != '\'')) {
        return true;
    }
    if (value->len < 2 || value->p[value->len - 1] != value->p[0]) {
        return false;
    }
    *value = str_n(value->p + 1, value->len - 2);
    return true;
}

static int load_line(struct loading *l, struct str line, const struct place *at) {
    line = str_trim(line);
    if (line.len == 0 || line.p[0] == '#') {
        return 0;
    }
    const char *equals = memchr(line.p, '=', line.len);
    size_t name_len = equals ? (size_t) (equals - line.p) : line.len;
    struct str name = str_trim(str_n(line.p, name_len)), value = equals ? str_trim(str_from(line, name_len + 1)) : STR_NONE;
    int i = find_row(name);
    if (i < 0) {
        return fail_unknown(l, at, name, nearest_row(name));
    }
    const struct option_row *row = &option_rows[i];
    if (i == OPTION_ROW_config) {
        return fail_value(l, at, row, "a file cannot name another one");
    }
    if (l->file_line[i]) {
        char what[64];
        snprintf(what, sizeof(what), "line %u has set it already", l->file_line[i]);
        return fail_value(l, at, row, what);
    }
    l->file_line[i] = at->line;
    if (!equals && !option_goes_bare(row->type)) {
        return fail_value(l, at, row, "a value is missing");
    }
    if (!unquote(&value)) {
        return fail_value(l, at, row, "the quote is not closed");
    }
    return set_value(l, (unsigned) i, equals ? value : STR("true"), at);
}

static int read_file(const char *path, struct buf *text) {
    FILE *f = fopen(path, "re");
    if (!f) {
        return -1;
    }
    struct stat st;
    size_t n = 1;
    setvbuf(f, NULL, _IONBF, 0); /* there are secrets in it: one copy, which is wiped */
    if (fstat(fileno(f), &st) == 0 && st.st_size > 0 && st.st_size <= OPTIONS_FILE_MAX) {
        buf_reserve(text, (size_t) st.st_size + 4096);
    }
    while (n && text->len <= OPTIONS_FILE_MAX && buf_reserve(text, 4096)) {
        n = fread(text->data + text->len, 1, 4096, f);
        text->len += n;
    }
    int failed = ferror(f);
    int saved = errno;
    fclose(f);
    errno = text->failed ? ENOMEM : failed ? saved : EFBIG;
    return failed || text->failed || text->len > OPTIONS_FILE_MAX ? -1 : 0;
}

static int load_file(struct loading *l) {
    const char *path = l->o->config;
    struct place at = {.source = OPT_FROM_FILE, .file = path};
    struct buf text = {0};
    int rc = 0;
    if (!path[0]) {
        return 0;
    }
    if (read_file(path, &text) != 0) {
        const char *why = strerror(errno);
        const struct place named = {.file = path, .source = (enum option_source) l->from->from[OPTION_ROW_config]};
        write_place(l->err, &named, "config");
        buf_printf(l->err, ": %s cannot be read: %s", path, why);
        rc = -1;
    }
    for (struct str rest = buf_view(&text); rest.len && rc == 0;) {
        const char *end = memchr(rest.p, '\n', rest.len);
        size_t len = end ? (size_t) (end - rest.p) : rest.len;
        at.line++;
        rc = load_line(l, str_n(rest.p, len), &at);
        rest = str_from(rest, end ? len + 1 : len);
    }
    secret_wipe(&text);
    return rc;
}

/* ---- the whole ---- */

static void load_defaults(struct options *o, struct options_sources *from) {
    memset(o, 0, sizeof(*o));
    memset(from, OPT_FROM_DEFAULT, sizeof(*from));
#define T(name, def, text) o->name = option_rows[OPTION_ROW_##name].secret ? secret_strdup(str_of(def)) : mem_strdup(str_of(def));
#define N(name, type, def, least, most, text) o->name = (def);
    OPTION_TABLE(T, N)
#undef T
#undef N
}

void options_wipe_environment(char **envp) {
    for (; envp && *envp; envp++) {
        for (unsigned i = 0; i < option_count; i++) {
            struct buf name = {0};
            const struct place at = {.source = OPT_FROM_ENV};
            write_place(&name, &at, option_rows[i].name);
            buf_char(&name, '=');
            if (option_rows[i].secret && str_starts(str_of(*envp), buf_z(&name))) {
                explicit_bzero(*envp + name.len, strlen(*envp + name.len));
            }
            buf_fini(&name);
        }
    }
}

int options_load(struct options *o, struct options_sources *from, int argc, char **argv, char **envp, struct buf *err) {
    static_assert(OPTION_ROWS <= sizeof(from->from), "a source per option");
    struct loading l = {.o = o, .from = from, .err = err};
    load_defaults(o, from);
    if (load_flags(&l, argc, argv) != 0 || load_environment(&l, envp) != 0 || load_file(&l) != 0) {
        options_fini(o);
        return -1;
    }
    return 0;
}

void options_fini(struct options *o) {
#define T(name, def, text) option_rows[OPTION_ROW_##name].secret ? secret_free(o->name) : mem_free(o->name);
#define N(name, type, def, least, most, text)
    OPTION_TABLE(T, N)
#undef T
#undef N
    memset(o, 0, sizeof(*o));
}
