#include "cli/help.h"

#include "base/options.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/commands.h"
#include "cli/exit.h"

#include <stdio.h>

static const char serve_text[] =
    "bowline serve [options]\n"
    "\n"
    "Runs the server until SIGTERM or SIGINT. When it serves, it prints one line:\n"
    "\n"
    "  bowline " BOWLINE_VERSION " listening on http://127.0.0.1:8787\n"
    "\n"
    "The first start makes the data folder with two files that only its owner may read: api.key, an API key with every role, and\n"
    "secret, from which all tokens are signed. Keep a backup of both with bowline.db.\n"
    "\n"
    "The first SIGTERM or SIGINT drains: /readyz says 503, streams are closed over --drain-time, everything is written, and the\n"
    "exit code is 0. A second one stops at once with 130; what was acknowledged is safe in both cases.\n"
    "\n"
    "Every option can be given as a flag (--idle-timeout 600), in the environment (BOWLINE_IDLE_TIMEOUT=600) or in the file named\n"
    "by --config (idle_timeout = 600), in this order of precedence. `bowline config` with the same options shows what is in force.\n"
    "\n"
    "Examples:\n"
    "  bowline serve\n"
    "  bowline serve --data /var/lib/bowline --listen 0.0.0.0:8787 --public-url https://app.example\n"
    "  BOWLINE_CONFIG=/etc/bowline.conf bowline serve\n"
    "\n"
    "Options (durations in seconds, sizes in bytes):\n";

static const char config_text[] =
    "bowline config [options]\n"
    "\n"
    "Prints every option with its value and where that comes from: default, file, environment or flag. It takes the options of\n"
    "`bowline serve` and starts nothing. Secrets are shown as (hidden).\n"
    "\n"
    "Examples:\n"
    "  bowline config\n"
    "  bowline config --config /etc/bowline.conf --max-age 0\n"
    "\n"
    "`bowline help options` shows what each option does.\n";

static const char backup_text[] =
    "bowline backup --to FILE [--data DIR] [options of serve]\n"
    "\n"
    "Writes all that the data folder holds into one file that only its owner may read: the store, the secret and the API key. A server\n"
    "may be using the folder; the backup shows one moment, and nobody waits for it. It never replaces a file.\n"
    "\n"
    "The folder is the one that `bowline serve` would use with the same options, environment and --config.\n"
    "\n"
    "Examples:\n"
    "  bowline backup --data /var/lib/bowline --to /backup/bowline-$(date +%F).db\n";

static const char restore_text[] =
    "bowline restore --from FILE [--data DIR] [options of serve]\n"
    "\n"
    "Makes a data folder from a file that `bowline backup` wrote. It never replaces anything: the folder must be new, or hold no store.\n"
    "\n"
    "Tasks and sessions are as they were. Session tokens and watch tokens given out before count no more: applications get new ones by\n"
    "naming the session's key again (POST /v1/sessions) or asking for them (POST /v1/tasks/ID/token). Watchers start from the front.\n"
    "\n"
    "Examples:\n"
    "  bowline restore --from /backup/bowline-2030-01-31.db --data /var/lib/bowline-new\n";

static const char version_text[] = "bowline version\n\nPrints the version.\n";

static const char help_text[] = "bowline help [COMMAND [ACTION]]\n"
                                "\n"
                                "Prints help on a command, an action, or one of: options, exit.\n"
                                "`bowline help options --markdown` prints the options as a page of the manual.\n";

static const char main_text[] = "bowline ties long-running work to the user session that started it.\n"
                                "\n"
                                "Usage: bowline COMMAND ...\n"
                                "\n"
                                "The server:\n";

static const char main_examples[] = "\n"
                                    "A first look, in three terminals:\n"
                                    "  bowline serve                                       # makes ./bowline-data with an API key\n"
                                    "\n"
                                    "  export BOWLINE_KEY=$(cat bowline-data/api.key)\n"
                                    "  bowline session create                              # prints a session id and its token\n"
                                    "  bowline task start --session ses_... --kind report  # prints a task id, a watch token and a worker token\n"
                                    "  bowline watch --token ses_...                       # follows everything the session started\n"
                                    "\n"
                                    "  bowline task report --token tsk_... progress 40/100\n"
                                    "  bowline task report --token tsk_... succeed '{\"pages\": 12}'\n"
                                    "\n"
                                    "`bowline help COMMAND` says more; `bowline help options` lists the server's options.\n";

