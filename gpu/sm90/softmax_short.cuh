/* Landmark attention's softmax where blocks are short: as grouped_state's (softmax_groups.cuh), for tiles of many
 * slots.
 *
 * Registers do not suffice for what a few slots have of their own. So a landmark's logit stays among the others, in the
 * last column of its slot, where it becomes the landmark's weight: a shorter block leaves that column empty, and its
 * landmark is moved there. A block that is too far from the row's base is moved to it, logit by logit.
 */
#ifndef SLAT_SM90_SOFTMAX_SHORT_CUH
#define SLAT_SM90_SOFTMAX_SHORT_CUH
#include "softmax_state.cuh"
#include <cfloat>

namespace sm90
{

/* What a thread's rows see of a tile. */
struct short_columns {
    uint32_t ordinary[2]; /* masks of the ordinary tokens */
    uint32_t earlier[2];  /* bit u: slot u is an earlier block */
    uint32_t own[2];      /* bit u: it is the row's own one */
    int32_t block;        /* tokens */
};

/* Rows at `past` and 8 further, counted from the first slot's first token on; the slots before `skipped` are empty. */
template <int slot>
__device__ __forceinline__ void see_slots(short_columns &seen, int32_t past, int32_t block, int slots, int skipped)
{
    constexpr int columns = slot / 4; /* of a slot, in a thread's row */
    const int part = threadIdx.x % 4;
    const uint32_t whole = first_columns(block - 1, part) * (~0u / ((1u << columns) - 1)); /* in every slot */
    seen.block = block;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        const int32_t at = past + 8 * r;
        const int own = at < 0 ? -1 : at >= slots * block ? slots : at / block, before = max(own, 0);
        seen.earlier[r] = low_bits(before) & ~low_bits(skipped);
        seen.ordinary[r] = whole & low_bits(before * columns) & ~low_bits(skipped * columns);
        seen.own[r] = 0;
        if (own < skipped || own == slots) continue;
        seen.ordinary[r] |= first_columns(min(at - own * block + 1, block - 1), part) << own * columns;
        seen.own[r] = 1 << own;
    }
}

