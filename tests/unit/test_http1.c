/* The parser of HTTP/1.1: what it takes, what it refuses and how, and that the way the bytes arrive makes no difference. */
#include "base/mem.h"
#include "net/http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct http1_limits limits = {1024, 300};

static void trace_head(struct http1 *p, struct str block, struct buf *out) {
    char *copy = mem_dup(block.p, block.len);
    struct http_header *headers = mem_alloc((http1_head_lines(p) + 1) * sizeof(*headers));
    struct http1_head h;
    if (http1_head_parse(p, &limits, str_n(copy, block.len), headers, &h)) {
        buf_printf(out, "%.*s %.*s", STR_FMT(h.method_text), STR_FMT(h.path));
        if (h.query.p) {
            buf_printf(out, "?%.*s", STR_FMT(h.query));
        }
        buf_printf(out, " host=%.*s%s%s%s%s", STR_FMT(h.host), h.http10 ? " 1.0" : "", h.keep_alive ? "" : " close",
                   h.expects_continue ? " expect" : "", h.websocket ? " websocket" : "");
        for (unsigned i = 0; i < h.header_count; i++) {
            buf_printf(out, " %.*s=%.*s", STR_FMT(h.headers[i].name), STR_FMT(h.headers[i].value));
        }
        buf_puts(out, "\n");
    }
    mem_free(headers);
    mem_free(copy);
}

/* Shows the parser what has arrived, as a connection does; the events as text, bodies joined. False after an error. */
static bool run(struct http1 *p, struct buf *in, struct buf *body, struct buf *out) {
    for (;;) {
        size_t used;
        struct str piece;
        /* a copy of its own, so that reading behind the end is noticed */
        char *copy = mem_dup(in->data ? in->data : "", in->len);
        enum http1_event ev = http1_next(p, &limits, copy, in->len, &used, &piece);
        if (ev == HTTP1_HEAD) {
            trace_head(p, piece, out);
            ev = p->phase == HTTP1_BROKEN ? HTTP1_ERROR : ev;
        } else if (ev == HTTP1_BODY) {
            buf_str(body, piece);
        } else if (ev == HTTP1_END) {
            buf_printf(out, "body=%.*s\n", STR_FMT(buf_view(body)));
            buf_clear(body);
        }
        mem_free(copy);
        buf_drop_front(in, used);
        if (ev == HTTP1_ERROR) {
            buf_printf(out, "%d\n", err_status((enum err) p->err));
            assert_non_null(p->detail);
            return false;
        }
        if (ev == HTTP1_MORE) {
            return true;
        }
    }
}

/* Parses text cut at two places. */
static void parse_cut(struct str text, size_t first, size_t second, struct buf *out) {
    const struct str parts[] = {str_n(text.p, first), str_n(text.p + first, second - first), str_from(text, second)};
    struct http1 p = {0};
    struct buf in = {0}, body = {0};
    for (unsigned i = 0; i < 3; i++) {
        buf_str(&in, parts[i]);
        if (!run(&p, &in, &body, out)) {
            break;
        }
    }
    buf_fini(&in);
    buf_fini(&body);
}

static void parse_bytes(struct str text, struct buf *out) {
    struct http1 p = {0};
    struct buf in = {0}, body = {0};
    for (size_t i = 0; i < text.len; i++) {
        buf_char(&in, text.p[i]);
        if (!run(&p, &in, &body, out)) {
            break;
        }
    }
    buf_fini(&in);
    buf_fini(&body);
}

static void check(struct str text, const char *expected) {
    struct buf whole = {0}, bytes = {0};
    parse_cut(text, 0, 0, &whole);
    assert_string_equal(buf_z(&whole), expected);
    parse_bytes(text, &bytes);
    assert_string_equal(buf_z(&bytes), expected);
    for (size_t i = 0; i <= text.len; i++) {
        struct buf cut = {0};
        parse_cut(text, i, i + (text.len - i) / 2, &cut);
        assert_string_equal(buf_z(&cut), expected);
        buf_fini(&cut);
    }
    buf_fini(&whole);
    buf_fini(&bytes);
}

#define CHECK(text, expected) check(STR(text), expected)
#define BAD(text) check(STR(text), "400\n")

static void heads_are_taken_apart(void **state) {
    (void) state;
    CHECK("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / host=a Host=a\nbody=\n");
    CHECK("\r\n\r\nGET /a%2fb?x=1&y HTTP/1.1\r\nhOsT:a:80\r\nX:\t v w \t\r\nE:\r\n\r\n", "GET /a%2fb?x=1&y host=a:80 hOsT=a:80 X=v w E=\nbody=\n");
    CHECK("GET /? HTTP/1.1\r\nHost:\r\n\r\n", "GET /? host= Host=\nbody=\n");
    CHECK("GET http://b:1/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /p?q host=b:1 Host=a\nbody=\n");
    CHECK("GET HTTPS://b?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?q host=b Host=a\nbody=\n");
    CHECK("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * host=a Host=a\nbody=\n");
    CHECK("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", "BREW /pot host=a Host=a\nbody=\n");
    CHECK("GET / HTTP/1.0\r\n\r\n", "GET / host= 1.0 close\nbody=\n");
    CHECK("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / host= 1.0 Connection=Keep-Alive\nbody=\n");
    CHECK("GET / HTTP/1.1\r\nHost: a\r\nConnection: x , Close\r\n\r\n", "GET / host=a close Host=a Connection=x , Close\nbody=\n");
    CHECK("GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xbc\r\n\r\n", "GET / host=a Host=a X=\xc3\xbc\nbody=\n");
    CHECK("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
          "GET / host=a websocket Host=a Connection=keep-alive, Upgrade Upgrade=WebSocket Sec-WebSocket-Key=dGhlIHNhbXBsZSBub25jZQ==\nbody=\n");
}

