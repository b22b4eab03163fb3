/* Forward softmax attention on Hopper: one persistent pipeline for every primitive.
 *
 * A block has three warp groups. Three warps of the first one produce, each ahead of the next: one takes work items (128
 * queries of a head) and walks the key tiles that they see, writing a note of each; one copies Q and K into rings in
 * shared memory as the notes say, one V. The two others consume, 64 queries each: S = Q K^T, the online softmax in registers, O += P V. A tile's S is issued with
 * the P V of the tile before it, which runs under its softmax; the last P V of an item is issued with the first S of the
 * next one, which runs under the writing of O. The groups take turns at the tensor cores, so that one computes weights
 * while the other's products run.
 *
 * A walk is what a primitive is:
 *   Walk::note                                what a tile is
 *   Walk::cursor(problem, walk, item)         the place in an item; the whole warp moves it
 *     .more()                                 whether a tile is left
 *     .next(sight, note)                      takes a tile, writes its note; sight[group]: what 64 queries see of it
 *   walk.copies, walk.load(note, i, ...)      the copies that bring a chunk of one operand of it
 *   Walk::rows(problem, walk, item, row)      a consumer thread's two rows
 *     .mask(note, mask)                       the columns of a tile that they see
 *     .clears(note), .clear(note, v, ...)     zeroes V's rows that none of the item's queries sees
 *   walk.query, walk.load_queries, walk.store_queries, walk.clear_rows: where the queries stand
 */
#ifndef SLAT_SM90_SOFTMAX_LOOP_CUH
#define SLAT_SM90_SOFTMAX_LOOP_CUH
#include "softmax_state.cuh"
#include "walk.h"

namespace sm90
{

constexpr int tile_rows = 128, group_rows = 64, softmax_threads = 384;
constexpr int warp_lanes = 32, group_threads = 128;

/* What a group's queries see of a tile. */
enum sight : int32_t { sees_none, sees_part, sees_all };

/* 128 queries from `first` of head h. Items end with one whose `work` is 0. */
struct work_item {
    int32_t work, first, h, b;
    int32_t tiles; /* 0: the queries see nothing */
};

/* Tiles for heads of up to D channels. */
template <int D> struct tile_shape {
    static constexpr int keys = D <= 128 ? 128 : 64;
    static constexpr int chunks = (D + chunk - 1) / chunk;
    static constexpr int part = D % 128 == 0 ? 128 : D == 96 ? 96 : 64, parts = D / part; /* of O: columns a product */
    static constexpr int stages = D <= 64 ? 4 : 2, queries = D <= 128 ? 2 : 1;            /* buffers */
    static constexpr int query_bytes = chunks * tile_rows * row_bytes, key_bytes = chunks * keys * row_bytes;
};

/* What the producers and the consumers are told of a tile. */
template <class Walk> struct tile_note {
    int32_t item;             /* its slot; -1: there are no more tiles */
    int32_t begins, more;     /* it is its item's first tile; its item has another one */
    int32_t sight[2];
    typename Walk::note tile;
};

template <int D, class Walk> struct forward_room {
    typedef tile_shape<D> shape;
    static constexpr int notes = 8, items = 4;

    alignas(1024) uint8_t q[shape::queries][shape::query_bytes]; /* O goes out through the rows of its Q */
    alignas(1024) uint8_t k[shape::stages][shape::key_bytes];
    alignas(1024) uint8_t v[shape::stages][shape::key_bytes];
    uint64_t q_full[shape::queries], q_empty[shape::queries];
    uint64_t k_full[shape::stages], k_empty[shape::stages], v_full[shape::stages], v_empty[shape::stages];
    uint64_t item_full[items], item_empty[items];
    uint64_t note_full[notes], note_empty[notes];
    work_item item[items];
    tile_note<Walk> note[notes];
};

/* What a launch shares. */
struct forward_call {
    int32_t tiles, heads, group; /* work: tiles of 128 queries, heads of all batch entries; heads that are taken together */
    float scale;                 /* of q.k, in powers of 2 */
    int32_t *next;               /* the next work item, 0 at first; NULL: a block has one */
    int32_t wide;                /* o is f32 */
};

/* Counts through a ring: slot, and the parity of the phase in which it is filled. */
template <int slots> struct ring {
    int slot = 0;
    uint32_t parity = 0;

    __device__ __forceinline__ void advance()
    {
        if (++slot < slots) return;
        slot = 0;
        parity ^= 1;
    }
};

/* Item n: heads in groups whose keys stay in the cache together; late queries first, for they may have most to do. */
__device__ __forceinline__ work_item item_of(const slat_problem &p, const forward_call &call, int n)
{
    const int whole = call.group * call.tiles, group = n / whole, rest = n - group * whole;
    const int heads = min(call.group, call.heads - group * call.group);
    const int head = group * call.group + rest % heads;
    return {1, (call.tiles - 1 - rest / heads) * tile_rows, head % p.hq, head / p.hq, 0};
}

/* ---- the producers: a warp each ---- */

/* Takes items and writes the notes of their tiles. */
template <int D, class Walk>
__device__ __forceinline__ void walk_items(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk, const forward_call &call)
{
    typedef forward_room<D, Walk> room;
    const int lane = threadIdx.x % warp_lanes, work = call.tiles * call.heads;
    ring<room::items> items;
    ring<room::notes> note;
    for (int n = blockIdx.x; n < work;) {
        int next = work;
        if (call.next && lane == 0) next = gridDim.x + atomicAdd(call.next, 1);
        work_item item = item_of(p, call, n);
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
            cursor.next(told.sight, told.tile);
            __syncwarp();
            if (lane == 0) {
                told.item = items.slot;
                told.begins = begins;
                told.more = cursor.more();
                barrier_arrive(&s.note_full[note.slot]);
            }
            note.advance();
        }
        items.advance();
        n = __shfl_sync(~0u, next, 0);
    }
    barrier_wait(&s.item_empty[items.slot], items.parity ^ 1);
    barrier_wait(&s.note_empty[note.slot], note.parity ^ 1);
    if (lane == 0) {
        s.item[items.slot].work = 0;
        barrier_arrive(&s.item_full[items.slot]);
        s.note[note.slot].item = -1;
        barrier_arrive(&s.note_full[note.slot]);
    }
}