/* slot: columns, fewer than 64. In a tile of which all is seen, every slot is full and holds an earlier block. */
template <int slot> struct short_state : softmax_state {
    typedef short_columns columns;
    static constexpr float reach = 60;     /* powers of 2 from the base: sums neither overflow nor vanish */
    static constexpr int pairs = slot / 8; /* of a slot, in a row */

    float late[2 * pairs], late_factor; /* row 1's last slot, which is packed late */

    __device__ __forceinline__ explicit short_state(float scale) : softmax_state(scale) {}

    static __device__ __forceinline__ int part() { return threadIdx.x & 3; }

    /* Whether this thread has the last columns of slots. */
    static __device__ __forceinline__ bool has_marks() { return part() == 3; }

    /* Where a slot's column i of this thread stands among the logits. */
    static __device__ __forceinline__ constexpr int place(int r, int u, int i)
    {
        return 4 * (pairs * u + i / 2) + 2 * r + i % 2;
    }

    static constexpr int mark = 2 * pairs - 1; /* the last column, where the thread has marks */

    /* Row r's landmarks of earlier blocks go to the ends of their slots; what else is no ordinary token becomes -inf.
     */
    template <int N> static __device__ __forceinline__ void place_marks(int r, float (&w)[N], const columns &seen)
    {
        const int last = seen.block - 1, source = last % 8 / 2, column = last / 8 * 2 + last % 2;
#pragma unroll
        for (int u = 0; u < N / (4 * pairs); ++u) {
            float x = w[place(r, u, 0)];
#pragma unroll
            for (int i = 1; i < 2 * pairs; ++i)
                if (column == i) x = w[place(r, u, i)];
            x = __shfl_sync(~0u, x, source, 4);
#pragma unroll
            for (int i = 0; i < 2 * pairs; ++i)
                if (!(seen.ordinary[r] >> (2 * pairs * u + i) & 1)) w[place(r, u, i)] = -CUDART_INF_F;
            if (has_marks() && seen.earlier[r] >> u & 1) w[place(r, u, mark)] = x;
        }
    }

    /* What stands at the ends of slots goes back to the landmarks' columns. */
    template <int N> static __device__ __forceinline__ void return_marks(float (&w)[N], int block)
    {
        const int last = block - 1, target = last % 8 / 2, column = last / 8 * 2 + last % 2;
#pragma unroll
        for (int r = 0; r < 2; ++r)
#pragma unroll
            for (int u = 0; u < N / (4 * pairs); ++u) {
                const float x = __shfl_sync(~0u, w[place(r, u, mark)], 3, 4);
                if (has_marks()) w[place(r, u, mark)] = 0;
#pragma unroll
                for (int i = 0; i < 2 * pairs; ++i)
                    if (part() == target && column == i) w[place(r, u, i)] = x;
            }
    }

    /* The greatest of this thread's logits of a slot, its mark left out where `ordinary`. */
    template <int N> static __device__ __forceinline__ float peak(int r, int u, const float (&w)[N], bool ordinary)
    {
        float x = w[place(r, u, mark)];
        if (ordinary && has_marks()) x = -CUDART_INF_F;
#pragma unroll
        for (int i = 0; i < mark; ++i) x = fmaxf(x, w[place(r, u, i)]);
        return x;
    }

    /* Raises row r's base to its landmarks and its own tokens where they go far beyond it. own: slots of its own block.
     * Whether the row's `shrink` has to be applied. */
    template <int N> __device__ __forceinline__ bool begin_row(int r, float (&w)[N], uint32_t own, float scale)
    {
        constexpr int slots = N / (4 * pairs);
        float greatest = -CUDART_INF_F;
        bool off = own;
#pragma unroll
        for (int u = 0; u < slots; ++u) {
            const float above = fmaf(peak(r, u, w, false), scale, -base[r]);
            off |= fabsf(above) > reach && above != -CUDART_INF_F; /* a thread may see none */
            greatest = fmaxf(greatest, w[place(r, u, mark)]);
        }
        if (!has_marks()) greatest = -CUDART_INF_F;
        shrink[r] = 1;
        if (!__any_sync(~0u, off || greatest > (base[r] + headroom) * unit)) return false;
#pragma unroll
        for (int u = 0; u < slots; ++u)
            if (own >> u & 1) greatest = fmaxf(greatest, peak(r, u, w, false));
        raise(r, row_max(greatest), scale);
        const float to = base[r] == -FLT_MAX ? 0 : base[r] * unit;
#pragma unroll
        for (int u = 0; u < slots; ++u) {
            const float x = row_max(peak(r, u, w, true)), from = own >> u & 1 ? to : x == -CUDART_INF_F ? 0 : x;
#pragma unroll
            for (int i = 0; i < 2 * pairs; ++i)
                if (i < mark || !has_marks()) w[place(r, u, i)] = w[place(r, u, i)] - from + to;
        }
        return true;
    }

    /* What the weights of a row's slot are multiplied with; part: this thread's sum of them, mark: its last one; whole:
     * the row's sum of weights so far. */
    static __device__ __forceinline__ float close(float part, float &mark, bool own, float &whole)
    {
        const float sum = fmaxf(row_sum(has_marks() ? part : part + mark), FLT_MIN); /* not 0 where nothing is seen */
        const float landmark = __shfl_sync(~0u, mark, 3, 4), gate = own ? sum : landmark;
        if (has_marks()) mark = 0;
        whole += gate;
        return gate * reciprocal_fast(sum);
    }

    /* As softmax_state's; row 1's last slot is left to pack_late, for its sum comes last. */
    template <class T, int N, class Turn>
    __device__ __forceinline__ void weigh_tile(float (&w)[N], uint32_t (&weights)[N / 2], const columns &seen, bool all,
                                               float scale, const Turn &turn)
    {
        constexpr int slots = N / (4 * pairs), lag = pairs == 1 ? 2 : 1; /* lag: slots, until a power has come */
        if (!all) place_marks(0, w, seen), place_marks(1, w, seen);
        const uint32_t own[2] = {all ? 0 : seen.own[0], all ? 0 : seen.own[1]};
        bool shrinks = begin_row(0, w, own[0], scale);
        float whole[2] = {0, 0};
#pragma unroll
        for (int u = 0; u < slots + lag; ++u) {
            if (u < slots)
#pragma unroll
                for (int i = 0; i < 2 * pairs; ++i) w[place(0, u, i)] = power(w[place(0, u, i)], scale, base[0]);
            if (u < lag) continue;
            const int n = u - lag;
            float part = 0;
#pragma unroll
            for (int i = 0; i < mark; ++i) part += w[place(0, n, i)];
            const float factor = close(part, w[place(0, n, mark)], own[0] >> n & 1, whole[0]);
#pragma unroll
            for (int i = 0; i < 2 * pairs; ++i) w[place(0, n, i)] *= factor;
        }
        sum[0] += .25f * whole[0];
        shrinks |= begin_row(1, w, own[1], scale);
        turn(shrinks);
#pragma unroll
        for (int u = 0; u < slots + lag; ++u) {
            if (u < slots) {
#pragma unroll
                for (int i = 0; i < 2 * pairs; ++i) {
                    float &to = u < slots - 1 ? w[place(1, u, i)] : late[i];
                    to = power(w[place(1, u, i)], scale, base[1]);
                }
#pragma unroll
                for (int i = 0; i < pairs; ++i)
                    weights[2 * (pairs * u + i)] = pack(T(), w[place(0, u, 2 * i)], w[place(0, u, 2 * i + 1)]);
            }
            if (u < lag) continue;
            const int n = u - lag;
            float part = 0;
#pragma unroll
            for (int i = 0; i < mark; ++i) part += n < slots - 1 ? w[place(1, n, i)] : late[i];
            late_factor = close(part, n < slots - 1 ? w[place(1, n, mark)] : late[mark], own[1] >> n & 1, whole[1]);
            if (n == slots - 1) break;
#pragma unroll
            for (int i = 0; i < pairs; ++i)
                weights[2 * (pairs * n + i) + 1] =
                    pack(T(), w[place(1, n, 2 * i)] * late_factor, w[place(1, n, 2 * i + 1)] * late_factor);
        }
        sum[1] += .25f * whole[1];
        wgmma_ended(w); /* so that w stays floats from product to product: what became late was read as integers last */
    }

    /* Packs what weigh_tile left over, while the next product is on its way into w. */
    template <class T, int N> __device__ __forceinline__ void pack_late(uint32_t (&weights)[N]) const
    {
#pragma unroll
        for (int i = 0; i < pairs; ++i)
            weights[N - 2 * pairs + 2 * i + 1] = pack(T(), late[2 * i] * late_factor, late[2 * i + 1] * late_factor);
    }
};

} // namespace sm90
#endif
