#include "api/origin.h"

#include "api/http_text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

static struct str lower(struct arena *a, struct str s) {
    struct str kept = arena_str(a, s);
    for (size_t i = 0; kept.p && i < kept.len; i++) {
        ((char *) kept.p)[i] = (char) tolower((unsigned char) kept.p[i]);
    }
    return kept;
}

static bool char_among(char c, struct str set) {
    return memchr(set.p, c, set.len);
}

/* Cuts "name:port" or "[v6]:port"; port is none if there is none. False if it is no authority. */
static bool authority_split(struct str authority, struct str *ret_name, struct str *ret_port) {
    size_t end = 0;
    uint64_t port;
    if (authority.len && authority.p[0] == '[') {
        const char *close = memchr(authority.p, ']', authority.len);
        if (!close) {
            return false;
        }
        end = (size_t) (close - authority.p) + 1;
    } else {
        for (; end < authority.len && authority.p[end] != ':'; end++) {
            unsigned char c = (unsigned char) authority.p[end];
            if (!isalnum(c) && !char_among((char) c, STR("-._~"))) {
                return false;
            }
        }
    }
    *ret_name = str_n(authority.p, end);
    *ret_port = STR_NONE;
    if (end < authority.len) {
        *ret_port = str_from(authority, end + 1);
        if (authority.p[end] != ':' || !digits_parse(*ret_port, 65535, &port)) {
            return false;
        }
    }
    return end > 0;
}

struct str origin_normalise(struct arena *a, struct str url, struct str *ret_rest) {
    size_t scheme = 0, end;
    while (scheme < url.len && (isalnum((unsigned char) url.p[scheme]) || char_among(url.p[scheme], STR("+-.")))) {
        scheme++;
    }
    struct str after = str_from(url, scheme), name, port;
    if (!scheme || !str_starts(after, "://")) {
        return STR_NONE;
    }
    after = str_from(after, 3);
    for (end = 0; end < after.len && !char_among(after.p[end], STR("/?#")); end++) {
    }
    *ret_rest = str_from(after, end);
    if (!authority_split(str_n(after.p, end), &name, &port)) {
        return STR_NONE;
    }
    bool http = str_ieqz(str_n(url.p, scheme), "http"), https = str_ieqz(str_n(url.p, scheme), "https");
    bool default_port = (http && str_eqz(port, "80")) || (https && str_eqz(port, "443"));
    struct buf b = {0};
    buf_put(&b, url.p, scheme);
    buf_puts(&b, "://");
    buf_str(&b, name);
    if (port.len && !default_port) {
        buf_char(&b, ':');
        buf_str(&b, port);
    }
    struct str made = b.failed ? STR_NONE : lower(a, buf_view(&b));
    buf_fini(&b);
    return made;
}

static void names_add(struct arena *a, struct names *names, struct str name) {
    struct str *more = arena_alloc(a, (names->count + 1) * sizeof *more);
    if (more && name.p) {
        if (names->count) {
            memcpy(more, names->at, names->count * sizeof *more);
        }
        more[names->count++] = name;
        names->at = more;
    }
}

static bool names_hold(const struct names *names, struct str name) {
    for (unsigned i = 0; i < names->count; i++) {
        if (name.len == names->at[i].len && strncasecmp(name.p, names->at[i].p, name.len) == 0) {
            return true;
        }
    }
    return false;
}

static bool public_read(struct origins *o, const char *url) {
    struct str rest;
    if (!url[0]) {
        return true;
    }
    o->public_origin = origin_normalise(&o->arena, str_of(url), &rest);
    o->secure = o->public_origin.p && str_starts(o->public_origin, "https://");
    return o->public_origin.p && (o->secure || str_starts(o->public_origin, "http://"));
}

static bool allowed_read(struct origins *o, const char *list) {
    struct str rest = str_of(list), item, behind;
    while (list_next(&rest, &item)) {
        struct str origin = origin_normalise(&o->arena, item, &behind);
        if (!origin.p || (behind.len && !str_eqz(behind, "/"))) {
            return false;
        }
        names_add(&o->arena, &o->allowed, origin);
    }
    return true;
}

static bool hosts_read(struct origins *o, const char *list) {
    struct str rest = str_of(list), item, name, port;
    while (list_next(&rest, &item)) {
        if (!authority_split(item, &name, &port)) {
            return false;
        }
        names_add(&o->arena, &o->hosts, lower(&o->arena, item));
    }
    if (o->hosts.count) {
        return true;
    }
    names_add(&o->arena, &o->hosts, STR("localhost"));
    names_add(&o->arena, &o->hosts, o->listen_host);
    if (o->public_origin.p) {
        struct str host = str_from(o->public_origin, o->secure ? 8 : 7);
        if (authority_split(host, &name, &port)) {
            names_add(&o->arena, &o->hosts, arena_str(&o->arena, name));
        }
    }
    return true;
}

static void listen_read(struct origins *o, const char *listen) {
    const char *colon = strrchr(listen, ':');
    struct str host = str_n(listen, colon ? (size_t) (colon - listen) : strlen(listen));
    bool bare_v6 = host.len && host.p[0] != '[' && memchr(host.p, ':', host.len);
    struct buf b = {0};
    buf_puts(&b, bare_v6 ? "[" : "");
    buf_str(&b, host);
    buf_puts(&b, bare_v6 ? "]" : "");
    o->listen_host = lower(&o->arena, buf_view(&b));
    buf_fini(&b);
    o->any_literal = str_eqz(o->listen_host, "0.0.0.0") || str_eqz(o->listen_host, "[::]") || str_eqz(o->listen_host, "*") || !o->listen_host.len;
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

static bool host_is_literal(struct str name) {
    char text[64];
    struct in6_addr addr;
    if (name.len > 2 && name.p[0] == '[') {
        name = str_n(name.p + 1, name.len - 2);
    }
    snprintf(text, sizeof text, "%.*s", STR_FMT(name));
    return name.len < sizeof text && (inet_pton(AF_INET, text, &addr) == 1 || inet_pton(AF_INET6, text, &addr) == 1);
}

bool host_allowed(const struct origins *o, struct str host) {
    struct str name, port;
    if (!host.len || !authority_split(host, &name, &port)) {
        return false;
    }
    return names_hold(&o->hosts, name) || names_hold(&o->hosts, host) || (o->any_literal && host_is_literal(name));
}

bool origin_allowed(const struct origins *o, struct str origin) {
    return origin.len && names_hold(&o->allowed, origin);
}

static bool origin_is(struct str origin, struct str host, int port) {
    char text[320];
    snprintf(text, sizeof text, "http://%.*s:%d", STR_FMT(host), port);
    if (str_ieqz(origin, text)) {
        return true;
    }
    snprintf(text, sizeof text, "http://%.*s", STR_FMT(host));
    return port == 80 && str_ieqz(origin, text);
}

bool origin_own(const struct origins *o, struct str origin, int port) {
    if (!origin.len) {
        return false;
    }
    if (o->public_origin.p && origin.len == o->public_origin.len && strncasecmp(origin.p, o->public_origin.p, origin.len) == 0) {
        return true;
    }
    return origin_is(origin, o->listen_host, port) || origin_is(origin, STR("localhost"), port);
}
