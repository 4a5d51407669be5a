#include "base/json_tokens.h"

#include "base/eight.h"
#include "base/json.h"

#include <stdlib.h>

#define WINDOW_TOKENS 8192u

static bool tokens_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool tokens_mark(char c) {
    return c == '{' || c == '}' || c == '[' || c == ']' || c == ':' || c == ',';
}

/* Eight characters of a string at a time, as long as none is a quote, a backslash or a control character. */
static size_t tokens_plain(struct str text, size_t at) {
    for (; text.len - at >= 8; at += 8) {
        uint64_t v = eight_read(text.p + at);
        if (eight_have(v, '"') | eight_have(v, '\\') | eight_below(v, 0x20)) {
            break;
        }
    }
    return at;
}

/* Behind the closing quote of the string that opens at `at`; 0 if it is malformed. */
static size_t tokens_string_end(struct str text, size_t at) {
    for (at = tokens_plain(text, at + 1); at < text.len; at = tokens_plain(text, at)) {
        unsigned char c = (unsigned char) text.p[at];
        if (c == '"') {
            return at + 1;
        }
        if (c < 0x20 || (c == '\\' && (text.len - at < 2 || (unsigned char) text.p[at + 1] < 0x20))) {
            return 0;
        }
        at += c == '\\' ? 2 : 1;
    }
    return 0;
}

static size_t tokens_word_end(struct str text, size_t at) {
    while (at < text.len && !tokens_space(text.p[at]) && !tokens_mark(text.p[at]) && text.p[at] != '"') {
        at++;
    }
    return at;
}

bool json_tokens_refill(struct json_tokens *t) {
    size_t left = t->i < t->count ? t->count - t->i : 0;
    memmove(t->window, t->window + t->i, left * sizeof(*t->window));
    t->count = left;
    t->i = 0;
    size_t at = t->read;
    while (at < t->text.len && t->count < WINDOW_TOKENS) {
        char c = t->text.p[at];
        if (tokens_space(c)) {
            at++;
            continue;
        }
        t->window[t->count++] = (uint32_t) at;
        at = c == '"' ? tokens_string_end(t->text, at) : tokens_mark(c) ? at + 1 : tokens_word_end(t->text, at + 1);
        if (at == 0) {
            return false;
        }
    }
    t->read = at;
    return true;
}

static enum json_index_result tokens_open_large(struct json_tokens *t) {
    if (t->text.len > UINT32_MAX) {
        return JSON_INDEX_TOO_LARGE;
    }
    if (!utf8_valid(t->text)) {
        return JSON_INDEX_MALFORMED;
    }
    t->window = malloc(WINDOW_TOKENS * sizeof(*t->window));
    if (!t->window) {
        return JSON_INDEX_NO_MEMORY;
    }
    t->at = t->window;
    if (!json_tokens_refill(t)) {
        return JSON_INDEX_MALFORMED;
    }
    return t->count ? JSON_INDEX_OK : JSON_INDEX_EMPTY;
}

enum json_index_result json_tokens_open(struct json_tokens *t, struct str text) {
    *t = (struct json_tokens){.text = text};
    return text.len > JSON_INDEX_MAX ? tokens_open_large(t) : json_index(text.p, text.len, &t->at, &t->count);
}

void json_tokens_close(struct json_tokens *t) {
    free(t->window);
    t->window = NULL;
}
