/* The consumers of the softmax loop, a warp group of 64 queries each. */
#ifndef SLAT_SM90_SOFTMAX_CONSUME_CUH
#define SLAT_SM90_SOFTMAX_CONSUME_CUH
#include "softmax_room.cuh"
#include "softmax_state.cuh"

namespace sm90
{

/* S = Q K^T of 64 rows; q and k are operands. */
template <class T, int D>
__device__ __forceinline__ void scores(float (&s)[tile_shape<D>::keys / 2], uint32_t q, uint32_t k)
{
    typedef tile_shape<D> shape;
#pragma unroll
    for (int i = 0; i < D / 16; ++i)
        wgmma<T, shape::keys>::ss(s, q + operand_step(i / 4 * tile_rows * row_bytes + i % 4 * 32),
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

/* The threads of this consumer group alone. */
__device__ __forceinline__ void group_sync(int group)
{
    named_sync(2 + group, group_threads);
}

/* Elements n and n + 1 of a row of o that has `width`. */
template <class T>
__device__ __forceinline__ void store_pair(const slat_view &o, int64_t at, int n, int width, float a, float b)
{
    if (o.type == SLAT_F32) {
        float *const to = (float *)o.data + at;
        if (n < width) to[n] = a;
        if (n + 1 < width) to[n + 1] = b;
    } else {
        const uint32_t both = pack(T(), a, b);
        uint16_t *const to = (uint16_t *)o.data + at;
        if (n < width) to[n] = (uint16_t)both;
        if (n + 1 < width) to[n + 1] = (uint16_t)(both >> 16);
    }
}

/* Writes a group's 64 rows of o and lse: by plain stores, or through `room`, their own rows of Q. */
template <class T, int D, class Walk>
__device__ __forceinline__ void
write_rows(float (&o)[tile_shape<D>::parts][tile_shape<D>::part / 2], const float (&factor)[2], const slat_problem &p,
           const Walk &walk, const work_item &item, int group, bool plain, uint8_t *room, const CUtensorMap &map)
{
    typedef tile_shape<D> shape;
    const int thread = threadIdx.x % group_threads, warp = thread / warp_lanes, lane = thread % warp_lanes;
    if (plain) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int row = group * group_rows + warp * 16 + lane / 4 + 8 * r;
            slat_point at;
            if (!walk.query(p, item, row, at)) continue;
            const int64_t to = slat_offset(&p.o, item.b, at, item.h);
#pragma unroll
            for (int n = 0; n < D; n += 8) {
                const float *x = &o[n / shape::part][n % shape::part / 2 + 2 * r];
                store_pair<T>(p.o, to, n + 2 * (lane % 4), p.dv, x[0] * factor[r], x[1] * factor[r]);
            }
        }
        return;
    }
    const uint32_t to = shared_address(room) + group * group_rows * row_bytes;
    const int row = warp * 16 + lane % 16;
#pragma unroll
    for (int c = 0; c < D; c += 16) {
        const float *x = &o[c / shape::part][c % shape::part / 2];
        store_matrices(to + c / chunk * tile_rows * row_bytes + swizzle_128(row, c % chunk / 8 + lane / 16),
                       pack(T(), x[0] * factor[0], x[1] * factor[0]), pack(T(), x[2] * factor[1], x[3] * factor[1]),
                       pack(T(), x[4] * factor[0], x[5] * factor[0]), pack(T(), x[6] * factor[1], x[7] * factor[1]));
    }
    proxy_fence();
    group_sync(group);
    if (thread) return;
    for (int c = 0; c < shape::chunks && c * chunk < p.dv; ++c)
        walk.store_queries(p, &map, room + (c * tile_rows + group * group_rows) * row_bytes, c, group, item);
    store_commit();
}

/* o of queries that see nothing. */
template <class Walk>
__device__ void clear_rows(const slat_problem &p, const Walk &walk, const work_item &item, int group)
{
    for (int i = threadIdx.x % group_threads; i < group_rows * p.dv; i += group_threads) {
        slat_point at;
        if (!walk.query(p, item, group * group_rows + i / p.dv, at)) continue;
        const int64_t to = slat_offset(&p.o, item.b, at, item.h) + i % p.dv;
        if (p.o.type == SLAT_F32)
            ((float *)p.o.data)[to] = 0;
        else
            ((uint16_t *)p.o.data)[to] = 0;
    }
}

/* Writes lse of a thread's two rows. */
template <class Walk>
__device__ __forceinline__ void write_lse(const float (&lse)[2], const slat_problem &p, const Walk &walk,
                                          const work_item &item, int row)
{
    if (!p.lse.data || threadIdx.x % 4) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        slat_point at;
        if (walk.query(p, item, row + 8 * r, at))
            ((float *)p.lse.data)[slat_offset(&p.lse, item.b, at, item.h)] = lse[r];
    }
}

