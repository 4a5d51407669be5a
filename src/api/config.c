#include "api/internal.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <stdio.h>

static const struct {
    const char *name;
    enum role role;
} roles[] = {{"backend", ROLE_BACKEND}, {"worker", ROLE_WORKER}, {"operator", ROLE_OPERATOR}};

bool api_key_valid(struct str key) {
    if (!str_starts(key, API_KEY_PREFIX) || key.len < API_KEY_LEAST || key.len > API_KEY_MOST) {
        return false;
    }
    for (size_t i = strlen(API_KEY_PREFIX); i < key.len; i++) {
        char c = key.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!letter) {
            return false;
        }
    }
    return true;
}

int api_shared_add_key(struct api_shared *s, struct str name, unsigned key_roles, struct str key, struct buf *err) {
    for (unsigned i = 0; i < s->api_key_count; i++) {
        if (str_eqz(name, s->api_keys[i].name)) {
            buf_printf(err, "api_keys: two keys have the name %.*s\n  ", STR_FMT(name));
            buf_puts(err, str_eqz(name, "default") ? "that is the name of the key in the data folder's api.key: give the other one another name"
                                                   : "the name says in the log who it was, and what it has repeated: give each key its own");
            return -1;
        }
    }
    s->api_keys = mem_resize(s->api_keys, (s->api_key_count + 1) * sizeof *s->api_keys);
    struct api_key *k = &s->api_keys[s->api_key_count++];
    k->name = mem_strdup(name);
    k->roles = key_roles;
    crypto_sha256(key, k->hash);
    return 0;
}

/* "ROLE+ROLE" as bits, 0 if one is unknown. */
static unsigned roles_read(struct str text) {
    unsigned bits = 0;
    struct str part;
    while (list_next_by(&text, '+', &part)) {
        unsigned bit = 0;
        for (unsigned i = 0; i < sizeof roles / sizeof *roles; i++) {
            bit |= str_eqz(part, roles[i].name) ? (unsigned) roles[i].role : 0;
        }
        if (!bit) {
            return 0;
        }
        bits |= bit;
    }
    return bits;
}

/* n: its number in the list. It is never shown: it is a secret. */
static bool key_read(struct api_shared *s, struct str item, unsigned n, struct buf *err) {
    const char *first = memchr(item.p, ':', item.len), *end = item.p + item.len;
    const char *second = first ? memchr(first + 1, ':', (size_t) (end - first - 1)) : NULL;
    unsigned bits = second && first > item.p ? roles_read(str_n(first + 1, (size_t) (second - first - 1))) : 0;
    if (!bits) {
        buf_printf(err, "api_keys: the %u. one must be NAME:ROLE+ROLE:blk_..., where a ROLE is backend, worker or operator", n);
        return false;
    }
    struct str key = str_n(second + 1, (size_t) (end - second - 1));
    if (!api_key_valid(key)) {
        buf_printf(err, "api_keys: the key of the %u. one must be blk_ and 32 to 250 letters, digits, - or _\n  ", n);
        buf_puts(err, "make a good one: echo \"blk_$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')\"");
        return false;
    }
    return api_shared_add_key(s, str_n(item.p, (size_t) (first - item.p)), bits, key, err) == 0;
}

static bool keys_read(struct api_shared *s, const char *list, struct buf *err) {
    struct str rest = str_of(list), item;
    for (unsigned n = 1; list_next(&rest, &item); n++) {
        if (!key_read(s, item, n, err)) {
            return false;
        }
    }
    return true;
}

/* "10.0.0.0/8", "fd00::/8", or an address alone. */
static bool network_valid(struct str item) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    uint64_t bits;
    const char *slash = memchr(item.p, '/', item.len);
    struct str name = str_n(item.p, slash ? (size_t) (slash - item.p) : item.len);
    bool v6 = name.len && memchr(name.p, ':', name.len);
    if (name.len >= sizeof text) {
        return false;
    }
    snprintf(text, sizeof text, "%.*s", STR_FMT(name));
    return inet_pton(v6 ? AF_INET6 : AF_INET, text, &addr) == 1 && (!slash || digits_parse(str_from(item, name.len + 1), v6 ? 128 : 32, &bits));
}

static bool networks_valid(const char *list, struct buf *err) {
    struct str rest = str_of(list), item;
    while (list_next(&rest, &item)) {
        if (!network_valid(item)) {
            buf_puts(err, "webhook_networks: each must be a network such as 10.0.0.0/8 or fd00::/8, or an address");
            return false;
        }
    }
    return true;
}

int api_shared_init(struct api_shared *s, const struct options *o, const struct keyring *keys, struct buf *err) {
    s->options = o;
    s->keys = keys;
    s->api_keys = NULL;
    s->api_key_count = 0;
    s->config = mem_alloc(sizeof *s->config);
    if (!keys_read(s, o->api_keys, err) || origins_read(&s->config->origins, o, err) < 0 ||
        jwt_keys_read(&s->config->jwt, o->jwt_secrets, o->jwt_public_keys, err) < 0 || session_kinds_read(&s->config->kinds, o, err) < 0 ||
        !networks_valid(o->webhook_networks, err)) {
        api_shared_fini(s);
        return -1;
    }
    s->config->open_limit = limit_create(o->open_sessions_per_minute);
    return 0;
}

void api_shared_fini(struct api_shared *s) {
    for (unsigned i = 0; i < s->api_key_count; i++) {
        mem_free(s->api_keys[i].name);
    }
    mem_free(s->api_keys);
    s->api_keys = NULL;
    s->api_key_count = 0;
    if (s->config) {
        origins_fini(&s->config->origins);
        jwt_keys_fini(&s->config->jwt);
        session_kinds_fini(&s->config->kinds);
        limit_destroy(s->config->open_limit);
        mem_free(s->config);
        s->config = NULL;
    }
}
