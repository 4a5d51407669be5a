/* body.h: request bodies from flags and operands. Each gives 0, or an exit code after saying what is wrong. */
#ifndef BOWLINE_CLI_BODY_H
#define BOWLINE_CLI_BODY_H

#include "base/buf.h"
#include "cli/args.h"

enum member_type { MEMBER_TEXT, MEMBER_WORDS, MEMBER_NUMBER, MEMBER_JSON }; /* MEMBER_WORDS: as with body_words */

struct member {
    const char *flag; /* NULL ends a table */
    const char *name; /* of the JSON member */
    enum member_type type;
};

/* Begins another member: a comma if one is needed, and the name with its colon. */
void body_name(struct buf *b, const char *name);
/* Each puts nothing if value is NULL. */
void body_text(struct buf *b, const char *name, const char *value); /* known to be UTF-8 */
/* For people: what is no UTF-8, such as the name of a file, becomes U+FFFD. */
void body_words(struct buf *b, const char *name, const char *value);
/* It must be exactly that: what is no UTF-8 is refused. `what` names it in messages. */
int body_exact(struct buf *b, const struct args *a, const char *what, const char *name, const char *value) __attribute__((warn_unused_result));
/* Those of the table whose flags were given. */
int body_members(struct buf *b, const struct args *a, const struct member *members) __attribute__((warn_unused_result));
/* "session": the id of --session, or the object of --session-key and --user. Nothing if neither was given. */
int body_session(struct buf *b, const struct args *a) __attribute__((warn_unused_result));
/* A value as JSON: the text itself, @FILE, or - for standard input. `what` names it in messages. Appends exactly what was given, without white space around it. */
int body_json(struct buf *b, const struct args *a, const char *what, const char *text) __attribute__((warn_unused_result));
/* "data" or, for what is no UTF-8, "data_base64". */
void body_output_data(struct buf *b, struct str data);
/* How much of the data ends with a whole character: the rest should wait for its other bytes. All of it where it is not text at all. */
size_t whole_characters_length(struct str data);
/* Everything that can be read from a file; "-" is standard input. */
int file_read(const struct args *a, const char *path, struct buf *out) __attribute__((warn_unused_result));

#endif
