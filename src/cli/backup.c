/*
 * backup.c: `bowline backup` and `bowline restore`. A backup is one SQLite file: the store with the secret and the API key in a table of their own. A
 * server may be running; restore makes a new data folder, in which no token that was given out before counts any more.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/options.h"
#include "cli/exit.h"
#include "cli/help.h"
#include "base/private_file.h"
#include "server/start.h"
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kept_files[] = {"secret", "api.key"};
#define KEPT_FILES 2

struct backup_args {
    struct options options;
    struct options_sources sources;
    const char *file; /* of --to or --from */
    struct buf err;
};

/* ---- the command line ---- */

/* Takes `flag FILE` or `flag=FILE` out of argv; false, and said, if it stands without a name or twice. */
static bool args_take_file(struct backup_args *a, const char *flag, int *argc, char **argv) {
    size_t len = strlen(flag);
    int left = 0;
    for (int i = 0; i < *argc; i++) {
        bool bare = strcmp(argv[i], flag) == 0, joined = strncmp(argv[i], flag, len) == 0 && argv[i][len] == '=';
        if (!bare && !joined) {
            argv[left++] = argv[i];
            continue;
        }
        const char *file = joined ? argv[i] + len + 1 : i + 1 < *argc ? argv[++i] : "";
        if (!file[0] || a->file) {
            buf_printf(&a->err, file[0] ? "%s is given twice" : "%s needs the name of a file", flag);
            return false;
        }
        a->file = file;
    }
    *argc = left;
    if (!a->file) {
        buf_printf(&a->err, "%s FILE is missing", flag);
    }
    return a->file;
}

/* The other flags are those of serve, so that the same configuration names the data folder. */
static bool args_take(struct backup_args *a, const char *flag, int argc, char **argv) {
    char **rest = calloc((size_t) argc + 1, sizeof *rest);
    if (!rest) {
        buf_puts(&a->err, "there is too little memory");
        return false;
    }
    memcpy(rest, argv, (size_t) argc * sizeof *rest);
    bool good = args_take_file(a, flag, &argc, rest) && options_load(&a->options, &a->sources, argc, rest, environ, &a->err) == 0;
    free(rest);
    return good;
}

static int args_say(struct backup_args *a, const char *command, int code) {
    fprintf(stderr, "bowline %s: %.*s\n", command, STR_FMT(buf_view(&a->err)));
    if (code == BOWLINE_EXIT_USAGE) {
        fprintf(stderr, "  `bowline help %s` shows how it is used\n", command);
    }
    return code;
}

static int args_fail(struct backup_args *a, const char *hint) {
    buf_puts(&a->err, "\n  ");
    buf_puts(&a->err, hint);
    return BOWLINE_EXIT_FAILED;
}

static int command_main(const char *command, const char *flag, int (*run)(struct backup_args *a), int argc, char **argv) {
    if (help_wanted(argc, argv)) {
        return help_command(command);
    }
    struct backup_args a = {.file = NULL};
    int code = args_take(&a, flag, argc, argv) ? run(&a) : BOWLINE_EXIT_USAGE;
    if (code) {
        args_say(&a, command, code);
    }
    options_fini(&a.options);
    buf_fini(&a.err);
    return code;
}

static void path_in(const char *dir, const char *name, struct buf *out) {
    buf_printf(out, "%s/%s", dir, name);
}

/* ---- backup ---- */

/* False, and said, if it is there but cannot be read, or is not there although it must be. */
static bool kept_read(struct backup_args *a, const char *name, bool must, struct buf *out) {
    struct buf path = {0};
    path_in(a->options.data, name, &path);
    int rc = private_file_read(buf_z(&path), out);
    bool good = rc == 0 || (rc == -ENOENT && !must);
    if (!good) {
        buf_printf(&a->err, "%s cannot be read: %s", buf_z(&path), strerror(-rc));
    }
    buf_fini(&path);
    return good;
}

static bool backup_has_store(struct backup_args *a, const char *path) {
    if (access(path, F_OK) == 0) {
        return true;
    }
    buf_printf(&a->err, "there is no store in the data folder %s: %s cannot be found", a->options.data, path);
    (void) args_fail(a, "name the folder that the server uses with --data DIR");
    return false;
}

static int backup_write(struct backup_args *a, const char *path, struct sqlite_extra extras[KEPT_FILES], unsigned count) {
    if (access(a->file, F_OK) == 0) {
        buf_printf(&a->err, "%s exists already", a->file);
        return args_fail(a, "a backup never replaces a file; give another name, or remove that one");
    }
    if (sqlite_store_backup(path, a->file, extras, count, &a->err)) {
        return args_fail(a, "look at the name, its folder and the room on its disk; nothing was left behind");
    }
    fprintf(stderr, "bowline backup: %s is now in %s; it holds the secret, so keep it as you keep passwords\n", a->options.data, a->file);
    return BOWLINE_EXIT_OK;
}

