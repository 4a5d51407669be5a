#include "api/origin.h"

#include "api/http_text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

#define HTTP_PORT 80
#define HTTPS_PORT 443

/* ---- what an authority and an origin name ---- */

static bool address_parse(int family, struct str text, void *ret) {
    char z[INET6_ADDRSTRLEN];
    if (text.len >= sizeof z) {
        return false;
    }
    memcpy(z, text.p, text.len);
    z[text.len] = '\0';
    return strlen(z) == text.len && inet_pton(family, z, ret) == 1;
}

static void address_read_v4(struct authority *a) {
    struct in_addr v4;
    a->is_address = address_parse(AF_INET, a->name, &v4);
    if (a->is_address) {
        a->address = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
        memcpy(a->address.s6_addr + 12, &v4, sizeof v4);
    }
}

/* "[v6]" at the front; its length with the brackets, 0 if it is none. */
static size_t address_read_v6(struct str text, struct authority *a) {
    const char *close = memchr(text.p, ']', text.len);
    if (!close || !address_parse(AF_INET6, str_n(text.p + 1, (size_t) (close - text.p) - 1), &a->address)) {
        return 0;
    }
    a->is_address = true;
    return (size_t) (close - text.p) + 1;
}

static bool is_one_of(const char *these, char c) {
    return c && strchr(these, c);
}

static bool is_name_char(char c) {
    return isalnum((unsigned char) c) || is_one_of("-._~", c);
}

static size_t name_length(struct str text) {
    size_t n = 0;
    while (n < text.len && is_name_char(text.p[n])) {
        n++;
    }
    return n;
}

/* ":8080"; nothing, or a colon alone, is none. */
static bool port_parse(struct str text, int *ret) {
    uint64_t port;
    *ret = PORT_NONE;
    if (text.len <= 1) {
        return !text.len || text.p[0] == ':';
    }
    if (text.p[0] != ':' || !digits_parse(str_from(text, 1), 65535, &port)) {
        return false;
    }
    *ret = (int) port;
    return true;
}

bool authority_parse(struct str text, struct authority *ret) {
    *ret = (struct authority){.port = PORT_NONE};
    if (!text.len) {
        return false;
    }
    size_t end = text.p[0] == '[' ? address_read_v6(text, ret) : name_length(text);
    ret->name = str_n(text.p, end);
    if (end && !ret->is_address) {
        address_read_v4(ret);
    }
    return end && port_parse(str_from(text, end), &ret->port);
}

static bool same_host(const struct authority *a, const struct authority *b) {
    if (a->is_address || b->is_address) {
        return a->is_address && b->is_address && memcmp(&a->address, &b->address, sizeof a->address) == 0;
    }
    return a->name.len == b->name.len && strncasecmp(a->name.p, b->name.p, a->name.len) == 0;
}

static int default_port(struct str scheme) {
    return str_ieqz(scheme, "http") ? HTTP_PORT : str_ieqz(scheme, "https") ? HTTPS_PORT : PORT_NONE;
}

static size_t scheme_length(struct str url) {
    size_t n = 0;
    while (n < url.len && (isalnum((unsigned char) url.p[n]) || is_one_of("+-.", url.p[n]))) {
        n++;
    }
    return n;
}

bool origin_parse(struct str url, struct origin *ret, struct str *ret_rest) {
    size_t end = 0;
    ret->scheme = str_n(url.p, scheme_length(url));
    struct str after = str_from(url, ret->scheme.len);
    if (!ret->scheme.len || !str_starts(after, "://")) {
        return false;
    }
    after = str_from(after, 3);
    while (end < after.len && !is_one_of("/?#", after.p[end])) {
        end++;
    }
    *ret_rest = str_from(after, end);
    if (!authority_parse(str_n(after.p, end), &ret->at)) {
        return false;
    }
    ret->at.port = ret->at.port == PORT_NONE ? default_port(ret->scheme) : ret->at.port;
    return true;
}

static bool same_origin(const struct origin *a, const struct origin *b) {
    bool same_scheme = a->scheme.len == b->scheme.len && strncasecmp(a->scheme.p, b->scheme.p, a->scheme.len) == 0;
    return same_scheme && a->at.port == b->at.port && same_host(&a->at, &b->at);
}

/* ---- the options ---- */

static bool host_add(struct origins *o, struct authority host) {
    struct authority *more = arena_alloc(&o->arena, (o->host_count + 1) * sizeof *more);
    if (more) {
        if (o->host_count) {
            memcpy(more, o->hosts, o->host_count * sizeof *more);
        }
        more[o->host_count++] = host;
        o->hosts = more;
    }
    return more != NULL;
}

static bool origin_add(struct origins *o, struct origin origin) {
    struct origin *more = arena_alloc(&o->arena, (o->allowed_count + 1) * sizeof *more);
    if (more) {
        if (o->allowed_count) {
            memcpy(more, o->allowed, o->allowed_count * sizeof *more);
        }
        more[o->allowed_count++] = origin;
        o->allowed = more;
    }
    return more != NULL;
}

