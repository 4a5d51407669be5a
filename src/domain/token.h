/*
 * token.h: the credentials that bowline mints (contract section 2): ID.gN.MAC for a session, ID.wN.MAC for watching a task, ID.xN.MAC for a worker's attempt.
 * MAC: 128 bits of HMAC-SHA256 over the text before its dot, base64url (22 characters). Pure; thread-safe.
 */
#ifndef BOWLINE_DOMAIN_TOKEN_H
#define BOWLINE_DOMAIN_TOKEN_H

#include "base/buf.h"
#include "base/crypto.h"
#include "base/id.h"

enum token_kind { TOKEN_SESSION, TOKEN_WATCH, TOKEN_WORKER };

#define TOKEN_TEXT_MAX 72

struct token {
    enum token_kind kind;
    struct id id;
    uint32_t gen;
};

void token_write(const struct keyring *keys, struct token t, struct buf *out);
/* True if text is a token that this installation's secret has signed. Says nothing of whether its generation still counts. */
bool token_verify(const struct keyring *keys, struct str text, struct token *ret_token) MUST_CHECK;

#endif
