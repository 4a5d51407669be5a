/*
 * json_tokens.h: the tokens of a text, one after the other: brackets, colons, commas, opening quotes and the first characters of anything else.
 * A small text is looked through at once (json_index.h); of a large one only the next few thousand places are known at a time, so that
 * knowing where they are costs nothing beside the text itself. Private to json.c.
 */
#ifndef BOWLINE_BASE_JSON_TOKENS_H
#define BOWLINE_BASE_JSON_TOKENS_H

#include "base/json_index.h"
#include "base/str.h"

struct json_tokens {
    struct str text;
    const uint32_t *at; /* places known now */
    size_t count, i;    /* of them; i is the present token */
    uint32_t *window;   /* of a large text: what `at` points to */
    size_t read;        /* of a large text: how much of it was looked through */
};

/*
 * The text must outlive the tokens. Its UTF-8 is checked here, all of it. JSON_INDEX_MALFORMED also for strings without an end and
 * control characters in them; in a large text json_tokens_next may find those later.
 */
enum json_index_result json_tokens_open(struct json_tokens *t, struct str text) MUST_CHECK;
void json_tokens_close(struct json_tokens *t);
/* Looks further; called by json_tokens_next. */
bool json_tokens_refill(struct json_tokens *t) MUST_CHECK;

static inline bool json_tokens_end(const struct json_tokens *t) {
    return t->i >= t->count;
}

/* Place of the present token (ahead 0) or of the one behind it (1); the text's length where there is none. */
static inline size_t json_token_at(const struct json_tokens *t, size_t ahead) {
    return t->i + ahead < t->count ? t->at[t->i + ahead] : t->text.len;
}

/* Goes on to the next token. False: malformed, as above. */
static inline bool json_tokens_next(struct json_tokens *t) {
    t->i++;
    return !t->window || t->i + 1 < t->count || t->read == t->text.len || json_tokens_refill(t);
}

#endif
