/* log.h: one line per event on standard error: time, level, event, then key=value pairs. Never a token or a key. Thread-safe. */
#ifndef BOWLINE_BASE_LOG_H
#define BOWLINE_BASE_LOG_H

#include <stddef.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level); /* default LOG_INFO */
/* fmt renders the pairs ("path=%s n=%d"); quoting is log_quote's. Control characters come out as ?, a line past 2 KiB is cut. Keeps errno. */
void log_line(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define LOG_QUOTE_BYTES 256
/* What a peer sent, in quotes with \\" \\\\ and \\xNN escapes and cut to fit, as a C string in out. Returns out. */
const char *log_quote(char out[LOG_QUOTE_BYTES], const char *p, size_t len);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
