/* found.h: how a command gets on: what a look-up says, and what a step says that may answer the command. */
#ifndef BOWLINE_ENGINE_FOUND_H
#define BOWLINE_ENGINE_FOUND_H

/*
 * Of a look-up. ABSENT: there is none, and nobody has been told. PARKED: the command waits for the store and runs again from its start, so its handler returns.
 */
enum found { FOUND, ABSENT, PARKED };

/*
 * Of a step on a command's way. GO_ON: the next one. ANSWERED: it has been answered, and may be gone. WAITS: it is parked, or asks the store or waits for a batch, and runs
 * again from its start. After either of these its handler returns, and has changed nothing.
 */
enum step { GO_ON, ANSWERED, WAITS };

#endif
