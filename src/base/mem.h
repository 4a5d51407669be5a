/*
 * mem.h: memory that the program cannot go on without.
 *
 * Small, fixed-size allocations of our own bookkeeping end the process when there is none left: what was
 * acknowledged is on disk, and a restart is a path that is tested hundreds of times a day, unlike a
 * half-applied step. Whatever a peer chooses the size of (bodies, results, frames) goes through buf.h,
 * which reports failure, and the request is answered with 503.
 */
#ifndef BOWLINE_BASE_MEM_H
#define BOWLINE_BASE_MEM_H

#include "base/str.h"

#include <stddef.h>

void *mem_alloc(size_t bytes);              /* zeroed, never NULL */
void *mem_resize(void *p, size_t bytes);    /* never NULL; new bytes are not zeroed */
void *mem_dup(const void *p, size_t bytes); /* never NULL */
char *mem_strdup(struct str s);             /* NUL-terminated copy; NULL for STR_NONE */
void mem_free(void *p);                     /* accepts NULL */

#endif
