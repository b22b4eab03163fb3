/* Landmark attention's softmax backward by query, of blocks that are longer than the 64 keys which a warp group has at
 * a time. A block comes twice: first for what grad_groups.cuh says of it, c, m and the landmark's dS, then for dQ, with
 * c and m in the place of lse and delta. A row's own block has these themselves.
 *
 * A walk that says so by Walk::long_blocks has one run of 64 keys of a block in a tile, what softmax_long.cuh says, and
 *   walk.landmark(note)           the landmark among a thread's columns, as a mask
 */
#ifndef SLAT_SM90_GRAD_LONG_CUH
#define SLAT_SM90_GRAD_LONG_CUH
#include "grad_groups.cuh"
#include "softmax_long.cuh"

namespace sm90
{

/* Where blocks are long: the step that the keys in hand are there for; of gradients: dS of the landmark, while lse and
 * delta of the rows are c and m. */
template <bool long_blocks> struct block_in_hand {
    static constexpr int32_t gathers = step_weighs;
};
template <> struct block_in_hand<true> {
    int32_t gathers;
    float landmark[2];
};

/* As its base, and what the weights make of do.v. */
struct block_grads : block_sums {
    float dot[2] = {0, 0};

    /* What the last weights make of u, do.v, which may be anything from the landmark on. */
    __device__ __forceinline__ void add(const float (&weights)[32], float (&u)[32], int ordinary)
    {
        if (ordinary < group_rows) {
            const uint32_t seen = first_columns(ordinary, threadIdx.x & 3);
#pragma unroll
            for (int i = 0; i < 32; ++i)
                if (!has(seen, i)) u[i] = 0;
        }
        float part[2] = {0, 0};
#pragma unroll
        for (int i = 0; i < 32; ++i) part[i >> 1 & 1] = fmaf(weights[i], u[i], part[i >> 1 & 1]);
        dot[0] = fmaf(dot[0], shrink[0], part[0]);
        dot[1] = fmaf(dot[1], shrink[1], part[1]);
    }

    /* The block has passed: row r's lse and delta become c and m where it is an earlier one. The landmark's dS. */
    __device__ __forceinline__ float end(int r, float scale, bool earlier, float &lse, float &delta) const
    {
        const float top = row_max(level[r]), above = fmaf(row_max(mark[r]), scale, -lse);
        const float factor = exp2_fast(level[r] - top), whole = fmaxf(row_sum(sum[r] * factor), FLT_MIN);
        const float mean = row_sum(dot[r] * factor) * reciprocal_fast(whole);
        if (!earlier) return 0;
        const float grad = exp2_fast(above) * (mean - delta);
        lse = top + log2_fast(whole) - above;
        delta = mean;
        return grad;
    }
};

/* Takes the keys of a block, the first of which are in hand, for its numbers, and stays at the last ones; own: a
 * query_consumer; issue(s, u) issues the products q.k and do.v of the keys in hand. */
template <class Consumer, class Issue>
__device__ __forceinline__ void gather_block(Consumer &own, const work_item &item, const Issue &issue)
{
    typedef typename Consumer::room room;
    auto &s = own.s;
    block_grads sums;
#pragma unroll 1
    for (;; own.advance()) {
        if (own.none)
            own.pass_keys();
        else {
            float scores[32], grad_p[32];
            const int ordinary = own.all ? group_rows : own.walk.ordinary(s.note[own.tile % room::notes].tile);
            barrier_wait(&s.v_full[own.keys % room::v_stages], own.keys / room::v_stages & 1);
            issue(scores, grad_p);
            wgmma_wait<1>();
            wgmma_ended(scores);
            sums.weigh(scores, own.call.scale_2, ordinary);
            wgmma_wait<0>();
            wgmma_ended(grad_p);
            __syncwarp();
            own.arrive(&s.v_empty[own.keys % room::v_stages]);
            own.arrive(&s.k_empty[own.keys % room::k_stages]);
            sums.add(scores, grad_p, ordinary);
        }
        if (own.gathers == step_gathers_last) break;
    }
    const int32_t block = s.note[own.tile % room::notes].tile.block;
    own.load_numbers(item);
#pragma unroll
    for (int r = 0; r < 2; ++r)
        own.landmark[r] = sums.end(r, own.call.scale_2, own.walk.earlier(own.p, item, own.row() + 8 * r, block),
                                   own.lse[r], own.delta[r]);
    grouped_rows<false>::write(own.walk.numbers(own.p, item, block), own.row(), own.lse, own.delta);
}

} // namespace sm90
#endif