static bool public_read(struct origins *o, const char *url) {
    struct str rest;
    if (!url[0]) {
        return true;
    }
    bool good = origin_parse(arena_str(&o->arena, str_of(url)), &o->public, &rest);
    o->secure = good && str_ieqz(o->public.scheme, "https");
    return good && (o->secure || str_ieqz(o->public.scheme, "http"));
}

static bool allowed_read(struct origins *o, const char *list) {
    struct str rest = str_of(list), item, behind;
    struct origin origin;
    while (list_next(&rest, &item)) {
        if (!origin_parse(arena_str(&o->arena, item), &origin, &behind) || (behind.len && !str_eqz(behind, "/")) || !origin_add(o, origin)) {
            return false;
        }
    }
    return true;
}

static bool hosts_read(struct origins *o, const char *list) {
    struct str rest = str_of(list), item;
    struct authority host;
    while (list_next(&rest, &item)) {
        if (!authority_parse(arena_str(&o->arena, item), &host) || !host_add(o, host)) {
            return false;
        }
    }
    if (o->host_count) {
        return true;
    }
    struct authority usual[] = {{.name = STR("localhost")}, o->listen, o->public.at};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        usual[i].port = PORT_NONE;
        if (usual[i].name.p && !host_add(o, usual[i])) {
            return false;
        }
    }
    return true;
}

static void listen_read(struct origins *o, const char *listen) {
    static const struct in6_addr any_v4 = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
    const char *colon = strrchr(listen, ':');
    struct str host = str_n(listen, colon ? (size_t) (colon - listen) : strlen(listen));
    bool bare_v6 = host.len && host.p[0] != '[' && memchr(host.p, ':', host.len);
    struct buf b = {0};
    buf_puts(&b, bare_v6 ? "[" : "");
    buf_str(&b, host);
    buf_puts(&b, bare_v6 ? "]" : "");
    struct authority *at = &o->listen;
    bool good = authority_parse(arena_str(&o->arena, buf_view(&b)), at);
    buf_fini(&b);
    o->any_address = !host.len || str_eqz(host, "*") ||
                     (good && at->is_address && (IN6_IS_ADDR_UNSPECIFIED(&at->address) || IN6_ARE_ADDR_EQUAL(&at->address, &any_v4)));
    if (!good) {
        *at = (struct authority){.port = PORT_NONE};
    }
}

int origins_read(struct origins *o, const struct options *options, struct buf *err) {
    *o = (struct origins){0};
    listen_read(o, options->listen);
    if (!public_read(o, options->public_url)) {
        buf_puts(err, "public_url: must be an http or https URL, such as https://app.example");
    } else if (!allowed_read(o, options->allowed_origins)) {
        buf_puts(err, "allowed_origins: each must be an origin such as https://app.example; * is refused");
    } else if (!hosts_read(o, options->allowed_hosts)) {
        buf_puts(err, "allowed_hosts: each must be a name or an address, with or without a port");
    }
    if (err->len) {
        origins_fini(o);
        return -1;
    }
    return 0;
}

void origins_fini(struct origins *o) {
    arena_fini(&o->arena);
    *o = (struct origins){0};
}

/* ---- who asks ---- */

static bool port_fits(const struct authority *allowed, const struct authority *host) {
    bool implied = host->port == PORT_NONE && (allowed->port == HTTP_PORT || allowed->port == HTTPS_PORT);
    return allowed->port == PORT_NONE || allowed->port == host->port || implied;
}

bool host_allowed(const struct origins *o, struct str text) {
    struct authority host;
    if (!authority_parse(text, &host)) {
        return false;
    }
    for (unsigned i = 0; i < o->host_count; i++) {
        if (same_host(&o->hosts[i], &host) && port_fits(&o->hosts[i], &host)) {
            return true;
        }
    }
    return o->any_address && host.is_address;
}

/* The value of a header Origin: nothing stands behind it. */
static bool origin_read(struct str text, struct origin *ret) {
    struct str rest;
    return text.len && origin_parse(text, ret, &rest) && !rest.len;
}

bool origin_allowed(const struct origins *o, struct str text) {
    struct origin origin;
    if (!o->allowed_count || !origin_read(text, &origin)) {
        return false;
    }
    for (unsigned i = 0; i < o->allowed_count; i++) {
        if (same_origin(&o->allowed[i], &origin)) {
            return true;
        }
    }
    return false;
}

bool origin_own(const struct origins *o, struct str text, int port) {
    static const struct authority localhost = {.name = {"localhost", 9}};
    struct origin origin;
    if (!origin_read(text, &origin)) {
        return false;
    }
    if (o->public.scheme.p && same_origin(&o->public, &origin)) {
        return true;
    }
    bool here = same_host(&localhost, &origin.at) || (o->listen.name.p && same_host(&o->listen, &origin.at));
    return here && str_ieqz(origin.scheme, "http") && origin.at.port == port;
}
