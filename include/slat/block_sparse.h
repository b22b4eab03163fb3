/**
 * @file
 * Block-sparse attention: a list of key blocks for every query block, in CSR. Without a list: dense attention.
 *
 * Papers: Child, Gray, Radford, Sutskever, "Generating Long Sequences with Sparse Transformers" (2019); the exact
 * block-sparse softmax is that of Dao et al., "FlashAttention" (2022), section 3.3.
 */
#ifndef SLAT_BLOCK_SPARSE_H
#define SLAT_BLOCK_SPARSE_H
#include <slat/attention.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Query block i holds queries i * block_q to (i + 1) * block_q - 1, key blocks likewise; last blocks may be ragged.
 * Rows are numbered r = (b * Hm + h) * ceil(Tq / block_q) + i, and row (b, h, i) lists the key blocks that it sees.
 *
 * Index tensors are i32, compact (row-major, without gaps) and on q's device. On a CPU a bad entry is #SLAT_INVALID
 * with its place. On a GPU nothing is read back: indptr is clamped to [0, nnz], and an entry that is out of range, or
 * not above the one before it in its row, is skipped.
 */
typedef struct {
    int32_t block_q; /**< Queries a block: a multiple of 8 from 8 to 256. Ignored where indptr is NULL. */
    int32_t block_k; /**< Keys a block, likewise; 0: block_q. */
    int32_t causal;  /**< 0 or 1. 1: key j is seen only where j <= p(i), on top of the blocks. */
    const DLTensor *indptr;  /**< i32 [Bm, Hm, ceil(Tq / block_q) + 1], Bm 1 or B, Hm 1, Hk or Hq: where each row
                                  begins in indices. Flattened it starts at 0, never falls and ends at nnz. NULL: every
                                  key is seen, dense attention; then every other tensor here is NULL too. */
    const DLTensor *indices; /**< i32 [nnz]: key-block numbers, strictly ascending inside a row. */
    const DLTensor *bitmap_of; /**< i32 [nnz]: -1: the whole block is seen, else an index into bitmaps. NULL: all -1. */
    const DLTensor *bitmaps; /**< u8 [n, block_q, ceil(block_k / 8)]: one bit a pair, least significant first, 1: seen.
                                  A bitmap may show nothing. Needed where bitmap_of is given. */
    const DLTensor *t_indptr;  /**< The same layout by key block, for backward: i32 [Bm, Hm, ceil(Tk / block_k) + 1]. */
    const DLTensor *t_indices; /**< i32 [nnz]: query-block numbers, strictly ascending inside a key block. */
    const DLTensor *t_entry;   /**< i32 [nnz]: the entry's place in indices. All three t_ tensors or none; none:
                                    backward builds them in workspace, slat_block_sparse_transpose() once for many
                                    calls. */
    uint64_t reserved[4];      /**< 0. */
} slat_block_sparse;

/**
 * Attention over the listed blocks.
 * @param exec         how to run; NULL: defaults
 * @param block_sparse which blocks are seen; required
 * @param tensors      see slat_attention; required
 * @return #SLAT_OK, or a failure as slat_status says
 */
SLAT_API slat_status slat_block_sparse_forward(const slat_exec *exec, const slat_block_sparse *block_sparse,
                                               const slat_attention *tensors);

/** The gradients of slat_block_sparse_forward(); the parameters are the same. */
SLAT_API slat_status slat_block_sparse_backward(const slat_exec *exec, const slat_block_sparse *block_sparse,
                                                const slat_attention *tensors);

/**
 * Writes the layout by key block, for many backward calls under one mask.
 * @param exec         how to run; NULL: defaults
 * @param block_sparse indptr and indices are read, its t_ tensors are not; any Bm and Hm
 * @param tq, tk       numbers of queries and keys
 * @param t_indptr     i32 [Bm, Hm, ceil(tk / block_k) + 1], written
 * @param t_indices    i32 [nnz], written
 * @param t_entry      i32 [nnz], written
 * @return #SLAT_OK, or a failure as slat_status says. A layout without indptr (dense) is #SLAT_INVALID.
 */
SLAT_API slat_status slat_block_sparse_transpose(const slat_exec *exec, const slat_block_sparse *block_sparse,
                                                 int64_t tq, int64_t tk, DLTensor *t_indptr, DLTensor *t_indices,
                                                 DLTensor *t_entry);

#ifdef __cplusplus
}
#endif
#endif
