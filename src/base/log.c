#include "base/log.h"

#include "base/clock.h"
#include "base/log_writer.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOG_LINE_BYTES 2048

static atomic_int log_least = LOG_INFO;

void log_set_level(enum log_level level) {
    atomic_store_explicit(&log_least, (int) level, memory_order_relaxed);
}

/* Keeps it one line of plain text, whatever a peer had written into a value. */
static void log_flatten(char *p, size_t len) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) p[i];
        if (c < 0x20 || c == 0x7f) {
            p[i] = '?';
        }
    }
}

void log_write(const char *p, size_t len) {
    while (len) {
        ssize_t n = write(STDERR_FILENO, p, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) { /* whoever gave it to us does not want to wait there; we do */
            struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
            (void) poll(&fd, 1, -1);
            continue;
        }
        if (n <= 0) {
            return; /* nobody is left to be told */
        }
        p += n;
        len -= (size_t) n;
    }
}

void log_line(enum log_level level, const char *event, const char *fmt, ...) {
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if ((int) level > atomic_load_explicit(&log_least, memory_order_relaxed)) {
        return;
    }
    int saved_errno = errno;
    char line[LOG_LINE_BYTES];
    time_format(clock_wall_ms(), line);
    size_t len = TIME_TEXT_LEN;
    len += (size_t) snprintf(line + len, 256, " %s %.200s ", names[level], event);
    va_list ap;
    va_start(ap, fmt);
    int more = vsnprintf(line + len, sizeof(line) - 1 - len, fmt, ap);
    va_end(ap);
    if (more > 0) {
        size_t room = sizeof(line) - 2 - len;
        len += (size_t) more < room ? (size_t) more : room;
    } else {
        len--;
    }
    log_flatten(line, len);
    line[len++] = '\n';
    if (!log_writer_take(line, len)) {
        log_write(line, len);
    }
    errno = saved_errno;
}

const char *log_quote(char out[LOG_QUOTE_BYTES], const char *p, size_t len) {
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;
    out[at++] = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) p[i];
        if (at > LOG_QUOTE_BYTES - 9) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (c == '"' || c == '\\') {
            out[at++] = '\\';
            out[at++] = (char) c;
        } else if (c < 0x20 || c >= 0x7f) {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = hex[c >> 4];
            out[at++] = hex[c & 15];
        } else {
            out[at++] = (char) c;
        }
    }
    out[at++] = '"';
    out[at] = '\0';
    return out;
}
