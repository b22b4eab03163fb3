/**
 * @file
 * Neighborhood attention on grids of 1, 2 or 3 dimensions: every query sees the window of keys around it.
 * Sliding-window attention is the causal case in one dimension; a window of the grid's length is dense attention.
 *
 * Papers: Hassani et al., "Neighborhood Attention Transformer" (2022) and "Dilated Neighborhood Attention Transformer"
 * (2022); causal windows as in "Faster Neighborhood Attention" (2024); strides as in "Generalized Neighborhood
 * Attention" (2025). The rules are NATTEN's.
 */
#ifndef SLAT_NEIGHBORHOOD_H
#define SLAT_NEIGHBORHOOD_H
#include <slat/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A key is seen when it is in the window of every dimension. In one dimension of length L, with window K, stride S,
 * dilation d:
 * - dilation splits positions x into groups x mod d of n = L div d + (x mod d < L mod d) places p = x div d; a query
 *   sees keys of its own group only, and what follows counts in places.
 * - not causal: leader = min((p / S) * S + S / 2, n - 1); the window is [start, start + K) with
 *   start = clamp(leader - K / 2, 0, n - K): at a border it shifts, it is never cut.
 * - causal: leader = min((p / S) * S + S - 1, n - 1); the window is [max(leader - K + 1, 0), p + 1).
 *
 * The grid is k's and v's: k is [B, X, Y, Z, Hk, D] for three dimensions. q may be a box of it that begins at q_start.
 */
typedef struct {
    int32_t ndim;        /**< Dimensions of the grid: 1, 2 or 3. Entries past it in the arrays below are not read. */
    int32_t window[3];   /**< K: keys a dimension, at least 2, window * dilation at most the dimension's length. */
    int32_t stride[3];   /**< S: queries that share a window, 1 to window. 0: 1. */
    int32_t dilation[3]; /**< d: distance between neighbouring keys, at least 1. 0: 1. */
    int32_t causal[3];   /**< 0 or 1, a dimension. */
    int64_t q_start[3];  /**< Query i stands at grid place q_start + i: the last place in decoding, a tile with a halo.
                              A box that leaves the grid is #SLAT_INVALID. */
    uint64_t reserved[4]; /**< 0. */
} slat_neighborhood;

/**
 * Attention over the window of each query.
 * @param exec         how to run; NULL: defaults
 * @param neighborhood the window; required
 * @param tensors      see slat_attention; required
 * @return #SLAT_OK, or a failure as slat_status says
 */
SLAT_API slat_status slat_neighborhood_forward(const slat_exec *exec, const slat_neighborhood *neighborhood,
                                               const slat_attention *tensors);

/** The gradients of slat_neighborhood_forward(); the parameters are the same. */
SLAT_API slat_status slat_neighborhood_backward(const slat_exec *exec, const slat_neighborhood *neighborhood,
                                                const slat_attention *tensors);

/**
 * The keys that a query sees in one dimension: first, first + dilation, ..., `count` of them.
 * @param length   of the dimension, 1 to 2^62 - 1
 * @param window, stride, dilation, causal  as in slat_neighborhood
 * @param query    its place in the dimension, 0 to length - 1
 * @param first    receives the first key
 * @param count    receives the number of keys
 * @return #SLAT_OK, or #SLAT_INVALID
 */
SLAT_API slat_status slat_neighborhood_keys(int64_t length, int32_t window, int32_t stride, int32_t dilation,
                                            int32_t causal, int64_t query, int64_t *first, int64_t *count);

/** The queries that see a key in one dimension, likewise: first, first + dilation, ..., `count` of them. */
SLAT_API slat_status slat_neighborhood_queries(int64_t length, int32_t window, int32_t stride, int32_t dilation,
                                               int32_t causal, int64_t key, int64_t *first, int64_t *count);

#ifdef __cplusplus
}
#endif
#endif