static int backup_run(struct backup_args *a) {
    struct sqlite_extra extras[KEPT_FILES];
    struct buf texts[KEPT_FILES] = {{0}}, path = {0};
    unsigned count = 0;
    int code = BOWLINE_EXIT_FAILED;
    path_in(a->options.data, "bowline.db", &path);
    bool good = backup_has_store(a, buf_z(&path));
    for (unsigned i = 0; i < KEPT_FILES && good; i++) {
        good = kept_read(a, kept_files[i], i == 0, &texts[i]);
        if (texts[i].len) {
            extras[count++] = (struct sqlite_extra){kept_files[i], buf_view(&texts[i])};
        }
    }
    if (good) {
        code = backup_write(a, buf_z(&path), extras, count);
    }
    for (unsigned i = 0; i < KEPT_FILES; i++) {
        if (texts[i].data) {
            explicit_bzero(texts[i].data, texts[i].cap);
        }
        buf_fini(&texts[i]);
    }
    buf_fini(&path);
    return code;
}

/* ---- restore ---- */

struct restore {
    const char *dir;
    bool made[KEPT_FILES];
};

static int restore_extra(void *arg, const char *name, struct str data, struct buf *err) {
    struct restore *r = arg;
    for (unsigned i = 0; i < KEPT_FILES; i++) {
        if (strcmp(name, kept_files[i]) == 0) {
            struct buf path = {0};
            path_in(r->dir, name, &path);
            int rc = private_file_create(buf_z(&path), data);
            r->made[i] = rc == 0;
            if (rc) {
                buf_printf(err, "%s cannot be made: %s", buf_z(&path), strerror(-rc));
            }
            buf_fini(&path);
            return rc ? -1 : 0;
        }
    }
    return 0; /* of a later version */
}

static void restore_undo(const struct restore *r) {
    for (unsigned i = 0; i < KEPT_FILES; i++) {
        struct buf path = {0};
        path_in(r->dir, kept_files[i], &path);
        if (r->made[i]) {
            unlink(buf_z(&path));
        }
        buf_fini(&path);
    }
}

/* Nothing may be there that a restore would have to replace. */
static bool restore_is_free(struct backup_args *a) {
    static const char *const names[] = {"bowline.db", "secret", "api.key"};
    bool is_free = true;
    for (unsigned i = 0; i < 3 && is_free; i++) {
        struct buf path = {0};
        path_in(a->options.data, names[i], &path);
        is_free = access(buf_z(&path), F_OK) != 0;
        if (!is_free) {
            buf_printf(&a->err, "%s exists already", buf_z(&path));
            (void) args_fail(a, "a restore never replaces anything; give an empty or a new folder with --data DIR");
        }
        buf_fini(&path);
    }
    return is_free;
}

static int restore_run(struct backup_args *a) {
    struct restore r = {.dir = a->options.data};
    if (access(a->file, R_OK)) {
        buf_printf(&a->err, "%s cannot be read: %s", a->file, strerror(errno));
        return args_fail(a, "name a file that `bowline backup` made with --from FILE");
    }
    umask(077);
    if (start_folder(a->options.data, &a->err) || !restore_is_free(a)) {
        return BOWLINE_EXIT_FAILED;
    }
    /* Seconds rise by themselves from one restore to the next, and faster than any session is rotated: what was given out before, also after the backup, counts no more. */
    struct sqlite_restore how = {.least_gen = (uint32_t) (clock_wall_ms() / SEC), .extra = restore_extra, .arg = &r};
    struct buf path = {0};
    path_in(a->options.data, "bowline.db", &path);
    int failed = sqlite_store_restore(a->file, buf_z(&path), &how, &a->err);
    if (failed) {
        restore_undo(&r);
        (void) args_fail(a, "nothing was restored; name a file that `bowline backup` made, and look at the data folder and its disk");
    } else {
        fprintf(stderr, "bowline restore: %s is now in %s; session tokens and watch tokens given out before count no more\n", a->file,
                a->options.data);
    }
    buf_fini(&path);
    return failed ? BOWLINE_EXIT_FAILED : BOWLINE_EXIT_OK;
}

int backup_main(int argc, char **argv) {
    return command_main("backup", "--to", backup_run, argc, argv);
}

int restore_main(int argc, char **argv) {
    return command_main("restore", "--from", restore_run, argc, argv);
}
