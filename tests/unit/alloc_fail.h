/* alloc_fail.h: refuses allocations on purpose, in any code linked into a unit test (malloc, calloc and realloc are wrapped by the linker). */
#ifndef BOWLINE_TESTS_ALLOC_FAIL_H
#define BOWLINE_TESTS_ALLOC_FAIL_H

/* Lets `skip` allocations of this thread succeed and refuses the one after them; with `all`, also every one after it. */
void alloc_fail_after(unsigned skip, int all);
/* Back to normal. Returns how many were refused. */
unsigned alloc_fail_stop(void);

#endif
