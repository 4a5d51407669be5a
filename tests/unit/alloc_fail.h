/* alloc_fail.h: refuses allocations on purpose, or adds them up, in any code linked into a unit test (malloc, calloc, realloc and free are wrapped by the linker). */
#ifndef BOWLINE_TESTS_ALLOC_FAIL_H
#define BOWLINE_TESTS_ALLOC_FAIL_H

#include <stddef.h>

/* Lets `skip` allocations of this thread succeed and refuses the one after them; with `all`, also every one after it. */
void alloc_fail_after(unsigned skip, int all);
/* Back to normal. Returns how many were refused. */
unsigned alloc_fail_stop(void);

/* Counts the bytes that this thread has allocated and not freed. */
void alloc_count_start(void);
/* Stops counting. The most bytes there were at a time. */
size_t alloc_count_stop(void);

#endif
