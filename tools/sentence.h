/* What went wrong, in one sentence for a person. Functions that can fail take a `sentence *` (NULL: not wanted) and
 * return false or NULL after writing into it. */
#ifndef TOOLS_SENTENCE_H
#define TOOLS_SENTENCE_H
#include <stdbool.h>

typedef struct {
    char text[512];
} sentence;

/* Writes the sentence and returns false, so that a caller can write `return sentence_fail(why, ...)`. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
bool sentence_fail(sentence *why, const char *format, ...);

#endif
