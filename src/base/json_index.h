/*
 * json_index.h: what json_tokens.c needs of simdjson: the place of every token of a small text, found by wide instructions.
 */
#ifndef BOWLINE_BASE_JSON_INDEX_H
#define BOWLINE_BASE_JSON_INDEX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define JSON_INDEX_MAX (64 * 1024) /* bytes: a thread keeps four times as much for the places */

enum json_index_result { JSON_INDEX_OK, JSON_INDEX_EMPTY, JSON_INDEX_MALFORMED, JSON_INDEX_TOO_LARGE, JSON_INDEX_NO_MEMORY };

/*
 * Checks UTF-8, control characters within strings and that each string is closed (else MALFORMED), and gives the offsets of
 * brackets, colons, commas, opening quotes and the first characters of anything else. *ret_at belongs to the thread and is valid
 * until its next call. No padding behind the text is needed. TOO_LARGE past JSON_INDEX_MAX.
 */
enum json_index_result json_index(const char *text, size_t len, const uint32_t **ret_at, size_t *ret_count);

#ifdef __cplusplus
}
#endif
#endif
