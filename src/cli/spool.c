#include "cli/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int temporary_open(void) {
    const char *folder = getenv("TMPDIR");
    folder = folder && folder[0] ? folder : "/tmp";
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        return fd;
    }
    struct buf path = {0};
    buf_printf(&path, "%s/bowline-XXXXXX", folder);
    fd = buf_z(&path)[0] ? mkostemp(path.data, O_CLOEXEC) : -1;
    if (fd >= 0) {
        unlink(path.data);
    }
    buf_fini(&path);
    return fd;
}

void spool_fini(struct spool *s) {
    if (s->fd > 0) {
        close(s->fd);
    }
    *s = (struct spool){0};
}

/* Writes all of it at that place of the ring, or says no. */
static bool ring_write(struct spool *s, struct str data) {
    uint64_t at = s->head % s->capacity;
    while (data.len) {
        size_t room = (size_t) (s->capacity - at);
        ssize_t n = pwrite(s->fd, data.p, data.len < room ? data.len : room, (off_t) at);
        if (n <= 0 && errno != EINTR) {
            return false;
        }
        n = n < 0 ? 0 : n;
        data = str_from(data, (size_t) n);
        at = (at + (uint64_t) n) % s->capacity;
    }
    return true;
}

void spool_put(struct spool *s, struct str data) {
    if (data.len > s->capacity) {
        s->dropped += data.len - s->capacity;
        data = str_from(data, (size_t) (data.len - s->capacity));
    }
    if (s->fd <= 0) {
        s->fd = temporary_open();
    }
    if (s->head == s->tail) {
        s->head = s->tail = 0; /* so that the file stays small while the server keeps up */
    }
    uint64_t room = s->capacity - spool_length(s);
    if (data.len > room) {
        s->tail += data.len - room;
        s->dropped += data.len - room;
    }
    if (s->fd > 0 && ring_write(s, data)) {
        s->head += data.len;
    } else {
        s->dropped += data.len;
    }
}

void spool_take(struct spool *s, size_t most, struct buf *out) {
    while (most && spool_length(s)) {
        uint64_t at = s->tail % s->capacity, run = s->capacity - at;
        run = run < spool_length(s) ? run : spool_length(s);
        run = run < most ? run : most;
        if (!buf_reserve(out, (size_t) run)) {
            return;
        }
        ssize_t n = pread(s->fd, out->data + out->len, (size_t) run, (off_t) at);
        if (n <= 0 && errno != EINTR) { /* a disk that fails: what it held is lost */
            s->dropped += spool_length(s);
            s->tail = s->head;
            return;
        }
        n = n < 0 ? 0 : n;
        out->len += (size_t) n;
        s->tail += (uint64_t) n;
        most -= (size_t) n;
    }
}
