/*
 * progress_scan.h: finds progress in what a command prints. A line ends with a newline, a carriage return, a backspace, or an escape sequence that
 * moves the cursor, as progress bars do it; other escape sequences are passed over. Any split of the bytes finds the same. A line with other control
 * characters is no text. What in a line can be progress: progress_line.h; which of it is: progress_choice.h.
 */
#ifndef BOWLINE_CLI_PROGRESS_SCAN_H
#define BOWLINE_CLI_PROGRESS_SCAN_H

#include "cli/progress_choice.h"

#include <regex.h>

#define PROGRESS_LINE_MOST 2000 /* what stands behind that in a line is not looked at */

struct progress_scan {
    bool found;            /* these are the newest progress */
    double current, total; /* 0 <= current <= total, 0 < total <= 1e15 */
    const char *unit;      /* "%" (then total is 100), "MB" and the like, "s", or NULL */

    bool has_pattern;
    regex_t pattern;
    struct progress_choice choice;
    double duration_s; /* the longest that a line told so far */
    bool binary;
    int escape;     /* where within an escape sequence the text is */
    char parameter; /* the first of a control sequence, 0 if it has none yet */
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
