/*
 * Readers of feeds: a client is a cursor that moves when its connection takes bytes, asks for a refill when what it needs lies further back than its loop
 * remembers, is cut, leaves, and comes back with the last cursor it saw, over restarts and crashes. On the way it checks that numbers rise, that each task's
 * version rises, that nothing is shown to it that is not its own, and that output has neither hole nor repetition.
 */
#include "sim.h"

#include "base/mem.h"

#include <stdio.h>

/* ---- what a client has seen ---- */

static void view_clear(struct client *c) {
    struct seen_task *t, *t2;
    HASH_ITER (hh, c->view, t, t2) {
        HASH_DEL(c->view, t);
        mem_free(t);
    }
}

static struct seen_task *view_get(struct client *c, struct id id) {
    struct seen_task *t;
    HASH_FIND(hh, c->view, &id, sizeof(id), t);
    if (!t) {
        t = mem_alloc(sizeof(*t));
        t->id = id;
        HASH_ADD(hh, c->view, id, sizeof(t->id), t);
    }
    return t;
}

static void view_remove(struct client *c, struct id id) {
    struct seen_task *t;
    HASH_FIND(hh, c->view, &id, sizeof(id), t);
    if (t) {
        HASH_DEL(c->view, t);
        mem_free(t);
    }
}

static unsigned client_number(const struct client *c) {
    return (unsigned) (c - sim.clients);
}

static void see_task(struct client *c, const struct json *j) {
    struct id id = id_of(text_of(j, "id"), ID_TASK), session = id_of(text_of(j, "session"), ID_SESSION);
    uint64_t version = number_of(j, "version");
    bool mine = c->target == WATCH_TASK ? id_eq(id, c->id) && (c->cred != CRED_SESSION || id_eq(session, c->cred_id)) : id_eq(session, c->id);
    if (!mine) {
        broken("client %u was shown task %s, which is not its own", client_number(c), name_of(id));
    }
    struct seen_task *t = view_get(c, id);
    if (t->state && version <= t->version) {
        broken("client %u saw task %s in version %llu and then in %llu", client_number(c), name_of(id), (unsigned long long) t->version,
               (unsigned long long) version);
    }
    t->state = true;
    t->version = version;
    t->ended = task_state_parse(text_of(j, "state")) >= TASK_SUCCEEDED;
    task_hashes(j, &t->full, &t->loose);
}

static void see_output(struct client *c, const struct json *j) {
    struct id id = id_of(text_of(j, "task"), ID_TASK);
    struct seen_task *t = view_get(c, id);
    struct known_task *known = task_known(id);
    uint64_t offset = number_of(j, "offset");
    struct str data = text_of(j, "data");
    bool may_jump = sim.options.max_output_per_task < 100000 || (known && known->left) || c->lost; /* what is gone is not sent any more */
    if ((c->target == WATCH_TASK && !id_eq(id, c->id)) || !c->output) {
        broken("client %u was given output of task %s", client_number(c), name_of(id));
    }
    if (t->has_output ? offset < t->offset || (offset > t->offset && !may_jump) : offset && !may_jump && c->target == WATCH_TASK) {
        broken("client %u: output of task %s goes on at %llu instead of %llu", client_number(c), name_of(id), (unsigned long long) offset,
               (unsigned long long) t->offset);
    }
    if (!t->has_output && offset && !may_jump && known && !known->moved && !known->left && id_eq(known->session, c->id)) {
        broken("client %u: output of task %s begins at %llu", client_number(c), name_of(id), (unsigned long long) offset);
    }
    bool joined = t->has_output && offset == t->offset;
    output_check(id, data, &t->attempt, &t->record, &joined);
    t->has_output = true;
    t->offset = offset + data.len;
}

