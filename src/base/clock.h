/*
 * clock.h: time. Two questions, two clocks. How long since: a steady clock that never steps and counts time asleep; it reads as Unix time at the start
 * of the program, so that a time is never 0. What time is it: the wall clock, which may step at any moment.
 */
#ifndef BOWLINE_BASE_CLOCK_H
#define BOWLINE_BASE_CLOCK_H

#include "base/buf.h"

#include <stdint.h>

/* Both clocks at one instant: read once per pass and handed down. */
struct moment {
    int64_t ms;      /* steady: for durations */
    int64_t wall_ms; /* Unix time: for what people are shown, and for what others have dated */
};

struct moment clock_now(void); /* thread-safe, as are all of these */
int64_t clock_ms(void);        /* the steady one alone */
int64_t clock_wall_ms(void);   /* the wall clock alone */
int64_t clock_cpu_us(void);    /* of the process */
int64_t clock_us(void);        /* steady, from an arbitrary point on, without time asleep: how long something takes */

#define TIME_TEXT_LEN 24              /* 2026-01-02T03:04:05.678Z */
#define TIME_MS_MAX 253402300799999LL /* the end of year 9999 */

void time_format(int64_t unix_ms, char out[TIME_TEXT_LEN + 1]);
void buf_json_time(struct buf *b, int64_t unix_ms); /* quoted; 0 comes out as null */
/* RFC 3339 date-time with any offset, fraction truncated to ms; leap second 60 reads as 59.999. Below 0 before 1970. False if malformed or past the year 9999. */
bool time_parse(struct str text, int64_t *ret_unix_ms) MUST_CHECK;

#endif
