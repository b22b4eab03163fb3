/* The producers of grad_keys, a warp each: one walks (walk_items), one copies K, V, Q and dO, one writes what the
 * consumers leave for it, one turns sums into dq (convert_sums) or, where there are none, copies V and dO.
 */
#ifndef SLAT_SM90_GRAD_PRODUCE_CUH
#define SLAT_SM90_GRAD_PRODUCE_CUH
#include "grad_numbers.cuh"
#include "grad_sums.cuh"
#include "softmax_produce.cuh"

namespace sm90
{

/* Item n: heads in groups whose queries stay in the cache together; early keys first, for they may have most to do.
 * The `heavy` ones of a group come before the other ones of the group that is `ahead` groups earlier. */
template <class Walk>
__device__ __forceinline__ work_item key_item(const slat_problem &p, const Walk &walk, const grad_call &call, int n)
{
    const int whole = call.group * call.tiles, heavy = call.group * call.heavy, early = call.ahead * heavy;
    const int both = (call.sets - call.ahead) * whole; /* items of groups, and heavy ones of others, in turns */
    int group, rest;
    if (n < early) {
        group = n / heavy;
        rest = n - group * heavy;
    } else if (n - early < both) {
        group = (n - early) / whole;
        rest = n - early - group * whole;
        if (rest < heavy) group += call.ahead;
    } else {
        group = (n - early - both) / (whole - heavy);
        rest = n - early - both - group * (whole - heavy) + heavy;
        group += call.sets - call.ahead;
    }
    const int heads = min(call.group, call.heads - group * call.group);
    const int head = group * call.group + rest % heads;
    work_item item = {1, 0, 0, 0, head % p.hk, head / p.hk, 0, 0};
    walk.place(p, item, rest / heads);
    return item;
}

/* Where a query row's numbers begin: its heads and twice a head's rows have 32 bits. */
__device__ __forceinline__ const float *numbers_at(const slat_problem &p, const grad_call &call, const work_item &item,
                                                   int head, int32_t row)
{
    const uint32_t before = item.b * p.hq + head;
    return call.numbers + (uint64_t)before * (2u * call.rows.count) + (uint32_t)row / grad_group * number_floats;
}

/* Copies one operand of a tile; the chunks of a single run come by one lane, for each of them takes turns anyway. */
template <int D, class Walk>
__device__ __forceinline__ void load_copies(const Walk &walk, const typename Walk::note &told, uint8_t *to,
                                            const typename Walk::operand *map, uint64_t *full, int head, int b)
{
    constexpr int chunks = grad_shape<D>::chunks;
    const int lane = threadIdx.x % warp_lanes;
    if (chunks > 1 && walk.copies == 1) {
        if (lane == 0)
#pragma unroll
            for (int c = 0; c < chunks; ++c)
                walk.load_only(told, c, to + c * grad_shape<D>::queries * row_bytes, map, full, head, b);
        return;
    }
    for (int i = lane; i < chunks * walk.copies; i += warp_lanes) walk.load(told, i, to, map, full, head, b);
}

/* Copies Q and K, dO and V, or all of them. */
template <int D, bool queries, bool grads, class room, class Walk>
__device__ __forceinline__ void load_key_items(room &s, const slat_problem &p, const Walk &walk, const grad_call &call,
                                               const typename Walk::operand &q, const typename Walk::operand &k,
                                               const typename Walk::operand &v, const typename Walk::operand &grad_o)
{
    typedef grad_shape<D> shape;
    const int lane = threadIdx.x % warp_lanes;
    const int32_t rows = call.rows.count;
    ring<room::queries> query;
    ring<room::grads> grad;
    uint32_t item_parity = 0;
    for (ring<room::notes> note;; note.advance()) {
        barrier_wait(&s.note_full[note.slot], note.parity);
        const tile_note<Walk> &told = s.note[note.slot];
        if (told.item < 0) break;
        const work_item item = s.item[told.item];
        const int head = walk.head(told.tile);
        if constexpr (queries) {
            const int at = query.slot;
            const int32_t first = lane < walk.pieces() ? walk.row(call.rows, told.tile, lane) : rows;
            const uint32_t bytes = (uint32_t)walk.piece() / grad_group * number_floats * (uint32_t)sizeof(float);
            const float *const from = first < rows ? numbers_at(p, call, item, head, first) : call.no_numbers;
            barrier_wait(&s.q_empty[at], query.parity ^ 1);
            load_copies<D>(walk, told.tile, s.q[at], &q, &s.q_full[at], head, item.b);
            if (lane < walk.pieces()) load_bytes(s.numbers[at] + lane * bytes, from, bytes, &s.q_full[at]);
            if constexpr (Walk::grouped && !Walk::short_blocks && !room::block_bytes)
                load_block_numbers(s.numbers[at] + shape::number_bytes, shape::number_bytes, p, walk, told.tile, item,
                                   &s.q_full[at]);
            barrier_expect_warp(&s.q_full[at], shape::query_bytes + room::number_bytes);
            query.advance();
        }
        if (told.begins) {
            barrier_wait(&s.keys_empty, item_parity ^ 1);
            item_parity ^= 1;
            if (queries && lane == 0) {
                barrier_expect(&s.k_full, shape::key_bytes);
                walk.template load_keys<shape::chunks>(p, s.k, &k, &s.k_full, item);
            }
            if (grads && room::has_values && lane == 0) {
                barrier_expect(&s.v_full, shape::key_bytes);
                walk.template load_keys<shape::chunks>(p, s.v, &v, &s.v_full, item);
            }
        }
        if constexpr (grads) {
            const int at = grad.slot;
            barrier_wait(&s.o_empty[at], grad.parity ^ 1);
            load_copies<D>(walk, told.tile, s.grad_o[at], &grad_o, &s.o_full[at], head, item.b);
            if constexpr (room::block_bytes)
                load_block_numbers(s.blocks[at], shape::number_bytes, p, walk, told.tile, item, &s.o_full[at]);
            barrier_expect_warp(&s.o_full[at], shape::query_bytes + room::block_bytes);
            grad.advance();
        }
        barrier_arrive(&s.note_empty[note.slot]);
    }
}

/* Takes what the consumers leave in their buffers: of each tile the parts of dQ, to be added, and at the end of an item
 * dV and dK. */
template <int D, bool adds, class Walk>
__device__ __forceinline__ void write_key_items(key_room<D, adds, Walk> &s, const slat_problem &p, const Walk &walk,
                                                const grad_call &call, const typename Walk::operand &grad_k,
                                                const typename Walk::operand &grad_v)
{
    typedef grad_shape<D> shape;
    typedef key_room<D, adds, Walk> room;
    const int lane = threadIdx.x % warp_lanes;
    const int64_t rows = call.rows.count;
    ring<room::notes> note;
    ring<room::outs> out;
    /* Takes a buffer of each group; a buffer is empty when all lanes, or their copies, have read it. */
    auto take = [&](const auto &copy) {
#pragma unroll
        for (int group = 0; group < 2; ++group) {
            barrier_wait(&s.out_full[group][out.slot], out.parity);
            proxy_fence(); /* for those who stored */
            copy(group, s.out[group][out.slot]);
            store_commit();
        }
        store_wait_read<1>();
        barrier_arrive(&s.out_empty[0][out.slot]);
        store_wait_read<0>();
        barrier_arrive(&s.out_empty[1][out.slot]);
        out.advance();
    };
    for (ring<room::items> items;; items.advance()) {
        barrier_wait(&s.item_full[items.slot], items.parity);
        const work_item item = s.item[items.slot];
        if (!item.work) break;
        const int set = adds ? (item.b * p.hk + item.h) / call.group : 0;
        if (adds) wait_for_place(p, call, set);
        for (bool more = item.tiles; adds && more; note.advance()) {
            barrier_wait(&s.note_full[note.slot], note.parity);
            const tile_note<Walk> &told = s.note[note.slot];
            more = told.sights >> 4;
            const int head = item.b * p.hq + walk.head(told.tile) + sums_shift(call, set);
            const int32_t row = lane < walk.pieces() ? walk.row(call.rows, told.tile, lane) : (int32_t)rows;
            float *const to = call.sums + head * rows * D + grad_place<D>(row, 0);
            take([&](int group, const uint8_t *from) {
                const int bytes = walk.piece() * shape::part * 4, own = shape::halves ? walk.pieces() >> 1 : 0;
                const int n = lane - group * own; /* this lane's piece among the group's */
                if (row < rows && n >= 0 && (!own || n < own))
                    add_floats(to + (shape::halves ? 0 : group * (64 * chunk)), from + n * bytes, bytes);
            });
            barrier_arrive(&s.note_empty[note.slot]); /* what was loaded of it has been used */
        }
        bool stores = true;
        if constexpr (adds && Walk::parts_queries)
            if (item.part) {
                const int64_t n = walk.parts.place(p, item);
                for (int i = 0; i < 2 * shape::chunks; ++i)
                    take([&](int group, const uint8_t *from) {
                        if (lane == 0)
                            add_floats(call.key_sums + parted_place<D>(n, i >= shape::chunks, group, i % shape::chunks),
                                       from, shape::part_bytes);
                    });
                stores = false;
            }
        for (int i = 0; stores && i < 2; ++i)
            take([&](int group, const uint8_t *from) {
                const slat_view &to = i ? p.grad_k : p.grad_v;
                if (to.data)
                    walk.template store_rows<shape::chunks>(p, to, i ? &grad_k : &grad_v, from, i ? p.d : p.dv, group,
                                                            item, lane, warp_lanes);
            });
        barrier_arrive(&s.item_empty[items.slot]);
        if (adds) {
            store_wait();
            tell(call.done + set);
        }
    }
    store_wait();
}

} // namespace sm90
#endif
