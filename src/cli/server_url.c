#include "cli/server_url.h"

#include "cli/text.h"

#include <curl/curl.h>

#define SHOWN 200

static struct str white_trim(struct str s) {
    while (s.len && strchr(" \t\r\n", s.p[0])) {
        s = str_from(s, 1);
    }
    while (s.len && strchr(" \t\r\n", s.p[s.len - 1])) {
        s.len--;
    }
    return s;
}

static int wrong(struct buf *why, const char *text) {
    buf_puts(why, text);
    return -1;
}

static int wrong_of(struct buf *why, const char *text, struct str shown) {
    buf_puts(why, text);
    text_put_cut(why, shown, SHOWN);
    return -1;
}

static size_t scheme_length(struct str url) {
    for (size_t i = 0; i + 3 <= url.len; i++) {
        if (strncmp(url.p + i, "://", 3) == 0) {
            return i;
        }
        if (strchr("/?#@", url.p[i])) {
            break;
        }
    }
    return 0;
}

static size_t length_up_to(struct str s, const char *characters) {
    size_t len = 0;
    while (len < s.len && !strchr(characters, s.p[len])) {
        len++;
    }
    return len;
}

/* What is before the first segment "v1" of the path; all of it if there is none. */
static size_t length_before_v1(struct str path) {
    for (size_t at = 0; at + 3 <= path.len; at++) {
        if (strncmp(path.p + at, "/v1", 3) == 0 && (at + 3 == path.len || path.p[at + 3] == '/')) {
            return at;
        }
    }
    return path.len;
}

static int scheme_check(struct str url, size_t scheme, struct buf *why) {
    struct str name = str_n(url.p, scheme);
    if (!scheme) {
        return memchr(url.p, '@', url.len) ? wrong(why, "it has no scheme: it begins with http:// or https://")
                                           : wrong_of(why, "it has no scheme: it begins with http:// or https://, such as http://", url);
    }
    return str_ieqz(name, "http") || str_ieqz(name, "https")
               ? 0
               : wrong_of(why, "it begins with http:// or https://, not with ", str_n(url.p, scheme + 3));
}

static int host_check(struct str host, struct buf *why) {
    if (memchr(host.p, '@', host.len)) {
        return wrong(
            why, "it has a user name or password, which the server does not ask for: give a key or token (--key-file, --token), and leave that out");
    }
    return host.len && host.p[0] != ':' ? 0 : wrong(why, "it names no host");
}

/* The rest, and numbers: as libcurl sees them. */
static int curl_check(const char *url, struct buf *why) {
    CURLU *u = curl_url();
    CURLUcode code = u ? curl_url_set(u, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
    curl_url_cleanup(u);
    return code == CURLUE_OK ? 0 : wrong(why, curl_url_strerror(code));
}

static int path_check(struct str url, size_t path_at, struct buf *why) {
    struct str path = str_from(url, path_at);
    size_t before = length_before_v1(path);
    return before == path.len
               ? 0
               : wrong_of(why, "its path has the /v1 that every request begins with itself; without it: ", str_n(url.p, path_at + before));
}

int server_url_read(const char *text, struct buf *ret_url, struct buf *why) {
    struct str url = white_trim(str_of(text));
    if (!url.len) {
        return wrong(why, "it is empty");
    }
    for (size_t i = 0; i < url.len; i++) {
        if (url.p[i] <= ' ' || url.p[i] > '~') {
            return wrong(why, "it holds a character that no URL has");
        }
    }
    size_t scheme = scheme_length(url), begin = scheme + 3;
    if (scheme_check(url, scheme, why)) {
        return -1;
    }
    size_t path_at = begin + length_up_to(str_from(url, begin), "/?#");
    if (host_check(str_n(url.p + begin, path_at - begin), why)) {
        return -1;
    }
    if (length_up_to(url, "?#") < url.len) {
        return wrong_of(why, "it has a query or fragment, which cannot be a part of it; without: ", str_n(url.p, length_up_to(url, "?#")));
    }
    while (url.len > path_at && url.p[url.len - 1] == '/') {
        url.len--;
    }
    size_t from = ret_url->len;
    buf_str(ret_url, url);
    return curl_check(buf_z(ret_url) + from, why) || path_check(url, path_at, why) ? -1 : 0;
}

const char *server_url_path(const char *url) {
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;
    return path ? path : "";
}
