/* private_file.h: small files that only their owner may read: the secret and the API key. */
#ifndef BOWLINE_BASE_PRIVATE_FILE_H
#define BOWLINE_BASE_PRIVATE_FILE_H

#include "base/buf.h"

#define PRIVATE_FILE_MAX (64 * 1024)

/* Appends the file's text. 0, or a negative errno (-EFBIG past PRIVATE_FILE_MAX, -EISDIR if it is no file). */
int private_file_read(const char *path, struct buf *out) __attribute__((warn_unused_result));
/*
 * Makes the file with mode 0600: written beside it, synced, and put in place in one step that never replaces one that is there
 * (-EEXIST); the folder is synced too. 0 or a negative errno.
 */
int private_file_create(const char *path, struct str text) __attribute__((warn_unused_result));

#endif
