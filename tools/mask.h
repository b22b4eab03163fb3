/* The picture of a mask: what sees what. */
#ifndef TOOLS_MASK_H
#define TOOLS_MASK_H
#include "problem.h"

/* One panel a kind of head, exact where a token is three pixels or more, else in cells of many tokens. Neighborhoods of
 * two or three dimensions also show the keys of a few queries on their grid. `words` are the title; NULL: the
 * parameters. `also`: another problem of the same shape whose pairs are seen too; NULL: none. */
bool mask_write(const problem *, const problem *also, const char *words, const char *path, sentence *why);

/* Can it be drawn? Every other function here asks for a problem that passed, with its index tensors on the host. */
bool mask_check(const problem *, sentence *why);

/* "window 7 × 7, dilation 2", in words, without the primitive's name. */
void mask_parameters(const problem *, char *text, size_t size);

int slat_mask_main(int argc, char **argv);
#endif
