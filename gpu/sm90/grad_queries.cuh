/* dQ of softmax backward by query on Hopper, where it may not be added up in memory: every sum has one owner and one
 * order.
 *
 * A work item is 128 queries, two warp groups with 64 each. Q and dO are left operands in registers while keys pass, 64
 * at a time; narrow heads have registers for 128 keys instead, a whole tile: S = Q K^T, P = 2^(S - lse), dP = dO V^T,
 * dS = P (dP - delta), dQ += dS K, the last one under the next keys' first two. The walk is the one of the forward
 * pass, in tiles of 128 keys and, where 64 are taken, runs of at most those: each half of a tile comes by itself. Where
 * a walk is grouped each half is a slot with a block of its own (grad_groups.cuh) or, where blocks are short, several
 * of them (grad_short.cuh). Where blocks are long (grad_long.cuh) a tile is one half, and a block comes twice.
 */
#ifndef SLAT_SM90_GRAD_QUERIES_CUH
#define SLAT_SM90_GRAD_QUERIES_CUH
#include "grad_queries_consume.cuh"
#include "grad_queries_wide.cuh"
#include "softmax_produce.cuh"

namespace sm90
{

/* Copies one operand of the tiles; Q and dO come before the first K of their item. */
template <int D, bool values, class Walk>
__device__ __forceinline__ void load_query_tiles(query_room<D, Walk> &s, const slat_problem &p, const Walk &walk,
                                                 const typename Walk::operand &q, const typename Walk::operand &grad_o,
                                                 const typename Walk::operand &operand)
{
    typedef query_room<D, Walk> room;
    constexpr int chunks = grad_shape<D>::chunks;
    const int lane = threadIdx.x % warp_lanes;
    ring<values ? room::v_stages : room::k_stages> stage;
    ring<room::rows> rows;
    for (ring<room::notes> note;; note.advance()) {
        const tile_note<Walk> &told = s.note[note.slot];
        barrier_wait(&s.note_full[note.slot], note.parity);
        if (told.item < 0) break;
        const work_item &item = s.item[told.item];
        if (!values && told.begins) {
            uint64_t *const full = &s.rows_full[rows.slot];
            barrier_wait(&s.rows_empty[rows.slot], rows.parity ^ 1);
            if (lane == 0) {
                barrier_expect(full, 2 * room::rows_bytes);
                walk.template load_queries<chunks>(p, s.q[rows.slot], &q, full, item);
                walk.template load_queries<chunks>(p, s.grad_o[rows.slot], &grad_o, full, item);
            }
            __syncwarp();
            rows.advance();
        }
        const int halves = room::whole || walk.half_empty(p, told.tile) ? 1 : 2;
        for (int half = 0; half < halves; ++half, stage.advance()) {
            uint64_t *const full = values ? &s.v_full[stage.slot] : &s.k_full[stage.slot];
            barrier_wait(values ? &s.v_empty[stage.slot] : &s.k_empty[stage.slot], stage.parity ^ 1);
            uint8_t *const to = values ? s.v[stage.slot] : s.k[stage.slot];
            const int head = slat_key_head(&p, item.h);
            if constexpr (room::whole)
                for (int i = lane; i < chunks * walk.copies; i += warp_lanes)
                    walk.load(told.tile, i, to, &operand, full, head, item.b);
            else
                for (int i = lane; i < chunks * (walk.copies >> 1); i += warp_lanes)
                    walk.load_half(told.tile, half, i, to, &operand, full, head, item.b);
            barrier_expect_warp(full, room::keys_bytes);
        }
        barrier_arrive(&s.note_empty[note.slot]);
    }
}

template <class T, int D, class Walk>
__global__ void __launch_bounds__(softmax_threads, 1)
    grad_queries(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk,
                 const __grid_constant__ forward_call items, const __grid_constant__ grad_call call,
                 const __grid_constant__ typename Walk::operand q, const __grid_constant__ typename Walk::operand k,
                 const __grid_constant__ typename Walk::operand v,
                 const __grid_constant__ typename Walk::operand grad_o,
                 const __grid_constant__ typename Walk::operand grad_q)
{
    extern __shared__ __align__(1024) uint8_t memory[];
    auto &s = *(query_room<D, Walk> *)memory;
    const int group = __shfl_sync(~0u, threadIdx.x / group_threads, 0);
    constexpr int consumers = 8; /* warps */
    if (threadIdx.x == 0) {
        for (int i = 0; i < s.rows; ++i)
            barrier_init(&s.rows_full[i], 1), barrier_init(&s.rows_empty[i], 2 * group_threads);
        for (int i = 0; i < s.k_stages; ++i)
            barrier_init(&s.k_full[i], warp_lanes), barrier_init(&s.k_empty[i], consumers);
        for (int i = 0; i < s.v_stages; ++i)
            barrier_init(&s.v_full[i], warp_lanes), barrier_init(&s.v_empty[i], consumers);
        for (int i = 0; i < s.items; ++i)
            barrier_init(&s.item_full[i], 1), barrier_init(&s.item_empty[i], 2 * group_threads);
        for (int i = 0; i < s.notes; ++i)
            barrier_init(&s.note_full[i], warp_lanes),
                barrier_init(&s.note_empty[i], 2 * group_threads + 2 * warp_lanes);
        barrier_init_fence();
    }
    kernel_before_wait();
    kernel_after_begins();
    __syncthreads();
    if (group == 0) {
        registers_give<24>();
        const int warp = __shfl_sync(~0u, threadIdx.x / warp_lanes, 0);
        if (warp == 0)
            walk_items(s, p, walk, items.tiles * items.heads, items.next, blockIdx.x, gridDim.x,
                       [&](int n) { return item_of(p, walk, items, n); });
        if (warp == 1) load_query_tiles<D, false>(s, p, walk, q, grad_o, k);
        if (warp == 2) load_query_tiles<D, true>(s, p, walk, q, grad_o, v);
    } else {
        registers_take<240>();
        if constexpr (s.wide)
            wide_query_consumer<T, D, query_consumer<T, D, Walk>>(s, p, walk, call, group - 1).run();
        else
            query_consumer<T, D, Walk>(s, p, walk, call, group - 1).run(grad_q);
    }
}

} // namespace sm90
#endif
