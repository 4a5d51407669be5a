#include "cli/args.h"

#include "base/options.h"
#include "cli/exit.h"
#include "cli/help.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES_MAX 64
#define HELP_COLUMN 28

const struct flag client_flags[] = {
    {"url", "URL", "Server; else BOWLINE_URL, else http://127.0.0.1:8787"},
    {"key", "KEY", "API key, blk_...; else BOWLINE_KEY. Others can see it in the list of processes: prefer --key-file"},
    {"key-file", "FILE", "File with the API key, such as bowline-data/api.key"},
    {"token", "TOKEN", "Token of a session or task; else BOWLINE_TOKEN. A token goes before a key, a flag before the environment"},
    {"json", NULL, "Print the server's JSON instead of text"},
    {NULL, NULL, NULL},
};

/* ---- what was given ---- */

const char *args_get(const struct args *a, const char *flag) {
    for (int i = 0; i < a->given_count; i++) {
        if (strcmp(a->given[i].name, flag) == 0) {
            return a->given[i].value;
        }
    }
    return NULL;
}

bool args_has(const struct args *a, const char *flag) {
    return args_get(a, flag) != NULL;
}

static void args_say(const struct args *a, const char *fmt, va_list list) {
    fprintf(stderr, "bowline %s%s%s: ", a->command->name, a->action && !a->command->single ? " " : "",
            a->action && !a->command->single ? a->action->name : "");
    vfprintf(stderr, fmt, list);
    fputc('\n', stderr);
}

int args_wrong(const struct args *a, const char *fmt, ...) {
    va_list list;
    va_start(list, fmt);
    args_say(a, fmt, list);
    va_end(list);
    bool named = a->action && !a->command->single;
    fprintf(stderr, "  `bowline help %s%s%s` shows how it is used\n", a->command->name, named ? " " : "", named ? a->action->name : "");
    return BOWLINE_EXIT_USAGE;
}

int args_fail(const struct args *a, int code, const char *fmt, ...) {
    va_list list;
    va_start(list, fmt);
    args_say(a, fmt, list);
    va_end(list);
    return code;
}

int args_number(const struct args *a, const char *flag, double least, double most, double otherwise, double *ret_number) {
    const char *text = args_get(a, flag);
    if (!text) {
        *ret_number = otherwise;
        return 0;
    }
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v) || v < least || v > most) {
        return args_wrong(a, "--%s: \"%s\" is not a number from %g to %g", flag, text, least, most);
    }
    *ret_number = v;
    return 0;
}

/* ---- parsing ---- */

static const struct flag *flag_find(const struct flag *flags, struct str name) {
    for (; flags && flags->name; flags++) {
        if (str_eqz(name, flags->name)) {
            return flags;
        }
    }
    return NULL;
}

static unsigned flag_names(const struct flag *flags, const char **names, unsigned count) {
    for (; flags && flags->name && count < NAMES_MAX; flags++) {
        names[count++] = flags->name;
    }
    return count;
}

static int flag_unknown(const struct args *a, struct str name) {
    const char *names[NAMES_MAX];
    unsigned count = flag_names(a->action->flags, names, 0);
    count = flag_names(client_flags, names, count);
    const char *near = nearest_name(name, names, count);
    if (near) {
        return args_wrong(a, "there is no --%.*s; did you mean --%s?", STR_FMT(name), near);
    }
    return args_wrong(a, "there is no --%.*s", STR_FMT(name));
}

/* One flag at argv[0]; how many words it took, or 0 after saying what is wrong. */
static int flag_take(struct args *a, int argc, char **argv) {
    const char *text = argv[0] + 2;
    const char *equals = strchr(text, '=');
    struct str name = str_n(text, equals ? (size_t) (equals - text) : strlen(text));
    const struct flag *f = flag_find(a->action->flags, name);
    f = f ? f : flag_find(client_flags, name);
    if (!f) {
        flag_unknown(a, name);
        return 0;
    }
    if (args_has(a, f->name)) {
        args_wrong(a, "--%s is given twice", f->name);
        return 0;
    }
    if (!f->value && equals) {
        args_wrong(a, "--%s takes no value", f->name);
        return 0;
    }
    bool next = f->value && !equals;
    if (next && argc < 2) {
        args_wrong(a, "--%s wants a value: --%s %s", f->name, f->name, f->value);
        return 0;
    }
    a->given[a->given_count].name = f->name;
    a->given[a->given_count++].value = !f->value ? "" : equals ? equals + 1 : argv[1];
    return next ? 2 : 1;
}

static int operand_take(struct args *a, const char *text) {
    if (a->operand_count == a->action->most && a->command->rest) {
        return args_wrong(a, "\"%s\": the command stands behind --, such as `bowline %s %s%s-- %s`", text, a->command->name, a->action->operands,
                          a->action->operands[0] ? " " : "", text);
    }
    if (a->operand_count == a->action->most) {
        return args_wrong(a, "\"%s\" is one word too many", text);
    }
    a->operand[a->operand_count++] = text;
    return 0;
}

