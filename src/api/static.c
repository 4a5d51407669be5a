/* static.c: the demo's page (option demo): the files of one folder, by kind and by names that cannot lead out of it. */
#include "api/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (4 * 1024 * 1024)
#define TAG_BYTES 16

static const char *content_type(struct str name) {
    static const struct {
        const char *ending, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".svg", "image/svg+xml"},
    };
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        size_t n = strlen(types[i].ending);
        if (name.len > n && memcmp(name.p + name.len - n, types[i].ending, n) == 0) {
            return types[i].type;
        }
    }
    return NULL;
}

/* Letters, digits, and "-", "_", "." within: no separators, nothing hidden. */
static bool name_safe(struct str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!plain && (i == 0 || c != '.')) {
            return false;
        }
    }
    return name.len > 0;
}

static bool file_read(const char *folder, struct str name, struct buf *out) {
    char path[4096];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/%.*s", folder, STR_FMT(name)) >= (int) sizeof path) {
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX && buf_reserve(out, (size_t) st.st_size);
    while (good && out->len < (size_t) st.st_size) {
        ssize_t n = read(fd, out->data + out->len, (size_t) st.st_size - out->len);
        good = n > 0;
        out->len += n > 0 ? (size_t) n : 0;
    }
    close(fd);
    return good;
}

static void redirect(struct call *call) {
    struct buf body = {0};
    headers_common(call);
    http_add(call->r, STR("Location"), STR("/demo/"));
    http_respond(call->r, 302, &body, false);
}

static void serve(struct call *call, const char *type, struct buf *body) {
    struct served file = {.type = type, .cache_control = STR("no-cache"), .bytes = buf_view(body)};
    uint8_t hash[SHA256_BYTES];
    crypto_sha256(file.bytes, hash);
    for (unsigned i = 0; i < TAG_BYTES; i++) {
        snprintf(file.tag + 2 * i, 3, "%02x", hash[i]);
    }
    http_add(call->r, STR("Content-Security-Policy"), STR("default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"));
    served_answer(call, &file);
    buf_fini(body);
}

bool static_serve(struct call *call) {
    const char *folder = call->api->shared->options->demo;
    bool root = str_eqz(call->path, "/") || str_eqz(call->path, "/demo");
    if (!folder[0] || (!root && !str_starts(call->path, "/demo/"))) {
        return false;
    }
    if (call->r->method != HTTP_GET && call->r->method != HTTP_HEAD) {
        struct problem p = {.err = ERR_METHOD_NOT_ALLOWED};
        call_refuse_with(call, &p, STR("Allow"), STR("GET, HEAD"));
        return true;
    }
    if (root) {
        redirect(call);
        return true;
    }
    struct str name = str_from(call->path, 6);
    struct buf body = {0};
    name = name.len ? name : STR("index.html");
    const char *type = content_type(name);
    if (!type || !name_safe(name) || !file_read(folder, name, &body)) {
        buf_fini(&body);
        return false;
    }
    serve(call, type, &body);
    return true;
}
