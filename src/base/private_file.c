#include "base/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int fd_read_all(int fd, struct buf *out) {
    for (;;) {
        if (!buf_reserve(out, 4096)) {
            return -ENOMEM;
        }
        ssize_t n = read(fd, out->data + out->len, 4096);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : 0;
        }
        out->len += (size_t) n;
        if (out->len > PRIVATE_FILE_MAX) {
            return -EFBIG;
        }
    }
}

int private_file_read(const char *path, struct buf *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    struct stat st;
    int result = fstat(fd, &st) ? -errno : !S_ISREG(st.st_mode) ? -EISDIR : fd_read_all(fd, out);
    close(fd);
    return result;
}

static int fd_write_all(int fd, struct str text) {
    while (text.len) {
        ssize_t n = write(fd, text.p, text.len);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        text = str_from(text, n > 0 ? (size_t) n : 0);
    }
    return fsync(fd) ? -errno : 0;
}

static int file_write_new(const char *path, struct str text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    int result = fchmod(fd, 0600) ? -errno : fd_write_all(fd, text);
    if (close(fd) && !result) {
        result = -errno;
    }
    return result;
}

static int folder_sync_of(const char *path) {
    struct buf dir = {0};
    const char *slash = strrchr(path, '/');
    buf_put(&dir, slash ? path : ".", slash ? (size_t) (slash - path) + 1 : 1);
    int fd = open(buf_z(&dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    buf_fini(&dir);
    if (fd < 0) {
        return -errno;
    }
    int result = fsync(fd) && errno != EINVAL ? -errno : 0; /* EINVAL: this file system cannot sync folders */
    close(fd);
    return result;
}

/* A hard link never replaces; where there are none, a rename that refuses to. */
static int file_put_in_place(const char *from, const char *to) {
    if (link(from, to) == 0) {
        unlink(from);
        return 0;
    }
    if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS) {
        return -errno;
    }
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) ? -errno : 0;
}

int private_file_create(const char *path, struct str text) {
    struct buf beside = {0};
    buf_printf(&beside, "%s.%ld.new", path, (long) getpid());
    const char *temporary = buf_z(&beside);
    unlink(temporary); /* left by one of the same number that was killed */
    int result = file_write_new(temporary, text);
    if (!result) {
        result = file_put_in_place(temporary, path);
    }
    if (result) {
        unlink(temporary);
    } else {
        result = folder_sync_of(path);
    }
    buf_fini(&beside);
    return result;
}