/* Copies one operand of a tile where there is room for it. */
template <int D, class Walk>
__device__ __forceinline__ void load_tile(const slat_problem &p, const Walk &walk, const typename Walk::note &told, const work_item &item,
                                          uint8_t *to, const CUtensorMap *map, uint64_t *full)
{
    typedef tile_shape<D> shape;
    const int lane = threadIdx.x % warp_lanes;
    if (lane == 0) barrier_expect(full, shape::key_bytes);
    __syncwarp();
    for (int i = lane; i < shape::chunks * walk.copies; i += warp_lanes)
        walk.load(told, i, to, map, full, slat_key_head(&p, item.h), item.b);
    __syncwarp();
}

template <int D, class Walk>
__device__ __forceinline__ void load_keys(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk, const CUtensorMap &q,
                                          const CUtensorMap &k)
{
    typedef tile_shape<D> shape;
    ring<shape::queries> queries;
    ring<shape::stages> stage;
    for (ring<forward_room<D, Walk>::notes> note;; note.advance()) {
        const tile_note<Walk> &told = s.note[note.slot];
        barrier_wait(&s.note_full[note.slot], note.parity);
        if (told.item < 0) break;
        const work_item &item = s.item[told.item];
        if (told.begins) {
            barrier_wait(&s.q_empty[queries.slot], queries.parity ^ 1);
            if (threadIdx.x % warp_lanes == 0) {
                barrier_expect(&s.q_full[queries.slot], shape::query_bytes);
                walk.template load_queries<shape::chunks>(s.q[queries.slot], &q, &s.q_full[queries.slot], item);
            }
            queries.advance();
        }
        barrier_wait(&s.k_empty[stage.slot], stage.parity ^ 1);
        load_tile<D>(p, walk, told.tile, item, s.k[stage.slot], &k, &s.k_full[stage.slot]);
        stage.advance();
    }
}

template <int D, class Walk>
__device__ __forceinline__ void load_values(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk, const CUtensorMap &v)
{
    ring<tile_shape<D>::stages> stage;
    for (ring<forward_room<D, Walk>::notes> note;; note.advance()) {
        const tile_note<Walk> &told = s.note[note.slot];
        barrier_wait(&s.note_full[note.slot], note.parity);
        if (told.item < 0) break;
        barrier_wait(&s.v_empty[stage.slot], stage.parity ^ 1);
        load_tile<D>(p, walk, told.tile, s.item[told.item], s.v[stage.slot], &v, &s.v_full[stage.slot]);
        if (threadIdx.x % warp_lanes == 0) barrier_arrive(&s.note_empty[note.slot]);
        stage.advance();
    }
}

/* ---- the consumers: a warp group each ---- */

