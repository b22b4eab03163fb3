/**
 * @file
 * Landmark attention: the last token of every block is its landmark, and the weight of the landmark decides how much of
 * the block a query attends to (a grouped softmax). Causal.
 *
 * Paper: Mohtashami and Jaggi, "Landmark Attention: Random-Access Infinite Context Length for Transformers" (2023).
 */
#ifndef SLAT_LANDMARK_H
#define SLAT_LANDMARK_H
#include <slat/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Token j is the landmark of block j div block when j mod block = block - 1. For a query in block b = p(i) div block:
 * - its own bucket holds the visible ordinary tokens of block b and the landmarks of earlier blocks (never b's own).
 * One
 *   softmax runs over it, and lse is the log of its sum.
 * - each earlier block has a softmax of its own over its ordinary tokens, multiplied by its landmark's weight in the
 * own
 *   bucket.
 *
 * The weights of a row sum to 1. Landmarks carry no value: their rows of v are never read, and grad_v is 0 there.
 * slat_attention::sink is #SLAT_INVALID here.
 */
typedef struct {
    int32_t block; /**< Tokens a block, its landmark included, at least 2. */
    uint64_t reserved[4]; /**< 0. */
} slat_landmark;

/**
 * Attention through landmarks.
 * @param exec     how to run; NULL: defaults
 * @param landmark the blocks; required
 * @param tensors  see slat_attention; required
 * @return #SLAT_OK, or a failure as slat_status says
 */
SLAT_API slat_status slat_landmark_forward(const slat_exec *exec, const slat_landmark *landmark,
                                           const slat_attention *tensors);

/** The gradients of slat_landmark_forward(); the parameters are the same. */
SLAT_API slat_status slat_landmark_backward(const slat_exec *exec, const slat_landmark *landmark,
                                            const slat_attention *tensors);

#ifdef __cplusplus
}
#endif
#endif