template <class T, int D, class Walk>
__device__ __forceinline__ void consume(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk,
                                        const forward_call &call, const CUtensorMap &map_o, int group)
{
    typedef tile_shape<D> shape;
    const int thread = threadIdx.x % group_threads;
    const int row = group * group_rows + thread / warp_lanes * 16 + thread % warp_lanes / 4;
    const bool leader = thread == 0;
    ring<forward_room<D, Walk>::items> items;
    ring<shape::queries> queries;
    ring<shape::stages> stage, values; /* of K, and of the V that the weights wait for */
    ring<forward_room<D, Walk>::notes> note;
    typename Walk::state state;
    float w[shape::keys / 2], o[shape::parts][shape::part / 2];
    uint32_t weights[shape::keys / 4];
    int32_t sights;      /* of the tile at `stage`, from its note */
    int owed = -1;       /* the Q whose rows a store of O still reads */
    bool scored = false; /* w holds the scores of the item's first tile */

    if constexpr (Walk::gaps) {
#pragma unroll
        for (int i = 0; i < shape::stages; ++i)
            walk.template clear_gaps<shape::chunks, shape::keys>(shared_address(s.v[i]), group * group_threads + thread,
                                                                 2 * group_threads);
        proxy_fence();
        named_sync(1, 2 * group_threads);
    }
    auto release = [&](uint64_t *barrier) {
        if (leader) barrier_arrive(barrier);
    };
    auto settle = [&] {
        if (owed >= 0 && leader) {
            store_wait_read();
            barrier_arrive(&s.q_empty[owed]);
        }
        owed = -1;
    };
    auto take_item = [&] {
        barrier_wait(&s.item_full[items.slot], items.parity);
        const work_item item = s.item[items.slot];
        group_sync(group);
        items.advance();
        return item;
    };
    /* S of the tile at `stage`. */
    auto score = [&] {
        const uint32_t q = operand(shared_address(s.q[queries.slot]) + group * group_rows * row_bytes);
        wgmma_fence();
        scores<T, D>(w, q, operand(shared_address(s.k[stage.slot])));
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
    /* Arrives at the tile at `stage`. */
    auto arrive = [&] {
        barrier_wait(&s.k_full[stage.slot], stage.parity);
        sights = s.note[note.slot].sights;
    };
    auto sight = [&] { return sights >> 2 * group & 3; };
    /* Leaves it; whether its item has another one. */
    auto leave = [&] {
        __syncwarp();
        if (thread % warp_lanes == 0) barrier_arrive(&s.note_empty[note.slot]);
        stage.advance();
        note.advance();
        return (sights >> 4) != 0;
    };

    work_item item = take_item();
    while (item.work) {
        const float sink = p.sink.data ? ((const float *)p.sink.data)[item.h * p.sink.head] : -CUDART_INF_F;
        const typename Walk::rows rows(p, walk, item, row);
        state.begin(sink, call.scale);
#pragma unroll
        for (int n = 0; n < shape::parts; ++n)
#pragma unroll
            for (int i = 0; i < shape::part / 2; ++i) o[n][i] = 0;

        /* Finds what this thread's rows see of the tile at `stage`; rows of V that nobody sees become 0. */
        typename Walk::state::columns seen;
        auto look = [&] {
            if (sight() == sees_all) return;
            const typename Walk::note &tile = s.note[note.slot].tile;
            rows.mask(tile, seen);
            if (!rows.clears(tile)) return;
            const bool both = (sights & 3) != sees_none && (sights >> 2 & 3) != sees_none; /* share the rows */
            const int helpers = both ? 2 * group_threads : group_threads;
            barrier_wait(&s.v_full[stage.slot], stage.parity);
            rows.template clear<shape::chunks, shape::keys>(tile, shared_address(s.v[stage.slot]),
                                                            both ? group * group_threads + thread : thread, helpers);
            proxy_fence();
            named_sync(both ? 1 : 2 + group, helpers);
        };
        bool pending = false; /* weights that have not been multiplied */
        bool more = item.tiles;
        /* The scores in w become the weights of the tile at `stage`, and the next tile is waited for. running: there is
         * a product that needs the old weights. */
        auto weigh = [&](bool running) {
            wgmma_ended(w);
            state.template weigh_tile<T>(w, weights, seen, sight() == sees_all, call.scale, [&](bool shrinks) {
                const auto here = stage;
                more = leave();
                if (more) arrive();
                if (running) {
                    wgmma_wait<0>();
                    release(&s.v_empty[values.slot]);
                }
                values = here;
                if (shrinks) {
#pragma unroll
                    for (int n = 0; n < shape::parts; ++n)
#pragma unroll
                        for (int i = 0; i < shape::part / 2; ++i) o[n][i] *= state.shrink[i >> 1 & 1];
                }
            });
        };

        if (more && !scored) {
            barrier_wait(&s.q_full[queries.slot], queries.parity);
            arrive();
        }
        while (more) {
            if (!scored) {
                if (sight() == sees_none) { /* the other group's alone */
                    release(&s.k_empty[stage.slot]);
                    barrier_wait(&s.v_full[stage.slot], stage.parity);
                    release(&s.v_empty[stage.slot]);
                    more = leave();
                    if (more) arrive();
                    continue;
                }
                score();
                wgmma_wait<0>();
                release(&s.k_empty[stage.slot]);
            }
            scored = false;
            look();
            weigh(false);
            settle();
            while (more && sight() != sees_none) {
                score();
                look();
                add();
                wgmma_wait<1>();
                release(&s.k_empty[stage.slot]);
                weigh(true);
            }
            pending = !more;
            if (pending) break;
            add();
            wgmma_wait<0>();
            release(&s.v_empty[values.slot]);
        }

        /* The item ends. With two buffers of Q the next one begins under its last product. */
        uint8_t *const room = s.q[queries.slot];
        const int slot = queries.slot, item_slot = items.slot;
        if (item.tiles) queries.advance();
        const work_item next = take_item();
        float factor[2], lse[2];
        bool joins = false;
        if (shape::queries > 1 && pending && next.work && next.tiles) {
            barrier_wait(&s.q_full[queries.slot], queries.parity);
            arrive();
            joins = sight() != sees_none;
        }
        auto end = [&] {
            state.finish(sink, factor, lse);
            write_lse(lse, p, walk, item, row);
            settle();
            if (item.tiles) {
                write_rows<T, D>(o, factor, p, walk, item, group, call.plain, room, map_o);
                owed = slot;
            } else
                clear_rows(p, walk, item, group);
            if (shape::queries == 1) settle();
            release(&s.item_empty[(item_slot + s.items - 1) % s.items]);
        };
        if (joins) {
            add();
            score();
            wgmma_wait<1>();
            release(&s.v_empty[values.slot]);
            end();
            wgmma_wait<0>();
            release(&s.k_empty[stage.slot]);
        } else {
            if (pending) {
                add();
                wgmma_wait<0>();
                release(&s.v_empty[values.slot]);
            }
            end();
        }
        scored = joins;
        item = next;
    }
    if (leader) store_wait();
}

} // namespace sm90
#endif