/* S = Q K^T of 64 rows; q and k are operands. */
template <class T, int D> __device__ __forceinline__ void scores(float (&s)[tile_shape<D>::keys / 2], uint32_t q, uint32_t k)
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

/* The turns of the two groups at the tensor cores. */
struct turns {
    int group;

    __device__ __forceinline__ void begin() const
    {
        if (group == 1) named_arrive(2, 2 * group_threads);
    }
    __device__ __forceinline__ void take() const { named_sync(2 + group, 2 * group_threads); }
    __device__ __forceinline__ void give() const { named_arrive(2 + (group ^ 1), 2 * group_threads); }
};

/* The threads of this consumer group alone. */
__device__ __forceinline__ void group_sync(int group) { named_sync(4 + group, group_threads); }

/* Writes a group's 64 rows of o and lse. 16-bit rows go through `room`, their own rows of Q. */
template <class T, int D, class Walk>
__device__ __forceinline__ void write_rows(float (&o)[tile_shape<D>::parts][tile_shape<D>::part / 2], const float (&factor)[2],
                                           const slat_problem &p, const Walk &walk, const work_item &item, int group, bool wide,
                                           uint8_t *room, const CUtensorMap &map)
{
    typedef tile_shape<D> shape;
    const int thread = threadIdx.x % group_threads, warp = thread / warp_lanes, lane = thread % warp_lanes;
    if (wide) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const int row = group * group_rows + warp * 16 + lane / 4 + 8 * r;
            slat_point at;
            if (!walk.query(p, item, row, at)) continue;
            float *to = (float *)p.o.data + slat_offset(&p.o, item.b, at, item.h);
#pragma unroll
            for (int n = 0; n < D; n += 8) {
                const float *x = &o[n / shape::part][n % shape::part / 2 + 2 * r];
                const int c = n + 2 * (lane % 4);
                if (c < p.dv) to[c] = x[0] * factor[r];
                if (c + 1 < p.dv) to[c + 1] = x[1] * factor[r];
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
        walk.store_queries(&map, room + (c * tile_rows + group * group_rows) * row_bytes, c, group, item);
    store_commit();
}

/* Writes lse of a thread's two rows. */
template <class Walk>
__device__ __forceinline__ void write_lse(const float (&lse)[2], const slat_problem &p, const Walk &walk, const work_item &item, int row)
{
    if (!p.lse.data || threadIdx.x % 4) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        slat_point at;
        if (walk.query(p, item, row + 8 * r, at)) ((float *)p.lse.data)[slat_offset(&p.lse, item.b, at, item.h)] = lse[r];
    }
}