static void see_event(struct client *c, struct str event, const struct json *j) {
    struct id session = c->target == WATCH_TASK ? (struct id){0} : c->id;
    if (str_eqz(event, "output")) {
        if (!id_is_none(session)) {
            model_number(session, number_of(j, "seq"), id_of(text_of(j, "task"), ID_TASK), false);
        }
        see_output(c, j);
    } else if (json_get(j, "gone")) {
        struct id id = id_of(text_of(j, "gone"), ID_TASK);
        if (!id_is_none(session)) {
            model_number(session, number_of(j, "seq"), id, true);
        }
        view_remove(c, id);
    } else {
        see_task(c, json_get(j, "task"));
    }
}

static void client_event(struct client *c, const struct frame *f) {
    struct arena arena = {0};
    sim.counts.events++;
    if (f->seq <= c->last_seq) {
        broken("client %u: number %llu after %llu", client_number(c), (unsigned long long) f->seq, (unsigned long long) c->last_seq);
    }
    trace("client %u reads %.*s %.*s", client_number(c), STR_FMT(frame_id(f)), STR_FMT(frame_data(f)));
    c->last_seq = f->seq;
    snprintf(c->cursor, sizeof(c->cursor), "%.*s", STR_FMT(frame_id(f)));
    see_event(c, frame_event(f), parse(&arena, frame_data(f)));
    arena_fini(&arena);
}

static void cursor_set(struct client *c, uint64_t number) {
    size_t at = strlen(c->prefix);
    memcpy(c->cursor, c->prefix, at);
    snprintf(c->cursor + at, sizeof(c->cursor) - at, "%llu", (unsigned long long) number);
}

/* ---- leaving ---- */

static void refill_free(struct client *c) {
    for (size_t i = c->refill_at; i < c->refill_count; i++) {
        frame_unref(c->refill[i]);
    }
    mem_free(c->refill);
    c->refill = NULL;
    c->refill_count = c->refill_at = 0;
}

static void client_leave(struct client *c, bool say) {
    if (c->state == CLIENT_READING) {
        trace("client %u leaves channel %llu at %s", client_number(c), (unsigned long long) c->feed->channel, c->cursor);
        c->feed->readers--;
        if (say) {
            letter_send(c->loop, (struct letter){.type = LETTER_UNWATCH, .channel = c->feed->channel, .tag = c->tag[0]});
        }
        refill_free(c);
        while (c->held_count) {
            frame_unref(c->held[--c->held_count]);
        }
        mem_free(c->held);
        c->held = NULL;
        if (c->refill_call) {
            c->refill_call->client = NULL;
            c->refill_call = NULL;
        }
        mem_free(c->last_data);
        c->last_data = NULL;
    }
    c->state = CLIENT_AWAY;
    c->feed = NULL;
}

void client_forget(struct client *c) {
    client_leave(c, true);
    if (c->call) {
        c->call->client = NULL;
    }
    view_clear(c);
    *c = (struct client){0};
}

void clients_close(bool say) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_leave(&sim.clients[i], say);
        if (!say) {
            sim.clients[i].call = sim.clients[i].refill_call = NULL;
        }
    }
}

/* Fresh, or told to forget: everything begins anew. */
static void client_anew(struct client *c, uint64_t cursor) {
    view_clear(c);
    c->last_seq = 0;
    cursor_set(c, cursor);
}

static void page_answer(struct client *c) {
    if (c->fresh) {
        client_anew(c, c->live_seq);
    }
    for (size_t i = 0; i < c->held_count; i++) {
        client_event(c, c->held[i]);
    }
    bool on_the_way = c->last_seq && c->last_seq < c->gone_floor && c->last_seq < c->gone_from;
    if (on_the_way && c->held_count < c->page_most) {
        cursor_set(c, c->gone_from);
    } else if (on_the_way) {
        size_t at = strlen(c->cursor);
        snprintf(c->cursor + at, sizeof(c->cursor) - at, ".%llu", (unsigned long long) c->gone_from);
        sim.counts.part_pages++;
    }
    client_leave(c, true);
}

/* ---- cuts ---- */

