/* Block layouts in CSR, built by rules. */
#ifndef TOOLS_BLOCK_LAYOUT_H
#define TOOLS_BLOCK_LAYOUT_H
#include "problem.h"

/* The sizes that a block may have. */
static inline bool block_layout_takes(int64_t block)
{
    return block >= 8 && block <= 256 && block % 8 == 0;
}

/* Fills indptr and indices, and where asked bitmap_of, bitmaps and the transposed layout, of a block_sparse problem on
 * the host from x->block_sparse. A query block sees the key blocks of its own places (the diagonal), window_blocks
 * blocks before them, and every other block with probability `density`, by random_block(); causal drops blocks beyond
 * the diagonal. With Tq != Tk the diagonal lies at p(i) = i + Tk - Tq. */
bool block_layout_random(problem *, const problem_parameters *, sentence *why);

#endif
