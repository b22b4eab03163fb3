/* The online softmax of 64 rows that a warp group holds in its accumulators. A thread has two rows; in a tile of logits
 * bit 2 j + e of a row's mask is column 8 j + 2 (lane % 4) + e.
 */
#ifndef SLAT_SM90_SOFTMAX_STATE_CUH
#define SLAT_SM90_SOFTMAX_STATE_CUH
#include "wgmma.cuh"
#include <math_constants.h>

namespace sm90
{

constexpr float log2_e = 1.4426950408889634f, ln_2 = 0.6931471805599453f;

/* The first columns of a row, `width` of them (any number), as a mask for the thread `part` (lane % 4). */
__device__ __forceinline__ uint32_t first_columns(int width, int part)
{
    const int groups = max(width, 0) >> 3, rest = min(max((max(width, 0) & 7) - 2 * part, 0), 2);
    const int bits = 2 * groups + rest;
    return bits >= 32 ? ~0u : (1u << bits) - 1;
}

/* Logits are q.k; `scale` turns them into powers of 2 and is positive. top is the greatest logit so far, sum this
 * thread's share of the row's sum of weights relative to it. */
struct softmax_state {
    float top[2], sum[2];
    float shrink[2]; /* what the last tile made of the weights before it */

    /* A row's first logit: the sink, in natural units; -inf where there is none. */
    __device__ __forceinline__ void begin(float sink, float scale)
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            top[r] = sink * log2_e / scale;
            sum[r] = sink != -CUDART_INF_F && (threadIdx.x & 3) == 0 ? 1.0f : 0.0f;
        }
    }

    /* Logits of a tile become weights. masked: only those whose bit is set count; the others become 0. */
    template <bool masked, int N>
    __device__ __forceinline__ void weigh(float (&s)[N], const uint32_t (&mask)[2], float scale)
    {
        if (masked) {
#pragma unroll
            for (int i = 0; i < N; ++i)
                if (!(mask[i >> 1 & 1] >> (2 * (i / 4) + (i & 1)) & 1)) s[i] = -CUDART_INF_F;
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float greatest = top[r];
#pragma unroll
            for (int i = 2 * r; i < N; i += 4) greatest = fmaxf(greatest, fmaxf(s[i], s[i + 1]));
            greatest = fmaxf(greatest, __shfl_xor_sync(~0u, greatest, 1));
            greatest = fmaxf(greatest, __shfl_xor_sync(~0u, greatest, 2));
            float base = greatest * scale;
            if (masked && greatest == -CUDART_INF_F) base = 0;
            shrink[r] = exp2_fast(fmaf(top[r], scale, -base));
            top[r] = greatest;
            float tile_sum = 0;
#pragma unroll
            for (int i = 2 * r; i < N; i += 4) {
                s[i] = exp2_fast(fmaf(s[i], scale, -base));
                s[i + 1] = exp2_fast(fmaf(s[i + 1], scale, -base));
                tile_sum += s[i] + s[i + 1];
            }
            sum[r] = fmaf(sum[r], shrink[r], tile_sum);
        }
    }

    template <int N> __device__ __forceinline__ void shrink_rows(float (&o)[N]) const
    {
#pragma unroll
        for (int i = 0; i < N; ++i) o[i] *= shrink[i >> 1 & 1];
    }

    /* Adds up the four threads of a row. After this `factor` is what o is multiplied with, and lse the row's. */
    __device__ __forceinline__ void finish(float sink, float scale, float (&factor)[2], float (&lse)[2])
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
            sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
            const bool only_sink = sum[r] == 1 && top[r] == sink * log2_e / scale;
            factor[r] = sum[r] == 0 ? 0.0f : 1 / sum[r];
            lse[r] = sum[r] == 0 ? -CUDART_INF_F : only_sink ? sink : top[r] * scale * ln_2 + logf(sum[r]);
        }
    }
};

/* Weights as left operands of a product, 16 keys in four registers. */
template <class T, int N> __device__ __forceinline__ void pack_weights(uint32_t (&p)[N / 2], const float (&s)[N])
{
#pragma unroll
    for (int i = 0; i < N / 2; ++i) p[i] = pack(T(), s[2 * i], s[2 * i + 1]);
}

} // namespace sm90
#endif
