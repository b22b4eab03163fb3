/* The consumers of the softmax loop, a warp group of 64 queries each. */
#ifndef SLAT_SM90_SOFTMAX_CONSUME_CUH
#define SLAT_SM90_SOFTMAX_CONSUME_CUH
#include "softmax_long.cuh"
#include "softmax_room.cuh"
#include "softmax_write.cuh"

namespace sm90
{

/* S = Q K^T of 64 rows; q and k are operands. */
template <class T, int D, class Walk>
__device__ __forceinline__ void scores(float (&s)[tile_shape<D>::keys / 2], uint32_t q, uint32_t k)
{
    typedef forward_shape<D, Walk> shape;
#pragma unroll
    for (int i = 0; i < D / 16; ++i)
        wgmma<T, shape::keys>::ss(s, q + operand_step(i / 4 * shape::rows * row_bytes + i % 4 * 32),
                                  k + operand_step(i / 4 * shape::keys * row_bytes + i % 4 * 32), i > 0);
}

/* O += P V; v is an operand across its rows. */
template <class T, int D>
__device__ __forceinline__ void add_values(float (&o)[tile_shape<D>::parts][tile_shape<D>::part / 2],
                                           const uint32_t (&p)[tile_shape<D>::keys / 4], uint32_t v)
{
    typedef tile_shape<D> shape;
    constexpr uint32_t chunk_bytes = shape::keys * row_bytes;
#pragma unroll
    for (int i = 0; i < shape::keys / 16; ++i)
#pragma unroll
        for (int n = 0; n < shape::parts; ++n)
            wgmma<T, shape::part>::template rs<1>(
                o[n], p + 4 * i, v + operand_step(n * shape::part / chunk * chunk_bytes + i * 16 * row_bytes), 1);
}

template <class T, int D, class Walk>
__device__ __forceinline__ void consume(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk,
                                        const forward_call &call, int group)
{
    typedef forward_shape<D, Walk> shape;
    const int thread = threadIdx.x % group_threads;
    const int row = group * group_rows + thread / warp_lanes * 16 + thread % warp_lanes / 4;
    const bool leader = thread == 0;
    ring<forward_room<D, Walk>::items> items;
    ring<shape::queries> queries;
    ring<shape::stages> stage, values; /* of K, and of the V that the weights wait for */
    ring<shape::stages> coming;        /* where blocks are long: of the next V */
    ring<forward_room<D, Walk>::notes> note;
    typename Walk::state state(call.scale);
    float w[shape::keys / 2], o[shape::parts][shape::part / 2];
    uint32_t weights[shape::keys / 4];
    int32_t sights;      /* of the tile at `stage`, from its note */
    int32_t gathers = 0; /* likewise, where blocks are long: it comes without V, for the sum of its block */
    bool scored = false; /* w holds the scores of the item's first tile, `seen` its columns */

    if constexpr (Walk::gaps) {
#pragma unroll
        for (int i = 0; i < shape::stages; ++i)
            walk.template clear_gaps<shape::chunks, shape::keys>(shared_address(s.v[i]), group * group_threads + thread,
                                                                 shape::groups * group_threads);
        proxy_fence();
        named_sync(1, shape::groups * group_threads);
    }
    auto release = [&](uint64_t *barrier) {
        if (leader) barrier_arrive(barrier);
    };
    auto take_item = [&] {
        barrier_wait(&s.item_full[items.slot], items.parity);
        return s.item[items.slot];
    };
    /* S of the tile at `stage`. */
    auto score = [&] {
        const uint32_t q = operand(shared_address(s.q[queries.slot]) + group * group_rows * row_bytes);
        wgmma_fence();
        scores<T, D, Walk>(w, q, operand(shared_address(s.k[stage.slot])));
        wgmma_commit();
    };
    /* O += P V of the tile at `values`. */
    auto add = [&] {
        state.template pack_late<T>(weights);
        barrier_wait(&s.v_full[values.slot], values.parity);
        wgmma_fence();
        add_values<T, D>(o, weights, operand(shared_address(s.v[values.slot]), shape::keys * row_bytes));
        wgmma_commit();
    };
    /* Both groups take a turn for every tile, also for one that they do not see. */
    auto take_turn = [&] {
        if (shape::turns) named_sync(5 + group, 2 * group_threads);
    };
    auto give_turn = [&] {
        if (shape::turns) named_arrive(5 + (group ^ 1), 2 * group_threads);
    };
    if (group == 1) give_turn();
    /* Arrives at the tile at `stage`. */
    auto arrive = [&] {
        barrier_wait(&s.k_full[stage.slot], stage.parity);
        sights = s.note[note.slot].sights;
        if constexpr (Walk::long_blocks) gathers = s.note[note.slot].tile.gathers;
    };
    auto sight = [&] { return sights >> 2 * group & 3; };
    /* Where the V of the tile at `stage` comes. */
    auto own_values = [&] {
        if constexpr (Walk::long_blocks)
            return coming;
        else
            return stage;
    };
    /* Leaves it; whether its item has another one. */
    auto leave = [&] {
        barrier_arrive(&s.note_empty[note.slot]); /* each lane for what it read */
        stage.advance();
        note.advance();
        return (sights >> 2 * shape::groups) != 0;
    };

    work_item item = take_item();
    typename Walk::rows rows(p, walk, item, row);
    typename Walk::state::columns seen; /* what this thread's rows see of a tile */
    while (item.work) {
        const float sink = p.sink.data ? ((const float *)p.sink.data)[item.h * p.sink.head] : -CUDART_INF_F;
        state.begin(sink, call.scale);
#pragma unroll
        for (int n = 0; n < shape::parts; ++n)
#pragma unroll
            for (int i = 0; i < shape::part / 2; ++i) o[n][i] = 0;

        /* Finds what is seen of the tile at `stage`; rows of V that nobody sees become 0. */
        auto look = [&] {
            if (sight() == sees_all) return;
            const typename Walk::note &tile = s.note[note.slot].tile;
            rows.mask(tile, seen);
            if (!rows.clears(tile)) return;
            /* each group clears all rows: one waits for the other nowhere but at the tensor cores */
            const auto at = own_values();
            barrier_wait(&s.v_full[at.slot], at.parity);
            rows.template clear<shape::chunks, shape::keys>(tile, shared_address(s.v[at.slot]), thread, group_threads);
            proxy_fence();
            named_sync(2 + group, group_threads);
        };
        bool pending = false; /* weights that have not been multiplied */
        bool more = item.tiles;
        /* Ends the product of the tile at `values`. */
        auto end_values = [&] {
            wgmma_wait<0>();
            release(&s.v_empty[values.slot]);
        };

        /* Leaves the tile at `stage` for the next one, while its S comes: all that is left of it is here. */
        bool all; /* columns are seen */
        int k_slot;
        auto own = values; /* where its V comes */
        auto step = [&] {
            all = sight() == sees_all;
            k_slot = stage.slot;
            own = own_values();
            if (Walk::long_blocks) coming.advance();
            more = leave();
            if (more) arrive();
        };

        /* The scores in w become the weights of the tile that has been left. running: there is a product that needs the
         * old weights. */
        auto weigh = [&](bool running) {
            wgmma_ended(w);
            state.template weigh_tile<T>(w, weights, seen, all, call.scale, [&](bool shrinks) {
                if (running) {
                    wgmma_wait<0>();
                    release(&s.v_empty[values.slot]);
                }
                values = own;
                if (shrinks) {
#pragma unroll
                    for (int n = 0; n < shape::parts; ++n)
#pragma unroll
                        for (int i = 0; i < shape::part / 2; ++i) o[n][i] *= state.shrink[i >> 1 & 1];
                }
            });
        };

        /* Takes the tiles of a block, the first of which is at `stage`, for its sum. Others of the block follow. */
        auto gather = [&] {
            if constexpr (Walk::long_blocks) {
                block_sums sums;
                for (bool last = false; !last; leave(), arrive()) {
                    const typename Walk::note &tile = s.note[note.slot].tile;
                    last = gathers == step_gathers_last;
                    if (sight() == sees_none) {
                        take_turn();
                        give_turn();
                        named_sync(2 + group, group_threads); /* nobody waits for K any more */
                        release(&s.k_empty[stage.slot]);
                    } else {
                        take_turn();
                        score();
                        give_turn();
                        wgmma_wait<0>();
                        release(&s.k_empty[stage.slot]);
                        wgmma_ended(w);
                        sums.weigh(w, call.scale, sight() == sees_all ? shape::keys : walk.ordinary(tile));
                    }
                    if (last)
#pragma unroll
                        for (int r = 0; r < 2; ++r)
                            state.enter(r, sums, walk.earlier(p, item, row + 8 * r, tile.block), call.scale);
                }
            }
        };

        if (more && !scored) {
            barrier_wait(&s.q_full[queries.slot], queries.parity);
            arrive();
        }
        while (more) {
            if (gathers) {
                gather();
                continue;
            }
            if (!scored) {
                if (sight() == sees_none) { /* the other group's alone */
                    const auto at = own_values();
                    take_turn();
                    give_turn();
                    barrier_wait(&s.v_full[at.slot], at.parity);
                    named_sync(2 + group, group_threads); /* nobody waits for K and V any more */
                    release(&s.k_empty[stage.slot]);
                    release(&s.v_empty[at.slot]);
                    if (Walk::long_blocks) coming.advance();
                    more = leave();
                    if (more) arrive();
                    continue;
                }
                take_turn();
                score();
                give_turn();
                wgmma_wait<0>();
                release(&s.k_empty[stage.slot]);
                look();
            }
            scored = false;
            step();
            weigh(false);
            while (more && sight() != sees_none && !gathers) {
                take_turn();
                score();
                look();
                add();
                give_turn();
                step();
                wgmma_wait<1>();
                release(&s.k_empty[k_slot]);
                weigh(true);
            }
            pending = !more;
            if (pending) break;
            add();
            end_values();
        }

        /* The item ends. With two buffers of Q the next one begins under its last product. */
        uint8_t *const room = s.q[queries.slot];
        const int slot = items.slot;
        if (item.tiles) queries.advance();
        items.advance();
        const work_item next = take_item();
        bool joins = false;
        if (shape::queries > 1 && pending && next.work && next.tiles) {
            barrier_wait(&s.q_full[queries.slot], queries.parity);
            arrive();
            joins = sight() != sees_none;
        }
        float factor[2], lse[2];
        auto finish = [&] {
            state.finish(sink, factor, lse);
            if (thread % 4 == 0) {
                s.lse[slot][row] = lse[0];
                s.lse[slot][row + 8] = lse[1];
            }
        };
        auto leave_item = [&] {
            if (!item.tiles)
                clear_rows(p, walk, item, group);
            else if (call.plain)
                store_rows<T, D>(o, factor, p, walk, item, row);
            else
                hand_over<T, D, Walk>(o, factor, room, group);
            barrier_arrive(&s.item_done[slot]); /* each lane for what it wrote */
        };
        if (joins) {
            take_turn();
            add();
            score();
            give_turn();
            finish(); /* what does not need O is done while it comes */
            rows = typename Walk::rows(p, walk, next, row);
            look();
            wgmma_wait<1>();
            release(&s.v_empty[values.slot]);
            leave_item();
            wgmma_wait<0>();
            release(&s.k_empty[stage.slot]);
        } else {
            if (pending) {
                add();
                end_values();
            }
            finish();
            leave_item();
            rows = typename Walk::rows(p, walk, next, row);
        }
        scored = joins;
        item = next;
    }
}

} // namespace sm90
#endif
