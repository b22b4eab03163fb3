/* Landmark attention's softmax, of rows that a warp group holds in its accumulators.
 *
 * A tile is cut into slots of columns, one block of keys each. A row's softmax runs over the landmarks of earlier
 * blocks and the ordinary tokens of its own one; a landmark's weight is handed on to its block's tokens. So the weights
 * 2^(s - level) of an earlier block, whatever its level, are multiplied with the landmark's weight over their sum,
 * which the four threads of a row add up under the powers of the next slot. The level is the row's base, which costs no
 * maximum; where a block is too far from it, the block's own greatest logit.
 */
#ifndef SLAT_SM90_SOFTMAX_GROUPS_CUH
#define SLAT_SM90_SOFTMAX_GROUPS_CUH
#include "softmax_state.cuh"
#include <cfloat>

namespace sm90
{

/* What a thread's rows see of a tile. */
struct group_columns {
    uint32_t ordinary[2]; /* masks of the ordinary tokens */
    uint32_t blocks;      /* bit 8 r + u: slot u is row r's own block; 4 further: an earlier one */
    int32_t block;        /* tokens */

    __device__ __forceinline__ bool earlier(int r, int u) const { return blocks >> (8 * r + u + 4) & 1; }
};

/* slot: columns. In a tile of which all is seen, every slot is full and holds an earlier block. */
template <int slot> struct grouped_state : softmax_state {
    typedef group_columns columns;
    static constexpr float reach = 60;                 /* powers of 2 from the base: sums neither overflow nor vanish */
    static constexpr int pairs = slot / 8;             /* of a slot, in a row */
    static constexpr int left = pairs < 8 ? pairs : 8; /* the last pairs of row 1, which are packed late */

    float late[2 * left], late_factor;

    __device__ __forceinline__ explicit grouped_state(float scale) : softmax_state(scale) {}

    /* Of a row and each slot. */
    template <int slots> struct row_slots {
        int32_t peak[slots]; /* of this thread's logits, by `greater` */
        float mark[slots];   /* an earlier block's landmark, as the four threads know it, else -inf */
        float level[slots];
        float gate[slots];   /* the landmark's weight */
        float part[slots];   /* this thread's sum of weights */
        float factor[slots]; /* what they are multiplied with */
    };

    template <int N, int slots>
    static __device__ __forceinline__ void find_marks(const float (&w)[N], const columns &seen, bool all,
                                                      row_slots<slots> (&rows)[2])
    {
        const int lane = threadIdx.x & 3;
        const uint32_t last = all ? 0 : first_columns(seen.block, lane) & ~first_columns(seen.block - 1, lane);
#pragma unroll
        for (int r = 0; r < 2; ++r)
#pragma unroll
            for (int u = 0; u < slots; ++u) {
                if (all) {
                    rows[r].mark[u] = __shfl_sync(~0u, w[place(r, u, pairs - 1) + 1], 3, 4);
                    continue;
                }
                float x = -CUDART_INF_F;
#pragma unroll
                for (int n = 0; n < 2 * pairs; ++n)
                    if (last >> n & 1) x = w[place(r, u, n / 2) + n % 2];
                rows[r].mark[u] = row_max(seen.earlier(r, u) ? x : -CUDART_INF_F);
            }
    }

    /* Where pair i of slot u stands among the logits. */
    static __device__ __forceinline__ constexpr int place(int r, int u, int i)
    {
        return 4 * (pairs * u + i) + 2 * r;
    }

    /* Raises row r's base to its landmarks and its own tokens where they go far beyond it, and takes the landmarks out
     * of the logits. own: slots of its own block. Whether the row's `shrink` has to be applied. */
    template <int N, int slots>
    __device__ __forceinline__ bool begin_row(int r, float (&w)[N], bool all, uint32_t own, float scale,
                                              row_slots<slots> &row)
    {
        float greatest = -CUDART_INF_F;
        bool off = own || base[r] < -reach; /* below 0 a peak may be the least logit: from there up is within reach */
#pragma unroll
        for (int u = 0; u < slots; ++u) {
            greatest = fmaxf(greatest, row.mark[u]);
            off |= fabsf(fmaf(__int_as_float(row.peak[u]), scale, -base[r])) > reach;
            if (all && (threadIdx.x & 3) == 3) w[place(r, u, pairs - 1) + 1] = -CUDART_INF_F;
        }
        shrink[r] = 1;
        const bool moves = __any_sync(~0u, off || greatest > (base[r] + headroom) * unit);
        float block_peak[slots];
        if (moves) {
#pragma unroll
            for (int u = 0; u < slots; ++u) {
                float x = -CUDART_INF_F;
#pragma unroll
                for (int i = 0; i < pairs; ++i) x = fmaxf(x, fmaxf(w[place(r, u, i)], w[place(r, u, i) + 1]));
                block_peak[u] = row_max(x);
                if (own >> u & 1) greatest = fmaxf(greatest, block_peak[u]);
            }
            raise(r, greatest, scale);
        }
#pragma unroll
        for (int u = 0; u < slots; ++u) {
            row.level[u] = base[r];
            if (moves && !(own >> u & 1)) row.level[u] = block_peak[u] == -CUDART_INF_F ? 0 : block_peak[u] * scale;
            row.gate[u] = exp2_fast(fmaf(row.mark[u], scale, -base[r]));
            row.part[u] = 0;
        }
        return moves;
    }

    /* All weights of slot u are in `part`. */
    template <int slots> __device__ __forceinline__ void close(int r, int u, uint32_t own, row_slots<slots> &row)
    {
        const float all = fmaxf(row_sum(row.part[u]), FLT_MIN); /* not 0 where the row does not see the block */
        const bool mine = own >> u & 1;
        sum[r] += mine ? row.part[u] : .25f * row.gate[u];
        row.factor[u] = mine ? 1 : row.gate[u] * reciprocal_fast(all);
    }

    /* As softmax_state's; the last pairs of row 1 are left to pack_late, for their sum comes last. */
    template <class T, int N, class Turn>
    __device__ __forceinline__ void weigh_tile(float (&w)[N], uint32_t (&weights)[N / 2], const columns &seen, bool all,
                                               float scale, const Turn &turn)
    {
        constexpr int count = N / 4, slots = count / pairs, lag = 2; /* lag: until a power has come */
        const uint32_t own = all ? 0 : seen.blocks, own_slots = (1u << slots) - 1;
        row_slots<slots> rows[2];
        find_marks(w, seen, all, rows);
        if (!all) hide(w, seen.ordinary);
#pragma unroll
        for (int u = 0; u < slots; ++u) {
            rows[0].peak[u] = rows[1].peak[u] = INT32_MIN;
#pragma unroll
            for (int i = 0; i < pairs; ++i)
                rows[0].peak[u] = greater(rows[0].peak[u], w[place(0, u, i)], w[place(0, u, i) + 1]);
        }
        bool shrinks = begin_row(0, w, all, own & own_slots, scale, rows[0]);
#pragma unroll
        for (int i = 0; i < count + lag; ++i) {
            if (i < count) {
                w[4 * i] = power(w[4 * i], scale, rows[0].level[i / pairs]);
                w[4 * i + 1] = power(w[4 * i + 1], scale, rows[0].level[i / pairs]);
                rows[1].peak[i / pairs] = greater(rows[1].peak[i / pairs], w[4 * i + 2], w[4 * i + 3]);
            }
            if (i < lag) continue;
            const int n = i - lag, u = n / pairs;
            rows[0].part[u] += w[4 * n] + w[4 * n + 1];
            if (n % pairs == pairs - 1) close(0, u, own, rows[0]);
        }
        shrinks |= begin_row(1, w, all, own >> 8 & own_slots, scale, rows[1]);
        turn(shrinks);
        auto pack_pair = [&](int r, int i) {
            const float *const x = w + 4 * i + 2 * r, by = rows[r].factor[i / pairs];
            weights[2 * i + r] = pack(T(), x[0] * by, x[1] * by);
        };
#pragma unroll
        for (int i = 0; i < count + lag; ++i) {
            if (i < count) {
                const float level = rows[1].level[i / pairs];
                float *const to = i < count - left ? w + 4 * i + 2 : late + 2 * (i - count + left);
                to[0] = power(w[4 * i + 2], scale, level);
                to[1] = power(w[4 * i + 3], scale, level);
                pack_pair(0, i);
            }
            if (i < lag) continue;
            const int n = i - lag, u = n / pairs;
            const float *const x = n < count - left ? w + 4 * n + 2 : late + 2 * (n - count + left);
            rows[1].part[u] += x[0] + x[1];
            if (u > 0) pack_pair(1, n - pairs);
            if (n % pairs == pairs - 1) close(1, u, own >> 8, rows[1]);
        }
#pragma unroll
        for (int i = count - pairs; i < count - left; ++i) pack_pair(1, i);
        late_factor = rows[1].factor[slots - 1];
        wgmma_ended(w); /* so that w stays floats from product to product: what became late was read as integers last */
    }

    /* Packs what weigh_tile left over, while the next product is on its way into w. */
    template <class T, int N> __device__ __forceinline__ void pack_late(uint32_t (&weights)[N]) const
    {
#pragma unroll
        for (int i = 0; i < left; ++i)
            weights[N - 2 * left + 2 * i + 1] = pack(T(), late[2 * i] * late_factor, late[2 * i + 1] * late_factor);
    }
};

} // namespace sm90
#endif
