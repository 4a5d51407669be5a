/* cli.h: the commands of the program. Each takes what stands behind its name and gives back an exit code (cli/exit.h). */
#ifndef BOWLINE_CLI_CLI_H
#define BOWLINE_CLI_CLI_H

#ifndef BOWLINE_VERSION
#define BOWLINE_VERSION "0.1.0"
#endif

int serve_main(int argc, char **argv);
int config_main(int argc, char **argv);
int backup_main(int argc, char **argv);
int restore_main(int argc, char **argv);
int version_main(int argc, char **argv);
int help_main(int argc, char **argv);
int session_main(int argc, char **argv);
int task_main(int argc, char **argv);
int watch_main(int argc, char **argv);
int run_main(int argc, char **argv);
int work_main(int argc, char **argv);
int report_main(int argc, char **argv);
int top_main(int argc, char **argv);

#endif
