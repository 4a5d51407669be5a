/*
 * Readers of feeds: a client has a watcher, whose connection takes an event now and then, is cut, leaves, and comes back with the last cursor it saw, over restarts
 * and crashes. On the way it checks that numbers rise, that each task's version rises, that nothing is shown to it that is not its own, that output has neither hole
 * nor repetition, and that it is not sent away without a reason.
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

static bool gone_before(const struct client *c, struct id id, uint64_t seq) {
    for (size_t i = 0; i < c->gone_count && seq <= c->gone_upto; i++) {
        if (id_eq(c->gone[i], id)) {
            return true;
        }
    }
    return false;
}

static void see_task(struct client *c, const struct json *j) {
    struct id id = id_of(text_of(j, "id"), ID_TASK), session = id_of(text_of(j, "session"), ID_SESSION);
    uint64_t version = number_of(j, "version");
    bool mine = c->target == WATCH_TASK ? id_eq(id, c->id) && (c->cred != CRED_SESSION || id_eq(session, c->cred_id)) : id_eq(session, c->id);
    if (!mine) {
        broken("client %u was shown task %s, which is not its own", client_number(c), name_of(id));
    }
    if (gone_before(c, id, version)) {
        broken("client %u came fresh and was shown task %s, which had gone before", client_number(c), name_of(id));
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
    bool over = c->target != WATCH_TASK && c->watcher->finishing; /* its tasks go on elsewhere, and it is not told */
    bool may_jump = sim.options.max_output_per_task < 100000 || (known && known->left) || over || c->lost ||
                    c->channel->lost; /* what is gone is not sent any more */
    bool ghost = gone_before(c, id, number_of(j, "seq"));
    if ((c->target == WATCH_TASK && !id_eq(id, c->id)) || !c->output || ghost) {
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

/* Fresh, or told to forget: everything begins anew. */
static void client_anew(struct client *c) {
    view_clear(c);
    c->last_seq = 0;
}

static void cursor_keep(struct client *c, struct str text) {
    snprintf(c->cursor, sizeof(c->cursor), "%.*s", STR_FMT(text));
}

static void cursor_set(struct client *c, uint64_t number) {
    struct buf text = {0};
    source_put_cursor(c->watcher, &text, number);
    cursor_keep(c, buf_view(&text));
    buf_fini(&text);
}

static void client_event(struct client *c, struct str id, struct str event, const struct json *data) {
    sim.counts.events++;
    trace("client %u reads %.*s %.*s", client_number(c), STR_FMT(id), STR_FMT(data->raw));
    if (str_eqz(event, "reset")) {
        client_anew(c);
    } else {
        uint64_t seq = number_of(data, "seq");
        if (seq <= c->last_seq) {
            broken("client %u: number %llu after %llu", client_number(c), (unsigned long long) seq, (unsigned long long) c->last_seq);
        }
        c->last_seq = seq;
        see_event(c, event, data);
    }
    cursor_keep(c, id);
}

/* ---- leaving ---- */

static void client_leave(struct client *c, bool say) {
    if (c->state == CLIENT_READING) {
        trace("client %u leaves channel %llu at %s", client_number(c), (unsigned long long) c->channel->number, c->cursor);
        c->channel->readers--;
        if (say) {
            letter_send(c->loop, (struct letter){.type = LETTER_UNWATCH, .channel = c->channel->number, .tag = c->watcher->tag[0]});
        }
        source_leave(c->watcher);
        page_close(c->watcher);
        frame_unref(c->watcher->last);
        mem_free(c->watcher);
        mem_free(c->gone);
        c->gone = NULL;
        c->gone_count = 0;
        if (c->refill_call) {
            c->refill_call->client = NULL;
            c->refill_call = NULL;
        }
    }
    c->state = CLIENT_AWAY;
    c->channel = NULL;
    c->watcher = NULL;
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

/* Its feed has ended for it, with an event or without. */
static void client_last_words(struct client *c, struct str event, const struct json *data) {
    bool session = str_eqz(event, "session");
    if (!data) {
        client_finished(c);
    } else if (!session) {
        see_event(c, event, data);
    } else if (str_eqz(text_of(data, "state"), "ended") && c->target != WATCH_TASK) {
        struct known_session *s = session_known(c->id);
        s->ended = s->ended || !sim.dead;
    }
    if (data) {
        trace("client %u is told at the end: %.*s", client_number(c), STR_FMT(data->raw));
    }
}

static void client_ends(struct client *c, const struct frame *last) {
    struct arena arena = {0};
    client_last_words(c, last ? frame_event(last) : STR_NONE, last ? parse(&arena, frame_data(last)) : NULL);
    client_leave(c, true);
    arena_fini(&arena);
}

static void client_cut(struct client *c, const struct disconnect *cut) {
    struct frame *last = cut->event ? frame_create(FRAME_LOG, 0, NULL, STR(""), str_of(cut->event), cut->data) : NULL;
    switch (cut->how) {
    case DISCONNECT_DEAD: client_let_go(c); break;
    case DISCONNECT_AWAY: client_sent_away(c, "its channel cut"); break;
    case DISCONNECT_FINISHED: source_finish(c->watcher, last); break;
    case DISCONNECT_AT_ONCE:
        if (c->page) {
            client_leave(c, true); /* 401 */
        } else {
            client_ends(c, last);
        }
        break;
    }
    frame_unref(last);
}

void channel_cut_readers(struct channel_here *ch, const struct disconnect *cut) {
    trace("channel %llu is cut: mask %u below %u how %d %s", (unsigned long long) ch->number, cut->mask, cut->below, (int) cut->how,
          cut->event ? cut->event : "");
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &sim.clients[i];
        if (c->state == CLIENT_READING && c->channel == ch && (c->watcher->tag[0] & cut->mask) && c->watcher->tag[1] < cut->below) {
            client_cut(c, cut);
        }
    }
}

/* ---- reading ---- */

void client_ask_refill(void *arg, struct feed *f, struct watcher *w, uint64_t cursor, uint64_t gone_from, void *user) {
    struct client *c = user;
    struct call *call = mem_alloc(sizeof(*call));
    (void) arg, (void) f, (void) w;
    recipe_key(&call->r, CMD_WATCH_REFILL);
    call->number = ++sim.calls_made;
    call->cmd = cmd_create(CMD_WATCH_REFILL, c->loop);
    call->cmd->owner = call;
    call->cmd->channel = c->channel->number;
    call->cmd->cursor = cursor;
    call->cmd->gone_from = gone_from;
    call->cmd->method = call->cmd->path = call->cmd->body = STR("");
    call->client = c;
    call->failures = sim.failures;
    c->refill_call = call;
    sim.counts.refills++;
    trace("client %u asks for a refill behind %llu, call %llu", client_number(c), (unsigned long long) cursor, (unsigned long long) call->number);
    TAILQ_INSERT_TAIL(&sim.calls, call, link);
    letter_send(c->loop, (struct letter){.type = LETTER_SUBMIT, .call = call});
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
    if (a->type == ANSWER_REFILL && a->refill == REFILL_LOST) {
        c->lost = c->channel->lost = true;
    }
    trace("client %u is given %zu frames up to %llu", client_number(c), a->frame_count, (unsigned long long) a->upto);
    source_refilled(c->watcher, a->frames, a->frame_count, a->upto, a->type == ANSWER_REFILL ? a->refill : REFILL_FAILED);
    a->frame_count = 0;
}

static void client_is_live(struct client *c) {
    trace("client %u is live at %llu", client_number(c), (unsigned long long) c->watcher->live_seq);
    source_passed_live(c->watcher);
    cursor_set(c, c->watcher->live_seq);
}

static void client_frame(struct client *c, struct frame *f) {
    struct arena arena = {0};
    struct frame *renamed = source_renamed(c->watcher, f);
    client_event(c, frame_id(renamed ? renamed : f), frame_event(f), parse(&arena, frame_data(f)));
    sim.counts.renamed += renamed != NULL;
    frame_unref(renamed);
    source_passed(c->watcher, f);
    arena_fini(&arena);
}

/* The loop's feed has forgotten what lies behind its cursor. */
static void client_starts_over(struct client *c) {
    trace("client %u begins anew", client_number(c));
    sim.counts.resets++;
    source_restart(c->watcher);
    client_anew(c);
    cursor_set(c, 0);
}

/* One event, or the end. False: nothing more now. */
static bool read_one(struct client *c) {
    struct source s;
    struct frame *f;
    switch (source_open(&s, c->watcher)) {
    case SOURCE_WAITS: return false;
    case SOURCE_FAILED: client_sent_away(c, "a refill of no use"); return false;
    case SOURCE_BEHIND: client_starts_over(c); return true;
    case SOURCE_READY: break;
    }
    switch (source_next(&s, &f)) {
    case NEXT_NOTHING: return source_refill_done(c->watcher);
    case NEXT_FRAME: client_frame(c, f); return true;
    case NEXT_LIVE: client_is_live(c); return true;
    case NEXT_END: client_ends(c, c->watcher->last); return false;
    }
    return false;
}

static void page_answered(struct client *c) {
    struct arena arena = {0};
    struct buf body = {0};
    bool ends = c->watcher->finishing;
    page_write(c->watcher, &body);
    const struct json *root = parse(&arena, buf_view(&body)), *j = member_of(root, "events")->child;
    for (; j; j = j->next) {
        struct str event = text_of(j, "event");
        if (ends && c->watcher->last && !j->next) {
            client_last_words(c, event, member_of(j, "data"));
        } else {
            client_event(c, text_of(j, "id"), event, member_of(j, "data"));
        }
    }
    cursor_keep(c, text_of(root, "cursor"));
    sim.counts.part_pages += strchr(c->cursor, '.') != NULL;
    client_leave(c, true);
    buf_fini(&body);
    arena_fini(&arena);
}

static void page_read(struct client *c) {
    c->watcher->page->due |= chance(4); /* its time is up */
    switch (page_gather(c->watcher)) {
    case PAGE_WAITS: break;
    case PAGE_FAILED: client_sent_away(c, "a refill of no use"); break;
    case PAGE_READY: page_answered(c); break;
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
        const struct watcher *w = c->watcher;
        if (c->state == CLIENT_ASKING || (w && (w->refilling || w->refill || w->finishing))) {
            return true;
        }
    }
    return false;
}

/* ---- coming ---- */

/* Often the one that another reads: those who come while its feed catches up see more of what can go wrong. */
static struct known_session *session_to_read(void) {
    const struct client *other = &sim.clients[dice(CLIENTS)];
    bool same = chance(2) && other->used && other->target != WATCH_TASK;
    return same ? session_known(other->id) : session_random();
}

static void client_new(struct client *c) {
    struct known_session *s = session_to_read();
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
    struct watch_start start = {.way = c->page ? WATCH_PAGE : WATCH_SSE, .from = a->start, .user = c};
    sim.counts.resets += a->start.reset;
    c->channel = channel_opened(call);
    c->channel->readers++;
    c->state = CLIENT_READING;
    c->failures = call->failures;
    c->watcher = mem_alloc(sizeof(*c->watcher));
    source_join(c->watcher, c->channel->feed, &start);
    if (a->start.fresh && c->target != WATCH_TASK) {
        c->gone_upto = a->start.live_seq;
        c->gone = gone_until(c->id, c->gone_upto, &c->gone_count);
    }
    if (c->page) {
        page_open(c->watcher, &start);
    } else if (a->start.fresh) {
        client_anew(c);
        cursor_set(c, 0);
    }
    trace("client %u watches channel %llu from %llu, live is %llu", client_number(c), (unsigned long long) a->channel,
          (unsigned long long) c->watcher->cursor, (unsigned long long) a->start.live_seq);
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
            channel_opened(call);
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