template <class T, int D, class Walk>
__device__ __forceinline__ void consume(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk, const forward_call &call,
                                        const CUtensorMap &map_o, int group)
{
    typedef tile_shape<D> shape;
    const int thread = threadIdx.x % group_threads;
    const int row = group * group_rows + thread / warp_lanes * 16 + thread % warp_lanes / 4;
    const turns turn = {group};
    const bool leader = thread == 0;
    ring<forward_room<D, Walk>::items> items;
    ring<shape::queries> queries;
    ring<shape::stages> stage, values; /* of K, and of the V that the weights wait for */
    ring<forward_room<D, Walk>::notes> note;
    softmax_state state;
    float w[shape::keys / 2], o[shape::parts][shape::part / 2];
    uint32_t weights[shape::keys / 4];
    int owed = -1;       /* the Q whose rows a store of O still reads */
    bool scored = false; /* w holds the scores of the item's first tile */

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
        barrier_wait(&s.v_full[values.slot], values.parity);
        wgmma_fence();
        add_values<T, D>(o, weights, operand(shared_address(s.v[values.slot]), shape::keys * row_bytes));
        wgmma_commit();
    };
    auto sees = [&] { return s.note[note.slot].sight[group] != sees_none; };
    /* Leaves a tile's note and its K; whether its item has another one. */
    auto leave = [&] {
        const bool more = s.note[note.slot].more;
        __syncwarp();
        release(&s.note_empty[note.slot]);
        stage.advance();
        note.advance();
        return more;
    };

    turn.begin();
    work_item item = take_item();
    while (item.work) {
        const float sink = p.sink.data ? ((const float *)p.sink.data)[item.h * p.sink.head] : -CUDART_INF_F;
        const typename Walk::rows rows(p, walk, item, row);
        state.begin(sink, call.scale);
#pragma unroll
        for (int n = 0; n < shape::parts; ++n)
#pragma unroll
            for (int i = 0; i < shape::part / 2; ++i) o[n][i] = 0;

        /* The scores in w become the weights of the tile at `stage`. */
        auto weigh = [&] {
            const auto &told = s.note[note.slot];
            uint32_t mask[2];
            if (told.sight[group] == sees_all) {
                state.template weigh<false>(w, mask, call.scale);
                return;
            }
            rows.mask(told.tile, mask);
            if (rows.clears(told.tile)) {
                barrier_wait(&s.v_full[stage.slot], stage.parity);
                rows.template clear<shape::chunks, shape::keys>(told.tile, shared_address(s.v[stage.slot]), thread);
                proxy_fence();
                group_sync(group);
            }
            state.template weigh<true>(w, mask, call.scale);
        };
        auto shrink = [&] {
#pragma unroll
            for (int n = 0; n < shape::parts; ++n) state.shrink_rows(o[n]);
            pack_weights<T>(weights, w);
            values = stage;
        };

        bool pending = false; /* weights that have not been multiplied */
        bool more = item.tiles;
        if (more && !scored) barrier_wait(&s.q_full[queries.slot], queries.parity);
        while (more) {
            if (!scored) {
                barrier_wait(&s.k_full[stage.slot], stage.parity);
                turn.take();
                if (!sees()) { /* the other group's alone */
                    turn.give();
                    release(&s.k_empty[stage.slot]);
                    barrier_wait(&s.v_full[stage.slot], stage.parity);
                    release(&s.v_empty[stage.slot]);
                    more = leave();
                    continue;
                }
                score();
                turn.give();
                wgmma_wait<0>();
                release(&s.k_empty[stage.slot]);
            }
            scored = false;
            weigh();
            shrink();
            settle();
            for (;;) {
                more = leave();
                if (!more) break;
                barrier_wait(&s.k_full[stage.slot], stage.parity);
                if (!sees()) break;
                turn.take();
                score();
                add();
                turn.give();
                wgmma_wait<1>();
                release(&s.k_empty[stage.slot]);
                weigh();
                wgmma_wait<0>();
                release(&s.v_empty[values.slot]);
                shrink();
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
            barrier_wait(&s.k_full[stage.slot], stage.parity);
            joins = sees();
        }
        auto end = [&] {
            state.finish(sink, call.scale, factor, lse);
            write_lse(lse, p, walk, item, row);
            settle();
            if (item.tiles) {
                write_rows<T, D>(o, factor, p, walk, item, group, call.wide, room, map_o);
                owed = slot;
            } else
                walk.clear_rows(p, item, group, call.wide);
            if (shape::queries == 1) settle();
            release(&s.item_empty[(item_slot + s.items - 1) % s.items]);
        };
        if (joins) {
            turn.take();
            add();
            score();
            turn.give();
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

template <class T, int D, class Walk>
__global__ void __launch_bounds__(softmax_threads, 1)
    softmax_forward(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk, const __grid_constant__ forward_call call,
                    const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                    const __grid_constant__ CUtensorMap v, const __grid_constant__ CUtensorMap o)
{
    typedef tile_shape<D> shape;
    extern __shared__ uint8_t memory[];
    auto &s = *(forward_room<D, Walk> *)(memory + (-shared_address(memory) & 1023));
    const int group = __shfl_sync(~0u, threadIdx.x / group_threads, 0);
    if (threadIdx.x == 0) {
        for (int i = 0; i < shape::queries; ++i) barrier_init(&s.q_full[i], 1), barrier_init(&s.q_empty[i], 2);
        for (int i = 0; i < shape::stages; ++i) {
            barrier_init(&s.k_full[i], 1), barrier_init(&s.k_empty[i], 2);
            barrier_init(&s.v_full[i], 1), barrier_init(&s.v_empty[i], 2);
        }
        for (int i = 0; i < s.items; ++i) barrier_init(&s.item_full[i], 1), barrier_init(&s.item_empty[i], 2);
        for (int i = 0; i < s.notes; ++i) barrier_init(&s.note_full[i], 1), barrier_init(&s.note_empty[i], 3);
        barrier_init_fence();
    }
    __syncthreads();
    if (group == 0) {
        registers_give<40>();
        const int warp = __shfl_sync(~0u, threadIdx.x / warp_lanes, 0);
        if (warp == 0) walk_items<D>(s, p, walk, call);
        if (warp == 1) load_keys<D>(s, p, walk, q, k);
        if (warp == 2) load_values<D>(s, p, walk, v);
    } else {
        registers_take<232>();
        consume<T>(s, p, walk, call, o, group - 1);
    }
}

} // namespace sm90
#endif
