/*
 * origin.h: hosts that are answered for, and origins (RFC 6454) that may call. What is compared is what they name, not how it is spelled: addresses as
 * addresses, names whatever their case, ports with the scheme's default filled in.
 */
#ifndef BOWLINE_API_ORIGIN_H
#define BOWLINE_API_ORIGIN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/options.h"
#include "net/http.h"

#define PORT_NONE (-1)

/* "name", "1.2.3.4" or "[v6]", with or without a port (RFC 3986 section 3.2). Its name points into the text that it was read from. */
struct authority {
    struct str name;
    bool is_address;
    struct in6_addr address; /* IPv4 as mapped: the same as when it is spelled as one of IPv6 */
    int port;                /* PORT_NONE if there is none */
};
bool authority_parse(struct str text, struct authority *ret) MUST_CHECK;

struct origin {
    struct str scheme;
    struct authority at; /* the port is that of the scheme where none stands there */
};
/* From an origin or the beginning of a URL; rest: what follows. */
bool origin_parse(struct str url, struct origin *ret, struct str *ret_rest) MUST_CHECK;

struct origins {
    struct authority *hosts; /* those without a port are good with any; otherwise a Host without one stands for 80 and 443 */
    unsigned host_count;
    struct origin *allowed; /* option allowed_origins */
    unsigned allowed_count;
    struct origin public;    /* of public_url; its scheme is none without */
    struct authority listen; /* its name is none if the address is of no use in a URL */
    bool any_address;        /* listening on every address: any is a good host */
    bool secure;             /* public_url is https */
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

#endif
