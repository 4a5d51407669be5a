/* found.h: how a look-up went for a command. */
#ifndef BOWLINE_ENGINE_FOUND_H
#define BOWLINE_ENGINE_FOUND_H

/*
 * FOUND: go on. ABSENT: there is none, or the command has been answered; which of the two says the function's contract. PARKED: the command waits, and runs again
 * from its start: its handler returns, and has changed nothing.
 */
enum found { FOUND, ABSENT, PARKED };

#endif
