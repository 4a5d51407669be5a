/*
 * log.h: one line per event on standard error: time, level, event, then key=value pairs. Never a token or a key. Thread-safe.
 *
 * Lines are written by whoever says them, until log_start: from then on a thread of its own writes them, so that a reader of standard error
 * who has stopped reading stops nobody here until LOG_BUFFER_BYTES wait. Then callers wait: nothing is dropped.
 */
#ifndef BOWLINE_BASE_LOG_H
#define BOWLINE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_BUFFER_BYTES (1024 * 1024)

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level); /* default LOG_INFO */
/* fmt renders the pairs ("path=%s n=%d"); quoting is log_quote's. Control characters come out as ?, a line past 2 KiB is cut. Keeps errno. */
void log_line(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Starts the thread that writes. 0 or an errno; then lines are written as before. What waits is also written when the process aborts. */
int log_start(void) __attribute__((warn_unused_result));
/* Waits until what was said so far is written, at most that long. False if it was not; true at once without the thread. */
bool log_flush(int64_t at_most_ms);
/* Writes what waits, at most that long, and ends the thread; from then on lines are written as before log_start. No other thread may be saying anything. */
void log_stop(int64_t at_most_ms);

#define LOG_QUOTE_BYTES 256
/* What a peer sent, in quotes with \\" \\\\ and \\xNN escapes and cut to fit, as a C string in out. Returns out. */
const char *log_quote(char out[LOG_QUOTE_BYTES], const char *p, size_t len);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
