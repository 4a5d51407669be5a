/* number.h: numbers as text. */
#ifndef BOWLINE_BASE_NUMBER_H
#define BOWLINE_BASE_NUMBER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NUMBER_TEXT_MAX 32

/* The shortest decimal text of a finite number that reads back as that very number, as JSON takes it; no NUL behind it. Its length. */
size_t number_text(double v, char out[NUMBER_TEXT_MAX]);

#ifdef __cplusplus
}
#endif
#endif
