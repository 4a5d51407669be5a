/*
 * start.h: what `bowline serve` needs before it can serve, one step each. A step that fails gives -1 and says in `err` what is wrong and, on a second
 * line, what to do about it.
 */
#ifndef BOWLINE_SERVER_START_H
#define BOWLINE_SERVER_START_H

#include "base/crypto.h"
#include "store/sqlite/sqlite.h"

#define ADDRESS_MAX 64
#define API_KEY_MAX 256

struct address {
    char host[ADDRESS_MAX]; /* numeric, without brackets */
    int port;
};

/* "127.0.0.1:8787", "[::1]:8787", "localhost:0", ":8787" (every address). */
int start_address(const char *listen, struct address *ret_address, struct buf *err) MUST_CHECK;
/* Can that address and port be had? SO_REUSEPORT alone would let two servers share a port without a word. */
int start_port_free(const struct address *a, struct buf *err) MUST_CHECK;
/* One socket per loop. */
int start_listen(struct address *a, unsigned count, int *ret_fds, struct buf *err) MUST_CHECK;
/* "http://127.0.0.1:8787" */
void start_url(const struct address *a, struct buf *out);

/* Makes the data folder (0700) if it is not there, and sees that it can be written to. */
int start_folder(const char *dir, struct buf *err) MUST_CHECK;
/* Reads DIR/secret, or makes it. */
int start_secret(const char *dir, struct keyring *ret_keys, struct buf *err) MUST_CHECK;
/* Reads DIR/api.key, or makes it. */
int start_api_key(const char *dir, char ret_key[API_KEY_MAX], struct buf *err) MUST_CHECK;
struct store *start_store(const char *dir, struct store_sink sink, struct buf *err) MUST_CHECK;

/* As many file descriptors as the system lets us have; if those do not even do for the server itself, -1 and a sentence in err. */
int start_raise_limits(unsigned loops, struct buf *err) MUST_CHECK;
/* How many loops: as wished, or one for each processor but one, which is left to the engine and the store. */
unsigned start_loops(int64_t wished);

#endif
