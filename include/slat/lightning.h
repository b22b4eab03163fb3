/**
 * @file
 * Lightning attention: causal linear attention with a decay per head. Its memory is a state of D x Dv a head, not a
 * cache that grows.
 *
 * Paper: Qin et al., "Lightning Attention-2: A Free Lunch for Handling Unlimited Sequence Lengths in Large Language
 * Models" (2024).
 */
#ifndef SLAT_LIGHTNING_H
#define SLAT_LIGHTNING_H
#include <slat/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * With lambda = exp(-slope) of the head and (x) the outer product:
 *
 *     o_i = scale * (sum_{j <= i} lambda^(i-j) (q_i.k_j) v_j + lambda^(i+1) q_i s0)
 *     st  = lambda^T s0 + sum_j lambda^(T-1-j) k_j (x) v_j
 *
 * Shapes: q, k and their gradients [B, T, H, D]; v, o and their gradients [B, T, H, Dv]; states [B, H, D, Dv]. D and Dv
 * are any from 1 to 256, H is at most 65536. The last stride of all of these is 1, other strides are free; slopes and
 * grad_slopes take any. q, k and v share one type; o has that type or f32, and grad_o has o's; grad_q, grad_k and
 * grad_v have q's. Slopes, states and their gradients are f32, or f64 where q is f64. T of 0 is right: st = s0,
 * grad_s0 = grad_st.
 *
 * Backward reads q, k, v, slopes, grad_o and, where given, s0, states and grad_st, and writes those gradients that are
 * not NULL. It does not read o or st.
 */
typedef struct {
    const DLTensor *q;      /**< Required. */
    const DLTensor *k;      /**< Required. */
    const DLTensor *v;      /**< Required. */
    const DLTensor *slopes; /**< [H]: finite, at least 0 (on a CPU else #SLAT_INVALID). See slat_lightning_slopes().
                                 Required. */
    const DLTensor *gate;   /**< [later] f32 [B, T, H]: log decay of a token, added to -slope. */
    const DLTensor *s0;     /**< The state before the first token. NULL: 0. Step: NULL or st itself. */
    DLTensor *o;            /**< Result. Required in forward and step. */
    DLTensor *st;           /**< The state after the last token; it may be s0. NULL: not wanted. Step: required, read
                                 and updated in place. */
    DLTensor *states;       /**< [B, H, n, D, Dv], n = ceil(T / states_every): the state before token 0, before token
                                 states_every, and so on. Forward writes it; backward, where it is given, reads it and
                                 is faster. NULL: none. */
    int32_t states_every;   /**< Tokens between two states, at least 1. Read where states is given. */
    const DLTensor *slot;   /**< Step only: i32 [B], compact, on q's device: row b uses state slot[b], s0 and st are
                                 [slots, H, D, Dv]. -1 leaves the row out, its o is 0. A slot given twice is
                                 #SLAT_INVALID on a CPU, undefined on a GPU. NULL: row b uses state b. */
    const DLTensor *offsets; /**< [later] i32 [B+1], packed sequences. */
    int64_t max_t;           /**< [later] Host bound of their lengths. */
    double scale;            /**< Factor of o. Finite; 0: 1. */
    const DLTensor *grad_o;  /**< Gradient of o. Backward: required. */
    const DLTensor *grad_st; /**< Gradient of st. Backward: NULL is 0. */
    DLTensor *grad_q;        /**< NULL: not computed. */
    DLTensor *grad_k;        /**< NULL: not computed. */
    DLTensor *grad_v;        /**< NULL: not computed. */
    DLTensor *grad_s0;       /**< NULL: not computed. Asked for without s0: as if s0 were 0. */
    DLTensor *grad_slopes;   /**< [H]. NULL: not computed. */
    uint64_t reserved[8];    /**< 0. */
} slat_lightning;

/**
 * Linear attention over whole sequences.
 * @param exec      how to run; NULL: defaults
 * @param lightning see slat_lightning; required
 * @return #SLAT_OK, or a failure as slat_status says
 */
SLAT_API slat_status slat_lightning_forward(const slat_exec *exec, const slat_lightning *lightning);

/** The gradients of slat_lightning_forward(); the parameters are the same. */
SLAT_API slat_status slat_lightning_backward(const slat_exec *exec, const slat_lightning *lightning);

/** One token of decoding: T = 1, q is [B, 1, H, D], and st is updated in place. The parameters are the same. */
SLAT_API slat_status slat_lightning_step(const slat_exec *exec, const slat_lightning *lightning);

/**
 * Fills ALiBi's slopes: 2^(-8 (h + 1) / heads) where heads is a power of two; else those of the largest power of two
 * below, then every other one of twice that power (Press, Smith, Lewis, "Train Short, Test Long", 2022).
 * @param slopes [heads], host memory, written
 * @param heads  at least 1
 * @return #SLAT_OK, or #SLAT_INVALID
 */
SLAT_API slat_status slat_lightning_slopes(float *slopes, int32_t heads);

#ifdef __cplusplus
}
#endif
#endif
