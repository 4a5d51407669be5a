/*
 * clock.h: time. Everything inside counts milliseconds of one steady clock that reads as Unix time: the wall clock
 * at the start plus what the monotonic clock has passed since, so that a step of the wall clock moves no deadline.
 */
#ifndef BOWLINE_BASE_CLOCK_H
#define BOWLINE_BASE_CLOCK_H

#include "base/buf.h"

#include <stdint.h>

int64_t clock_ms(void);      /* steady, reads as Unix time in ms; thread-safe */
int64_t clock_wall_ms(void); /* what the machine's wall clock says; for JWT and logs */
int64_t clock_cpu_us(void);  /* of the process */
int64_t clock_us(void);      /* steady, from an arbitrary point on: how long something takes; thread-safe */

#define TIME_TEXT_LEN 24              /* 2026-01-02T03:04:05.678Z */
#define TIME_MS_MAX 253402300799999LL /* the end of year 9999 */

void time_format(int64_t unix_ms, char out[TIME_TEXT_LEN + 1]);
void buf_json_time(struct buf *b, int64_t unix_ms); /* quoted; 0 comes out as null */
/* RFC 3339 date-time with any offset, fraction truncated to ms; leap second 60 reads as 59.999. Below 0 before 1970. False if malformed or past the year 9999. */
bool time_parse(struct str text, int64_t *ret_unix_ms) MUST_CHECK;

#endif
