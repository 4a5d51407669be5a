/*
 * wsframe.h: frames of RFC 6455. Reading: a strict incremental decoder of what clients send; it does no I/O, keeps at most one control frame's payload, and any
 * split of the input gives the same events. What a message says is of no interest here, only that it is well-formed; so messages are checked and not kept.
 * Writing: the header that goes before a server's frame.
 */
#ifndef BOWLINE_NET_WSFRAME_H
#define BOWLINE_NET_WSFRAME_H

#include "base/buf.h"

#define WS_MESSAGE_MAX (64 * 1024)
#define WS_CONTROL_MAX 125
#define WS_HEADER_MAX 10 /* of a server's frame */

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

enum ws_event {
    WS_MORE,    /* nothing further in it */
    WS_MESSAGE, /* a text or binary message is complete */
    WS_GOT_PING,
    WS_GOT_PONG,
    WS_GOT_CLOSE, /* code 0 if it had none */
    WS_ERROR      /* code is what to close with; nothing more can be read */
};

enum ws_phase { WS_IN_HEADER, WS_IN_PAYLOAD, WS_BROKEN };

/* Zero-initialise. */
struct ws_decoder {
    uint8_t phase;           /* enum ws_phase */
    uint8_t opcode, message; /* of the present frame; of the message under way, 0 if there is none */
    uint8_t header_len;
    uint8_t header[14];
    bool final;
    uint8_t utf8_need, utf8_low, utf8_high; /* continuation bytes still to come, and the bounds of the next one */
    uint8_t control_len;
    uint16_t code;
    uint32_t message_len, masked; /* bytes of the message; payload bytes of the present frame unmasked so far */
    uint32_t left;
    uint8_t control[WS_CONTROL_MAX]; /* payload of the control frame just read */
};

/* Reads on in data[0..len); *ret_used bytes of it are done with. */
enum ws_event ws_decode(struct ws_decoder *d, const char *data, size_t len, size_t *ret_used) MUST_CHECK;

/* True between messages, with nothing of the next frame seen: then the decoder can be forgotten. */
static inline bool ws_decoder_idle(const struct ws_decoder *d) {
    return d->phase == WS_IN_HEADER && d->header_len == 0 && d->message == 0;
}

/* Header of an unmasked, unfragmented frame; how many bytes of out it takes. */
unsigned ws_header(uint8_t out[WS_HEADER_MAX], enum ws_opcode opcode, uint64_t payload_len);
/* A whole small frame. */
void ws_put(struct buf *out, enum ws_opcode opcode, struct str payload);
void ws_put_close(struct buf *out, unsigned code); /* 0: without a code */

#endif
