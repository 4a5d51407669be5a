/*
 * watch.h: the parts of a watch. watch.c is the handle and the way of a connection: connecting, open, waiting to connect again, over; watch_event.c turns events of the stream into those of the caller.
 */
#ifndef BOWLINE_CLIENT_WATCH_H
#define BOWLINE_CLIENT_WATCH_H

#include "client/io.h"
#include "base/sse.h"

enum watch_state {
    WATCH_PAUSED,  /* connects at connect_ms */
    WATCH_OPEN,    /* a request is under way or its answer streams */
    WATCH_HELD,    /* its credential is dead after a rotation: waits for another one */
    WATCH_FINISHED /* `error` says how */
};

struct bowline_watch {
    bowline_client *client;
    char *credential; /* NULL: the client's */
    struct buf path;
    bool of_task, output;
    int64_t silence_ms;
    bowline_event_fn on_event;
    void *arg;

    enum watch_state state;
    int error; /* when finished */
    bool dispatching;

    struct io io;
    CURL *curl;
    bool attached; /* curl is in io.multi */
    struct curl_slist *headers;
    struct reply reply; /* of answers that are no stream */
    struct sse sse;
    struct buf cursor; /* behind the last event given */
    char why[CURL_ERROR_SIZE];

    int64_t connect_ms; /* when paused */
    int64_t heard_ms;   /* the last byte */
    int64_t pause_ms;   /* of the backoff */

    bool streaming;      /* the answer is a 200 */
    bool any_event;      /* on this connection */
    bool any_problem;    /* it has said what is wrong: `problem` */
    bool ended, rotated; /* the stream has said so */
    bool finished_task;  /* the task's own feed has shown its final state */
    bool left;           /* and that the task is gone */
    bool no_memory, stopped;
    struct bowline_problem problem;
};

/* watch_event.c: struct sse's `event` with the watch as arg. */
bool watch_event(void *arg, struct str name, struct str data);
/* Gives the event LOST. */
void watch_tell_lost(struct bowline_watch *w);

#endif
