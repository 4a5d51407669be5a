/* via.h: the way by which a feed is watched, as the client says with ?via=, and how many watches were opened by each. */
#ifndef BOWLINE_API_VIA_H
#define BOWLINE_API_VIA_H

#include "base/buf.h"

#include <stdatomic.h>

/* As net's enum watch_way, each as the first choice and as one that was fallen back to. */
#define VIA_WAYS 6
struct via_counts {
    atomic_ulong opened[VIA_WAYS]; /* any thread */
};

/* The way of that name ("poll-fallback"), or -1. */
int via_parse(struct str name);
/* The way that a watch is, where the client says nothing. */
int via_usual(bool websocket, bool page);
/* Appends OpenMetrics text. */
void via_metrics(struct via_counts *counts, struct buf *out);

#endif