static bool resets_allowed(void) {
    return sim.dead || sim.options.max_gone_per_session < 100 || sim.options.tombstone_ttl < 3600 * SEC;
}

/* It is to come back with its cursor, although nothing has ended: only where something was lost since it came. */
static void client_sent_away(struct client *c, const char *why) {
    if (c->failures == sim.failures && !resets_allowed()) {
        broken("client %u was sent away, %s, although nothing has ended and nothing was lost", client_number(c), why);
    }
    client_leave(c, true);
}

/* Its credential is no longer good. */
static void client_let_go(struct client *c) {
    bool known = c->cred == CRED_SESSION || c->cred == CRED_WATCH;
    if (!known) {
        broken("client %u was cut off, although the backend's key is as good as ever", client_number(c));
    }
    client_leave(c, true);
}

/* The feed of a task has come to its end for it: it has seen how the task ended. */
static void client_finished(struct client *c) {
    struct seen_task *t;
    HASH_FIND(hh, c->view, &c->id, sizeof(c->id), t);
    if (c->target != WATCH_TASK || !t || !t->ended) {
        broken("client %u came to the end of a feed that has none: the last state of task %s was not there", client_number(c), name_of(c->id));
    }
}

static void client_last_words(struct client *c) {
    struct arena arena = {0};
    if (c->page) {
        page_answer(c);
        return;
    }
    if (c->last_data) {
        const struct json *j = parse(&arena, str_of(c->last_data));
        bool session = strcmp(c->last_event, "session") == 0;
        trace("client %u is told at the end: %s", client_number(c), c->last_data);
        if (!session) {
            see_event(c, str_of(c->last_event), j);
        } else if (str_eqz(text_of(j, "state"), "ended") && c->target != WATCH_TASK) {
            struct known_session *s = session_known(c->id);
            s->ended = s->ended || !sim.dead;
        }
        arena_fini(&arena);
    } else {
        client_finished(c);
    }
    client_leave(c, true);
}

static void client_cut(struct client *c, const struct disconnect *cut) {
    if (cut->how == DISCONNECT_DEAD) {
        client_let_go(c);
        return;
    }
    if (cut->how == DISCONNECT_AWAY) {
        client_sent_away(c, "its channel cut");
        return;
    }
    if (!c->cutting || (!c->last_data && cut->event) || cut->how == DISCONNECT_AT_ONCE) {
        mem_free(c->last_data);
        c->last_event = cut->event;
        c->last_data = mem_strdup(cut->data);
        c->cut_seq = !cut->event ? UINT64_MAX : feed_upto(c->feed) > c->live_seq ? feed_upto(c->feed) : c->live_seq;
    }
    c->cutting = true;
    if (cut->how == DISCONNECT_AT_ONCE) {
        if (c->page) {
            client_leave(c, true); /* 401 */
        } else {
            client_last_words(c);
        }
    }
}

void feed_cut_readers(struct feed *f, const struct disconnect *cut) {
    trace("channel %llu is cut: mask %u below %u how %d %s", (unsigned long long) f->channel, cut->mask, cut->below, (int) cut->how,
          cut->event ? cut->event : "");
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &sim.clients[i];
        if (c->state == CLIENT_READING && c->feed == f && (c->tag[0] & cut->mask) && c->tag[1] < cut->below) {
            client_cut(c, cut);
        }
    }
}

/* ---- reading ---- */

static void ask_refill(struct client *c) {
    struct call *call = mem_alloc(sizeof(*call));
    recipe_key(&call->r, CMD_WATCH_REFILL);
    call->number = ++sim.calls_made;
    call->cmd = cmd_create(CMD_WATCH_REFILL, c->loop);
    call->cmd->owner = call;
    call->cmd->channel = c->feed->channel;
    call->cmd->cursor = c->at;
    call->cmd->gone_from = c->gone_from;
    call->cmd->method = call->cmd->path = call->cmd->body = STR("");
    call->client = c;
    call->failures = sim.failures;
    c->refill_call = call;
    sim.counts.refills++;
    trace("client %u asks for a refill behind %llu, call %llu", client_number(c), (unsigned long long) c->at, (unsigned long long) call->number);
    TAILQ_INSERT_TAIL(&sim.calls, call, link);
    letter_send(c->loop, (struct letter){.type = LETTER_SUBMIT, .call = call});
}

