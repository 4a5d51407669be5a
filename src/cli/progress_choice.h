/*
 * progress_choice.h: which of the numbers in a command's output is its progress. A kind of number (percentages, say) is chosen when one of it is first seen to
 * rise, and stays for good. Within the kind one number is followed at a time, and it never falls:
 *
 *     the first that rises                   or one that was told before because it cannot be anything else. A lower one is another, or the same begun anew
 *     it is at its end                       the next that rises is followed. If that was there before, it stands for all of which the former was a part
 *     it is silent while another moves far   given up for that one. One that stands for others is given much longer
 *     it stands beside a bar                 one without gets its place only by rising often
 *
 * Numbers are told apart by the text before them and by what they stand at.
 */
#ifndef BOWLINE_CLI_PROGRESS_CHOICE_H
#define BOWLINE_CLI_PROGRESS_CHOICE_H

#include "cli/progress_line.h"

#include <stdint.h>

#define LABEL_MOST 63
#define COUNTERS_MOST 16

/* A number that is told again and again. */
struct counter {
    bool used;
    enum reading_type type;
    int nth;
    char label[LABEL_MOST + 1]; /* the words before it, without numbers */
    double current, total;
    uint64_t born, seen, seen_before; /* lines; the last two are those where it was told last */
    unsigned rises;                   /* since the one that is followed was seen last */
    bool ended;                       /* it has reached its end, or the command says so */
    bool bar;                         /* it stands beside one */
    bool encloses;                    /* others run from beginning to end within it */
};

struct progress_choice {
    bool found, chosen; /* found: these three are to be told; chosen: the kind stays as it is */
    double current, total;
    char unit[READING_UNIT_MOST + 1];

    struct counter counters[COUNTERS_MOST];
    struct counter *followed; /* one of them, or NULL */
    unsigned ends;            /* how many others have reached theirs since that was seen last */
    uint64_t lines;
};

/* Takes the readings of a line. True if there is something else to be told now. */
bool progress_choice_take(struct progress_choice *c, const char *line, const struct reading *found, size_t count);

#endif
