/*
 * secret.h: memory for secrets: locked, so that it is never written to swap, left out of core dumps, and wiped when it is given back. Made for a handful of
 * keys at the start of the program: each piece takes whole pages. Where the system refuses to lock it (RLIMIT_MEMLOCK), it is used unlocked.
 */
#ifndef BOWLINE_BASE_SECRET_H
#define BOWLINE_BASE_SECRET_H

#include "base/buf.h"

void *secret_alloc(size_t len); /* zeroed; without memory the program ends, as with mem_alloc */
void secret_free(void *p);      /* wipes it; accepts NULL */
char *secret_strdup(struct str s);
void secret_wipe(struct buf *b); /* a buffer that held one on its way here: wiped and freed */

#endif
