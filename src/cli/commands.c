#include "cli/commands.h"

#include "base/options.h"
#include "cli/child.h"
#include "cli/cli.h"
#include "cli/exit.h"
#include "cli/help.h"

#include <stdio.h>
#include <unistd.h>

const struct command *const client_commands[] = {&session_command, &task_command,   &watch_command, &run_command,
                                                 &work_command,    &report_command, &top_command,   NULL};

int session_main(int argc, char **argv) {
    return command_run(&session_command, argc, argv);
}

int task_main(int argc, char **argv) {
    return command_run(&task_command, argc, argv);
}

int watch_main(int argc, char **argv) {
    return command_run(&watch_command, argc, argv);
}

int run_main(int argc, char **argv) {
    descriptors_are_inherited();
    return command_run(&run_command, argc, argv);
}

int work_main(int argc, char **argv) {
    descriptors_are_inherited();
    return command_run(&work_command, argc, argv);
}

int report_main(int argc, char **argv) {
    return command_run(&report_command, argc, argv);
}

int top_main(int argc, char **argv) {
    return command_run(&top_command, argc, argv);
}

int version_main(int argc, char **argv) {
    if (help_wanted(argc, argv)) {
        return help_command("version");
    }
    if (argc) {
        fprintf(stderr, "bowline version: it takes no arguments\n");
        return BOWLINE_EXIT_USAGE;
    }
    puts("bowline " BOWLINE_VERSION);
    return BOWLINE_EXIT_OK;
}

int config_main(int argc, char **argv) {
    if (help_wanted(argc, argv)) {
        return help_command("config");
    }
    struct options options = {0};
    struct options_sources sources = {0};
    struct buf out = {0}, err = {0};
    int code = BOWLINE_EXIT_OK;
    if (options_load(&options, &sources, argc, argv, environ, &err)) {
        fprintf(stderr, "bowline config: %s\n  `bowline help options` shows every option\n", buf_z(&err));
        code = BOWLINE_EXIT_USAGE;
    } else {
        options_write_all(&options, &sources, &out);
        fputs(buf_z(&out), stdout);
    }
    options_fini(&options);
    buf_fini(&out);
    buf_fini(&err);
    return code;
}
