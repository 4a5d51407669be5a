/*
 * progress_scan.h: finds progress in what a command prints. A line ends with a newline, a carriage return, a backspace, or an escape sequence that
 * moves the cursor, as progress bars do it; other escape sequences are passed over. Any split of the bytes finds the same.
 *
 * In a line count "42%", "42.5 %", "3/10", "3 of 10" and "1,024 / 2,048", the first of each. Where a line has both, the count is taken if it says the
 * same as the percentage, else the percentage. What looks like a part of a word, a path, a date or a version does not count,
 * and a line with other control characters is no text.
 */
#ifndef BOWLINE_CLI_PROGRESS_SCAN_H
#define BOWLINE_CLI_PROGRESS_SCAN_H

#include "base/str.h"

#include <regex.h>

#define PROGRESS_LINE_MOST 2000 /* what stands behind that in a line is not looked at */

struct progress_scan {
    bool found;            /* current and total are the newest progress */
    bool percent;          /* then total is 100 */
    double current, total; /* 0 <= current <= total, 0 < total <= 1e15 */

    bool has_pattern;
    regex_t pattern;
    bool binary;
    int escape; /* where within an escape sequence the text is */
    size_t len;
    char line[PROGRESS_LINE_MOST + 1];
};

/*
 * pattern: a POSIX extended regular expression with one group (a percentage) or two (current and total), taken instead of the rules above; or NULL. 0, or -1
 * with a sentence in why.
 */
int progress_scan_init(struct progress_scan *s, const char *pattern, char why[160]) MUST_CHECK;
void progress_scan_fini(struct progress_scan *s);
/* True if it found other progress than stood there before. */
bool progress_scan_read(struct progress_scan *s, struct str piece);
/* Looks at the line that has not ended yet, too. True as above. */
bool progress_scan_look(struct progress_scan *s);

#endif
