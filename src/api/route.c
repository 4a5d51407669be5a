#include "api/route.h"

#include "api/internal.h"

#include <assert.h>
#include <pthread.h>

static const char *const method_names[] = {[HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",      [HTTP_PUT] = "PUT",
                                           [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS"};

const char *method_name(enum http_method m) {
    return m < HTTP_OTHER ? method_names[m] : "";
}

void methods_write(unsigned methods, struct buf *out) {
    const char *comma = "";
    for (unsigned m = 0; m < HTTP_OTHER; m++) {
        if (methods & 1u << m) {
            buf_puts(out, comma);
            buf_puts(out, method_names[m]);
            comma = ", ";
        }
    }
}

bool path_split(struct str path, struct segments *ret) {
    ret->count = 0;
    if (!path.len || path.p[0] != '/') {
        return false;
    }
    for (struct str rest = str_from(path, 1);;) {
        const char *slash = rest.len ? memchr(rest.p, '/', rest.len) : NULL;
        if (ret->count == SEGMENTS_MAX) {
            return false;
        }
        ret->at[ret->count++] = str_n(rest.p, slash ? (size_t) (slash - rest.p) : rest.len);
        if (!slash) {
            return true;
        }
        rest = str_from(rest, (size_t) (slash - rest.p) + 1);
    }
}

static bool is_place(struct str segment) {
    return segment.len && segment.p[0] == '{';
}

/* What tells most last segments apart at a glance: length and first character. 0 for a place, which takes any. */
static unsigned tail_of(const struct segments *s) {
    struct str last = s->at[s->count - 1];
    return is_place(last) ? 0 : (unsigned) last.len << 8 | (last.len ? (unsigned char) last.p[0] : 0);
}

/* From the end: paths differ most in what they end with. */
static bool pattern_fits(const struct segments *pattern, const struct segments *path) {
    for (unsigned i = path->count; i-- > 0;) {
        struct str want = pattern->at[i], have = path->at[i];
        if (is_place(want) ? !have.len : want.len != have.len || memcmp(want.p, have.p, want.len) != 0) {
            return false;
        }
    }
    return true;
}

static void places_take(const struct segments *pattern, const struct segments *path, struct route_match *m) {
    for (unsigned i = 0; i < path->count; i++) {
        struct str want = pattern->at[i];
        if (is_place(want)) {
            struct str *place = str_eqz(want, "{session}") ? &m->session : str_eqz(want, "{task}") ? &m->task : &m->queue;
            *place = path->at[i];
        }
    }
}

/* The routes by how many segments they have; cut once. */
static struct {
    struct segments patterns[ROUTES_MAX];
    const struct route *routes[ROUTES_MAX];
    unsigned tails[ROUTES_MAX];
    unsigned count;
} by_length[SEGMENTS_MAX + 1];

static void patterns_cut(void) {
    for (unsigned i = 0; i < route_count; i++) {
        struct segments cut;
        bool good = path_split(str_of(routes[i].pattern), &cut);
        assert(good);
        (void) good;
        unsigned at = by_length[cut.count].count++;
        by_length[cut.count].patterns[at] = cut;
        by_length[cut.count].routes[at] = &routes[i];
        by_length[cut.count].tails[at] = tail_of(&cut);
    }
}

void route_find(struct str path, enum http_method method, bool open_sessions, struct route_match *ret) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct segments have;
    *ret = (struct route_match){0};
    pthread_once(&once, patterns_cut);
    if (!path_split(path, &have)) {
        return;
    }
    unsigned tail = tail_of(&have);
    for (unsigned i = 0; i < by_length[have.count].count; i++) {
        unsigned wanted = by_length[have.count].tails[i];
        const struct route *r = by_length[have.count].routes[i];
        const struct segments *pattern = &by_length[have.count].patterns[i];
        if ((wanted && wanted != tail) || !pattern_fits(pattern, &have)) {
            continue;
        }
        places_take(pattern, &have, ret);
        if ((r->flags & ROUTE_OPEN_SESSIONS) && !open_sessions) {
            ret->off |= r->method == method;
            continue;
        }
        ret->methods |= 1u << r->method | (r->method == HTTP_GET ? 1u << HTTP_HEAD : 0);
        if (r->method == method || (r->method == HTTP_GET && method == HTTP_HEAD)) {
            ret->route = r;
        }
    }
}
