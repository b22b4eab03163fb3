/* Landmark attention's softmax backward, of the rows that a warp group holds in its accumulators: by query.
 *
 * A tile is a block of keys in 64 columns. The ordinary tokens of a block that is earlier than a row's own have weights
 * w p_j: w = 2^(t - lse) is the landmark's, p_j = 2^(s_j - level) over the sum of these. With the scores u_j = do.v_j
 * and their mean m = sum p_j u_j, dS_j = w p_j (u_j - m), and dS of the landmark is w (m - delta). The four threads of
 * a row add up the two sums. By key a block's weights are 2^(s_j - c) with c = level + log of the sum - (t - lse), so c
 * and m are all that is left for grad_keys; a row's own block has lse and delta for them.
 */
#ifndef SLAT_SM90_GRAD_GROUPS_CUH
#define SLAT_SM90_GRAD_GROUPS_CUH
#include "grad_room.cuh"
#include "softmax_groups.cuh"

namespace sm90
{

/* Where the numbers of blocks lie, for 128 queries from a multiple of that on: eight rows together, first their c, then
 * their m. A tile of queries has the blocks up to its own one, in pairs. So the first tile and the last share a line
 * from its two ends, and so on. */
struct block_numbers {
    static constexpr int floats = tile_rows * 2; /* of a block and a tile of queries */

    float *data;
    int32_t tiles;      /* of queries */
    int32_t first, end; /* blocks that have numbers; none: nobody wants them */
    int32_t width;      /* of a line, in blocks */
    int32_t first_head; /* of queries: those before it have none */

    int32_t lines() const { return (tiles + 1) / 2; }

    __device__ __forceinline__ bool has(int block) const { return block >= first && block < end; }

    /* From a block's numbers to the next one's. */
    __device__ __forceinline__ int step(int tile) const { return tile <= tiles - 1 - tile ? floats : -floats; }

    __device__ __forceinline__ float *at(int head, int tile, int block) const
    {
        const int mirrored = tiles - 1 - tile, column = block - first;
        const int64_t line = (int64_t)(head - first_head) * ((tiles + 1) / 2) + min(tile, mirrored);
        return data + (line * width + (tile <= mirrored ? column : width - 1 - column)) * floats;
    }
};

/* Of a thread's two rows and a block. all: every row sees all of it, 64 keys, and it is an earlier block than theirs;
 * else `seen` says what they see. */
template <bool all> struct grouped_rows {
    group_columns seen;
    float weight[2];  /* the landmark's; 0 where the block is not an earlier one */
    float inverse[2]; /* 1 over the sum of weights, or 1 */
    float level[2];   /* c */
    float mean[2];

    static __device__ __forceinline__ int part() { return threadIdx.x & 3; }

    /* The landmark among this thread's columns. */
    __device__ __forceinline__ uint32_t landmark() const
    {
        return first_columns(seen.block, part()) & ~first_columns(seen.block - 1, part());
    }

    __device__ __forceinline__ bool earlier(int r) const { return all || seen.earlier(r, 0); }

    /* The landmarks' logits, of earlier blocks; then they and what is not seen leave the logits. */
    __device__ __forceinline__ void take_marks(float (&s)[32], float (&mark)[2]) const
    {
        if (all) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                mark[r] = __shfl_sync(~0u, s[29 + 2 * r], 3, 4);
                if (part() == 3) s[29 + 2 * r] = -CUDART_INF_F;
            }
            return;
        }
        const uint32_t last = landmark();
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float x = -CUDART_INF_F;
#pragma unroll
            for (int n = 0; n < 16; ++n)
                if (last >> n & 1) x = s[4 * (n / 2) + 2 * r + n % 2];
            mark[r] = row_max(earlier(r) ? x : -CUDART_INF_F);
        }
        softmax_state::hide(s, seen.ordinary);
    }

    /* Logits become weights, of ordinary tokens alone and relative to a level: lse, or the greatest logit where one of
     * the warp's is too far from it. scale: of logits, to powers of 2. */
    __device__ __forceinline__ void weigh(float (&s)[32], const float (&lse)[2], float scale)
    {
        constexpr float reach = 60; /* as in the forward pass */
        float mark[2];
        bool off = !all;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            level[r] = lse[r];
            if (!all) continue;
            int32_t peak = INT32_MIN;
#pragma unroll
            for (int i = 2 * r; i < 32; i += 4) peak = greater(peak, s[i], s[i + 1]);
            off |= lse[r] < -reach || !(fabsf(fmaf(__int_as_float(peak), scale, -lse[r])) <= reach);
        }
        take_marks(s, mark);
        if (__any_sync(~0u, off)) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                float greatest = -CUDART_INF_F;
#pragma unroll
                for (int i = 2 * r; i < 32; i += 4) greatest = fmaxf(greatest, fmaxf(s[i], s[i + 1]));
                greatest = row_max(greatest);
                if (earlier(r)) level[r] = greatest == -CUDART_INF_F ? 0 : greatest * scale;
            }
        }
        float sum[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 32; ++i) {
            const int r = i >> 1 & 1;
            s[i] = softmax_state::power(s[i], scale, level[r]);
            sum[r] += s[i];
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const float above = fmaf(mark[r], scale, -lse[r]), whole = fmaxf(row_sum(sum[r]), FLT_MIN);
            weight[r] = earlier(r) ? exp2_fast(above) : 0;
            inverse[r] = earlier(r) ? reciprocal_fast(whole) : 1;
            if (earlier(r)) level[r] += __log2f(whole) - above;
        }
    }

    /* Weights become dS; u: do.v. */
    __device__ __forceinline__ void differentiate(float (&s)[32], float (&u)[32], const float (&delta)[2])
    {
        if (all) { /* V's landmarks may be anything */
            if (part() == 3) u[29] = u[31] = 0;
        } else
#pragma unroll
            for (int i = 0; i < 32; ++i)
                if (!(seen.ordinary[i >> 1 & 1] >> (2 * (i / 4) + (i & 1)) & 1)) u[i] = 0;
        float sum[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 32; ++i) sum[i >> 1 & 1] = fmaf(s[i], u[i], sum[i >> 1 & 1]);
        float factor[2], less[2], mark[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            mean[r] = row_sum(sum[r]) * inverse[r];
            if (!earlier(r)) mean[r] = delta[r];
            factor[r] = earlier(r) ? weight[r] * inverse[r] : 1;
            less[r] = -mean[r] * factor[r];
            mark[r] = weight[r] * (mean[r] - delta[r]);
        }
#pragma unroll
        for (int i = 0; i < 32; ++i) {
            const int r = i >> 1 & 1;
            s[i] *= fmaf(u[i], factor[r], less[r]);
        }
        if (all) {
            if (part() == 3) s[29] = mark[0], s[31] = mark[1];
            return;
        }
        const uint32_t last = landmark();
#pragma unroll
        for (int i = 0; i < 32; ++i)
            if (last >> (2 * (i / 4) + (i & 1)) & 1) s[i] = mark[i >> 1 & 1];
    }

    /* Leaves c and -m for grad_keys. row: the first one among 128. */
    __device__ __forceinline__ void write(float *to, int row) const
    {
        write(to, row, level, mean);
    }

    static __device__ __forceinline__ void write(float *to, int row, const float (&level)[2], const float (&mean)[2])
    {
        const int r = part() >> 1;
        if (!to) return;
        to += (row / grad_group + r) * number_floats + part() % 2 * grad_group + row % grad_group;
        *to = part() % 2 ? -(r ? mean[1] : mean[0]) : (r ? level[1] : level[0]);
    }
};

} // namespace sm90
#endif
