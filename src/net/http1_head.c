/* The part of the parser that takes a whole header block apart and decides how the body is delimited (RFC 9112 sections 3, 5 and 6). */
#include "base/eight.h"
#include "net/http1.h"

#define LENGTH_MAX 999999999999999999u /* more counts as that: it never comes to its end */

struct cut {
    struct http1 *p;
    const struct http1_limits *limits;
    struct http1_head *head;
    unsigned hosts, lengths, codings, keys;
    struct str host, length, coding, key;
    bool says_close, says_keep_alive, says_upgrade, upgrade_websocket;
};

static bool bad(struct cut *k, const char *detail) {
    return http1_fail(k->p, ERR_INVALID_REQUEST, detail);
}

/* ---- the request line ---- */

static enum http_method method_of(struct str text) {
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {
        {"GET", HTTP_GET},     {"HEAD", HTTP_HEAD},     {"POST", HTTP_POST},       {"PUT", HTTP_PUT},
        {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (str_eqz(text, known[i].name)) {
            return known[i].method;
        }
    }
    return HTTP_OTHER;
}

static bool host_valid(struct str host) {
    return http1_all(HTTP1_HOST, host);
}

static void split_query(struct str target, struct str *ret_path, struct str *ret_query) {
    const char *mark = target.len ? memchr(target.p, '?', target.len) : NULL;
    size_t path_len = mark ? (size_t) (mark - target.p) : target.len;
    *ret_path = path_len ? str_n(target.p, path_len) : STR("/");
    *ret_query = mark ? str_n(mark + 1, target.len - path_len - 1) : STR_NONE;
}

/* http://authority/path?query: the authority counts instead of Host (RFC 9112 section 3.2.2). */
static bool target_absolute(struct cut *k, struct str target, size_t scheme_len) {
    struct str rest = str_from(target, scheme_len);
    size_t end = 0;
    while (end < rest.len && rest.p[end] != '/' && rest.p[end] != '?') {
        end++;
    }
    k->head->host = str_n(rest.p, end);
    if (!end || !host_valid(k->head->host)) {
        return bad(k, "The request target has an invalid authority");
    }
    split_query(str_from(rest, end), &k->head->path, &k->head->query);
    return true;
}

static bool target_parse(struct cut *k, struct str target) {
    if (target.len > k->limits->max_target) {
        return http1_fail(k->p, ERR_URI_TOO_LONG, "The request target is too long");
    }
    if (!http1_all(HTTP1_TARGET, target)) {
        return bad(k, "The request target has an invalid character");
    }
    if (target.len && target.p[0] == '/') {
        split_query(target, &k->head->path, &k->head->query);
        return true;
    }
    if (str_eqz(target, "*") && k->head->method == HTTP_OPTIONS) {
        k->head->path = target;
        return true;
    }
    if (target.len >= 8 && strncasecmp(target.p, "https://", 8) == 0) {
        return target_absolute(k, target, 8);
    }
    if (target.len >= 7 && strncasecmp(target.p, "http://", 7) == 0) {
        return target_absolute(k, target, 7);
    }
    return bad(k, "The request target is neither a path nor an absolute URL");
}

static bool version_parse(struct cut *k, struct str version) {
    if (str_eqz(version, "HTTP/1.1")) {
        return true;
    }
    if (str_eqz(version, "HTTP/1.0")) {
        k->head->http10 = true;
        return true;
    }
    return bad(k, "The request is not of HTTP/1.1 or HTTP/1.0");
}

static bool request_line(struct cut *k, struct str line) {
    size_t at = http1_run(HTTP1_TOKEN, line);
    if (!at || at == line.len || line.p[at] != ' ') {
        return bad(k, "The request line does not begin with a method and a space");
    }
    k->head->method_text = str_n(line.p, at);
    k->head->method = method_of(k->head->method_text);
    struct str rest = str_from(line, at + 1);
    const char *space = rest.len ? memchr(rest.p, ' ', rest.len) : NULL;
    if (!space) {
        return bad(k, "The request line has no version");
    }
    struct str target = str_n(rest.p, (size_t) (space - rest.p));
    return version_parse(k, str_from(rest, target.len + 1)) && target_parse(k, target);
}

/* ---- header lines ---- */

static struct str trim(struct str s) {
    while (s.len && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s = str_n(s.p + 1, s.len - 1);
    }
    while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

bool http1_list_next(struct str *list, struct str *ret_item) {
    if (!list->len) {
        return false;
    }
    const char *comma = memchr(list->p, ',', list->len);
    size_t len = comma ? (size_t) (comma - list->p) : list->len;
    *ret_item = trim(str_n(list->p, len));
    *list = str_from(*list, comma ? len + 1 : len);
    return true;
}

static bool list_has(struct str list, const char *token) {
    struct str item;
    while (http1_list_next(&list, &item)) {
        if (str_ieqz(item, token)) {
            return true;
        }
    }
    return false;
}

static void note_header(struct cut *k, const struct http_header *h) {
    switch (h->name.len) {
    case 4:
        if (str_ieqz(h->name, "host")) {
            k->hosts++;
            k->host = h->value;
        }
        break;
    case 6:
        if (str_ieqz(h->name, "expect")) {
            k->head->expects_continue |= str_ieqz(h->value, "100-continue");
        }
        break;
    case 7:
        if (str_ieqz(h->name, "upgrade")) {
            k->upgrade_websocket |= list_has(h->value, "websocket");
        }
        break;
    case 10:
        if (str_ieqz(h->name, "connection")) {
            k->says_close |= list_has(h->value, "close");
            k->says_keep_alive |= list_has(h->value, "keep-alive");
            k->says_upgrade |= list_has(h->value, "upgrade");
        }
        break;
    case 14:
        if (str_ieqz(h->name, "content-length")) {
            k->lengths++;
            k->length = h->value;
        }
        break;
    case 17:
        if (str_ieqz(h->name, "transfer-encoding")) {
            k->codings++;
            k->coding = h->value;
        } else if (str_ieqz(h->name, "sec-websocket-key")) {
            k->keys++;
            k->key = h->value;
        }
        break;
    default: break;
    }
}

static bool value_valid(struct str value) {
    while (value.len >= 8 && !eight_below(eight_read(value.p), 0x20) && !eight_have(eight_read(value.p), 0x7f)) {
        value = str_from(value, 8);
    }
    return http1_all(HTTP1_TEXT, value);
}

static bool header_line(struct cut *k, struct str line, struct http_header *h) {
    size_t at = http1_run(HTTP1_TOKEN, line);
    if (line.p[0] == ' ' || line.p[0] == '\t') {
        return bad(k, "A header line may not be folded");
    }
    if (!at || at == line.len || line.p[at] != ':') {
        return bad(k, "A header line has no name with a colon right behind it");
    }
    if (!value_valid(str_from(line, at + 1))) {
        return bad(k, "A header's value has a control character");
    }
    h->name = str_n(line.p, at);
    h->value = trim(str_from(line, at + 1));
    note_header(k, h);
    return true;
}

/* ---- what the headers say together ---- */

static bool judge_host(struct cut *k) {
    if (k->hosts > 1 || (k->hosts == 0 && !k->head->http10)) {
        return bad(k, k->hosts ? "There is more than one Host header" : "The Host header is missing");
    }
    if (k->hosts && !host_valid(k->host)) {
        return bad(k, "The Host header is not a host");
    }
    if (!k->head->host.p) {
        k->head->host = k->host;
    }
    return true;
}

static bool judge_length(struct cut *k) {
    if (k->lengths > 1 || !k->length.len) {
        return bad(k, k->lengths > 1 ? "There is more than one Content-Length header" : "The Content-Length header is empty");
    }
    uint64_t length = 0;
    for (size_t i = 0; i < k->length.len; i++) {
        unsigned digit = (unsigned) (unsigned char) k->length.p[i] - '0';
        if (digit > 9) {
            return bad(k, "The Content-Length header is not a number");
        }
        length = length > (LENGTH_MAX - digit) / 10 ? LENGTH_MAX : length * 10 + digit;
    }
    k->head->content_length = length;
    return true;
}

static bool judge_coding(struct cut *k) {
    if (k->lengths) {
        return bad(k, "Transfer-Encoding and Content-Length may not stand together");
    }
    if (k->head->http10) {
        return bad(k, "HTTP/1.0 has no Transfer-Encoding");
    }
    if (k->codings > 1 || !str_ieqz(k->coding, "chunked")) {
        return bad(k, "The only Transfer-Encoding is chunked, once");
    }
    k->head->chunked = true;
    return true;
}

/* RFC 6455 section 4.2.1; the version is looked at later, since its refusal says which one is spoken. */
static bool judge_websocket(struct cut *k) {
    if (k->head->http10 || k->head->method != HTTP_GET || !k->says_upgrade || !k->upgrade_websocket || k->codings || k->head->content_length) {
        return true;
    }
    bool valid = k->keys == 1 && k->key.len == 24 && k->key.p[22] == '=' && k->key.p[23] == '=';
    for (size_t i = 0; valid && i < 22; i++) {
        unsigned char c = (unsigned char) k->key.p[i];
        valid = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '/';
    }
    k->head->websocket = valid;
    return valid || bad(k, "The Sec-WebSocket-Key header is missing or not 16 bytes in base64");
}

static bool judge(struct cut *k) {
    if (!judge_host(k) || (k->codings && !judge_coding(k)) || (k->lengths && !judge_length(k)) || !judge_websocket(k)) {
        return false;
    }
    k->head->keep_alive = !k->says_close && (!k->head->http10 || k->says_keep_alive);
    k->head->expects_continue &= !k->head->http10;
    return true;
}

/* The next line of the block without its end; the block is known to consist of lines that end in CRLF. */
static struct str take_line(struct str *block) {
    const char *lf = memchr(block->p, '\n', block->len);
    size_t len = (size_t) (lf - block->p) + 1;
    struct str line = str_n(block->p, len - 2);
    *block = str_from(*block, len);
    return line;
}

bool http1_head_parse(struct http1 *p, const struct http1_limits *limits, struct str block, struct http_header *headers,
                      struct http1_head *ret_head) {
    struct cut k = {.p = p, .limits = limits, .head = ret_head};
    *ret_head = (struct http1_head){.headers = headers};
    if (!request_line(&k, take_line(&block))) {
        return false;
    }
    for (struct str line = take_line(&block); line.len; line = take_line(&block)) {
        if (!header_line(&k, line, &headers[ret_head->header_count++])) {
            return false;
        }
    }
    if (!judge(&k)) {
        return false;
    }
    *p = (struct http1){.phase = ret_head->chunked ? HTTP1_IN_SIZE : HTTP1_IN_LENGTH, .left = ret_head->content_length};
    return true;
}
