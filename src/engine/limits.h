/* limits.h: bounds and times of the engine that nobody sets. */
#ifndef BOWLINE_ENGINE_LIMITS_H
#define BOWLINE_ENGINE_LIMITS_H

#ifdef ENGINE_TINY /* the simulation: every edge is near */
#define ENGINE_RESERVE 24
#define ENGINE_SLOTS 3
#define ENGINE_DUE_LIMIT 4
#define ENGINE_SWEEP_MOST 12
#define ENGINE_LOAD_PIECE 2
#define ENGINE_SWEEP_LARGE 8
#define ENGINE_PUMP 2
#define ENGINE_PUMPS 1
#define ENGINE_OUTPUT_NUMBER 32
#define ENGINE_OUTPUT_PIECE 40
#define ENGINE_OUTPUT_ANSWER 200
#define ENGINE_REFILL_BYTES 128
#define ENGINE_REFILL_EVENTS 3
#define ENGINE_PHASES 2
#else
#define ENGINE_RESERVE 4096 /* numbers a session reserves ahead in storage */
#define ENGINE_SLOTS 65536  /* numbers of slots reserved ahead */
#define ENGINE_DUE_LIMIT 50
#define ENGINE_LOAD_PIECE 250    /* tasks of a session that are made of their rows in one pass */
#define ENGINE_SWEEP_MOST 200    /* rows that the sweep takes away with one batch */
#define ENGINE_SWEEP_LARGE 65536 /* bytes of a task's input, result and output (or a 16th of that, of output alone) that do not go together with it */
#define ENGINE_PUMP 64           /* frames per step to a channel that is catching up */
#define ENGINE_PUMPS 16          /* such steps in one pass */
#define ENGINE_OUTPUT_NUMBER 65536       /* bytes of output that share a number */
#define ENGINE_OUTPUT_PIECE (1u << 20)   /* bytes of output that are read at a time: other sessions wait for the same reader */
#define ENGINE_OUTPUT_ANSWER (16u << 20) /* bytes of output in one answer: all that is kept, by default */
#define ENGINE_REFILL_BYTES 65536
#define ENGINE_REFILL_EVENTS 256
#define ENGINE_PHASES 32 /* phases of a kind of which it is known how long they take: no worker's inventions fill the memory */
#endif
#define ENGINE_KEY_LEAST_MS (2 * DAY) /* a lost key is remembered so long: a JWT of before must be over by then, also where the clock has gone back */
#define ENGINE_JWT_SKEW_S 60          /* `iat` may be ahead by that much (api/jwt.h) */
#define ENGINE_DEFER_MS 180           /* progress and touches reach the open batch within */
#define ENGINE_DUE_MS 500             /* pause between two looks at what is due among what is not in memory */
#define ENGINE_DUE_MORE_MS 20         /* the pause when there was more than that */
#define ENGINE_DUE_LOADS 8            /* sessions loaded for it at the same time: others have look-ups too */
#define ENGINE_DUE_AHEAD_MS 500       /* and none while the sweep is behind by that much */
#define ENGINE_EVICT_MS 15000         /* a session that nobody needs stays this long */
#define ENGINE_LOOK_MS 10000          /* that a look-up found nothing counts so long; less than ENGINE_EVICT_MS */
#define ENGINE_OUTPUT_SHOW_MS 1000    /* a task event for output at most this often */
#define ENGINE_FORGET_MS 60000
#define ENGINE_SWEEP_LEAST 8        /* rows with one batch, however long they take */
#define ENGINE_SWEEP_US 4000        /* what they should take at most */
#define ENGINE_SWEEP_FORGET_US 3000 /* and STORE_FORGET */
#define ENGINE_SWEEP_MS 5           /* what finds no room tries again after */

#endif
