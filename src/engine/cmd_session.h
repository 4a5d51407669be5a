/* cmd_session.h: commands about sessions. */
#ifndef BOWLINE_ENGINE_CMD_SESSION_H
#define BOWLINE_ENGINE_CMD_SESSION_H

#include "engine/handler.h"

#include <stdbool.h>

struct session_entry;

cmd_handler cmd_session_create, cmd_session_open, cmd_session_get, cmd_session_touch, cmd_session_rotate, cmd_session_merge, cmd_session_end,
    cmd_auth;
/* Answers with the session, once what it shows is durable. */
void session_answer(struct engine *e, struct cmd *c, struct session_entry *s, int status, bool with_token);

#endif
