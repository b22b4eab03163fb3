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

/* Logits are q.k; `scale` turns them into powers of 2 and is positive. Weights are relative to `top`: the greatest logit
 * of a row when it was last looked for, which is only done when a tile has one that is far greater. So a weight is at
 * most 2^headroom, and what has been summed is seldom shrunk. */
struct softmax_state {
    static constexpr float headroom = 8;

    float top[2], base[2]; /* base: top as a power of 2, 0 while there is none */
    float sum[2];          /* this thread's share of the row's sum of weights */
    float shrink[2];       /* what the last tile made of the weights before it */
    float far;             /* headroom, as a difference of logits */

    /* A row's first logit: the sink, in natural units; -inf where there is none. */
    __device__ __forceinline__ void begin(float sink, float scale)
    {
        far = headroom / scale;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            top[r] = sink * log2_e / scale;
            base[r] = sink == -CUDART_INF_F ? 0 : sink * log2_e;
            sum[r] = sink != -CUDART_INF_F && (threadIdx.x & 3) == 0 ? 1.0f : 0.0f;
        }
    }

    /* Logits whose bit is not set become -inf. */
    template <int N> static __device__ __forceinline__ void hide(float (&s)[N], const uint32_t (&mask)[2])
    {
#pragma unroll
        for (int i = 0; i < N; ++i)
            if (!(mask[i >> 1 & 1] >> (2 * (i / 4) + (i & 1)) & 1)) s[i] = -CUDART_INF_F;
    }

    /* Raises top where row r of a tile goes far beyond it; whether the row's `shrink` has to be applied. `peak` is the
     * greatest of the row's logits in this thread as integers, which order as the logits do from 0 up; below 0 the
     * logits themselves are compared. */
    template <int N> __device__ __forceinline__ bool rise(int r, int32_t peak, const float (&s)[N], float scale)
    {
        const float limit = top[r] + far;
        shrink[r] = 1;
        if (!__any_sync(~0u, peak > __float_as_int(limit) || limit < 0)) return false;
        float greatest = top[r];
#pragma unroll
        for (int i = 2 * r; i < N; i += 4) greatest = fmaxf(greatest, fmaxf(s[i], s[i + 1]));
        greatest = fmaxf(greatest, __shfl_xor_sync(~0u, greatest, 1));
        greatest = fmaxf(greatest, __shfl_xor_sync(~0u, greatest, 2));
        if (greatest > top[r]) {
            shrink[r] = exp2_fast((top[r] - greatest) * scale);
            sum[r] *= shrink[r];
            top[r] = greatest;
            base[r] = greatest * scale;
        }
        return true;
    }

    /* Two logits of row r become weights. */
    __device__ __forceinline__ void weigh(float *s, int r, float scale) const
    {
        s[0] = exp2_fast(fmaf(s[0], scale, -base[r]));
        s[1] = exp2_fast(fmaf(s[1], scale, -base[r]));
    }

    /* Adds up the four threads of a row. After this `factor` is what o is multiplied with, and lse the row's. */
    __device__ __forceinline__ void finish(float sink, float (&factor)[2], float (&lse)[2])
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
            sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
            const bool only_sink = sum[r] == 1 && base[r] == sink * log2_e;
            factor[r] = sum[r] == 0 ? 0.0f : 1 / sum[r];
            lse[r] = sum[r] == 0 ? -CUDART_INF_F : only_sink ? sink : base[r] * ln_2 + logf(sum[r]);
        }
    }
};

} // namespace sm90
#endif