bool help_wanted(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

static void exit_codes(struct buf *out) {
#define X(name, code, text) help_row(out, #code, text);
    EXIT_TABLE(X)
#undef X
}

static void main_help(struct buf *out) {
    buf_puts(out, main_text);
    help_row(out, "serve", "Run the server");
    help_row(out, "config", "Show the options in force and where they come from");
    help_row(out, "backup", "Write the data folder into one file, also beside a running server");
    help_row(out, "restore", "Make a data folder from such a file");
    buf_puts(out, "\nClients of a running server:\n");
    for (unsigned i = 0; client_commands[i]; i++) {
        help_row(out, client_commands[i]->name, client_commands[i]->text);
    }
    buf_puts(out, "\nOther:\n");
    help_row(out, "version", "Print the version");
    help_row(out, "help [COMMAND [ACTION]]", "Print help");
    buf_puts(out, main_examples);
    buf_puts(out, "\nExit codes:\n");
    exit_codes(out);
}

/* ---- the options ---- */

static const char *type_word(enum option_type type) {
    switch (type) {
    case OPT_TEXT: return "text";
    case OPT_DURATION: return "seconds";
    case OPT_SIZE: return "bytes";
    case OPT_COUNT: return "number";
    case OPT_SWITCH: return "switch";
    case OPT_WHEN: return "word";
    }
    return "";
}

static void bounds_write(const struct option_row *row, struct buf *out) {
    if (row->type == OPT_TEXT || row->type == OPT_SWITCH) {
        return;
    }
    if (row->type == OPT_WHEN) {
        buf_puts(out, "`unfinished`, `always` or `never`");
        return;
    }
    double unit = row->type == OPT_DURATION ? (double) SEC : 1;
    buf_json_num(out, (double) row->least / unit);
    buf_puts(out, " to ");
    buf_json_num(out, (double) row->most / unit);
}

static void markdown_escape(const char *text, struct buf *out) {
    for (; *text; text++) {
        if (strchr("|*<>_", *text)) {
            buf_char(out, '\\');
        }
        buf_char(out, *text);
    }
}

void help_options_markdown(struct buf *out) {
    buf_puts(out,
             "# Options of `bowline serve`\n\n"
             "Each can be given as a flag (`--idle-timeout 600`), in the environment (`BOWLINE_IDLE_TIMEOUT=600`) or in the file that\n"
             "`--config` names (`idle_timeout = 600`, one per line, `#` begins a comment), in this order of precedence. Durations are in seconds,\n"
             "fractions allowed; sizes in bytes; a switch is given bare (`--open-sessions`, `--no-open-sessions`) or as `true` or `false`.\n"
             "`watching_keeps_alive` may be given like a switch, too.\n"
             "`bowline config` shows what is in force and where it comes from.\n\n"
             "This page is made by `bowline help options --markdown`.\n\n"
             "| option | type | default | bounds | what it does |\n| --- | --- | --- | --- | --- |\n");
    for (unsigned i = 0; i < option_count; i++) {
        const struct option_row *row = &option_rows[i];
        buf_printf(out, "| `%s` | %s | %s%s%s | ", row->name, type_word(row->type), row->def[0] ? "`" : "", row->def, row->def[0] ? "`" : "");
        bounds_write(row, out);
        buf_puts(out, " | ");
        markdown_escape(row->text, out);
        buf_puts(out, row->secret ? ". Secret: never shown |\n" : " |\n");
    }
}

/* ---- the command ---- */

static const struct command *client_command_find(const char *name) {
    for (unsigned i = 0; client_commands[i]; i++) {
        if (strcmp(client_commands[i]->name, name) == 0) {
            return client_commands[i];
        }
    }
    return NULL;
}

/* False if there is no help of that name. */
static bool help_write(const char *name, struct buf *out) {
    const struct command *c = client_command_find(name);
    if (c) {
        command_help(c, NULL, out);
    } else if (strcmp(name, "serve") == 0) {
        buf_puts(out, serve_text);
        options_write_help(out);
    } else if (strcmp(name, "options") == 0) {
        options_write_help(out);
    } else if (strcmp(name, "exit") == 0) {
        exit_codes(out);
    } else {
        const char *text = strcmp(name, "config") == 0    ? config_text
                           : strcmp(name, "backup") == 0  ? backup_text
                           : strcmp(name, "restore") == 0 ? restore_text
                           : strcmp(name, "version") == 0 ? version_text
                           : strcmp(name, "help") == 0    ? help_text
                                                          : NULL;
        buf_puts(out, text ? text : "");
        return text;
    }
    return true;
}

static int buf_print(struct buf *out, int code) {
    fputs(buf_z(out), stdout);
    buf_fini(out);
    return code;
}

int help_command(const char *name) {
    struct buf out = {0};
    return help_write(name, &out) ? buf_print(&out, BOWLINE_EXIT_OK) : help_unknown_command(name);
}

int help_unknown_command(const char *name) {
    static const char *const names[] = {"serve", "config", "backup", "restore", "version", "help",    "session", "task",
                                        "watch", "run",    "work",   "report",  "top",     "options", "exit"};
    const char *near = nearest_name(str_of(name), names, sizeof names / sizeof *names);
    fprintf(stderr, "bowline: there is no command \"%s\"%s%s%s\n  `bowline help` shows what there is\n", name, near ? "; did you mean \"" : "",
            near ? near : "", near ? "\"?" : "");
    return BOWLINE_EXIT_USAGE;
}

static int help_of_action(const char *name, const char *action) {
    const struct command *c = client_command_find(name);
    const struct action *found = c && !c->single ? command_find_action(c, str_of(action)) : NULL;
    if (!found) {
        fprintf(stderr, "bowline help: there is no \"%s %s\"\n  `bowline help %s` shows what there is\n", name, action, c ? name : "");
        return BOWLINE_EXIT_USAGE;
    }
    struct buf out = {0};
    command_help(c, found, &out);
    return buf_print(&out, BOWLINE_EXIT_OK);
}

int help_main(int argc, char **argv) {
    struct buf out = {0};
    if (help_wanted(argc, argv)) {
        return help_command("help");
    }
    if (argc == 0) {
        main_help(&out);
        return buf_print(&out, BOWLINE_EXIT_OK);
    }
    if (argc == 2 && strcmp(argv[0], "options") == 0 && strcmp(argv[1], "--markdown") == 0) {
        help_options_markdown(&out);
        return buf_print(&out, BOWLINE_EXIT_OK);
    }
    return argc == 1 ? help_command(argv[0]) : help_of_action(argv[0], argv[1]);
}
