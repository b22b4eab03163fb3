/* Who sees whom, by brute force and word for word from the rules: the tests' own statement, independent of the library.
 *
 * Queries i and keys j are flat places in their grids, h is a query head, b a batch entry.
 */
#ifndef SLAT_TESTS_SEEN_H
#define SLAT_TESTS_SEEN_H
#include <slat/slat.h>
#include <stdbool.h>

/* One dimension of neighborhood attention: whether the query at grid place x sees the key at grid place y. */
bool seen_in_window(int64_t length, int64_t window, int64_t stride, int64_t dilation, bool causal, int64_t x,
                    int64_t y);

/* A softmax primitive with everything that its mask depends on; the three descriptors that are not meant are NULL. */
typedef struct {
    const slat_block_sparse *block_sparse;
    const slat_neighborhood *neighborhood;
    const slat_sharded *sharded;
    const slat_landmark *landmark;
    int64_t hq, hk, tq, tk;       /* heads, and points of q's and k's grids */
    int64_t q_grid[3], k_grid[3]; /* neighborhood: extents of its ndim dimensions */
} seen_mask;

/* Whether key j may change row i of head h at all (landmark: the ordinary tokens and the landmarks of the row). */
bool seen(const seen_mask *m, int64_t b, int64_t h, int64_t i, int64_t j);

#endif
