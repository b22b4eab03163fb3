/* Landmark attention's softmax backward by query where blocks are short: as grouped_rows (grad_groups.cuh), for 64
 * columns of several slots. Between S and dP the logits hold all that is left of a slot: its weights over their sum
 * and, at its end, the landmark's weight (softmax_short.cuh).
 */
#ifndef SLAT_SM90_GRAD_SHORT_CUH
#define SLAT_SM90_GRAD_SHORT_CUH
#include "grad_groups.cuh"
#include "softmax_short.cuh"

namespace sm90
{

/* Of a thread's two rows and half a tile. all: every row sees all of it, full slots of blocks that are earlier than
 * theirs; else `seen` says what they see. */
template <int slot, bool all> struct short_rows {
    typedef short_state<slot> state;
    static constexpr int pairs = state::pairs, mark = state::mark, slots = group_rows / slot;

    short_columns seen;
    float *to; /* the numbers of the first slot, at this thread's first row; NULL: nobody wants them */
    int step;

    static __device__ __forceinline__ constexpr int place(int r, int u, int i) { return state::place(r, u, i); }
    static __device__ __forceinline__ bool has_marks() { return state::has_marks(); }

    __device__ __forceinline__ bool own(int r, int u) const { return !all && seen.own[r] >> u & 1; }

    /* numbers: of the first slot; row: the first one among 128. */
    __device__ __forceinline__ void begin(float *numbers, const block_numbers &sums, const work_item &item, int row)
    {
        to = numbers ? numbers + row / grad_group * number_floats + row % grad_group : NULL;
        step = sums.step(item.first / tile_rows);
    }

    /* Leaves c, or -m in `second`, of row r and slot u. */
    __device__ __forceinline__ void write(int r, int u, bool second, float x) const
    {
        to[u * step + r * number_floats + second * grad_group] = x;
    }

    /* Logits become weights, of ordinary tokens over their sum and of landmarks. */
    __device__ __forceinline__ void weigh(float (&s)[32], const float (&lse)[2], float scale)
    {
        constexpr float reach = state::reach;
        if (!all) state::place_marks(0, s, seen), state::place_marks(1, s, seen);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            bool off = false;
#pragma unroll
            for (int u = 0; u < slots; ++u) {
                const float above = fmaf(state::peak(r, u, s, false), scale, -lse[r]);
                off |= fabsf(above) > reach && above != -CUDART_INF_F && !own(r, u);
            }
            if (__any_sync(~0u, off))
                weigh_row<true>(r, s, lse[r], scale);
            else
                weigh_row<false>(r, s, lse[r], scale);
        }
    }

    /* levels: blocks have levels of their own, their greatest logits; else lse is theirs. */
    template <bool levels> __device__ __forceinline__ void weigh_row(int r, float (&s)[32], float lse, float scale)
    {
#pragma unroll
        for (int u = 0; u < slots; ++u) {
            float level = lse, sum = 0;
            if (levels) {
                const float peak = row_max(state::peak(r, u, s, true));
                if (!own(r, u)) level = peak == -CUDART_INF_F ? 0 : peak * scale;
            }
            float &last = s[place(r, u, mark)];
            const float above = fmaf(last, scale, -lse); /* of the landmark, where the thread has it */
#pragma unroll
            for (int i = 0; i < mark; ++i) {
                s[place(r, u, i)] = softmax_state::power(s[place(r, u, i)], scale, level);
                sum += s[place(r, u, i)];
            }
            last = softmax_state::power(last, scale, has_marks() ? lse : level);
            const float whole = fmaxf(row_sum(has_marks() ? sum : sum + last), FLT_MIN);
            const float inverse = own(r, u) ? 1 : reciprocal_fast(whole);
#pragma unroll
            for (int i = 0; i < mark; ++i) s[place(r, u, i)] *= inverse;
            if (!has_marks()) last *= inverse;
            if (to && has_marks()) write(r, u, false, own(r, u) ? lse : level + __log2f(whole) - above);
        }
    }

    /* Weights become dS; u: do.v. */
    __device__ __forceinline__ void differentiate(float (&s)[32], float (&u)[32], const float (&delta)[2]) const
    {
#pragma unroll
        for (int r = 0; r < 2; ++r)
#pragma unroll
            for (int n = 0; n < slots; ++n) {
                float sum = 0;
#pragma unroll
                for (int i = 0; i <= mark; ++i) { /* V's landmarks, and what is not seen, may be anything */
                    float &x = u[place(r, n, i)];
                    if (all ? i == mark && has_marks() : !(seen.ordinary[r] >> (2 * pairs * n + i) & 1)) x = 0;
                    sum = fmaf(s[place(r, n, i)], x, sum);
                }
                float &last = s[place(r, n, mark)];
                const float landmark = __shfl_sync(~0u, last, 3, 4), whole = row_sum(sum);
                const float gate = own(r, n) ? 1 : landmark, mean = own(r, n) ? delta[r] : whole;
                const float less = -mean * gate, of_mark = last * (mean - delta[r]);
#pragma unroll
                for (int i = 0; i <= mark; ++i) s[place(r, n, i)] *= fmaf(u[place(r, n, i)], gate, less);
                if (has_marks()) last = of_mark;
                if (to && (threadIdx.x & 3) == r) write(r, n, true, -mean);
            }
        if (!all) state::return_marks(s, seen.block);
    }
};

} // namespace sm90
#endif
