/* handler.h: what carries out commands of a type. */
#ifndef BOWLINE_ENGINE_HANDLER_H
#define BOWLINE_ENGINE_HANDLER_H

struct cmd;
struct engine;

/* Answers or parks it, and changes nothing before it has everything that it needs: a parked command runs again from its start. */
typedef void cmd_handler(struct engine *e, struct cmd *c);

#endif
