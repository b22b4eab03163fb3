/* The consumers of grad_queries: a thread's share of an item's keys, and of its dQ. */
#ifndef SLAT_SM90_GRAD_QUERIES_CONSUME_CUH
#define SLAT_SM90_GRAD_QUERIES_CONSUME_CUH
#include "grad_long.cuh"
#include "softmax_state.cuh"

namespace sm90
{

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

/* A consumer thread's share. */
template <class T, int D, class Walk> struct query_consumer : block_in_hand<Walk::long_blocks> {
    typedef query_room<D, Walk> room;
    static constexpr bool long_blocks = Walk::long_blocks, takes_turns = !Walk::grouped && !long_blocks;
    static constexpr int columns = room::keys / 2; /* a thread's, of both rows */

    room &s;
    const slat_problem &p;
    const Walk &walk;
    const grad_call &call;
    const int group;
    const turns turn;
    uint32_t tile, keys;  /* taken so far: tiles, halves of them */
    int half, halves;     /* in hand, and how many the tile has */
    bool all, none, more; /* of the tile in hand: the group's queries see all its keys, or none of them; its item has
                             another one */
    float lse[2], delta[2];
    ring<room::rows> rows;                    /* the buffers of Q and dO */
    uint32_t q[D / 16][4], grad_o[D / 16][4]; /* they themselves, where tiles come in halves */
    float grad_q[D / 2];
    uint32_t grad_s[columns / 2]; /* of the keys before */

    __device__ __forceinline__ query_consumer(room &s, const slat_problem &p, const Walk &walk, const grad_call &call,
                                              int group)
        : s(s), p(p), walk(walk), call(call), group(group), turn{group}, tile(0), keys(0)
    {
    }

    static __device__ __forceinline__ int thread() { return threadIdx.x % group_threads; }
    static __device__ __forceinline__ int lane() { return threadIdx.x % warp_lanes; }

    static __device__ __forceinline__ void arrive(uint64_t *barrier)
    {
        if (lane() == 0) barrier_arrive(barrier);
    }

    /* This thread's first row of the item; the other one is 8 further. */
    __device__ __forceinline__ int row() const { return group * group_rows + thread() / warp_lanes * 16 + lane() / 4; }

    /* The 64 rows of this group as a left operand. */
    __device__ __forceinline__ void load_rows(uint32_t (&x)[D / 16][4], const uint8_t *from) const
    {
        const int at = group * group_rows + thread() / warp_lanes * 16 + lane() % 16;
#pragma unroll
        for (int i = 0; i < D / 16; ++i)
            load_matrices(x[i], shared_address(from) + i / 4 * tile_rows * row_bytes +
                                    swizzle_128(at, i % 4 * 2 + lane() / 16));
    }

    /* S or dP of 64 queries by the keys in hand. */
    __device__ __forceinline__ void products(float (&c)[columns], const uint32_t (&a)[D / 16][4], const uint8_t *left,
                                             const uint8_t *right) const
    {
        const uint32_t b = operand(shared_address(right));
        const uint32_t own = operand(shared_address(left) + group * group_rows * row_bytes);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < D / 16; ++i) {
            const uint32_t step = b + operand_step(i / 4 * room::keys * row_bytes + i % 4 * 32);
            if constexpr (room::whole)
                wgmma<T, room::keys>::ss(c, own + operand_step(i / 4 * tile_rows * row_bytes + i % 4 * 32), step,
                                         i > 0);
            else
                wgmma<T, room::keys>::template rs<0>(c, a[i], step, i > 0);
        }
        wgmma_commit();
    }

