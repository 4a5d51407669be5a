/* Any bytes, cut anywhere: the decoder of WebSocket frames gives the same events, and says an error once and for all. */
#include "net/wsframe.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool run(struct ws_decoder *d, const char *data, size_t len, struct buf *out) {
    size_t at = 0;
    for (;;) {
        size_t used;
        enum ws_event ev = ws_decode(d, data + at, len - at, &used);
        at += used;
        assert(at <= len && d->message_len <= WS_MESSAGE_MAX && d->control_len <= WS_CONTROL_MAX);
        if (ev == WS_MORE) {
            assert(at == len);
            return true;
        }
        buf_printf(out, "%d %u ", (int) ev, d->code);
        if (ev == WS_GOT_PING) {
            buf_put(out, d->control, d->control_len);
        }
        if (ev == WS_ERROR) {
            assert(d->code == 1002 || d->code == 1007 || d->code == 1009);
            assert(ws_decode(d, data, len, &used) == WS_ERROR && used == 0);
            return false;
        }
    }
}

/* step 0: all at once. */
static void decode(const uint8_t *data, size_t size, size_t step, struct buf *out) {
    struct ws_decoder d = {0};
    step = step ? step : size;
    for (size_t at = 0; at < size; at += step) {
        if (!run(&d, (const char *) data + at, size - at < step ? size - at : step, out)) {
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf whole = {0};
    decode(data, size, 0, &whole);
    for (size_t step = 1; step < 8; step += 3) {
        struct buf cut = {0};
        decode(data, size, step, &cut);
        assert(str_eq(buf_view(&whole), buf_view(&cut)));
        buf_fini(&cut);
    }
    buf_fini(&whole);
    return 0;
}
