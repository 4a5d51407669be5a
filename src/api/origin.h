/* origin.h: hosts that are answered for, and origins (RFC 6454) that may call. Lists are those of the options, made lower case. */
#ifndef BOWLINE_API_ORIGIN_H
#define BOWLINE_API_ORIGIN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/options.h"
#include "net/http.h"

struct names {
    struct str *at;
    unsigned count;
};

struct origins {
    struct names hosts;       /* "name" or "name:port" */
    bool any_literal;         /* listening on every address: any IP address is a good host */
    struct names allowed;     /* option allowed_origins, normalised */
    struct str public_origin; /* of public_url, or none */
    struct str listen_host;   /* as in a URL: [::1] for IPv6 */
    bool secure;              /* public_url is https */
    struct arena arena;
};

/* Reads listen, public_url, allowed_hosts, allowed_origins. 0, or -1 with a sentence that names the option. */
int origins_read(struct origins *o, const struct options *options, struct buf *err) MUST_CHECK;
void origins_fini(struct origins *o);

bool host_allowed(const struct origins *o, struct str host);
/* One of allowed_origins: gets CORS headers. */
bool origin_allowed(const struct origins *o, struct str origin);
/* That of public_url, of the listen address or of localhost, at the port listened on. */
bool origin_own(const struct origins *o, struct str origin, int port);

/* "https://host[:port]" in lower case without a default port, from a URL or origin; p == NULL if it is neither. rest: what follows. */
struct str origin_normalise(struct arena *a, struct str url, struct str *ret_rest);

#endif
