/*
 * progress_line.h: the numbers in a line of output that may say how far it is: "42%", "3/10", "3 of 10", "1.2 MB / 3.4 MB", the first column of curl's
 * meter, and ffmpeg's clock. Where the line draws a bar, such as [###   ], |██▌  | or ━━━╸━━, only the numbers beside it are given back.
 *
 * What is a part of a word, a path, a date, a time or a version does not count, nor a percentage of something else ("50% off", "cpu 12%").
 */
#ifndef BOWLINE_CLI_PROGRESS_LINE_H
#define BOWLINE_CLI_PROGRESS_LINE_H

#include "base/str.h"

#define READINGS_MOST 8 /* further ones in a line are not looked at */
#define READING_UNIT_MOST 7
#define READING_NUMBER_MOST 1e15

enum reading_type { READING_PERCENT, READING_COUNT, READING_SIZE, READING_TIME };

/* How much the text before it may change from line to line without its being another number. */
enum reading_place {
    PLACE_TEXT,     /* not at all */
    PLACE_WORD,     /* behind the first word */
    PLACE_ANYWHERE, /* it is in square brackets or beside a bar: freely */
};

struct reading {
    enum reading_type type;
    int nth;                          /* of those of its type in the line, from 0 */
    double current, total;            /* 0 <= current <= total, 0 < total <= READING_NUMBER_MOST */
    char unit[READING_UNIT_MOST + 1]; /* "%", "MB" (both numbers are in that of the total), "s", or "" */
    bool bar;                         /* it stands beside one */
    bool certain;                     /* so it does, or there is nothing else in the line */
    enum reading_place place;
    size_t label_len; /* the text of the line before it, and before a bar that it belongs to */
};

/* Those of a line, the one to prefer first. duration_s: what progress_line_duration found earlier, or 0. How many. */
size_t progress_line_read(const char *line, double duration_s, struct reading found[READINGS_MOST]);
/* The length of a film or sound as ffmpeg tells it in a line of its own; 0: it is another line. */
double progress_line_duration(const char *line);
/* A number with digits in groups of three or not, and a fraction, which begins with a digit. Gives back where it ends. */
const char *progress_number_take(const char *p, double *ret_number);

#endif
