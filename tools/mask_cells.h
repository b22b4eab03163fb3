/* What the cells of a mask's picture show: counts of what a head's queries see, cell by cell. */
#ifndef TOOLS_MASK_CELLS_H
#define TOOLS_MASK_CELLS_H
#include "problem.h"

/* Shares of a cell's pairs; the rest is hidden. Of landmark attention all three are used, else `token` alone. */
typedef struct {
    float token, landmark, grouped, future;
    float weight; /* lightning: log10 of the decay of the cell's nearest pair, at most 0; else 0 */
} mask_cell;

/* Cell (r, c) covers queries r*q_bin ... and keys c*k_bin ..., fewer at the end. */
typedef struct {
    int64_t queries, keys, q_bin, k_bin, rows, columns;
    bool sampled; /* large cells are judged by some of their pairs */
    mask_cell *cells;
} mask_cells;

/* Does the primitive see no key after its query (in the order of the flattened tokens)? */
bool mask_causal(const problem *);

/* For one head of batch entry 0; pairs of `also`, where it is not NULL, are visible too. False: no memory. */
bool mask_cells_count(const problem *, const problem *also, int64_t head, int64_t q_bin, int64_t k_bin, mask_cells *);
void mask_cells_free(mask_cells *);

/* The heads whose masks differ, one of each kind, in order; at most `most` of them. Returns how many; `all` says how
 * many kinds there are. Of lightning, with more kinds than `most`, they are spread evenly over the slopes. */
int mask_heads(const problem *, int most, int64_t *heads, int *all);
#endif
