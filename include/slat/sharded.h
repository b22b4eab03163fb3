/**
 * @file
 * S2-Attention: every head sees a local window and its own shard of the context, so that together the heads see all of
 * it. Causal.
 *
 * Paper: Lin et al., "S2-Attention: Hardware-Aware Context Sharding Among Attention Heads" (2024).
 */
#ifndef SLAT_SHARDED_H
#define SLAT_SHARDED_H
#include <slat/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * With I = p(i) div block, J = j div block and o = offsets[key head], key j is seen by query i when j <= p(i) and one
 * of these holds: o < 0 (a dense head); I - J < local_blocks; (J + o) mod stride = 0.
 *
 * A column that leaves a head's window and is not in its shard is never read again: a KV cache of n blocks keeps
 * local_blocks + n / stride blocks a head.
 */
typedef struct {
    int32_t block;        /**< Tokens a block, at least 1. */
    int32_t local_blocks; /**< Blocks of the local window, the diagonal one included, at least 1. */
    int32_t stride;       /**< Distance between the blocks of a shard, at least 1. */
    const DLTensor *offsets; /**< i32 [Hk], compact, on q's device: see slat_sharded_offsets(). Negative: a dense head.
                                  Required. */
    uint64_t reserved[4]; /**< 0. */
} slat_sharded;

/**
 * Attention over each head's window and shard.
 * @param exec    how to run; NULL: defaults
 * @param sharded the shards; required
 * @param tensors see slat_attention; required
 * @return #SLAT_OK, or a failure as slat_status says
 */
SLAT_API slat_status slat_sharded_forward(const slat_exec *exec, const slat_sharded *sharded,
                                          const slat_attention *tensors);

/** The gradients of slat_sharded_forward(); the parameters are the same. */
SLAT_API slat_status slat_sharded_backward(const slat_exec *exec, const slat_sharded *sharded,
                                           const slat_attention *tensors);

/**
 * Fills the published offsets: offsets[g] = (g * step + head_offset) mod stride, the last `dense_heads` of them -1.
 * @param offsets      [hk], host memory, written
 * @param hq, hk       query and key heads, hk divides hq
 * @param stride       of the shards, at least 1
 * @param dense_heads  key heads that see everything, 0 to hk
 * @param head_offset  at least 0
 * @param per_key_head 0: step = max(1, stride / hq), the published rule, which with grouped heads leaves columns that
 * no
 *                     head reads; 1: step = max(1, stride / hk), which does not
 * @return #SLAT_OK, or #SLAT_INVALID
 */
SLAT_API slat_status slat_sharded_offsets(int32_t *offsets, int32_t hq, int32_t hk, int32_t stride, int32_t dense_heads,
                                          int32_t head_offset, int32_t per_key_head);

#ifdef __cplusplus
}
#endif
#endif
