/* web.c: the files within the program, such as the module for browsers, and what every answer with a file says. */
#include "api/internal.h"
#include "api/web_files.h"

#include <stdio.h>

void served_answer(struct call *call, const struct served *file) {
    struct http_request *r = call->r;
    headers_file(call, file->cache_control);
    http_addf(r, STR("ETag"), "\"%s\"", file->tag);
    if (if_none_match(r, str_of(file->tag))) {
        struct buf none = {0};
        http_respond(r, 304, &none, false);
        return;
    }
    http_add(r, STR("Content-Type"), str_of(file->type));
    if (file->coding) {
        http_add(r, STR("Content-Encoding"), str_of(file->coding));
    }
    http_respond_copied(r, 200, file->bytes, false);
}

/* The routes name no others. */
static const struct web_file *file_of(struct str path) {
    for (unsigned i = 0; i < web_file_count; i++) {
        if (str_eqz(path, web_files[i].path)) {
            return &web_files[i];
        }
    }
    return NULL;
}

struct str web_media(struct str path) {
    const struct web_file *file = file_of(path);
    return file ? str_n(file->type, strcspn(file->type, ";")) : STR("application/octet-stream");
}

bool web_accepted(const struct call *call) {
    struct str media = web_media(call->path);
    char text[64];
    size_t slash = (size_t) ((const char *) memchr(media.p, '/', media.len) - media.p);
    snprintf(text, sizeof text, "%.*s", STR_FMT(media));
    text[slash] = '\0';
    return accept_of(call->r, text, text + slash + 1).q > 0;
}

/* The smallest form that is welcome. Each has a tag of its own, since its bytes are others. */
static void form_choose(const struct http_request *r, const struct web_file *file, struct served *served) {
    int gzip = accept_coding(r, "gzip"), brotli = accept_coding(r, "br");
    const char *form = "";
    served->bytes = file->plain;
    if (brotli > 0 && brotli >= gzip) {
        served->coding = form = "br";
        served->bytes = file->brotli;
    } else if (gzip > 0) {
        served->coding = form = "gzip";
        served->bytes = file->gzip;
    }
    snprintf(served->tag, sizeof served->tag, "%s%s%s", file->tag, form[0] ? "-" : "", form);
}

void web_serve(struct call *call) {
    const struct web_file *file = file_of(call->path);
    struct str version = query_get(&call->query, "v"), ours = call->api->shared->version;
    bool named = version.p != NULL;
    if (!file || (named && !(version.len == ours.len && memcmp(version.p, ours.p, ours.len) == 0))) {
        call_refuse_err(call, ERR_NOT_FOUND);
        return;
    }
    struct served served = {
        .type = file->type,
        .cache_control = named ? STR("public, max-age=31536000, immutable") : STR("no-cache"),
    };
    form_choose(call->r, file, &served);
    http_add(call->r, STR("Vary"), STR("Accept-Encoding"));
    served_answer(call, &served);
}
