/* watch.c: feeds of this loop, by the channel's number, and those who watch them. */
#include "api/internal.h"

#include "base/clock.h"
#include "base/fetch.h"
#include "base/hash.h"
#include "base/mem.h"

/* The feed is made by the first answer that names the channel; messages that come before it are kept. */
struct channel {
    uint64_t number;
    struct feed *feed;
    struct frame **early;
    size_t early_count, early_cap;
    uint64_t early_synced;
    UT_hash_handle hh;
};

struct watching {
    struct api *api;
    uint64_t channel;
    uint32_t tag;
    struct watcher *watcher; /* that waits for `refill` */
    struct cmd *refill;      /* with the engine */
};

static struct channel *channel_find(struct api *a, uint64_t number) {
    struct channel *ch;
    HASH_FIND(hh, a->channels, &number, sizeof number, ch);
    return ch;
}

static struct channel *channel_get(struct api *a, uint64_t number) {
    struct channel *ch = channel_find(a, number);
    if (!ch) {
        ch = mem_alloc(sizeof *ch);
        ch->number = number;
        HASH_ADD(hh, a->channels, number, sizeof ch->number, ch);
    }
    return ch;
}

static void channel_free(struct api *a, struct channel *ch) {
    HASH_DEL(a->channels, ch);
    for (size_t i = 0; i < ch->early_count; i++) {
        frame_unref(ch->early[i]);
    }
    mem_free(ch->early);
    if (ch->feed) {
        feed_destroy(ch->feed);
    }
    mem_free(ch);
}

void watch_destroy(struct api *a) {
    while (a->channels) {
        channel_free(a, a->channels);
    }
}

static void channel_open(struct api *a, struct channel *ch, const struct answer *answer) {
    ch->feed = feed_create(a->loop, answer->log, answer->log_floor, answer->cursor_prefix, ch);
    for (size_t i = 0; i < ch->early_count; i++) {
        feed_publish(ch->feed, ch->early[i]);
    }
    if (ch->early_synced) {
        feed_synced(ch->feed, ch->early_synced);
    }
    mem_free(ch->early);
    ch->early = NULL;
    ch->early_count = ch->early_cap = 0;
}

static void channel_publish(struct channel *ch, struct frame *f) {
    if (ch->feed) {
        feed_publish(ch->feed, f);
        return;
    }
    if (ch->early_count == ch->early_cap) {
        ch->early_cap = ch->early_cap ? ch->early_cap * 2 : 8;
        ch->early = mem_resize(ch->early, ch->early_cap * sizeof(struct frame *));
    }
    ch->early[ch->early_count++] = f;
}

static void channel_synced(struct channel *ch, uint64_t pos) {
    if (ch->feed) {
        feed_synced(ch->feed, pos);
    } else {
        ch->early_synced = pos;
    }
}

void watch_receive(struct api *a, struct message *m) {
    struct channel *ch = m->type == MESSAGE_FRAME || m->type == MESSAGE_SYNCED ? channel_get(a, m->channel) : channel_find(a, m->channel);
    if (m->type == MESSAGE_FRAME) {
        channel_publish(ch, m->frame);
    } else if (m->type == MESSAGE_SYNCED) {
        channel_synced(ch, m->pos);
    } else if (m->type == MESSAGE_DISCONNECT && ch && ch->feed) {
        feed_disconnect(ch->feed, m->disconnect);
    } else if (m->type == MESSAGE_DROP && ch) {
        channel_free(a, ch);
    }
    if (m->type == MESSAGE_DISCONNECT) {
        mem_free(m->disconnect);
    }
}

static const struct channel *channel_expected(const struct api *a, uint64_t number) {
    return hash_expected(&a->channels->hh, &number, sizeof number);
}

static void frame_prefetch(const struct api *a, const struct message *m, unsigned steps_left) {
    const struct channel *ch = steps_left < FEED_EXPECT_STEPS ? channel_expected(a, m->channel) : NULL;
    if (steps_left == API_PREFETCH_STEPS - 1) {
        fetch_ahead(m->frame, FETCH_LINE);
        fetch_ahead(hash_bucket(&a->channels->hh, &m->channel, sizeof m->channel), 1);
    } else if (steps_left == FEED_EXPECT_STEPS) {
        fetch_ahead(channel_expected(a, m->channel), sizeof *ch);
    } else if (ch && ch->feed) {
        feed_expect(ch->feed, steps_left);
    }
}

void api_prefetch(const struct api *a, const struct message *m, unsigned steps_left) {
    if (m->type == MESSAGE_FRAME && a->channels) {
        frame_prefetch(a, m, steps_left);
    } else if (m->type == MESSAGE_ANSWER && steps_left == 1) {
        fetch_ahead(m->cmd, FETCH_LINE);
        fetch_ahead(&m->cmd->answer, sizeof m->cmd->answer);
    } else if (m->type == MESSAGE_ANSWER && steps_left == 0) {
        fetch_ahead(m->cmd->answer.body.data, m->cmd->answer.body.len);
    }
}

static void unwatch(struct api *a, uint64_t channel, uint32_t tag) {
    a->engine.unwatch(a->engine.arg, channel, tag);
    api_kick(a);
}

