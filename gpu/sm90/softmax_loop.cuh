/* Forward softmax attention on Hopper: one persistent pipeline for every primitive.
 *
 * A block has three warp groups or four. Three warps of the first one produce, each ahead of the next: one takes work
 * items (64 queries of a head for each group that consumes) and walks the key tiles that they see, writing a note of
 * each; one copies Q and K into rings in shared memory as the notes say, one V. The fourth warp writes the results of
 * items that have ended. The other groups consume, 64 queries each: S = Q K^T, the online softmax in registers, O +=
 * P V. A tile's S is issued with the P V of the tile before it, which runs under its softmax; the last P V of an item
 * is issued with the first S of the next one, which runs while O is handed over. One group's products run while the
 * others compute weights: from S to weights it must take no longer than they do.
 *
 * A walk is what a primitive is:
 *   Walk::groups                              of 64 queries in an item
 *   Walk::note                                what a tile is
 *   Walk::cursor(problem, walk, item)         the place in an item; the whole warp moves it
 *     .more()                                 whether a tile is left
 *     .next(sight, note)                      takes a tile, writes its note; sight[group]: what 64 queries see of it
 *   walk.copies, walk.load(note, i, ...)      the copies that bring a chunk of one operand of it
 *   Walk::gaps                                whether they leave rows out: walk.rows_of_copy(values) of each come, and
 *                                             walk.clear_gaps(v, ...) zeroes the others of V, once
 *   Walk::state                               what makes weights of logits; Walk::state::columns is what it is told
 *   Walk::rows(problem, walk, item, row)      a consumer thread's two rows; can be assigned
 *     .mask(note, mask)                       the columns of a tile that they see
 *     .clears(note), .clear(note, v, ...)     zeroes V's rows that none of the item's queries sees
 *   Walk::long_blocks                       whether some tiles come without V, for a sum alone: softmax_long.cuh
 *   walk.place, walk.query, walk.load_queries, walk.store_queries: where the queries stand
 */
#ifndef SLAT_SM90_SOFTMAX_LOOP_CUH
#define SLAT_SM90_SOFTMAX_LOOP_CUH
#include "softmax_consume.cuh"
#include "softmax_produce.cuh"
#include "softmax_write.cuh"

namespace sm90
{

template <class T, int D, class Walk>
__global__ void __launch_bounds__(forward_shape<D, Walk>::threads, 1)
    softmax_forward(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk,
                    const __grid_constant__ forward_call call, const __grid_constant__ typename Walk::operand q,
                    const __grid_constant__ typename Walk::operand k, const __grid_constant__ typename Walk::operand v,
                    const __grid_constant__ typename Walk::operand o)
{
    typedef forward_shape<D, Walk> shape;
    extern __shared__ uint8_t memory[];
    auto &s = *(forward_room<D, Walk> *)(memory + (-shared_address(memory) & 1023));
    const int group = __shfl_sync(~0u, threadIdx.x / group_threads, 0);
    if (threadIdx.x == group_threads)
        for (const typename Walk::operand *map : {&q, &k, &v}) prefetch_map(map);
    if (threadIdx.x == 0) {
        for (int i = 0; i < shape::queries; ++i) barrier_init(&s.q_full[i], 1), barrier_init(&s.q_empty[i], 1);
        for (int i = 0; i < shape::stages; ++i) {
            barrier_init(&s.k_full[i], warp_lanes), barrier_init(&s.k_empty[i], shape::groups);
            barrier_init(&s.v_full[i], warp_lanes), barrier_init(&s.v_empty[i], shape::groups);
        }
        for (int i = 0; i < s.items; ++i) {
            barrier_init(&s.item_full[i], 1), barrier_init(&s.item_empty[i], warp_lanes);
            barrier_init(&s.item_done[i], shape::groups * group_threads);
        }
        for (int i = 0; i < s.notes; ++i)
            barrier_init(&s.note_full[i], warp_lanes),
                barrier_init(&s.note_empty[i], warp_lanes + shape::groups * group_threads);
        barrier_init_fence();
    }
    __syncthreads();
    if (group == 0) {
        registers_give<shape::producer_registers>();
        const int warp = __shfl_sync(~0u, threadIdx.x / warp_lanes, 0);
        if (warp == 0)
            walk_items(s, p, walk, call.tiles * call.heads, call.next, blockIdx.x, gridDim.x,
                       [&](int n) { return item_of(p, walk, call, n); });
        if (warp == 1) load_keys<D>(s, p, walk, q, k);
        if (warp == 2) load_values<D>(s, p, walk, v);
        if (warp == 3) write_items(s, p, walk, call, o);
    } else {
        registers_take<shape::registers>();
        consume<T>(s, p, walk, call, group - 1);
    }
}

} // namespace sm90
#endif
