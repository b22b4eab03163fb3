/**
 * @file
 * The tensors of softmax attention, shared by block_sparse, neighborhood, sharded and landmark.
 *
 *     o_i = sum_j w_ij v_j,   w_ij = exp(scale q_i.k_j - lse_i),   lse_i = log sum_j exp(scale q_i.k_j)
 *
 * over the keys j that query i sees: which these are is the primitive's descriptor. A query that sees no key has o = 0,
 * lse = -inf, and no gradient flows through it.
 *
 * Shapes, in logical order: q, grad_q [B, Tq, Hq, D]; k, grad_k [B, Tk, Hk, D]; v, grad_v [B, Tk, Hk, Dv];
 * o, grad_o [B, Tq, Hq, Dv]; lse, grad_lse [B, Tq, Hq]. Neighborhood attention replaces each T by its grid: X, X,Y or
 * X,Y,Z. D and Dv are any from 1 to 256. Another layout, such as [B, H, T, D], is described by strides: the last stride
 * of q, k, v, o and their gradients is 1, all others are free; lse, grad_lse and sink take any.
 *
 * Hk divides Hq, which is at most 65536; query head h reads key head h / (Hq / Hk). Query i stands at position p(i) =
 * i + Tk - Tq: a short query block continues a longer key sequence. Causal primitives show key j to query i only where
 * j <= p(i).
 *
 * q, k and v share one type. o has that type or f32, and grad_o has o's; gradients of q, k, v have q's type. lse,
 * grad_lse, sink and grad_sink are f32, or f64 where q is f64.
 *
 * Tq or Tk of 0 is right: outputs that have elements get their empty sum. D, Dv or Hk of 0 is #SLAT_INVALID.
 */
#ifndef SLAT_ATTENTION_H
#define SLAT_ATTENTION_H
#include <slat/types.h>

/**
 * Forward reads q, k, v (and sink) and writes o and, where given, lse.
 *
 * Backward reads q, k, v, o, lse, grad_o (and sink, grad_lse) and writes those gradients that are not NULL; o and lse
 * are as forward wrote them. With P = exp(s - lse), dP = grad_o.v, delta = sum(grad_o * o): dS = P * (dP - delta +
 * grad_lse), grad_q = scale dS k, grad_k = scale dS^T q, grad_v = P^T grad_o; grouped heads sum into their key head.
 */
typedef struct {
    const DLTensor *q; /**< Queries. Required. */
    const DLTensor *k; /**< Keys. Required. */
    const DLTensor *v; /**< Values. Required. */
    DLTensor *o;       /**< Result. Required; backward reads it. */
    DLTensor *lse;     /**< Log of the softmax's sum, natural. Optional in forward; required in backward, which reads
                            it. */
    const DLTensor *grad_o;   /**< Gradient of o. Backward: required. */
    const DLTensor *grad_lse; /**< Gradient of lse. Backward: NULL is 0. */
    DLTensor *grad_q;  /**< NULL: not computed. */
    DLTensor *grad_k;  /**< NULL: not computed. */
    DLTensor *grad_v;  /**< NULL: not computed. */
    double scale;      /**< Factor of every q.k. Finite; 0: 1/sqrt(D). */
    double softcap;    /**< [later] 0: none, else logits become c * tanh(s / c). */
    const DLTensor *sink; /**< [Hq]: a logit without a value that every row of its head sees, not scaled. The weights
                               of a row then sum to less than 1; a row without keys has lse = sink. NULL: none. With
                               landmark: #SLAT_INVALID. */
    DLTensor *grad_sink;  /**< [Hq], needs sink. NULL: not computed. */
    const DLTensor *bias; /**< [later] [1|B, 1|Hq, 1|Tq, Tk], added after scale; strides of 0 allowed. */
    DLTensor *grad_bias;  /**< [later] */
    const DLTensor *q_offsets; /**< [later] i32 [B+1], packed sequences: q is [sum Tq, Hq, D]. */
    const DLTensor *k_offsets; /**< [later] i32 [B+1], likewise for k and v. */
    const DLTensor *k_length;  /**< [later] i32 [B], on the device: keys in use, p(i) = i + k_length - q_length. */
    const DLTensor *pages;     /**< [later] i32 [B, 1|Hk, n]: k and v are [pages, page, 1|Hk, D]; -1: absent. */
    int64_t max_q;             /**< [later] Host bound of the query lengths: sizes grids. */
    int64_t max_k;             /**< [later] Host bound of the key lengths. */
    const DLTensor *k_scale;   /**< [later] f32 [1|B, Hk]: factor of quantised k. */
    const DLTensor *v_scale;   /**< [later] f32 [1|B, Hk]: factor of quantised v. */
    uint64_t reserved[8];      /**< 0. */
} slat_attention;

#endif
