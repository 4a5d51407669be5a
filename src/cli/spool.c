#include "cli/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define SPARE_MOST (256 * 1024) /* so much memory is kept when nothing waits */

static size_t memory_length(const struct spool *s) {
    return s->memory.len - s->memory_at;
}

static uint64_t file_length(const struct spool *s) {
    return s->head - s->tail;
}

static void drop(struct spool *s, uint64_t bytes, int why) {
    s->dropped += bytes;
    s->dropped_errno = why;
    s->dropped_away = s->away;
}

/* ---- in memory ---- */

static void memory_skip(struct spool *s, size_t len) {
    s->memory_at += len;
    if (!memory_length(s) && s->memory.cap > SPARE_MOST) {
        buf_fini(&s->memory);
        s->memory_at = 0;
    } else if (s->memory_at >= memory_length(s)) { /* so that each byte is moved at most once */
        buf_drop_front(&s->memory, s->memory_at);
        s->memory_at = 0;
    }
}

static void memory_put(struct spool *s, struct str data) {
    buf_str(&s->memory, data);
    if (s->memory.failed) {
        s->memory.failed = false;
        drop(s, data.len, ENOMEM);
    }
}

/* ---- in the file, a ring ---- */

const char *spool_folder(void) {
    const char *folder = getenv("TMPDIR");
    return folder && folder[0] ? folder : "/tmp";
}

static int temporary_open(void) {
    int fd = open(spool_folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) {
        return fd;
    }
    struct buf path = {0};
    buf_printf(&path, "%s/bowline-XXXXXX", spool_folder());
    fd = buf_z(&path)[0] ? mkostemp(path.data, O_CLOEXEC) : -1;
    if (fd >= 0) {
        unlink(path.data);
    }
    buf_fini(&path);
    return fd;
}

static void file_close(struct spool *s) {
    if (s->fd > 0) {
        close(s->fd);
    }
    s->fd = 0;
    s->head = s->tail = 0;
}

/* Writes all of it behind the newest, or says no. */
static bool file_write(struct spool *s, struct str data) {
    uint64_t at = s->head % s->capacity;
    while (data.len) {
        size_t room = (size_t) (s->capacity - at);
        ssize_t n = pwrite(s->fd, data.p, data.len < room ? data.len : room, (off_t) at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            s->file_errno = n < 0 ? errno : EIO;
            return false;
        }
        data = str_from(data, (size_t) n);
        at = (at + (uint64_t) n) % s->capacity;
        s->head += (uint64_t) n;
    }
    return true;
}

/* Moves up to `most` bytes of it to the end of out, not all of them where there is no memory. A disk that fails: what it held is lost. */
static void file_read(struct spool *s, uint64_t most, struct buf *out) {
    while (most && file_length(s)) {
        uint64_t at = s->tail % s->capacity, run = s->capacity - at;
        run = run < file_length(s) ? run : file_length(s);
        run = run < most ? run : most;
        if (!buf_reserve(out, (size_t) run)) {
            return;
        }
        ssize_t n = pread(s->fd, out->data + out->len, (size_t) run, (off_t) at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            s->file_errno = n < 0 ? errno : EIO;
            drop(s, file_length(s), s->file_errno);
            break;
        }
        out->len += (size_t) n;
        s->tail += (uint64_t) n;
        most -= (uint64_t) n;
    }
    if (most || !file_length(s)) {
        file_close(s);
    }
}

/* What it holds waits in memory from here on. */
static void file_give_up(struct spool *s) {
    file_read(s, UINT64_MAX, &s->memory);
    if (s->memory.failed) {
        s->memory.failed = false;
        drop(s, file_length(s), ENOMEM);
        file_close(s);
    }
}

static bool file_put(struct spool *s, struct str data) {
    uint64_t before = s->head;
    if (s->fd <= 0) {
        s->fd = temporary_open();
        if (s->fd < 0) {
            s->file_errno = errno;
            s->fd = 0;
            return false;
        }
    }
    if (!file_write(s, data)) {
        s->head = before;
        file_give_up(s);
        return false;
    }
    return true;
}

/* ---- both ---- */

void spool_fini(struct spool *s) {
    file_close(s);
    buf_fini(&s->memory);
    *s = (struct spool){0};
}

/* Drops the oldest until there is room for so many more. */
static void room_make(struct spool *s, size_t len) {
    uint64_t waiting = spool_length(s);
    if (waiting + len <= s->capacity) {
        return;
    }
    uint64_t over = waiting + len - s->capacity, oldest = over < memory_length(s) ? over : memory_length(s);
    drop(s, over, 0);
    memory_skip(s, (size_t) oldest);
    s->tail += over - oldest;
}

void spool_put(struct spool *s, struct str data) {
    if (data.len > s->capacity) {
        drop(s, data.len - s->capacity, 0);
        data = str_from(data, (size_t) (data.len - s->capacity));
    }
    room_make(s, data.len);
    bool to_file = file_length(s) || (s->away && !s->file_errno && memory_length(s) + data.len > s->memory_most);
    if (!to_file || !file_put(s, data)) {
        memory_put(s, data);
    }
}

void spool_take(struct spool *s, size_t most, struct buf *out) {
    size_t len = memory_length(s) < most ? memory_length(s) : most;
    buf_put(out, s->memory.data + s->memory_at, len);
    if (out->failed) {
        return;
    }
    memory_skip(s, len);
    file_read(s, most - len, out);
}
