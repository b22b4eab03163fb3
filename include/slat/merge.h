/**
 * @file
 * Merging softmax states: attention over a set of keys from the results over its parts.
 *
 * Papers: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); Dao et al., "Flash-Decoding"
 * (2023); Ye et al., "FlashInfer" (2025).
 */
#ifndef SLAT_MERGE_H
#define SLAT_MERGE_H
#include <slat/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * out = sum_a w_a o_a with w_a = exp(lse_a - out_lse), out_lse = log sum_a exp(lse_a). A part whose lse is -inf is not
 * read; where all are, out is 0 and out_lse -inf.
 *
 * All o have one shape of rank 2 or more, such as [B, T, H, Dv], and all lse have it without the last dimension. Dv is
 * any from 1 to 256. The last stride of o and out is 1; other strides are free (#SLAT_UNSUPPORTED only where more than
 * 5 row dimensions do not fold into each other). Parts share one type; out has that type or f32; lse and
 * out_lse are f32, or f64 where the parts are f64.
 *
 * @param exec    how to run; NULL: defaults
 * @param n       number of parts, at least 1
 * @param o       n results of attention
 * @param lse     n logs of their sums
 * @param out     written; it may be o[0]
 * @param out_lse written; it may be lse[0]. NULL: not wanted
 * @return #SLAT_OK, or a failure as slat_status says
 */
SLAT_API slat_status slat_merge_forward(const slat_exec *exec, int32_t n, const DLTensor *const *o,
                                        const DLTensor *const *lse, DLTensor *out, DLTensor *out_lse);

/**
 * The gradients of slat_merge_forward(): grad_o_a = w_a grad_out, grad_lse_a = w_a (grad_out.(o_a - out) +
 * grad_out_lse).
 * @param exec         how to run; NULL: defaults
 * @param n            number of parts, at least 1
 * @param o, lse       the parts, as forward read them
 * @param out, out_lse as forward wrote them; required
 * @param grad_out     gradient of out, of its type; required
 * @param grad_out_lse gradient of out_lse; NULL is 0
 * @param grad_o       n gradients of the parts' type; NULL, or NULL entries: not computed
 * @param grad_lse     n gradients of lse's type; NULL, or NULL entries: not computed
 * @return #SLAT_OK, or a failure as slat_status says
 */
SLAT_API slat_status slat_merge_backward(const slat_exec *exec, int32_t n, const DLTensor *const *o,
                                         const DLTensor *const *lse, const DLTensor *out, const DLTensor *out_lse,
                                         const DLTensor *grad_out, const DLTensor *grad_out_lse,
                                         DLTensor *const *grad_o, DLTensor *const *grad_lse);

#ifdef __cplusplus
}
#endif
#endif
