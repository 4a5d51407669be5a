/* text.h: text from others on somebody's terminal: without control characters, and measured in columns. */
#ifndef BOWLINE_CLI_TEXT_H
#define BOWLINE_CLI_TEXT_H

#include "base/buf.h"

/* Control characters (also those that turn the direction of writing) come out as one space each, malformed bytes as '?'. */
void text_put_clean(struct buf *out, struct str s);
/* Columns that clean text takes on a terminal. */
int text_columns(struct str s);
/* Clean text in exactly `columns` columns: cut with an ellipsis or filled with spaces. */
void text_put_fit(struct buf *out, struct str s, int columns);
/* The same without filling. */
void text_put_cut(struct buf *out, struct str s, int columns);
/* A bar of that many columns; ratio NaN: how far is not known. */
void text_put_bar(struct buf *out, double ratio, int columns, bool utf8);
/* Hundredths for people, rounded down: only 1 is 100, and 29 of 100 are 29 though 0.29 * 100 is a little less. */
int text_percent(double ratio);
/* "12 s", "3 min 5 s", "2 h 4 min", "3 d 1 h" */
void text_put_seconds(struct buf *out, double seconds);
/* A number as people write it: no more than one digit behind the point. */
void text_put_number(struct buf *out, double v);

/* Does standard output show UTF-8? Asks the locale, once. */
bool text_is_utf8(void);

#endif