/* The next frame behind the cursor; NULL with *ret_waits set where a refill is under way, or the feed is not as far yet as what had gone when it came. */
static struct frame *client_peek(struct client *c, bool *ret_waits) {
    struct frame **list = c->feed->frames;
    size_t count = c->feed->count, at = 0;
    *ret_waits = c->refill_call || (!c->feed->log && c->at < c->gone_from && feed_upto(c->feed) < c->gone_from);
    if (*ret_waits) {
        return NULL;
    }
    if (c->refill) {
        list = c->refill;
        count = c->refill_count;
        at = c->refill_at;
    } else if (c->feed->log && c->at < c->feed->log_floor) {
        ask_refill(c);
        *ret_waits = true;
        return NULL;
    }
    for (; at < count; at++) {
        bool over = !c->refill && feed_is_over(c->feed, at);
        bool old = (over && list[at]->seq <= c->live_seq) || (list[at]->kind == FRAME_GONE && list[at]->seq <= c->gone_from);
        if (list[at]->seq > (c->refill ? 0 : c->at) && !old) {
            return list[at];
        }
    }
    return NULL;
}

static void client_take(struct client *c, struct frame *f) {
    if (c->page) {
        c->held = mem_resize(c->held, (c->held_count + 1) * sizeof(c->held[0]));
        c->held[c->held_count++] = frame_ref(f);
    } else {
        client_event(c, f);
    }
    c->at = f->seq;
    while (c->refill) {
        struct frame *one = c->refill[c->refill_at++];
        bool that = one == f;
        frame_unref(one);
        if (that) {
            break;
        }
    }
}

/* The refill is used up. False: there was none. */
static bool refill_done(struct client *c) {
    if (!c->refill) {
        return false;
    }
    c->at = c->refill_upto > c->at ? c->refill_upto : c->at;
    c->refill_failed = c->at == c->refill_from;
    refill_free(c);
    return true;
}

void client_refilled(struct call *call) {
    struct client *c = call->client;
    struct answer *a = &call->cmd->answer;
    if (!c) {
        answer_unref(a);
        return;
    }
    c->refill_call = NULL;
    call->client = NULL;
    if (a->type != ANSWER_REFILL || a->failed) {
        answer_unref(a);
        c->refill_failed = true;
        return;
    }
    if (a->lost) {
        c->lost = true;
        c->feed->log_floor = 0;
        return;
    }
    trace("client %u is given %zu frames up to %llu", client_number(c), a->frame_count, (unsigned long long) a->upto);
    c->refill = mem_alloc((a->frame_count + 1) * sizeof(c->refill[0]));
    memcpy(c->refill, a->frames, a->frame_count * sizeof(c->refill[0]));
    c->refill_count = a->frame_count;
    c->refill_at = 0;
    c->refill_from = c->at;
    c->refill_upto = a->upto;
    a->frame_count = 0;
}

static void live_event(struct client *c) {
    c->live_sent = true;
    c->at = c->at > c->live_seq ? c->at : c->live_seq;
    cursor_set(c, c->at);
    trace("client %u is live at %llu", client_number(c), (unsigned long long) c->live_seq);
}

/* One event, or the end. False: nothing more now. */
static bool read_one(struct client *c) {
    bool waits;
    if (c->refill_failed) {
        client_sent_away(c, "a refill of no use");
        return false;
    }
    struct frame *f = client_peek(c, &waits);
    bool covered = c->at >= c->live_seq || (c->refill ? c->refill_upto : feed_upto(c->feed)) >= c->live_seq;
    if (waits) {
        return false;
    }
    if (!c->page && !c->live_sent && (f ? f->seq > c->live_seq : covered)) {
        live_event(c);
        return true;
    }
    if (c->cutting && (f ? f->seq > c->cut_seq : !c->refill)) {
        client_last_words(c);
        return false;
    }
    if (!f) {
        return refill_done(c);
    }
    client_take(c, f);
    return true;
}

