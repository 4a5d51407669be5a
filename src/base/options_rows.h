/* options_rows.h: the table as rows, and their values as text. For options.c alone. */
#ifndef BOWLINE_BASE_OPTIONS_ROWS_H
#define BOWLINE_BASE_OPTIONS_ROWS_H

#include "base/options.h"

enum {
#define T(name, def, text) OPTION_ROW_##name,
#define N(name, type, def, least, most, text) OPTION_ROW_##name,
    OPTION_TABLE(T, N)
#undef T
#undef N
        OPTION_ROWS
};

/* Such an option is true where it is named without a value, and false as --no-NAME. */
bool option_goes_bare(enum option_type type);
/* Is z, which may be NULL, a value of such an option? */
bool option_is_bare_value(enum option_type type, const char *z);
/* The value of any option but a text. -1 with what is wrong in why ("\"x\" is not ..."). */
int option_read_number(const struct option_row *row, struct str text, int64_t *ret, struct buf *why) MUST_CHECK;
void option_write_number(enum option_type type, int64_t value, struct buf *out);

#endif