    /* dQ += dS K of the keys before. */
    __device__ __forceinline__ void add_keys()
    {
        const uint32_t k = operand(shared_address(s.k[(keys - 1) % room::k_stages]), room::keys * row_bytes);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < room::keys / 16; ++i)
            wgmma<T, D>::template rs<1>(grad_q, grad_s + 4 * i, k + operand_step(i * 16 * row_bytes), 1);
        wgmma_commit();
    }

    /* Waits for the values of half a tile, whose keys have come; rows that no query of the item sees are cleared, of
     * both, for a product has their NaN as a right operand. */
    __device__ __forceinline__ void take_values(const work_item &item)
    {
        const int at = keys % room::v_stages;
        const tile_note<Walk> &told = s.note[tile % room::notes];
        barrier_wait(&s.v_full[at], keys / room::v_stages & 1);
        if (all) return;
        const typename Walk::rows rows(p, walk, item, row());
        if (!rows.clears(told.tile)) return;
        const int from = half * (walk.copies >> 1);
        for (uint8_t *rows_of : {s.k[keys % room::k_stages], s.v[at]})
            rows.template clear<grad_shape<D>::chunks, room::keys>(told.tile, shared_address(rows_of), thread(),
                                                                   group_threads, from);
        proxy_fence();
        named_sync(4 + group, group_threads);
    }

    /* S, then dP, of the keys in hand. */
    __device__ __forceinline__ void issue_products(float (&scores)[columns], float (&grad_p)[columns])
    {
        products(scores, q, s.q[rows.slot], s.k[keys % room::k_stages]);
        products(grad_p, grad_o, s.grad_o[rows.slot], s.v[keys % room::v_stages]);
    }

    /* The keys in hand, but for the end of the product before: dS, in f32, comes to be in `scores`. */
    template <bool first> __device__ __forceinline__ void take_keys(const work_item &item, float (&scores)[columns])
    {
        float grad_p[columns];
        take_values(item);
        if (takes_turns) turn.take();
        issue_products(scores, grad_p);
        if (!first) add_keys();
        if (takes_turns) turn.give();
        wgmma_wait<first ? 1 : 2>();
        differentiate<first>(item, scores, grad_p);
    }

    /* The end of take_keys: S is done, and becomes dS. */
    template <bool first>
    __device__ __forceinline__ void differentiate(const work_item &item, float (&scores)[columns],
                                                  float (&grad_p)[columns])
    {
        if constexpr (!Walk::grouped)
            weigh<first>(item, scores, grad_p);
        else {
            wgmma_ended(scores);
            if (all)
                take_block<first, true>(item, scores, grad_p);
            else
                take_block<first, false>(item, scores, grad_p);
        }
    }

    template <bool first>
    __device__ __forceinline__ void weigh(const work_item &item, float (&scores)[columns], float (&grad_p)[columns])
    {
#pragma unroll
        for (int i = 0; i < columns; ++i) scores[i] = exp2_fast(fmaf(scores[i], call.scale_2, -lse[i >> 1 & 1]));
        wgmma_wait<first ? 0 : 1>();
        __syncwarp();
        arrive(&s.v_empty[keys % room::v_stages]);
#pragma unroll
        for (int i = 0; i < columns; ++i) scores[i] *= grad_p[i] - delta[i >> 1 & 1];
        if (!all) { /* here, for what a row does not see may be NaN in both */
            uint32_t mask[2];
            typename Walk::rows(p, walk, item, row()).mask(s.note[tile % room::notes].tile, mask);
#pragma unroll
            for (int i = 0; i < columns; ++i)
                if (!(mask[i >> 1 & 1] >> (16 * half + 2 * (i / 4) + (i & 1)) & 1)) scores[i] = 0;
            if constexpr (long_blocks) {
                const uint32_t last = walk.landmark(s.note[tile % room::notes].tile);
#pragma unroll
                for (int i = 0; i < 32; ++i)
                    if (last >> (2 * (i / 4) + (i & 1)) & 1) scores[i] = this->landmark[i >> 1 & 1];
            }
        }
    }

    /* The same where the keys are a block. */
    template <bool first, bool all>
    __device__ __forceinline__ void take_block(const work_item &item, float (&scores)[columns],
                                               float (&grad_p)[columns])
    {
        const auto block = [&] { return s.note[tile % room::notes].tile.first + half * (walk.copies >> 1); };
        typename Walk::template block_rows<all> rows;
        const auto look = [&] {
            if (!all) typename Walk::rows(p, walk, item, row()).mask(block(), rows.seen);
        };
        look();
        if constexpr (Walk::short_blocks) rows.begin(walk.numbers(p, item, block()), walk.sums, item, row());
        rows.weigh(scores, lse, call.scale_2);
        wgmma_wait<first ? 0 : 1>();
        wgmma_ended(grad_p);
        __syncwarp();
        arrive(&s.v_empty[keys % room::v_stages]);
        look(); /* again, for there are no registers to keep it */
        rows.differentiate(scores, grad_p, delta);
        if constexpr (!Walk::short_blocks) rows.write(walk.numbers(p, item, block()), row());
    }

    /* Ends the product before, whose operands give way to this one's. */
    template <bool first> __device__ __forceinline__ void end_keys(const float (&scores)[columns])
    {
        wgmma_wait<0>();
        __syncwarp();
        if (!first) arrive(&s.k_empty[(keys - 2) % room::k_stages]);
        pack_weights<T>(grad_s, scores);
    }

    /* Half a tile of which the group's queries see nothing. */
    __device__ __forceinline__ void pass_keys()
    {
        const int at = keys % room::v_stages;
        barrier_wait(&s.v_full[at], keys / room::v_stages & 1);
        if (takes_turns && !room::wide) turn.take();
        if (takes_turns && !room::wide) turn.give();
        __syncwarp();
        arrive(&s.v_empty[at]);
        arrive(&s.k_empty[keys % room::k_stages]);
    }

    /* Waits for the note of the tile in hand. */
    __device__ __forceinline__ void take_note()
    {
        barrier_wait(&s.note_full[tile % room::notes], tile / room::notes & 1);
        const tile_note<Walk> &told = s.note[tile % room::notes];
        const int32_t sights = __shfl_sync(~0u, told.sights, 0), own = sights >> 2 * group & 3;
        all = own == sees_all;
        none = !Walk::grouped && own == sees_none; /* a block's numbers are read with those of rows beside them */
        if constexpr (long_blocks) this->gathers = __shfl_sync(~0u, told.tile.gathers, 0);
        more = sights >> 4;
        halves = room::whole || walk.half_empty(p, told.tile) ? 1 : 2;
        half = 0;
    }

    __device__ __forceinline__ void take_keys_in_hand() const
    {
        barrier_wait(&s.k_full[keys % room::k_stages], keys / room::k_stages & 1);
    }

    /* Leaves half a tile and waits for the keys of the next one; false: the item has none. */
    __device__ __forceinline__ bool advance()
    {
        ++keys;
        if (++half == halves) {
            barrier_arrive(&s.note_empty[tile % room::notes]); /* each lane for what it read */
            ++tile;
            if (!more) return false;
            take_note();
        }
        take_keys_in_hand();
        return true;
    }

    /* lse and delta of the thread's two rows. */
    __device__ __forceinline__ void load_numbers(const work_item &item)
    {
        const int64_t first = (item.b * (int64_t)p.hq + item.h) * call.rows.count;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            slat_point at;
            const bool there = walk.query(p, item, row() + 8 * r, at);
            const int32_t n = call.rows.row(at);
            const float *const from = call.numbers + (first + n) / grad_group * number_floats + n % grad_group;
            lse[r] = there ? from[0] : CUDART_INF_F;
            delta[r] = there ? -from[grad_group] : 0.0f;
        }
    }

    /* dQ leaves through shared memory. */
    __device__ __forceinline__ void write(const typename Walk::operand &map, const work_item &item)
    {
        if (thread() == 0) store_wait_read();
        named_sync(4 + group, group_threads);
        const int at = thread() / warp_lanes * 16 + lane() % 16;
        const float factor = call.scale;
#pragma unroll
        for (int n = 0; n < D; n += 16) {
            const float *const x = grad_q + n / 2;
            store_matrices(shared_address(s.out[group]) + n / chunk * group_rows * row_bytes +
                               swizzle_128(at, n % chunk / 8 + lane() / 16),
                           pack(T(), x[0] * factor, x[1] * factor), pack(T(), x[2] * factor, x[3] * factor),
                           pack(T(), x[4] * factor, x[5] * factor), pack(T(), x[6] * factor, x[7] * factor));
        }
        proxy_fence();
        named_sync(4 + group, group_threads);
        walk.template store_rows<grad_shape<D>::chunks>(p, p.grad_q, &map, s.out[group], p.d, group, item, thread(),
                                                        group_threads);
        if (thread() == 0) store_commit();
    }

    __device__ __forceinline__ void run(const typename Walk::operand &map)
    {
        turn.begin();
        for (ring<room::items> items;; items.advance()) {
            barrier_wait(&s.item_full[items.slot], items.parity);
            const work_item &item = s.item[items.slot];
            if (!item.work) break;
#pragma unroll
            for (int i = 0; i < D / 2; ++i) grad_q[i] = 0;
            if (item.tiles) {
                load_numbers(item);
                barrier_wait(&s.rows_full[rows.slot], rows.parity);
                if (!room::whole) {
                    load_rows(q, s.q[rows.slot]);
                    load_rows(grad_o, s.grad_o[rows.slot]);
                }
                take_note(); /* whose loads have come: so have those of the rows before, which no arrival may overtake
                              */
                if (!room::whole) barrier_arrive(&s.rows_empty[rows.slot]);
                take_keys_in_hand();
#pragma unroll 1
                for (bool left = true; left;) {
                    if constexpr (long_blocks)
                        if (this->gathers) {
                            gather_block(*this, item, [&](float(&scores)[32], float(&grad_p)[32]) {
                                issue_products(scores, grad_p);
                            });
                            left = advance();
                            continue;
                        }
                    if (none) {
                        pass_keys();
                        left = advance();
                        continue;
                    }
                    float scores[columns];
                    take_keys<true>(item, scores);
                    left = advance();
                    end_keys<true>(scores);
#pragma unroll 1
                    while (left && !none && !this->gathers) {
                        take_keys<false>(item, scores);
                        left = advance();
                        end_keys<false>(scores);
                    }
                    add_keys();
                    wgmma_wait<0>();
                    __syncwarp();
                    arrive(&s.k_empty[(keys - 1) % room::k_stages]);
                }
                if (room::whole) barrier_arrive(&s.rows_empty[rows.slot]);
                rows.advance();
            }
            if (walk.writes) write(map, item);
            barrier_arrive(&s.item_empty[items.slot]);
        }
        if (thread() == 0) store_wait();
    }
};

} // namespace sm90
#endif