static void page_read(struct client *c) {
    if (feed_upto(c->feed) < c->live_seq && c->at < c->live_seq) {
        return;
    }
    while (c->state == CLIENT_READING && c->held_count < c->page_most && read_one(c)) {
    }
    if (c->state == CLIENT_READING && c->held_count == c->page_most) {
        page_answer(c);
        return;
    }
    if (c->state == CLIENT_READING && !c->refill && !c->refill_call && (c->held_count || chance(4))) { /* or time is up */
        page_answer(c);
    }
}

static bool client_read(struct client *c, unsigned most) {
    bool any = false;
    if (c->page) {
        page_read(c);
        return false;
    }
    while (c->state == CLIENT_READING && most-- && read_one(c)) {
        any = true;
    }
    return any;
}

void clients_read_all(void) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (sim.clients[i].state == CLIENT_READING) {
            client_read(&sim.clients[i], UINT32_MAX);
        }
    }
}

bool clients_moving(void) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        const struct client *c = &sim.clients[i];
        if (c->state == CLIENT_ASKING || c->refill_call || (c->state == CLIENT_READING && (c->refill || c->cutting))) {
            return true;
        }
    }
    return false;
}

/* ---- coming ---- */

static void client_new(struct client *c) {
    struct known_session *s = session_random();
    struct known_task *t = task_random();
    if (!s || !t) {
        return;
    }
    *c = (struct client){.used = true, .slow = 1 + (unsigned) dice(6), .page = chance(5)};
    if (chance(3)) {
        c->target = WATCH_TASK;
        c->id = t->id;
        c->output = true;
        c->cred = chance(2) ? CRED_WATCH : chance(2) ? CRED_SESSION : CRED_KEY;
        c->cred_id = c->cred == CRED_WATCH ? t->id : t->session;
        c->gen = c->cred == CRED_WATCH ? t->watch_gen : session_known(t->session) ? session_known(t->session)->gen : 1;
    } else {
        c->cred = chance(3) ? CRED_KEY : CRED_SESSION;
        c->target = c->cred == CRED_SESSION ? WATCH_OWN_SESSION : WATCH_SESSION;
        c->id = c->cred_id = s->id;
        c->gen = s->gen;
        c->output = chance(2);
    }
}

static void client_renew(struct client *c) {
    struct known_session *s = c->cred == CRED_SESSION ? session_known(c->cred_id) : NULL;
    struct known_task *t = c->cred == CRED_WATCH ? task_known(c->cred_id) : NULL;
    if (!chance(6)) {
        c->gen = s ? s->gen : t ? t->watch_gen : 0;
    }
}

static void client_connect(struct client *c) {
    struct recipe r;
    client_renew(c);
    recipe_key(&r, CMD_WATCH);
    r.cred = c->cred;
    r.cred_id = c->cred == CRED_KEY ? (struct id){0} : c->cred_id;
    r.cred_gen = c->gen;
    r.target = c->target;
    r.output = c->output && c->target != WATCH_TASK;
    r.page = c->page;
    r.sse = chance(2);
    r.wait_ms = c->page ? (int64_t) dice(2000) : CMD_NO_WAIT;
    if (c->target == WATCH_TASK) {
        r.task = c->id;
    } else {
        r.session = c->id;
    }
    if (c->cursor[0] && chance(25)) {
        snprintf(c->cursor, sizeof(c->cursor), chance(2) ? "nonsense" : "00000000-0000000000000000-7");
    }
    snprintf(r.cursor, sizeof(r.cursor), "%s", c->cursor);
    sim.counts.resumes += c->cursor[0] != '\0';
    c->loop = (unsigned) dice(LOOPS);
    c->state = CLIENT_ASKING;
    command_send(&r, c->loop, &c->call);
    c->call->client = c;
    trace("client %u comes with cursor \"%s\"", client_number(c), c->cursor);
}

