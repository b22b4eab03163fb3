/* dV or dK of wide heads by key: softmax backward where a head has more channels than grad_keys has registers for.
 *
 * A kernel makes one of the two, so that a thread has the sums of 64 keys by all channels: 128 registers at 256. K, and
 * for dK V, of 128 keys stay in shared memory while tiles of 64 queries pass; two warp groups have 64 keys each. A
 * group's products and weights follow one another, and run beside the other group's. S^T is computed in both kernels,
 * dQ by grad_queries: eight products in all. The numbers of blocks (grad_groups.cuh) come with dO, which has the fewest
 * buffers. The walk is what grad_keys.cuh says, and
 *   walk.key_place(problem, item, row, at)   where a key of an item stands; false: there is none
 */
#ifndef SLAT_SM90_GRAD_KEYS_WIDE_CUH
#define SLAT_SM90_GRAD_KEYS_WIDE_CUH
#include "grad_numbers.cuh"
#include "grad_produce.cuh"
#include "grad_wide.cuh"
#include "softmax_state.cuh"

namespace sm90
{

/* values: of the kernel that makes dV. */
template <int D, bool values, class Walk> struct wide_key_room {
    typedef grad_shape<D> shape;
    static constexpr int notes = sizeof(tile_note<Walk>) <= 512 ? 8 : 1, items = 2;
    static constexpr int queries = 2, grads = D > 192 && !values ? 1 : 2; /* buffers */
    static constexpr int number_bytes = shape::number_bytes,
                         block_bytes = Walk::grouped && !Walk::short_blocks ? 2 * number_bytes : 0;
    static constexpr bool has_values = !values;

    alignas(1024) uint8_t k[shape::key_bytes];
    alignas(1024) uint8_t v[has_values ? shape::key_bytes : 1024];
    alignas(1024) uint8_t q[queries][shape::query_bytes];
    alignas(1024) uint8_t grad_o[grads][shape::query_bytes];
    alignas(128) uint8_t numbers[queries][number_bytes];
    typename Walk::shared_by_group shared[2];
    uint64_t k_full, v_full, keys_empty;
    uint64_t q_full[queries], q_empty[queries], o_full[grads], o_empty[grads];
    uint64_t item_full[items], item_empty[items];
    uint64_t note_full[notes], note_empty[notes];
    work_item item[items];
    tile_note<Walk> note[notes];
    alignas(16) uint8_t blocks[grads][block_bytes ? block_bytes : 16]; /* numbers of each group's block */
};

/* A consumer thread's share. */
template <class T, int D, bool values, class Walk> struct wide_key_consumer : key_pair<Walk> {
    typedef grad_shape<D> shape;
    typedef wide_key_room<D, values, Walk> room;
    typedef key_pair<Walk> pair;
    using pair::group, pair::is_landmark, pair::lane, pair::thread, pair::walk;

    room &s;
    const slat_problem &p;
    const grad_call &call;
    uint32_t tile; /* taken so far */
    ring<room::queries> query;
    ring<room::grads> grad;
    wide_sums<T, D> sums;

    __device__ __forceinline__ wide_key_consumer(room &s, const slat_problem &p, const Walk &walk,
                                                 const grad_call &call, int group)
        : pair(walk, group), s(s), p(p), call(call), tile(0)
    {
    }

    /* Once for each warp. */
    static __device__ __forceinline__ void arrive(uint64_t *barrier)
    {
        __syncwarp();
        if (lane() == 0) barrier_arrive(barrier);
    }

    __device__ __forceinline__ const tile_note<Walk> &note() const { return s.note[tile % room::notes]; }

    /* This thread's first key of the item; the other one is 8 further. */
    __device__ __forceinline__ int row() const { return group * group_rows + thread() / warp_lanes * 16 + lane() / 4; }

    /* From the numbers of the queries in hand to those of the group's block, which come with their dO. */
    __device__ __forceinline__ uint32_t own_numbers() const
    {
        if (!room::block_bytes) return 0;
        return shared_address(s.blocks[grad.slot]) + group * room::number_bytes - shared_address(s.numbers[query.slot]);
    }

    /* The group has read dO, and each lane the numbers that came with it. */
    __device__ __forceinline__ void leave_grads()
    {
        if (Walk::grouped)
            barrier_arrive(&s.o_empty[grad.slot]);
        else
            arrive(&s.o_empty[grad.slot]);
    }

    /* S^T becomes P^T. */
    __device__ __forceinline__ void weigh(float (&x)[32], const work_item &item, uint32_t numbers, bool all) const
    {
        const uint32_t own = own_numbers();
        const auto lse_of = [&](int r) {
            if constexpr (Walk::short_blocks)
                return is_landmark(r) ? (const float *)s.numbers[query.slot] + lane() % 4 * 2
                                      : pair::block_numbers_of(p, note().tile, item, r);
            else
                return numbers + (is_landmark(r) ? 0 : own);
        };
        const auto first = lse_of(0), second = lse_of(1);
        pair::weigh(
            x, call.scale_2, [&](int j) { return load_numbers(first, j); }, second);
        if (all) return;
        uint32_t mask[2];
        typename Walk::keys(p, walk, item, row(), s.shared[group]).mask(note().tile, mask);
#pragma unroll
        for (int i = 0; i < 32; ++i)
            if (!(mask[i >> 1 & 1] >> (2 * (i / 4) + (i & 1)) & 1)) x[i] = 0;
    }

    /* The products of a tile whose queries see some of the group's keys. */
    __device__ __forceinline__ void multiply(const work_item &item, bool all)
    {
        const uint32_t numbers = shared_address(s.numbers[query.slot]) + lane() % 4 * 8;
        const uint32_t own = group * group_rows * row_bytes, q = shared_address(s.q[query.slot]);
        float scores[32], grad_p[32];
        uint32_t weights[16];
        wide_products<T, D>(scores, shared_address(s.k) + own, q);
        barrier_wait(&s.o_full[grad.slot], grad.parity);
        if (!values) wide_products<T, D>(grad_p, shared_address(s.v) + own, shared_address(s.grad_o[grad.slot]));
        wgmma_wait<values ? 0 : 1>();
        weigh(scores, item, numbers, all);
        if (!values) {
            wgmma_wait<0>();
            if constexpr (Walk::short_blocks)
                pair::template lessen<true>(grad_p, pair::block_numbers_of(p, note().tile, item, 0),
                                            pair::block_numbers_of(p, note().tile, item, 1));
            else
                pair::template lessen<true>(grad_p, numbers + own_numbers(), numbers);
            leave_grads();
            pair::differentiate(
                grad_p, [&](int i) { return make_float2(scores[2 * i], scores[2 * i + 1]); }, numbers);
        }
        pack_weights<T>(weights, values ? scores : grad_p);
        sums.add(weights, values ? shared_address(s.grad_o[grad.slot]) : q);
        wgmma_wait<0>();
        if (values) leave_grads();
    }

    /* One tile; whether the item has another one. */
    __device__ __forceinline__ bool take_tile(const work_item &item)
    {
        barrier_wait(&s.q_full[query.slot], query.parity);
        const int32_t sights = __shfl_sync(~0u, note().sights, 0), own = sights >> 2 * group & 3;
        if (walk.clears_queries(note().tile)) {
            barrier_wait(&s.o_full[grad.slot], grad.parity);
            walk.template clear_queries<shape::chunks, shape::queries>(
                p, note().tile, item, shared_address(s.q[query.slot]), shared_address(s.grad_o[grad.slot]), thread());
            proxy_fence();
            named_sync(4 + group, group_threads);
        }
        if (own != sees_none)
            multiply(item, own == sees_all);
        else {
            barrier_wait(&s.o_full[grad.slot], grad.parity);
            leave_grads();
        }
        barrier_arrive(&s.q_empty[query.slot]); /* each lane for the numbers that it read, and for the note */
        barrier_arrive(&s.note_empty[tile % room::notes]);
        query.advance();
        grad.advance();
        ++tile;
        return sights >> 4;
    }

    __device__ __forceinline__ void take_item(const work_item &item, uint32_t parity)
    {
        if constexpr (Walk::long_blocks) pair::landmark = walk.landmark(item, group);
        if (Walk::prepares) {
            named_sync(4 + group, group_threads); /* what is there is no longer read */
            walk.prepare(p, item, group, thread(), s.shared[group]);
            named_sync(4 + group, group_threads);
        }
        barrier_wait(&s.note_full[tile % room::notes], tile / room::notes & 1);
        barrier_wait(&s.k_full, parity);
        if (!values) barrier_wait(&s.v_full, parity);
        if (walk.clears_keys(note().tile)) {
            walk.template clear_keys<shape::chunks>(p, item, shared_address(s.k), shared_address(values ? s.k : s.v),
                                                    group, thread());
            proxy_fence();
            named_sync(4 + group, group_threads);
        }
#pragma unroll 1
        while (take_tile(item)) continue;
        arrive(&s.keys_empty);
    }

    __device__ __forceinline__ void run()
    {
        uint32_t parity = 0; /* of K and V */
        const slat_view &to = values ? p.grad_v : p.grad_k;
        for (ring<room::items> items;; items.advance()) {
            barrier_wait(&s.item_full[items.slot], items.parity);
            const work_item item = s.item[items.slot];
            if (!item.work) break;
            sums.clear();
            if (item.tiles) {
                take_item(item, parity);
                parity ^= 1;
            }
            barrier_arrive(&s.item_empty[items.slot]);
            if constexpr (values && Walk::grouped)
#pragma unroll
                for (auto &c : sums.c) pair::clear_landmarks(c);
            sums.store(to, item, values ? p.dv : p.d, values ? 1 : call.scale, row(),
                       [&](int row, slat_point &at) { return walk.key_place(p, item, row, at); });
        }
    }
};

template <class T, int D, bool values, class Walk>
__global__ void __launch_bounds__(softmax_threads, 1)
    grad_keys_wide(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk,
                   const __grid_constant__ grad_call call, const __grid_constant__ typename Walk::operand q,
                   const __grid_constant__ typename Walk::operand k, const __grid_constant__ typename Walk::operand v,
                   const __grid_constant__ typename Walk::operand grad_o)
{
    extern __shared__ __align__(1024) uint8_t memory[];
    auto &s = *(wide_key_room<D, values, Walk> *)memory;
    const int group = __shfl_sync(~0u, threadIdx.x / group_threads, 0);
    constexpr int consumers = 8, readers = Walk::grouped ? 2 * group_threads : consumers; /* warps; of dO */
    if (threadIdx.x == 0) {
        barrier_init(&s.k_full, 1), barrier_init(&s.v_full, 1), barrier_init(&s.keys_empty, consumers);
        for (int i = 0; i < s.queries; ++i)
            barrier_init(&s.q_full[i], warp_lanes), barrier_init(&s.q_empty[i], 2 * group_threads);
        for (int i = 0; i < s.grads; ++i) barrier_init(&s.o_full[i], warp_lanes), barrier_init(&s.o_empty[i], readers);
        for (int i = 0; i < s.items; ++i)
            barrier_init(&s.item_full[i], 1), barrier_init(&s.item_empty[i], 2 * group_threads);
        for (int i = 0; i < s.notes; ++i)
            barrier_init(&s.note_full[i], warp_lanes), barrier_init(&s.note_empty[i], 2 * (group_threads + warp_lanes));
        barrier_init_fence();
    }
    __syncthreads();
    if (group == 0) {
        registers_give<24>();
        const int warp = __shfl_sync(~0u, threadIdx.x / warp_lanes, 0);
        if (warp == 0)
            walk_items(s, p, walk, call.tiles * call.heads, call.next, blockIdx.x, gridDim.x,
                       [&](int n) { return key_item(p, walk, call, n); });
        if (warp == 1) load_key_items<D, true, false>(s, p, walk, call, q, k, v, grad_o);
        if (warp == 2) load_key_items<D, false, true>(s, p, walk, call, q, k, v, grad_o);
    } else {
        registers_take<240>();
        wide_key_consumer<T, D, values, Walk>(s, p, walk, call, group - 1).run();
    }
}

} // namespace sm90
#endif
