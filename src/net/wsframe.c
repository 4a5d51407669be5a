#include "net/wsframe.h"

static enum ws_event broken(struct ws_decoder *d, unsigned code) {
    d->phase = WS_BROKEN;
    d->code = (uint16_t) code;
    return WS_ERROR;
}

static bool is_control(unsigned opcode) {
    return opcode >= 8;
}

/* Bytes that the header has, as far as it can be told from its first two. */
static unsigned header_size(const struct ws_decoder *d) {
    if (d->header_len < 2) {
        return 2;
    }
    unsigned len = d->header[1] & 0x7f;
    return 2 + 4 + (len == 126 ? 2 : len == 127 ? 8 : 0);
}

/* Judged as soon as the first two bytes are there. */
static enum ws_event header_check(struct ws_decoder *d) {
    unsigned opcode = d->header[0] & 0x0f, len = d->header[1] & 0x7f;
    bool final = d->header[0] & 0x80;
    if ((d->header[0] & 0x70) || !(d->header[1] & 0x80)) {
        return broken(d, 1002);
    }
    if (is_control(opcode)) {
        return opcode > WS_PONG || !final || len > WS_CONTROL_MAX ? broken(d, 1002) : WS_MORE;
    }
    if (opcode > WS_BINARY || (opcode == WS_CONTINUATION) != (d->message != 0)) {
        return broken(d, 1002);
    }
    return WS_MORE;
}

static uint64_t big_endian(const uint8_t *p, unsigned bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

/* The header is whole. */
static enum ws_event frame_begin(struct ws_decoder *d) {
    unsigned short_len = d->header[1] & 0x7f;
    uint64_t len = short_len;
    if (short_len == 126) {
        len = big_endian(d->header + 2, 2);
    } else if (short_len == 127) {
        len = big_endian(d->header + 2, 8);
    }
    if ((short_len == 126 && len < 126) || (short_len == 127 && (len < 65536 || len >> 63))) {
        return broken(d, 1002);
    }
    d->opcode = d->header[0] & 0x0f;
    d->final = d->header[0] & 0x80;
    if (!is_control(d->opcode)) {
        if (len > WS_MESSAGE_MAX - (d->message ? d->message_len : 0)) {
            return broken(d, 1009);
        }
        if (d->opcode != WS_CONTINUATION) {
            d->message = d->opcode;
            d->message_len = 0;
            d->utf8_need = 0;
        }
        d->message_len += (uint32_t) len;
    }
    memcpy(d->header, d->header + d->header_len - 4, 4); /* the mask */
    d->left = (uint32_t) len;
    d->masked = 0;
    d->control_len = 0;
    d->phase = WS_IN_PAYLOAD;
    return WS_MORE;
}

/* One byte of UTF-8 (RFC 3629: nothing overlong, no surrogates, nothing above U+10FFFF). */
static bool utf8_byte(struct ws_decoder *d, uint8_t c) {
    if (d->utf8_need) {
        if (c < d->utf8_low || c > d->utf8_high) {
            return false;
        }
        d->utf8_need--;
        d->utf8_low = 0x80;
        d->utf8_high = 0xbf;
        return true;
    }
    if (c < 0x80) {
        return true;
    }
    if (c < 0xc2 || c > 0xf4) {
        return false;
    }
    d->utf8_need = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    d->utf8_low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    d->utf8_high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    return true;
}

static enum ws_event close_check(struct ws_decoder *d) {
    d->code = 0;
    if (d->control_len == 0) {
        return WS_GOT_CLOSE;
    }
    unsigned code = d->control_len > 1 ? (unsigned) big_endian(d->control, 2) : 0;
    bool known = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999);
    if (!known) {
        return broken(d, 1002);
    }
    struct ws_decoder reason = {0};
    for (unsigned i = 2; i < d->control_len; i++) {
        if (!utf8_byte(&reason, d->control[i])) {
            return broken(d, 1007);
        }
    }
    if (reason.utf8_need) {
        return broken(d, 1007);
    }
    d->code = (uint16_t) code;
    return WS_GOT_CLOSE;
}

static enum ws_event frame_end(struct ws_decoder *d) {
    d->phase = WS_IN_HEADER;
    d->header_len = 0;
    switch (d->opcode) {
    case WS_PING: return WS_GOT_PING;
    case WS_PONG: return WS_GOT_PONG;
    case WS_CLOSE: return close_check(d);
    default: break;
    }
    if (!d->final) {
        return WS_MORE;
    }
    if (d->message == WS_TEXT && d->utf8_need) {
        return broken(d, 1007);
    }
    d->message = 0;
    return WS_MESSAGE;
}

static enum ws_event payload_byte(struct ws_decoder *d, uint8_t c) {
    c ^= d->header[d->masked++ & 3];
    d->left--;
    if (is_control(d->opcode)) {
        d->control[d->control_len++] = c;
        return WS_MORE;
    }
    return d->message != WS_TEXT || utf8_byte(d, c) ? WS_MORE : broken(d, 1007);
}

static enum ws_event header_byte(struct ws_decoder *d, uint8_t c) {
    d->header[d->header_len++] = c;
    if (d->header_len == 2 && header_check(d) == WS_ERROR) {
        return WS_ERROR;
    }
    return d->header_len == header_size(d) ? frame_begin(d) : WS_MORE;
}

enum ws_event ws_decode(struct ws_decoder *d, const char *data, size_t len, size_t *ret_used) {
    *ret_used = 0;
    if (d->phase == WS_BROKEN) {
        return WS_ERROR;
    }
    for (;;) {
        enum ws_event ev = WS_MORE;
        if (d->phase == WS_IN_PAYLOAD && d->left == 0) {
            ev = frame_end(d);
        } else if (*ret_used == len) {
            return WS_MORE;
        } else if (d->phase == WS_IN_PAYLOAD) {
            ev = payload_byte(d, (uint8_t) data[(*ret_used)++]);
        } else {
            ev = header_byte(d, (uint8_t) data[(*ret_used)++]);
        }
        if (ev != WS_MORE) {
            return ev;
        }
    }
}

unsigned ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t payload_len) {
    out[0] = (uint8_t) (0x80 | (unsigned) opcode);
    unsigned bytes = payload_len < 126 ? 0 : payload_len < 65536 ? 2 : 8;
    out[1] = bytes == 0 ? (uint8_t) payload_len : bytes == 2 ? 126 : 127;
    for (unsigned i = 0; i < bytes; i++) {
        out[2 + i] = (uint8_t) (payload_len >> (8 * (bytes - 1 - i)));
    }
    return 2 + bytes;
}

void ws_put(struct buf *out, enum ws_opcode opcode, struct str payload) {
    uint8_t header[WS_HEADER_MAX];
    buf_put(out, header, ws_header(header, opcode, payload.len));
    buf_str(out, payload);
}

void ws_put_close(struct buf *out, unsigned code) {
    char payload[2] = {(char) (code >> 8), (char) (code & 0xff)};
    ws_put(out, WS_CLOSE, str_n(payload, code ? 2 : 0));
}
