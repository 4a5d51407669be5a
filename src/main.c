/* main.c: sees to it that the standard descriptors are there, finds the command and hands over. */
#include "cli/cli.h"
#include "cli/exit.h"
#include "cli/help.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"serve", serve_main}, {"config", config_main},   {"backup", backup_main}, {"restore", restore_main},   {"session", session_main},
    {"task", task_main},   {"watch", watch_main},     {"run", run_main},       {"work", work_main},         {"report", report_main},
    {"top", top_main},     {"version", version_main}, {"help", help_main},     {"--version", version_main}, {"-V", version_main},
    {"--help", help_main}, {"-h", help_main},
};

/* Output that could not be written (a full disk, say) must not look like success. */
static int finish(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return code;
    }
    perror("bowline: standard output");
    return code ? code : BOWLINE_EXIT_FAILED;
}

/* Where one of the first three is closed, a file or socket of ours would take its number and be read or written in its place. */
static bool standard_descriptors_open(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
            perror("bowline: /dev/null");
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv) {
    if (!standard_descriptors_open()) {
        return BOWLINE_EXIT_FAILED;
    }
    if (argc < 2) {
        fputs("bowline: which command?\n  `bowline help` shows what there is; `bowline serve` runs the server\n", stderr);
        return BOWLINE_EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return finish(commands[i].run(argc - 2, argv + 2));
        }
    }
    return help_unknown_command(argv[1]);
}
