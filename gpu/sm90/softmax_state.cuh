/* The online softmax of 64 rows that a warp group holds in its accumulators. A thread has two rows; in a tile of logits
 * bit 2 j + e of a row's mask is column 8 j + 2 (lane % 4) + e.
 */
#ifndef SLAT_SM90_SOFTMAX_STATE_CUH
#define SLAT_SM90_SOFTMAX_STATE_CUH
#include "wgmma.cuh"
#include <cfloat>
#include <math_constants.h>

namespace sm90
{

constexpr float log2_e = 1.4426950408889634f, ln_2 = 0.6931471805599453f;

/* The first columns of a row, `width` of them (any number), as a mask for the thread `part` (lane % 4). */
__device__ __forceinline__ uint32_t first_columns(int width, int part)
{
    const int mine = max(width - 2 * part, 0); /* from the thread's first column on: of each 8, two are its own */
    return low_bits((mine >> 2 & ~1) + min(mine & 7, 2));
}

/* The greatest x of a row's four threads, and the sum. */
__device__ __forceinline__ float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ __forceinline__ float row_sum(float x)
{
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

/* The greatest of three as integers, which order as numbers do from 0 up; below 0 the other way round. */
__device__ __forceinline__ int32_t greater(int32_t peak, float a, float b)
{
    return __vimax3_s32(peak, __float_as_int(a), __float_as_int(b));
}

/* Logits are q.k; `scale` turns them into powers of 2 and is positive. Weights are relative to `base`: the greatest
 * logit of a row when it was last looked for, which is only done when a tile has one that is far greater. So a weight
 * is at most 2^headroom, and what has been summed is seldom shrunk. */
struct softmax_state {
    typedef uint32_t columns[2]; /* masks of a thread's rows */
    static constexpr float headroom = 8;

    float base[2];         /* a power of 2; while there is none less than any */
    float sum[2];          /* this thread's share of the row's sum of weights */
    float shrink[2];       /* what the last tile made of the weights before it */
    float unit;            /* 1 / scale */

    __device__ __forceinline__ explicit softmax_state(float scale) : unit(fminf(1 / scale, FLT_MAX)) {}

    /* A row's first logit: the sink, in natural units; -inf where there is none. */
    __device__ __forceinline__ void begin(float sink, float scale)
    {
        base[0] = base[1] = -FLT_MAX;
        sum[0] = sum[1] = 0;
        if (sink == -CUDART_INF_F) return;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            base[r] = sink * log2_e;
            sum[r] = (threadIdx.x & 3) == 0 ? 1.0f : 0.0f;
        }
    }

    /* Logits whose bit is not set become -inf. */
    template <int N> static __device__ __forceinline__ void hide(float (&s)[N], const uint32_t (&mask)[2])
    {
#pragma unroll
        for (int r = 0; r < 2; ++r)
#pragma unroll
            for (int i = 0; i < N / 2; ++i)
                if (!(mask[r] >> i & 1)) s[i / 2 * 4 + 2 * r + i % 2] = -CUDART_INF_F;
    }

    /* Raises base where row r of a tile goes far beyond it; whether the row's `shrink` has to be applied. `peak` is the
     * greatest of the row's logits in this thread as integers, which order as the logits do from 0 up; where a row has
     * none of those, the logits themselves are compared. */
    template <int N> __device__ __forceinline__ bool rise(int r, int32_t peak, const float (&s)[N], float scale)
    {
        const float limit = (base[r] + headroom) * unit;
        shrink[r] = 1;
        if (!__any_sync(~0u, peak > __float_as_int(limit) || limit < 0)) return false;
        float greatest = row_max(peak < 0 ? -CUDART_INF_F : __int_as_float(peak));
        if (__any_sync(~0u, greatest < 0)) {
#pragma unroll
            for (int i = 2 * r; i < N; i += 4) greatest = fmaxf(greatest, fmaxf(s[i], s[i + 1]));
            greatest = row_max(greatest);
        }
        raise(r, greatest, scale);
        return true;
    }

    __device__ __forceinline__ void raise(int r, float greatest, float scale)
    {
        const float next = fmaxf(base[r], greatest * scale);
        shrink[r] = exp2_fast(base[r] - next);
        sum[r] *= shrink[r];
        base[r] = next;
    }

    /* A logit's weight, relative to 2^level. */
    static __device__ __forceinline__ float power(float s, float scale, float level)
    {
        return exp2_fast(fmaf(s, scale, -level));
    }

    /* The logits of a tile, w, become packed weights. all: every column is seen, else those of `seen`. `turn`, called
     * between the rows, is told whether o has to be shrunk; until it returns the old weights may be in use. What can,
     * hides under the powers: row 1's maximum under row 0's, packing under row 1's. */
    template <class T, int N, class Turn>
    __device__ __forceinline__ void weigh_tile(float (&w)[N], uint32_t (&weights)[N / 2], const columns &seen, bool all,
                                               float scale, const Turn &turn)
    {
        constexpr int pairs = N / 4, lag = 2; /* lag: until a power has come */
        if (!all) hide(w, seen);
        int32_t peak[2] = {INT32_MIN, INT32_MIN}, other = INT32_MIN; /* two chains a row */
#pragma unroll
        for (int i = 0; i < pairs; ++i) {
            int32_t &chain = i % 2 ? other : peak[0];
            chain = greater(chain, w[4 * i], w[4 * i + 1]);
        }
        bool shrinks = rise(0, max(peak[0], other), w, scale);
        other = INT32_MIN;
#pragma unroll
        for (int i = 0; i < pairs + lag; ++i) {
            if (i < pairs) {
                w[4 * i] = power(w[4 * i], scale, base[0]);
                w[4 * i + 1] = power(w[4 * i + 1], scale, base[0]);
                int32_t &chain = i % 2 ? other : peak[1];
                chain = greater(chain, w[4 * i + 2], w[4 * i + 3]);
            }
            if (i >= lag) sum[0] += w[4 * (i - lag)] + w[4 * (i - lag) + 1];
        }
        shrinks |= rise(1, max(peak[1], other), w, scale);
        turn(shrinks);
#pragma unroll
        for (int i = 0; i < pairs + lag; ++i) {
            if (i < pairs) {
                w[4 * i + 2] = power(w[4 * i + 2], scale, base[1]);
                w[4 * i + 3] = power(w[4 * i + 3], scale, base[1]);
                weights[2 * i] = pack(T(), w[4 * i], w[4 * i + 1]);
            }
            if (i >= lag) {
                const float *x = w + 4 * (i - lag) + 2;
                sum[1] += x[0] + x[1];
                weights[2 * (i - lag) + 1] = pack(T(), x[0], x[1]);
            }
        }
    }

    /* Packs what weigh_tile left over: nothing. */
    template <class T, int N> __device__ __forceinline__ void pack_late(uint32_t (&)[N]) const {}

    /* Adds up the four threads of a row. After this `factor` is what o is multiplied with, and lse the row's. */
    __device__ __forceinline__ void finish(float sink, float (&factor)[2], float (&lse)[2])
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            sum[r] += __shfl_xor_sync(~0u, sum[r], 1);
            sum[r] += __shfl_xor_sync(~0u, sum[r], 2);
            const bool only_sink = sum[r] == 1 && base[r] == sink * log2_e;
            factor[r] = sum[r] == 0 ? 0.0f : reciprocal_fast(sum[r]);
            lse[r] = sum[r] == 0 ? -CUDART_INF_F : only_sink ? sink : (base[r] + log2_fast(sum[r])) * ln_2;
        }
    }
};

} // namespace sm90
#endif
