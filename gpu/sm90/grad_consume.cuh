/* The consumers of grad_keys: a thread's share of an item's tiles, and of its dK and dV. */
#ifndef SLAT_SM90_GRAD_CONSUME_CUH
#define SLAT_SM90_GRAD_CONSUME_CUH
#include "grad_numbers.cuh"
#include "grad_produce.cuh"
#include "softmax_state.cuh"

namespace sm90
{

/* A consumer thread's share. */
template <class T, int D, bool adds, class Walk> struct key_consumer : key_pair<Walk> {
    typedef grad_shape<D> shape;
    typedef key_room<D, adds, Walk> room;
    typedef key_pair<Walk> pair;
    using pair::group, pair::is_landmark, pair::lane, pair::thread, pair::walk;

    room &s;
    const slat_problem &p;
    const grad_call &call;
    uint32_t tile;             /* taken so far */
    ring<room::queries> query; /* of the tile whose S^T is issued last */
    ring<room::grads> grad;
    ring<room::outs> out;
    float grad_k[D / 2], grad_v[D / 2], scores[shape::queries / 2];

    __device__ __forceinline__ key_consumer(room &s, const slat_problem &p, const Walk &walk, const grad_call &call,
                                            int group)
        : pair(walk, group), s(s), p(p), call(call), tile(0)
    {
    }

    /* Once for each warp. */
    static __device__ __forceinline__ void arrive(uint64_t *barrier)
    {
        if (lane() == 0) barrier_arrive(barrier);
    }

    __device__ __forceinline__ const tile_note<Walk> &note(uint32_t n) const { return s.note[n % room::notes]; }

    /* S^T or dP^T of 64 keys by the queries: a has rows of 128 keys. more: they are added to what is there. */
    static __device__ __forceinline__ void products(float (&c)[shape::queries / 2], uint32_t a, uint32_t b,
                                                    bool more = false)
    {
#pragma unroll
        for (int i = 0; i < D / 16; ++i)
            wgmma<T, shape::queries>::ss(c, a + operand_step(i / 4 * shape::keys * row_bytes + i % 4 * 32),
                                         b + operand_step(i / 4 * shape::queries * row_bytes + i % 4 * 32),
                                         more || i > 0);
    }

    /* dV or dK += the weights times the rows of x. */
    static __device__ __forceinline__ void add_rows(float (&c)[D / 2], const uint32_t (&weights)[shape::queries / 4],
                                                    uint32_t x)
    {
#pragma unroll
        for (int i = 0; i < shape::queries / 16; ++i)
            wgmma<T, D>::template rs<1>(c, weights + 4 * i, x + operand_step(i * 16 * row_bytes), 1);
    }

    /* This group's part of dQ = dS K. */
    static __device__ __forceinline__ void multiply_keys(float (&c)[shape::part / 2], uint32_t ds, uint32_t k)
    {
#pragma unroll
        for (int i = 0; i < shape::keys / 16; ++i)
            wgmma<T, shape::part>::template ss<1, 1>(c, ds + operand_step(i * 16 * row_bytes),
                                                     k + operand_step(i * 16 * row_bytes), i > 0);
    }

    __device__ __forceinline__ uint32_t own_keys(const uint8_t *keys) const
    {
        return operand(shared_address(keys) + group * group_rows * row_bytes);
    }

    __device__ __forceinline__ void issue_scores()
    {
        wgmma_fence();
        products(scores, own_keys(s.k), operand(shared_address(s.q[query.slot])));
        wgmma_commit();
    }

    __device__ __forceinline__ void issue_grad_q(float (&c)[shape::part / 2], uint32_t n)
    {
        const uint32_t own = group * shape::keys * row_bytes; /* chunk, of dS^T or of K */
        wgmma_fence();
        multiply_keys(c, operand(shared_address(s.ds[n & 1]) + (shape::halves ? own : 0)),
                      operand(shared_address(s.k) + (shape::halves ? 0 : own)));
        wgmma_commit();
    }

    /* What a note says to this group. */
    struct facts {
        bool more; /* the item has a tile after it */
        bool all;  /* all its queries see all the group's keys */
        bool none; /* they see none of them */
    };

    /* Waits for Q of tile n; rows of Q and dO that see none of the keys are cleared. `at`, `parity`: of its dO. */
    __device__ __forceinline__ facts take_queries(const work_item &item, uint32_t n, int at, uint32_t parity)
    {
        barrier_wait(&s.q_full[query.slot], query.parity);
        const int32_t sights = __shfl_sync(~0u, note(n).sights, 0); /* the same for the compiler too */
        const int32_t own = sights >> 2 * group & 3;
        const facts told = {(sights >> 4) != 0, own == sees_all, own == sees_none};
        if (walk.clears_queries(note(n).tile)) {
            barrier_wait(&s.o_full[at], parity);
            walk.template clear_queries<shape::chunks, shape::queries>(
                p, note(n).tile, item, shared_address(s.q[query.slot]), shared_address(s.grad_o[at]), thread());
            proxy_fence();
            named_sync(4 + group, group_threads);
        }
        return told;
    }

    /* Tells the writer that a buffer holds what it should write. The proxy fence is the writer's. */
    __device__ __forceinline__ void leave_out()
    {
        barrier_arrive(&s.out_full[group][out.slot]); /* each lane for what it stored */
        out.advance();
    }

    /* 64 rows and columns of sums leave through shared memory, rows that are 8 apart apart where these are `fine`. */
    __device__ __forceinline__ void put_sums(const float *c, bool fine)
    {
        constexpr int parts = shape::part / 8, warp_bytes = 16 * shape::part * 4;
        barrier_wait(&s.out_empty[group][out.slot], out.parity ^ 1);
        const uint32_t to = shared_address(s.out[group][out.slot]) + thread() / warp_lanes * warp_bytes;
        if (!fine) {
#pragma unroll
            for (int j = 0; j < parts; ++j)
                store_floats(to + j * 512 + lane() * 16, c[4 * j], c[4 * j + 1], c[4 * j + 2], c[4 * j + 3]);
        } else {
#pragma unroll
            for (int j = 0; j < parts; ++j) {
                store_floats(to + j * 256 + lane() * 8, c[4 * j], c[4 * j + 1]);
                store_floats(to + j * 256 + lane() * 8 + warp_bytes / 2, c[4 * j + 2], c[4 * j + 3]);
            }
        }
        leave_out();
    }

    /* A part of dQ. */
    __device__ __forceinline__ void put_grad_q(const float (&c)[shape::part / 2])
    {
        put_sums(c, walk.piece() == grad_group);
    }

    /* dV or dK of the item, times `factor`. */
    __device__ __forceinline__ void put_keys(const float (&c)[D / 2], float factor)
    {
        const int row = thread() / warp_lanes * 16 + lane() % 16;
        barrier_wait(&s.out_empty[group][out.slot], out.parity ^ 1);
        const uint32_t to = shared_address(s.out[group][out.slot]);
#pragma unroll
        for (int n = 0; n < D; n += 16) {
            const float *x = c + n / 2;
            store_matrices(to + n / chunk * group_rows * row_bytes + swizzle_128(row, n % chunk / 8 + lane() / 16),
                           pack(T(), x[0] * factor, x[1] * factor), pack(T(), x[2] * factor, x[3] * factor),
                           pack(T(), x[4] * factor, x[5] * factor), pack(T(), x[6] * factor, x[7] * factor));
        }
        leave_out();
    }

    /* Where the numbers of the group's keys begin among a tile's: behind those of the queries, which landmarks have. */
    __device__ __forceinline__ uint32_t own_numbers() const
    {
        return Walk::grouped ? (1 + group) * shape::number_bytes : 0;
    }
    __device__ __forceinline__ uint32_t own_numbers(int r) const
    {
        return is_landmark(r) ? 0 : own_numbers();
    }

    /* The lse, or c, of key r. numbers: of the tile, in shared memory. */
    __device__ __forceinline__ auto lse_of(const work_item &item, const uint8_t *queries, uint32_t numbers, int r) const
    {
        if constexpr (Walk::short_blocks)
            return is_landmark(r) ? (const float *)queries + lane() % 4 * 2
                                  : pair::block_numbers_of(p, note(tile).tile, item, r);
        else
            return numbers + own_numbers(r);
    }

    /* Where its delta, or m, comes behind. */
    __device__ __forceinline__ auto mean_of(const work_item &item, uint32_t numbers, int r) const
    {
        if constexpr (Walk::short_blocks)
            return pair::block_numbers_of(p, note(tile).tile, item, r);
        else
            return numbers + own_numbers();
    }

    /* S^T becomes P^T. */
    template <class Numbers>
    __device__ __forceinline__ void weigh(const work_item &item, const float2 (&first_lse)[8], const Numbers &first,
                                          const Numbers &second, bool all)
    {
        pair::weigh(
            scores, call.scale_2, [&](int j) { return j < 8 ? first_lse[j] : load_numbers(first, j); }, second);
        if (all) return;
        const int row = group * group_rows + thread() / warp_lanes * 16 + lane() / 4;
        uint32_t mask[2];
        typename Walk::keys(p, walk, item, row, s.shared[group]).mask(note(tile).tile, mask);
#pragma unroll
        for (int i = 0; i < shape::queries / 2; ++i)
            if (!(mask[i >> 1 & 1] >> (2 * (i / 4) + (i & 1)) & 1)) scores[i] = 0;
    }

    /* Waits for the queries of the next tile and issues their S^T. */
    __device__ __forceinline__ facts issue_next(const work_item &item)
    {
        query.advance();
        const facts next = take_queries(item, tile + 1, grad.slot, grad.parity);
        issue_scores();
        return next;
    }

    /* One tile whose queries see none of the group's keys, as take_tile: its dS is 0. */
    template <bool first, bool last> __device__ __forceinline__ facts pass_tile(const work_item &item)
    {
        float grad_q[shape::part / 2];
        facts next = {};
        const int at = grad.slot, own = query.slot, square = tile & 1;
        barrier_wait(&s.o_full[at], grad.parity);
        grad.advance();
        __syncwarp();
        arrive(&s.o_empty[at]);
        if (adds) {
            if (!first) barrier_wait(&s.ds_full[square ^ 1], (tile - 1) >> 1 & 1);
            const int row = group * group_rows + thread() / warp_lanes * 16;
            const uint32_t to = shared_address(s.ds[square]) + row * row_bytes + lane() * 16;
#pragma unroll
            for (int i = 0; i < shape::queries / chunk; ++i)
#pragma unroll
                for (int piece = 0; piece < 4; ++piece) store_zeros(to + i * shape::keys * row_bytes + piece * 512);
            proxy_fence();
            if (!first) issue_grad_q(grad_q, tile - 1);
        }
        if (!last) next = issue_next(item);
        if (adds) {
            wgmma_wait<last ? 0 : 1>();
            __syncwarp();
            arrive(&s.ds_full[square]);
            if (!first) put_grad_q(grad_q);
        }
        wgmma_wait<0>();
        barrier_arrive(&s.q_empty[own]); /* as take_tile */
        barrier_arrive(&s.note_empty[tile % room::notes]);
        ++tile;
        return next;
    }

    /* One tile. Its S^T is done; at the end, unless it is the last one, that of the next is, of which it gives the
     * facts. */
    template <bool first, bool last>
    __device__ __forceinline__ facts take_tile(const work_item &item, const facts &told)
    {
        if constexpr (!Walk::grouped) /* whose groups seldom see nothing */
            if (told.none) return pass_tile<first, last>(item);
        const bool all = told.all;
        float grad_p[shape::queries / 2], grad_q[shape::part / 2];
        uint32_t weights[shape::queries / 4]; /* P^T, then dS^T */
        facts next = {};
        const int at = grad.slot, own = query.slot, square = tile & 1;
        const uint32_t numbers = shared_address(s.numbers[own]) + lane() % 4 * 8;
        float2 lse[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) lse[j] = load_numbers(lse_of(item, s.numbers[own], numbers, 0), j);
        pair::template lessen<false>(grad_p, mean_of(item, numbers, 0), mean_of(item, numbers, 1));
        barrier_wait(&s.o_full[at], grad.parity);
        grad.advance();
        wgmma_fence();
        products(grad_p, own_keys(s.v), operand(shared_address(s.grad_o[at])), true);
        wgmma_commit();
        weigh(item, lse, lse_of(item, s.numbers[own], numbers, 0), lse_of(item, s.numbers[own], numbers, 1), all);
        pack_weights<T>(weights, scores);
        wgmma_fence();
        add_rows(grad_v, weights, operand(shared_address(s.grad_o[at]), shape::queries * row_bytes));
        wgmma_commit();
        wgmma_wait<1>();
        if (!last && !shape::halves) next = issue_next(item);
        pair::differentiate(
            grad_p, [&](int i) { return unpack(T(), weights[i]); }, numbers);
        wgmma_wait<last || shape::halves ? 0 : 1>(); /* dV: the weights' registers are free for dS */
        __syncwarp();
        arrive(&s.o_empty[at]);
        pack_weights<T>(weights, grad_p);
        if (adds) {
            /* before the stores: the other group has read what this buffer held */
            if (!first) barrier_wait(&s.ds_full[square ^ 1], (tile - 1) >> 1 & 1);
            const int row = group * group_rows + thread() / warp_lanes * 16 + lane() % 16;
            const uint32_t to = shared_address(s.ds[square]);
#pragma unroll
            for (int i = 0; i < shape::queries / 16; ++i)
                store_matrices(to + i / 4 * shape::keys * row_bytes + swizzle_128(row, i % 4 * 2 + lane() / 16),
                               weights[4 * i], weights[4 * i + 1], weights[4 * i + 2], weights[4 * i + 3]);
        }
        if (adds && !first) issue_grad_q(grad_q, tile - 1);
        wgmma_fence();
        add_rows(grad_k, weights, operand(shared_address(s.q[own]), shape::queries * row_bytes));
        wgmma_commit();
        if (!last && shape::halves) next = issue_next(item); /* registers do not suffice before */
        if (adds) {
            proxy_fence();                                /* of dS */
            wgmma_wait<last || !shape::halves ? 1 : 2>(); /* the dQ of the tile before, whose buffer this warp no longer
                                                             reads */
            __syncwarp();
            arrive(&s.ds_full[square]);
            if (!first) put_grad_q(grad_q);
        }
        wgmma_wait<0>();
        barrier_arrive(&s.q_empty[own]); /* each lane for the numbers that it read, and for the note */
        barrier_arrive(&s.note_empty[tile % room::notes]);
        ++tile;
        return next;
    }

    __device__ __forceinline__ void take_item(const work_item &item, uint32_t parity)
    {
        if constexpr (Walk::long_blocks) pair::landmark = walk.landmark(item, group);
        if (Walk::prepares) {
            named_sync(4 + group, group_threads); /* what is there is no longer read */
            walk.prepare(p, item, group, thread(), s.shared[group]);
            named_sync(4 + group, group_threads);
        }
        barrier_wait(&s.k_full, parity);
        if (walk.clears_keys(note(tile).tile)) {
            barrier_wait(&s.v_full, parity);
            walk.template clear_keys<shape::chunks>(p, item, shared_address(s.k), shared_address(s.v), group, thread());
            proxy_fence();
            named_sync(4 + group, group_threads);
        }
        facts told = take_queries(item, tile, grad.slot, grad.parity);
        issue_scores();
        barrier_wait(&s.v_full, parity);
        wgmma_wait<0>();
        if (adds && tile == 0) named_arrive(first_product_barrier, first_product_threads);
        if (!told.more)
            take_tile<true, true>(item, told);
        else {
            told = take_tile<true, false>(item, told);
#pragma unroll 1
            while (told.more) told = take_tile<false, false>(item, told);
            take_tile<false, true>(item, told);
        }
        query.advance();
        if (adds) {
            float grad_q[shape::part / 2];
            barrier_wait(&s.ds_full[(tile - 1) & 1], (tile - 1) >> 1 & 1);
            issue_grad_q(grad_q, tile - 1);
            wgmma_wait<0>();
            __syncwarp();
            arrive(&s.keys_empty);
            put_grad_q(grad_q);
        } else {
            __syncwarp();
            arrive(&s.keys_empty);
        }
    }

    __device__ __forceinline__ void run()
    {
        uint32_t parity = 0; /* of K and V */
        if (adds) clear_first_sums<D>(p, call);
        for (ring<room::items> items;; items.advance()) {
            barrier_wait(&s.item_full[items.slot], items.parity);
            const work_item &item = s.item[items.slot];
            if (!item.work) break;
#pragma unroll
            for (int i = 0; i < D / 2; ++i) grad_k[i] = grad_v[i] = 0;
            if (item.tiles) {
                barrier_wait(&s.note_full[tile % room::notes], tile / room::notes & 1);
                take_item(item, parity);
                parity ^= 1;
            }
            const bool in_parts = Walk::parts_queries && item.part;
            barrier_arrive(&s.item_empty[items.slot]);
            if constexpr (adds && Walk::parts_queries)
                if (in_parts) {
#pragma unroll
                    for (int i = 0; i < D / chunk; ++i) put_sums(grad_v + i * (chunk / 2), false);
#pragma unroll
                    for (int i = 0; i < D / chunk; ++i) put_sums(grad_k + i * (chunk / 2), false);
                    continue;
                }
            pair::clear_landmarks(grad_v);
            put_keys(grad_v, 1);
            put_keys(grad_k, call.scale);
        }
        if (adds && tile == 0) named_arrive(first_product_barrier, first_product_threads);
        if constexpr (adds) convert_sums_together<T, D>(s, p, call, group, walk.piece() == grad_group);
    }
};

} // namespace sm90
#endif
