/*
 * api.h: the contract's routes on one loop: decodes requests into commands, gives them to the engine through `submit`, and encodes
 * what comes back. One `struct api` per loop, on the loop's thread only. Holds no state of sessions or tasks.
 */
#ifndef BOWLINE_API_API_H
#define BOWLINE_API_API_H

#include "base/crypto.h"
#include "base/options.h"
#include "engine/cmd.h"
#include "net/http.h"

struct api_key {
    char *name;
    unsigned roles;             /* enum role */
    uint8_t hash[SHA256_BYTES]; /* of the key's text */
};

/* What all loops share: made once from the options, read-only afterwards. */
struct api_shared {
    const struct options *options;
    const struct keyring *keys;
    struct api_key *api_keys;
    unsigned api_key_count;
    struct str version;
    int port;           /* really listened on */
    atomic_bool *ready; /* /readyz: set by the program when the engine serves, cleared when draining */
    atomic_bool *draining;
    /* Appends OpenMetrics text of everything that is not the loop's own; called on a loop's thread; thread-safe. */
    void (*metrics)(void *arg, struct buf *out);
    void *metrics_arg;
    struct api_config *config; /* parsed hosts, origins, kinds: private to api/ */
};

/* Parses api_keys, allowed_hosts, allowed_origins, public_url, session_kinds out of the options. 0, or -1 with a sentence naming the option. */
int api_shared_init(struct api_shared *s, const struct options *o, const struct keyring *keys, struct buf *err) MUST_CHECK;
/* "blk_" and 32 to 250 letters, digits, - or _. */
#define API_KEY_PREFIX "blk_"
#define API_KEY_LEAST 36
#define API_KEY_MOST 254
bool api_key_valid(struct str key);
/* Adds one key, such as that of DIR/api.key. -1 with a sentence if there is one of that name already: the name is the scope of its Idempotency-Keys. */
int api_shared_add_key(struct api_shared *s, struct str name, unsigned roles, struct str key, struct buf *err) MUST_CHECK;
void api_shared_fini(struct api_shared *s);

struct api_engine {
    void (*submit)(void *arg, struct cmd *c); /* to be gathered and sent once per turn */
    void (*abandon)(void *arg, struct cmd *c);
    void (*unwatch)(void *arg, uint64_t channel, uint32_t tag);
    void (*flush)(void *arg); /* the turn's commands are complete */
    void *arg;
};

struct api;
struct api *api_create(const struct api_shared *shared, unsigned loop_index, const struct api_engine *engine) MUST_CHECK;
/* The handler to create the loop with; then api_attach tells the api its loop. */
struct http_handler api_handler(struct api *a);
void api_attach(struct api *a, struct http_loop *loop);
/* One message from the engine, on the loop's thread. Takes over what it points to. */
void api_receive(struct api *a, struct message m);
/* This message will be given soon: steps_left runs from API_PREFETCH_STEPS - 1 down to 0. May be left out. */
#define API_PREFETCH_STEPS (FEED_EXPECT_STEPS + 2)
void api_prefetch(const struct api *a, const struct message *m, unsigned steps_left);
void api_destroy(
    struct api *a); /* after the loop has stopped; commands still with the engine come back by api_receive first or are freed by their owner */

#endif
