#include "client/reporter.h"

#include <signal.h>
#include <stdlib.h>

static bool mux_messages(struct mux *m) {
    bool any = false;
    int left;
    for (CURLMsg *msg; (msg = curl_multi_info_read(m->multi, &left));) {
        struct line *l = NULL;
        if (msg->msg == CURLMSG_DONE) {
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &l);
            reporter_done(l, m->multi, msg->data.result);
            any = true;
        }
    }
    return any;
}

/* Steps every reporter and lets go of those that are closing. Gives back when the next one is due, or -1 to end. */
static int64_t mux_step(struct mux *m) {
    int64_t now_ms = mono_ms(), due_ms = now_ms + 60000;
    pthread_mutex_lock(&m->lock);
    for (struct bowline_reporter **at = &m->reporters; *at;) {
        struct bowline_reporter *r = *at;
        if (r->closing) {
            *at = r->next;
            reporter_detach(r, m->multi);
            r->detached = true;
            pthread_cond_broadcast(&m->detached);
            continue;
        }
        int64_t next_ms = reporter_step(r, m->multi, now_ms);
        due_ms = next_ms < due_ms ? next_ms : due_ms;
        at = &r->next;
    }
    if (m->stop && !m->reporters) {
        due_ms = -1;
    }
    pthread_mutex_unlock(&m->lock);
    return due_ms;
}

static void *mux_run(void *arg) {
    struct mux *m = arg;
    for (int64_t due_ms; (due_ms = mux_step(m)) >= 0;) {
        int running;
        curl_multi_perform(m->multi, &running);
        if (mux_messages(m)) {
            continue; /* what came may make something due */
        }
        int64_t wait_ms = due_ms - mono_ms();
        curl_multi_poll(m->multi, NULL, 0, wait_ms > 0 ? (int) wait_ms : 0, NULL);
    }
    return NULL;
}

void mux_wake(struct mux *m) {
    curl_multi_wakeup(m->multi);
}

/* Signals are the application's: none may land here. */
static int thread_start(struct mux *m) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&m->thread, NULL, mux_run, m);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? BOWLINE_SYSTEM : BOWLINE_OK;
}

static int mux_create(bowline_client *c, struct mux **ret_mux) {
    struct mux *m = calloc(1, sizeof *m);
    if (!m) {
        return BOWLINE_NO_MEMORY;
    }
    m->client = c;
    m->multi = curl_multi_init();
    int error = m->multi ? BOWLINE_OK : BOWLINE_NO_MEMORY;
    if (error) {
        goto no_multi;
    }
    error = BOWLINE_SYSTEM;
    if (pthread_mutex_init(&m->lock, NULL) != 0) {
        goto no_lock;
    }
    if (pthread_cond_init(&m->detached, NULL) != 0) {
        goto no_cond;
    }
    error = thread_start(m);
    if (!error) {
        *ret_mux = m;
        return BOWLINE_OK;
    }
    pthread_cond_destroy(&m->detached);
no_cond:
    pthread_mutex_destroy(&m->lock);
no_lock:
    curl_multi_cleanup(m->multi);
no_multi:
    free(m);
    return error;
}

int mux_get(bowline_client *c, struct mux **ret_mux) {
    pthread_mutex_lock(&c->lock);
    int error = c->mux ? BOWLINE_OK : mux_create(c, &c->mux);
    *ret_mux = c->mux;
    pthread_mutex_unlock(&c->lock);
    return error;
}

void mux_stop(struct mux *m) {
    if (!m) {
        return;
    }
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_mutex_unlock(&m->lock);
    mux_wake(m);
    pthread_join(m->thread, NULL);
    curl_multi_cleanup(m->multi);
    pthread_cond_destroy(&m->detached);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void mux_add(struct mux *m, struct bowline_reporter *r) {
    pthread_mutex_lock(&m->lock);
    r->next = m->reporters;
    m->reporters = r;
    pthread_mutex_unlock(&m->lock);
    mux_wake(m);
}

void mux_remove(struct mux *m, struct bowline_reporter *r) {
    pthread_mutex_lock(&m->lock);
    r->closing = true;
    mux_wake(m);
    while (!r->detached) {
        pthread_cond_wait(&m->detached, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
}