/* 0, or an exit code. */
static int args_parse(struct args *a, int argc, char **argv) {
    bool only_operands = false;
    for (int i = 0; i < argc;) {
        const char *word = argv[i];
        if (!only_operands && strcmp(word, "--") == 0 && a->command->rest) {
            a->rest = argv + i + 1;
            a->rest_count = argc - i - 1;
            break;
        } else if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
            i++;
        } else if (!only_operands && word[0] == '-' && word[1] == '-') {
            int took = a->given_count < FLAGS_MAX ? flag_take(a, argc - i, argv + i) : 0;
            if (!took) {
                return BOWLINE_EXIT_USAGE;
            }
            i += took;
        } else if (!only_operands && word[0] == '-' && word[1] && !strchr("0123456789.", word[1])) {
            return args_wrong(a, "flags are written with two dashes: \"%s\"", word);
        } else if (operand_take(a, argv[i++])) {
            return BOWLINE_EXIT_USAGE;
        }
    }
    if (a->operand_count < a->action->least) {
        return args_wrong(a, "it wants %s", a->action->operands);
    }
    if (a->command->rest && a->rest_count < 1) {
        return args_wrong(a, "which command? It stands behind --: -- %s", a->command->rest);
    }
    return 0;
}

const struct action *command_find_action(const struct command *c, struct str name) {
    for (unsigned i = 0; i < c->count; i++) {
        if (str_eqz(name, c->actions[i].name)) {
            return &c->actions[i];
        }
    }
    return NULL;
}

static int action_unknown(const struct command *c, const char *word) {
    const char *names[NAMES_MAX];
    for (unsigned i = 0; i < c->count; i++) {
        names[i] = c->actions[i].name;
    }
    const char *near = nearest_name(str_of(word), names, c->count);
    fprintf(stderr, "bowline %s: there is no \"%s\"%s%s%s\n  `bowline help %s` shows what there is\n", c->name, word, near ? "; did you mean \"" : "",
            near ? near : "", near ? "\"?" : "", c->name);
    return BOWLINE_EXIT_USAGE;
}

static int help_print(const struct command *c, const struct action *action, FILE *to) {
    struct buf out = {0};
    command_help(c, action, &out);
    fputs(buf_z(&out), to);
    buf_fini(&out);
    return to == stdout ? BOWLINE_EXIT_OK : BOWLINE_EXIT_USAGE;
}

int command_run(const struct command *c, int argc, char **argv) {
    struct args a = {.command = c, .action = c->single ? c->actions : NULL};
    if (!c->single) {
        if (argc == 0) {
            return help_print(c, NULL, stderr);
        }
        if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
            return help_print(c, NULL, stdout);
        }
        a.action = command_find_action(c, str_of(argv[0]));
        if (!a.action) {
            return action_unknown(c, argv[0]);
        }
        argc--;
        argv++;
    }
    if (help_wanted(argc, argv)) {
        return help_print(c, c->single ? NULL : a.action, stdout);
    }
    int wrong = args_parse(&a, argc, argv);
    return wrong ? wrong : a.action->run(&a);
}

/* ---- help ---- */

void help_row(struct buf *out, const char *left, const char *text) {
    size_t wide = strlen(left);
    buf_printf(out, "  %s", left);
    if (wide + 2 > HELP_COLUMN) {
        buf_char(out, '\n');
        wide = 0;
        buf_puts(out, "  ");
    }
    buf_printf(out, "%*s%s\n", (int) (HELP_COLUMN - wide), "", text);
}

static void flags_help(const struct flag *flags, struct buf *out) {
    for (; flags && flags->name; flags++) {
        char left[128];
        snprintf(left, sizeof left, "--%s%s%s", flags->name, flags->value ? " " : "", flags->value ? flags->value : "");
        help_row(out, left, flags->text);
    }
}

static void action_help(const struct command *c, const struct action *a, struct buf *out) {
    const char *name = c->single ? "" : a->name;
    buf_printf(out, "bowline %s%s%s%s%s [flags]%s%s\n\n%s.\n", c->name, name[0] ? " " : "", name, a->operands[0] ? " " : "", a->operands,
               c->rest ? " -- " : "", c->rest ? c->rest : "", a->text);
    if (c->single && c->more) {
        buf_printf(out, "\n%s", c->more);
    }
    if (a->flags) {
        buf_puts(out, "\nFlags:\n");
        flags_help(a->flags, out);
    }
    buf_puts(out, "\nFlags of every client command:\n");
    flags_help(client_flags, out);
    if (a->examples) {
        buf_printf(out, "\nExamples:\n%s", a->examples);
    }
}

void command_help(const struct command *c, const struct action *action, struct buf *out) {
    if (action || c->single) {
        action_help(c, action ? action : c->actions, out);
        return;
    }
    buf_printf(out, "bowline %s ACTION [flags]\n\n%s.\n", c->name, c->text);
    if (c->more) {
        buf_printf(out, "\n%s", c->more);
    }
    buf_puts(out, "\nActions:\n");
    for (unsigned i = 0; i < c->count; i++) {
        char left[128];
        snprintf(left, sizeof left, "%s%s%s", c->actions[i].name, c->actions[i].operands[0] ? " " : "", c->actions[i].operands);
        help_row(out, left, c->actions[i].text);
    }
    buf_puts(out, "\nFlags of every client command:\n");
    flags_help(client_flags, out);
    buf_printf(out, "\n`bowline help %s ACTION` shows an action's own flags and examples.\n", c->name);
}
