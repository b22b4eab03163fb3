/* Landmark attention's softmax of blocks that are longer than a tile. A block comes twice: first K alone, for the
 * landmark's logit less the log of the sum of its tokens' weights; then, with this added to the logits of the tokens,
 * as in any softmax. A row's own block takes them as they are.
 *
 * A walk that says so by Walk::long_blocks has keys of one block in a tile, and
 *   note.gathers, note.block      whether it comes for the sum of its block, as `step` says; the block
 *   walk.ordinary(note)           the first columns that are ordinary tokens; the landmark is behind them, or none
 *   walk.earlier(problem, item, row, block)   whether the block is an earlier one than a row's own
 */
#ifndef SLAT_SM90_SOFTMAX_LONG_CUH
#define SLAT_SM90_SOFTMAX_LONG_CUH
#include "softmax_state.cuh"
#include <cfloat>

namespace sm90
{

/* What keys come for: their own sake, or the numbers of their block. */
enum step : int32_t { step_weighs, step_gathers, step_gathers_last };

/* What a thread has of its two rows and a block while that passes: its own columns, from their greatest logit. */
struct block_sums {
    float level[2], sum[2]; /* of weights, relative to 2^level */
    float shrink[2];        /* what the last keys made of the weights before them */
    float mark[2];          /* the landmark's logit, where the thread has it */

    __device__ __forceinline__ block_sums()
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            level[r] = -FLT_MAX;
            sum[r] = 0;
            mark[r] = -CUDART_INF_F;
        }
    }

    static __device__ __forceinline__ bool has(uint32_t mask, int i)
    {
        return mask >> (2 * (i / 4) + (i & 1)) & 1;
    }

    /* Logits become weights. ordinary: the first columns, before the landmark. */
    template <int N> __device__ __forceinline__ void weigh(float (&s)[N], float scale, int ordinary)
    {
        if (ordinary < 2 * N) {
            const uint32_t seen = first_columns(ordinary, threadIdx.x & 3);
            const uint32_t last = first_columns(ordinary + 1, threadIdx.x & 3) & ~seen;
#pragma unroll
            for (int i = 0; i < N; ++i) {
                if (has(last, i)) mark[i >> 1 & 1] = s[i];
                if (!has(seen, i)) s[i] = -CUDART_INF_F;
            }
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float greatest = -CUDART_INF_F;
#pragma unroll
            for (int i = 2 * r; i < N; i += 4) greatest = fmaxf(greatest, fmaxf(s[i], s[i + 1]));
            const float next = fmaxf(level[r], greatest * scale);
            shrink[r] = exp2_fast(level[r] - next);
            level[r] = next;
        }
        float part[2] = {0, 0}; /* of few: long chains of like weights are always rounded the same way */
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const int r = i >> 1 & 1;
            s[i] = softmax_state::power(s[i], scale, level[r]);
            part[r] += s[i];
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) sum[r] = fmaf(sum[r], shrink[r], part[r]);
    }
};

/* While a block is under way, `base` is less its offset. A block that is earlier than a row's own adds the
 * landmark's weight to the row's sum, when it has passed. */
struct long_state : softmax_state {
    float offset[2]; /* what is added to the logits of the block, as powers of 2 */
    float mark[2];   /* the landmark's logit, likewise; -inf: it is the row's own block */
    float whole[2];  /* base, when the block began, with its offset */

    __device__ __forceinline__ explicit long_state(float scale) : softmax_state(scale) {}

    __device__ __forceinline__ void begin(float sink, float scale)
    {
        softmax_state::begin(sink, scale);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            offset[r] = 0;
            mark[r] = -CUDART_INF_F;
            whole[r] = base[r];
        }
    }

    /* Row r goes on to another block. */
    __device__ __forceinline__ void enter(int r, float next_offset, float next_mark)
    {
        if (base[r] != whole[r] - offset[r]) whole[r] = base[r] + offset[r]; /* it has been raised */
        sum[r] += .25f * exp2_fast(mark[r] - whole[r]);
        offset[r] = next_offset;
        mark[r] = next_mark;
        base[r] = whole[r] - next_offset;
    }

    /* The same after the block's sum has been gathered; earlier: than row r's own. */
    __device__ __forceinline__ void enter(int r, const block_sums &sums, bool earlier, float scale)
    {
        const float level = row_max(sums.level[r]), all = row_sum(sums.sum[r] * exp2_fast(sums.level[r] - level));
        const float logit = row_max(sums.mark[r]) * scale;
        enter(r, earlier ? logit - level - log2_fast(fmaxf(all, FLT_MIN)) : 0, earlier ? logit : -CUDART_INF_F);
    }

    /* As softmax_state's. */
    template <class T, int N, class Turn>
    __device__ __forceinline__ void weigh_tile(float (&w)[N], uint32_t (&weights)[N / 2], const columns &seen, bool all,
                                               float scale, const Turn &turn)
    {
        const float before[2] = {sum[0], sum[1]};
        sum[0] = sum[1] = 0;
        softmax_state::weigh_tile<T>(w, weights, seen, all, scale, turn);
#pragma unroll
        for (int r = 0; r < 2; ++r) sum[r] = fmaf(before[r], shrink[r], mark[r] == -CUDART_INF_F ? sum[r] : 0);
    }

    __device__ __forceinline__ void finish(float sink, float (&factor)[2], float (&lse)[2])
    {
#pragma unroll
        for (int r = 0; r < 2; ++r) enter(r, 0, -CUDART_INF_F);
        softmax_state::finish(sink, factor, lse);
    }
};

} // namespace sm90
#endif
