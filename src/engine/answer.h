/* answer.h: a command is answered, exactly once. */
#ifndef BOWLINE_ENGINE_ANSWER_H
#define BOWLINE_ENGINE_ANSWER_H

#include "base/error.h"
#include "engine/cmd.h"

struct engine;

/*
 * Sends c->answer back once what it has read and changed is durable (needs.h). The command is the loop's from then on: the caller does not touch it again. If it is a line of
 * a stream of reports, the answer becomes a line of the stream's, and the command goes on. It must not be parked.
 */
void cmd_answer(struct engine *e, struct cmd *c);
/* Answers with a problem; detail may be NULL, and lives for ever. */
void cmd_refuse(struct engine *e, struct cmd *c, enum err err, const char *detail);
/* The same with the place in the body that is at fault. */
void cmd_refuse_at(struct engine *e, struct cmd *c, enum err err, struct str pointer, const char *detail);
/* Begins an answer of this status with a JSON body, which is written into what it returns. */
struct buf *cmd_json(struct cmd *c, int status);
/* Lets go of what a command holds in the engine while it runs. To be called before it leaves. */
void cmd_let_go(struct engine *e, struct cmd *c);

#endif