static void bodies_are_delimited(void **state) {
    (void) state;
    CHECK("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
          "POST / host=a expect Host=a Content-Length=5 Expect=100-Continue\nbody=hello\nGET / host=a Host=a\nbody=\n");
    CHECK("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST / host=a Host=a Content-Length=0\nbody=\n");
    CHECK("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n01;x=\"y\" ; z\r\n!\r\nA "
          "\t;q\r\n0123456789\r\n000\r\n\r\nGET / HTTP/1.0\r\n\r\n",
          "POST / host=a Host=a Transfer-Encoding=Chunked\nbody=hello!0123456789\nGET / host= 1.0 close\nbody=\n");
    CHECK("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\nB:\r\n\r\n",
          "POST / host=a Host=a Transfer-Encoding=chunked\nbody=\n");
    CHECK("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel", "POST / host=a Host=a Content-Length=5\n");
}

static void ambiguity_is_refused(void **state) {
    (void) state;
    BAD("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD(" GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET / HTTP/1.1\nHost: a\n\n");
    BAD("GET / HTTP/1.1\r\nHost: a\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\n\n");
    BAD("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n");
    BAD("GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\nX\xc3: b\r\n\r\n");
    BAD("GET / HTTP/1.1\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    BAD("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n");
    BAD("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    BAD("GET  / HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET /  HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET / HTTP/1.1 \r\nHost: a\r\n\r\n");
    BAD("GET /\r\nHost: a\r\n\r\n");
    BAD("GET\r\n\r\n");
    BAD("GET / HTTP/2.0\r\nHost: a\r\n\r\n");
    BAD("GET / http/1.1\r\nHost: a\r\n\r\n");
    BAD("GET / HTTP/1.12\r\nHost: a\r\n\r\n");
    BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    BAD("GET a HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET /\t HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n");
    BAD("\x16\x03\x01\x02");
    BAD("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: short==\r\n\r\n");
}

static void unclear_bodies_are_refused(void **state) {
    (void) state;
    BAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
        "chunked\r\n\r\n");
    BAD("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
    BAD("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    /* more than can be counted is still a length, for whoever knows whether the request is wanted at all */
    CHECK("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nab",
          "POST / host=a Host=a Content-Length=99999999999999999999\n");
    CHECK("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0000000000000000000000002\r\n\r\nab",
          "POST / host=a Host=a Content-Length=0000000000000000000000002\nbody=ab\n");
}

static void chunks_are_strict(void **state) {
    static const char *const bad[] = {"\r\n",
                                      "x\r\n",
                                      "0x5\r\n",
                                      "-1\r\n",
                                      "5 \r\nhello\r\n",
                                      "5\nhello\r\n",
                                      "5\r\nhello!\r\n",
                                      "5\r\nhello\n",
                                      "5\r\nhello\r5",
                                      "1000000000000000\r\n",
                                      "5;\x01\r\n",
                                      "0\r\nno colon\r\n\r\n",
                                      "0\r\n folded: x\r\n\r\n",
                                      "0\r\nA: b\n\r\n",
                                      "0\r\nA: \x02\r\n\r\n",
                                      "0\r\n\n"};
    (void) state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf text = {0};
        buf_puts(&text, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        buf_puts(&text, bad[i]);
        check(buf_view(&text), "POST / host=a Host=a Transfer-Encoding=chunked\n400\n");
        buf_fini(&text);
    }
}

static void repeat(struct buf *b, const char *what, unsigned times) {
    for (unsigned i = 0; i < times; i++) {
        buf_puts(b, what);
    }
}

static void limits_are_kept(void **state) {
    (void) state;
    struct buf text = {0};
    buf_puts(&text, "GET /");
    repeat(&text, "a", 300);
    buf_puts(&text, " HTTP/1.1\r\nHost: a\r\n\r\n");
    check(buf_view(&text), "414\n");
    buf_clear(&text);
    buf_puts(&text, "GET /");
    repeat(&text, "a", 400);
    check(buf_view(&text), "414\n");
    buf_clear(&text);
    buf_puts(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    repeat(&text, "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 30);
    check(buf_view(&text), "431\n");
    buf_clear(&text);
    buf_puts(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    repeat(&text, "a:\r\n", (unsigned) (limits.max_head - text.len - 2) / 4);
    buf_puts(&text, "\r\n");
    assert_in_range(text.len, limits.max_head - 3, limits.max_head);
    struct buf taken = {0};
    buf_puts(&taken, "GET / host=a Host=a");
    repeat(&taken, " a=", (unsigned) (limits.max_head - 27) / 4);
    buf_puts(&taken, "\nbody=\n");
    check(buf_view(&text), buf_z(&taken));
    buf_fini(&taken);
    buf_clear(&text);
    buf_puts(&text, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;");
    repeat(&text, "x", HTTP1_EXTENSION_MAX + 1);
    check(buf_view(&text), "POST / host=a Host=a Transfer-Encoding=chunked\n400\n");
    buf_fini(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_taken_apart),      cmocka_unit_test(bodies_are_delimited), cmocka_unit_test(ambiguity_is_refused),
        cmocka_unit_test(unclear_bodies_are_refused), cmocka_unit_test(chunks_are_strict),    cmocka_unit_test(limits_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
