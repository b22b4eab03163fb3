/* The producers of the softmax loop, a warp each: one walks, one copies Q and K, one V. */
#ifndef SLAT_SM90_SOFTMAX_PRODUCE_CUH
#define SLAT_SM90_SOFTMAX_PRODUCE_CUH
#include "softmax_room.cuh"

namespace sm90
{

/* Item n. Heads come in groups whose keys stay in the cache together, late queries first, for they may have most to do;
 * the first `small` tiles of all heads come last of all, so that the blocks end together. */
template <class Walk>
__device__ __forceinline__ work_item item_of(const slat_problem &p, const Walk &walk, const forward_call &call, int n)
{
    const int tiles = call.tiles - call.small;
    int first = 0, heads = call.heads, last = call.small - 1;
    if (n < tiles * call.heads) {
        first = n / (call.group * tiles) * call.group;
        n -= first * tiles;
        heads = min(call.group, call.heads - first);
        last = call.tiles - 1;
    } else
        n -= tiles * call.heads;
    const int row = n / heads, head = first + n - row * heads;
    work_item item = {1, 0, 0, 0, head % p.hq, head / p.hq, 0, 0};
    walk.place(p, item, last - row);
    return item;
}

/* Takes items, `first` and then those that the counter (as in forward_call) gives from `others` on; the n-th one is
 * item_of(n). Writes the notes of their tiles. */
template <class Walk, class Room, class ItemOf>
__device__ __forceinline__ void walk_items(Room &s, const slat_problem &p, const Walk &walk, int work, int32_t *counter,
                                           int first, int others, const ItemOf &item_of)
{
    const int lane = threadIdx.x % warp_lanes;
    ring<Room::items> items;
    ring<Room::notes> note;
    for (int n = first; n < work;) {
        work_item item = item_of(n);
        typename Walk::cursor cursor(p, walk, item);
        item.tiles = cursor.more();
        barrier_wait(&s.item_empty[items.slot], items.parity ^ 1);
        if (lane == 0) {
            s.item[items.slot] = item;
            barrier_arrive(&s.item_full[items.slot]);
        }
        for (bool begins = true; cursor.more(); begins = false) {
            tile_note<Walk> &told = s.note[note.slot];
            barrier_wait(&s.note_empty[note.slot], note.parity ^ 1);
            int32_t sight[Walk::groups];
            cursor.next(sight, told.tile);
            if (lane == 0) {
                told.item = items.slot;
                told.begins = begins;
                told.sights = cursor.more() << 2 * Walk::groups;
#pragma unroll
                for (int g = 0; g < Walk::groups; ++g) told.sights |= sight[g] << 2 * g;
            }
            barrier_arrive(&s.note_full[note.slot]); /* each lane for what it wrote */
            note.advance();
        }
        items.advance();
        n = work;
        if (counter && lane == 0) n = others + atomicAdd(counter, 1); /* no earlier: others may be quicker */
        n = __shfl_sync(~0u, n, 0);
    }
    barrier_wait(&s.item_empty[items.slot], items.parity ^ 1);
    barrier_wait(&s.note_empty[note.slot], note.parity ^ 1);
    if (lane == 0) {
        s.item[items.slot].work = 0;
        barrier_arrive(&s.item_full[items.slot]);
        s.note[note.slot].item = -1;
    }
    barrier_arrive(&s.note_full[note.slot]);
}

/* Copies one operand of a tile where there is room for it. */
template <int D, class Walk>
__device__ __forceinline__ void load_tile(const slat_problem &p, const Walk &walk, const typename Walk::note &told,
                                          const work_item &item, bool values, uint8_t *to,
                                          const typename Walk::operand *map, uint64_t *full)
{
    typedef tile_shape<D> shape;
    const int lane = threadIdx.x % warp_lanes;
    for (int i = lane; i < shape::chunks * walk.copies; i += warp_lanes)
        walk.load(told, i, to, map, full, slat_key_head(&p, item.h), item.b);
    barrier_expect_warp(full, copied_bytes<D>(walk, values));
}

/* The first V waits for the first K: all blocks of the card begin at once, and what a product waits for should not come
 * behind what is needed later. */
constexpr int first_keys_barrier = 7, first_keys_threads = 2 * warp_lanes;

template <int D, class Walk>
__device__ __forceinline__ void load_keys(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk,
                                          const typename Walk::operand &q, const typename Walk::operand &k)
{
    typedef forward_shape<D, Walk> shape;
    ring<shape::queries> queries;
    ring<shape::stages> stage;
    bool first = true;
    for (ring<forward_room<D, Walk>::notes> note;; note.advance()) {
        const tile_note<Walk> &told = s.note[note.slot];
        barrier_wait(&s.note_full[note.slot], note.parity);
        if (told.item < 0) break;
        const work_item &item = s.item[told.item];
        if (told.begins) {
            barrier_wait(&s.q_empty[queries.slot], queries.parity ^ 1);
            if (threadIdx.x % warp_lanes == 0) {
                barrier_expect(&s.q_full[queries.slot], shape::query_bytes);
                walk.template load_queries<shape::chunks>(p, s.q[queries.slot], &q, &s.q_full[queries.slot], item);
            }
            queries.advance();
        }
        barrier_wait(&s.k_empty[stage.slot], stage.parity ^ 1);
        load_tile<D>(p, walk, told.tile, item, false, s.k[stage.slot], &k, &s.k_full[stage.slot]);
        if (first) {
            barrier_wait(&s.k_full[stage.slot], stage.parity);
            named_arrive(first_keys_barrier, first_keys_threads);
        }
        first = false;
        stage.advance();
    }
}

template <int D, class Walk>
__device__ __forceinline__ void load_values(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk,
                                            const typename Walk::operand &v)
{
    ring<forward_shape<D, Walk>::stages> stage;
    bool first = true;
    for (ring<forward_room<D, Walk>::notes> note;; note.advance()) {
        const tile_note<Walk> &told = s.note[note.slot];
        barrier_wait(&s.note_full[note.slot], note.parity);
        if (told.item < 0) break;
        if constexpr (Walk::long_blocks)
            if (told.tile.gathers) {
                barrier_arrive(&s.note_empty[note.slot]);
                continue;
            }
        if (first) named_sync(first_keys_barrier, first_keys_threads);
        first = false;
        barrier_wait(&s.v_empty[stage.slot], stage.parity ^ 1);
        load_tile<D>(p, walk, told.tile, s.item[told.item], true, s.v[stage.slot], &v, &s.v_full[stage.slot]);
        barrier_arrive(&s.note_empty[note.slot]);
        stage.advance();
    }
}

} // namespace sm90
#endif