/* When a page's waiting is over; 0: at once. */
static int64_t until_of(const struct call *call, const struct cmd *c) {
    return call->page && c->wait_ms > 0 && !c->head ? http_loop_now(call->api->loop) + c->wait_ms : 0;
}

static void headers_events(const struct call *call) {
    headers_stream(call);
    http_add(call->r, STR("Content-Type"), STR("text/event-stream"));
}

/* Those of a page are decided when it leaves. */
static void headers_watcher(const struct call *call, enum watch_way way) {
    if (way == WATCH_SSE) {
        headers_events(call);
    } else if (way == WATCH_WEBSOCKET) {
        headers_common(call);
    }
}

void watch_page(void *arg, struct http_request *r, struct buf *body) {
    (void) arg;
    headers_common(r->user);
    http_add(r, STR("Content-Type"), STR("application/json"));
    encode_gzip(r, body);
}

static void count_opened(const struct call *call, const struct cmd *c) {
    int said = via_parse(query_get(&call->query, "via")), via = said >= 0 ? said : via_usual(call_upgrades(call), c->watch.page);
    atomic_fetch_add_explicit(&call->api->shared->config->via.opened[via], 1, memory_order_relaxed);
}

void watch_attach(struct api *a, struct call *call, struct cmd *c) {
    const struct answer *answer = &c->answer;
    struct channel *ch = channel_get(a, answer->channel);
    if (!ch->feed) {
        channel_open(a, ch, answer);
    }
    if (!call) {
        unwatch(a, answer->channel, answer->start.tag[0]);
        return;
    }
    struct watching *w = mem_alloc(sizeof *w);
    *w = (struct watching){.api = a, .channel = answer->channel, .tag = answer->start.tag[0]};
    struct watch_start start = {
        .way = call_upgrades(call) ? WATCH_WEBSOCKET
               : c->watch.page     ? WATCH_PAGE
                                   : WATCH_SSE,
        .from = answer->start,
        .user = w,
    };
    start.from.until_ms = until_of(call, c);
    headers_watcher(call, start.way);
    count_opened(call, c);
    if (!http_watch(call->r, ch->feed, &start)) {
        mem_free(w);
        unwatch(a, answer->channel, answer->start.tag[0]);
    }
}

void watch_head(struct call *call) {
    headers_events(call);
    http_respond_head(call->r, 200, true);
}

/* ---- streams that are at their end at once, so that EventSource, which gives up at any refusal, comes back ---- */

static bool fits_in_line(struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < 0x20 || text.p[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

/* The cursor to come back with is the one that was given, whatever it is good for; without one that of a fresh feed. STR_NONE: it cannot be said. */
static struct str cursor_to_give(const struct cmd *c, struct buf *scratch) {
    struct str given = c->watch.cursor;
    if (!given.len) {
        cursor_write(scratch, c->answer.cursor_prefix, (struct cursor){0});
        return buf_view(scratch);
    }
    return fits_in_line(given) ? given : STR_NONE;
}

static void short_stream(struct call *call, const struct cmd *c, unsigned retry_ms, const char *event, struct str data) {
    struct buf body = {0}, scratch = {0};
    struct str cursor = cursor_to_give(c, &scratch);
    event_write_open(&body, retry_ms, cursor);
    event_write_sse(&body, cursor, str_of(event), data);
    body.failed |= scratch.failed;
    buf_fini(&scratch);
    headers_events(call);
    http_respond(call->r, 200, &body, true);
}

void watch_rotated(struct call *call, const struct cmd *c) {
    short_stream(call, c, 2000, "session", buf_view(&c->answer.body));
}

void watch_crowded(struct call *call, const struct cmd *c) {
    struct buf data = {0};
    problem_render(&c->answer.problem, &data);
    short_stream(call, c, 30000, "problem", buf_view(&data));
    buf_fini(&data);
}

/* ---- refills ---- */

void watch_refill(void *arg, struct feed *f, struct watcher *watcher, uint64_t cursor, uint64_t gone_from, void *user) {
    struct api *a = arg;
    struct watching *w = user;
    (void) f;
    struct cmd *c = cmd_create_in(&a->cmds, CMD_WATCH_REFILL, a->loop_index);
    if (!c) {
        watcher_refill(watcher, NULL, 0, cursor, REFILL_FAILED);
        return;
    }
    c->channel = w->channel;
    c->cursor = cursor;
    c->gone_from = gone_from;
    c->watcher = w;
    c->method = STR("");
    c->path = c->body = STR("");
    w->watcher = watcher;
    w->refill = c;
    api_submit(a, c);
    api_kick(a);
}

void watch_refilled(struct cmd *c) {
    struct watching *w = c->watcher;
    struct answer *a = &c->answer;
    if (!w) { /* it left meanwhile */
        for (size_t i = 0; i < a->frame_count; i++) {
            frame_unref(a->frames[i]);
        }
        return;
    }
    struct watcher *watcher = w->watcher;
    w->refill = NULL;
    w->watcher = NULL;
    watcher_refill(watcher, a->frames, a->frame_count, a->upto, a->type == ANSWER_REFILL ? a->refill : REFILL_FAILED);
}

void watch_unwatched(void *arg, struct feed *f, void *user) {
    struct watching *w = user;
    (void) f;
    if (w->refill) {
        w->refill->watcher = NULL;
    }
    unwatch(arg, w->channel, w->tag);
    mem_free(w);
}