static void client_attach(struct client *c, struct call *call) {
    const struct answer *a = &call->cmd->answer;
    bool good_cursor = c->cursor[0] && strncmp(c->cursor, "nonsense", 8) != 0 && strncmp(c->cursor, "00000000-", 9) != 0;
    if ((a->start.reset && good_cursor && !resets_allowed()) || a->start.fresh == (good_cursor && !a->start.reset) ||
        (a->start.reset && !c->cursor[0])) {
        broken("client %u came with cursor \"%s\" and was given fresh %d, reset %d", client_number(c), c->cursor, a->start.fresh, a->start.reset);
    }
    snprintf(c->prefix, sizeof(c->prefix), "%.*s", STR_FMT(a->cursor_prefix));
    if (a->start.fresh && !c->page) {
        client_anew(c, 0);
    }
    sim.counts.resets += a->start.reset;
    c->feed = feed_opened(call);
    c->feed->readers++;
    c->failures = call->failures;
    c->state = CLIENT_READING;
    c->tag[0] = a->start.tag[0];
    c->tag[1] = a->start.tag[1];
    c->at = a->start.fresh ? 0 : a->start.cursor;
    c->live_seq = a->start.live_seq;
    c->fresh = a->start.fresh;
    c->gone_from = a->start.fresh ? a->start.live_seq : a->start.gone_from;
    c->gone_floor = a->start.gone_floor;
    c->page_most = chance(3) ? 1 + dice(4) : SIZE_MAX;
    c->live_sent = c->cutting = c->refill_failed = false;
    trace("client %u watches channel %llu from %llu, live is %llu", client_number(c), (unsigned long long) a->channel, (unsigned long long) c->at,
          (unsigned long long) c->live_seq);
}

/* There is nothing more to come on this feed. */
static void client_over(struct client *c) {
    struct seen_task *t;
    HASH_FIND(hh, c->view, &c->id, sizeof(c->id), t);
    if (c->target == WATCH_TASK && c->cred != CRED_SESSION && !(t && t->ended)) {
        broken("client %u was told that the feed is over without having seen the end of task %s", client_number(c), name_of(c->id));
    }
    client_forget(c);
}

void client_answered(struct call *call) {
    struct client *c = call->client;
    const struct answer *a = &call->cmd->answer;
    if (!c) {
        if (a->type == ANSWER_WATCH) {
            feed_opened(call);
            letter_send(loop_of(call), (struct letter){.type = LETTER_UNWATCH, .channel = a->channel, .tag = a->start.tag[0]});
        }
        return;
    }
    c->call = NULL;
    call->client = NULL;
    c->state = CLIENT_AWAY;
    if (a->type == ANSWER_WATCH) {
        client_attach(c, call);
    } else if (a->type == ANSWER_NONE && a->status == 204) {
        client_over(c);
    } else if (a->type == ANSWER_PROBLEM && a->problem.err != ERR_UNAVAILABLE && chance(3)) {
        client_forget(c);
    }
}

void client_random(void) {
    struct client *c = &sim.clients[dice(CLIENTS)];
    if (!c->used) {
        client_new(c);
    } else if (c->state == CLIENT_AWAY) {
        if (chance(30)) {
            client_forget(c);
        } else if (chance(2)) {
            client_connect(c);
        }
    } else if (c->state == CLIENT_READING) {
        if (chance(c->slow)) {
            client_read(c, 1 + (unsigned) dice(5));
        }
        if (c->state == CLIENT_READING && chance(60)) {
            client_leave(c, true);
        }
    } else if (c->state == CLIENT_ASKING && chance(40) && c->call) {
        call_abandon(c->call);
    }
}
