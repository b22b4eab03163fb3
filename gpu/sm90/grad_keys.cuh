/* Softmax backward by key on Hopper: dK and dV of 128 keys, and dQ added up in memory.
 *
 * K and V of the keys stay in shared memory while tiles of 64 queries that see some of them pass. Two warp groups have
 * 64 keys each: S^T = K Q^T, P^T = 2^(S^T - lse), dP^T = V dO^T, dS^T = P^T (dP^T - delta), dV += P^T dO and dK +=
 * dS^T Q in registers. dS^T of both goes to shared memory, from where each group makes half the columns of the tile's
 * dQ, one tile late, so that it seldom waits for the other. Its parts of dQ are added to memory by the copy engine, in
 * f32 and in any order: where that is not wanted, `adds` is false and grad_queries makes dQ. The next tile's S^T is
 * issued as soon as this tile's weights are packed, and runs under what makes dS; dP^T is added to -delta, which is
 * there before dO is. Grouped heads pass one after the other.
 *
 * A walk is what softmax_loop.cuh says, with keys and queries exchanged, and
 *   walk.head(note)              the head that a tile's queries belong to
 *   walk.pieces(), walk.piece()  the parts of a tile whose numbers, and sums of dq, lie together; queries of each
 *   walk.row(rows, note, i)      the row (query_rows) at which its i-th piece begins; rows.count: it has no queries
 *   walk.store_rows(...)         writes what a group has of dK or dV
 *   Walk::keys(problem, walk, item, row, shared).mask(note, mask)   the queries of a tile that see a thread's two keys
 *   Walk::shared_by_group, walk.prepare(...)   what a group's threads share of an item for that (Walk::prepares)
 *   walk.clears_queries(note), walk.clears_keys(note), walk.clear_queries, walk.clear_keys   zero what is not seen
 * Where Walk::parts_queries, dK and dV of items that come once for each part of their queries (work_item) are added up
 * in memory, for grad_parted.cuh to round:
 *   walk.parts.place(problem, item), walk.parts.parted   an item's place among those of all heads; how many a head has
 *   walk.place_keys(problem, item, n)                    the item's keys are the head's n-th 128
 * Where it is grouped (grad_groups.cuh), also
 *   walk.numbers(problem, note, item, group)   where the numbers of a tile's queries and a group's block lie or, where
 *                                              blocks are short, the block of a row of the item: threads read those
 *   walk.is_landmark(row)                      whether a row of a group is a landmark; where blocks are long
 *   walk.landmark(item, group)                 the row of a group's landmark instead, 64 where it has none
 */
#ifndef SLAT_SM90_GRAD_KEYS_CUH
#define SLAT_SM90_GRAD_KEYS_CUH
#include "grad_consume.cuh"

namespace sm90
{

template <class T, int D, bool adds, class Walk>
__global__ void __launch_bounds__(softmax_threads, 1)
    grad_keys(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk,
              const __grid_constant__ grad_call call, const __grid_constant__ typename Walk::operand q,
              const __grid_constant__ typename Walk::operand k, const __grid_constant__ typename Walk::operand v,
              const __grid_constant__ typename Walk::operand grad_o,
              const __grid_constant__ typename Walk::operand grad_k,
              const __grid_constant__ typename Walk::operand grad_v)
{
    extern __shared__ __align__(1024) uint8_t memory[];
    auto &s = *(key_room<D, adds, Walk> *)memory;
    const int group = __shfl_sync(~0u, threadIdx.x / group_threads, 0);
    constexpr int consumers = 8; /* warps */
    if (threadIdx.x == 0) {
        barrier_init(&s.back_full[0], 1), barrier_init(&s.back_full[1], 1);
        barrier_init(&s.k_full, 1), barrier_init(&s.v_full, 1), barrier_init(&s.keys_empty, consumers);
        for (int i = 0; i < s.queries; ++i)
            barrier_init(&s.q_full[i], warp_lanes), barrier_init(&s.q_empty[i], 2 * group_threads);
        for (int i = 0; i < s.grads; ++i)
            barrier_init(&s.o_full[i], warp_lanes), barrier_init(&s.o_empty[i], consumers);
        for (int g = 0; g < 2; ++g) {
            barrier_init(&s.ds_full[g], consumers);
            for (int i = 0; i < s.outs; ++i)
                barrier_init(&s.out_full[g][i], group_threads), barrier_init(&s.out_empty[g][i], warp_lanes);
        }
        for (int i = 0; i < s.items; ++i)
            barrier_init(&s.item_full[i], 1), barrier_init(&s.item_empty[i], 2 * group_threads + warp_lanes);
        for (int i = 0; i < s.notes; ++i)
            barrier_init(&s.note_full[i], warp_lanes), barrier_init(&s.note_empty[i], 2 * (group_threads + warp_lanes));
        barrier_init_fence();
    }
    if (!call.beside) kernel_before_wait();
    __syncthreads();
    if (group == 0) {
        registers_give<24>();
        const int warp = __shfl_sync(~0u, threadIdx.x / warp_lanes, 0);
        if (warp == 0) {
            int first = blockIdx.x;
            if (adds && call.next) { /* no block that may come late holds an item that others wait for */
                if (threadIdx.x == 0) first = atomicAdd(call.next, 1);
                first = __shfl_sync(~0u, first, 0);
            }
            walk_items(s, p, walk, call.tiles * call.heads, call.next, first, adds ? 0 : gridDim.x,
                       [&](int n) { return key_item(p, walk, call, n); });
        }
        if (warp == 1) load_key_items<D, true, adds>(s, p, walk, call, q, k, v, grad_o);
        if (warp == 2) {
            write_key_items<D>(s, p, walk, call, grad_k, grad_v);
            if (call.beside) kernel_before_wait(); /* what comes after this kernel comes after that one too */
        }
        if (warp == 3) {
            if constexpr (adds)
                convert_sums<T, D>(s, p, call, walk.piece() == grad_group);
            else
                load_key_items<D, false, true>(s, p, walk, call, q, k, v, grad_o);
        }
    } else {
        registers_take<240>();
        key_consumer<T, D, adds, Walk>(s, p, walk, call, group - 1).run();
    }
}

} // namespace sm90
#endif
