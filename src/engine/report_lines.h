/* report_lines.h: streams of reports, of which each line stands for itself. */
#ifndef BOWLINE_ENGINE_REPORT_LINES_H
#define BOWLINE_ENGINE_REPORT_LINES_H

#include "engine/cmd.h"
#include "engine/handler.h"
#include "engine/lists.h"

/* A stream of reports of which a line waits for a look-up. */
struct stopped_stream {
    unsigned endpoint;
    const void *stream;
    struct cmd_list behind; /* its commands that came later */
    LIST_ENTRY(stopped_stream) link;
};

cmd_handler cmd_report_lines;
void line_answered(struct engine *e, struct cmd *c);                   /* its line is: with what c->answer says */
void stream_go_on(struct engine *e, struct cmd *c);                    /* the command for which its stream waits is done */
void line_unread(struct engine *e, struct cmd *c, const char *detail); /* refuses the line that it was parked for, and goes on with the next */

#endif
