/* log_writer.h: between log.c and the thread that writes. */
#ifndef BOWLINE_BASE_LOG_WRITER_H
#define BOWLINE_BASE_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>

/* Hands the line over, waiting while there is no room. False if there is no thread: the caller writes it. */
bool log_writer_take(const char *line, size_t len) __attribute__((warn_unused_result));
/* Writes all of it to standard error. */
void log_write(const char *p, size_t len);

#endif
