/* Landmark attention's walk by key in backward, of the slots that landmark_rows.cuh says. */
#ifndef SLAT_SM90_LANDMARK_COLUMNS_CUH
#define SLAT_SM90_LANDMARK_COLUMNS_CUH
#include "landmark_rows.cuh"
#include "zero_rows.cuh"

namespace sm90
{

/* Where blocks are short: those that have numbers with a tile of queries. */
template <bool short_blocks> struct made_blocks {
};
template <> struct made_blocks<true> {
    int32_t made;
};

/* By key: a set of blocks, half of it a warp group's. Heads follow each other, queries ascend. */
template <int SLOT> struct landmark_columns : sequence {
    static constexpr bool grouped = true, short_blocks = SLOT < group_rows;
    static constexpr int run = group_rows, slots = group_rows / SLOT; /* of a warp group */

    int32_t block;
    int32_t copies;     /* runs of a tile of queries */
    int32_t first_head; /* of keys: items begin with it, */
    int32_t first_item; /* and with this one of a head */
    block_numbers sums;

    struct note : made_blocks<short_blocks> {
        int32_t first, head;    /* of queries */
        int32_t clears_queries; /* some of them stand before the first key */
    };

    __device__ __forceinline__ int head(const note &told) const { return told.head; }
    __device__ __forceinline__ int pieces() const { return copies; }
    __device__ __forceinline__ int piece() const { return run; }
    __device__ __forceinline__ int32_t row(const query_rows &, const note &told, int i) const
    {
        return told.first + i * run;
    }
    __device__ __forceinline__ bool clears_queries(const note &told) const { return told.clears_queries; }
    __device__ __forceinline__ bool clears_keys(const note &) const { return true; }

    struct cursor {
        const slat_problem &p;
        const landmark_columns &walk;
        const int32_t key; /* the item's first one */
        int32_t begin, at; /* queries: a head's first one, the next one */
        int32_t head, last_head;

        __device__ __forceinline__ cursor(const slat_problem &p, const landmark_columns &walk, const work_item &item)
            : p(p), walk(walk), key(item.first)
        {
            const int32_t heads = p.hq / p.hk, queries = walk.copies * run;
            begin = max(key - (int32_t)(p.tk - p.tq), 0) / queries * queries;
            at = begin;
            head = item.h * heads;
            last_head = head + heads - 1;
        }

        __device__ __forceinline__ bool more() const { return at < p.tq; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int32_t first = at, from = head, position = first + (int32_t)(p.tk - p.tq);
            at += walk.copies * run;
            const int32_t last = (int32_t)min((int64_t)at, p.tq) - 1 + (int32_t)(p.tk - p.tq);
            if (at >= p.tq && head < last_head) {
                ++head;
                at = begin;
            }
            if (threadIdx.x % warp_lanes) return;
            told.first = first;
            told.head = from;
            told.clears_queries = position < 0;
            if constexpr (short_blocks) told.made = landmark_rows<SLOT>::numbered(p, first / tile_rows * tile_rows);
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const int32_t own = key + g * slots * walk.block;
                const bool all = walk.block == SLOT && position >= own + group_rows;
                sight[g] = last < own || own >= p.tk ? sees_none : all ? sees_all : sees_part;
            }
        }
    };

    __device__ __forceinline__ void place_head(const slat_problem &p, work_item &item) const
    {
        const int head = item.b * p.hk + item.h + first_head;
        item.h = head % p.hk;
        item.b = head / p.hk;
    }

    __device__ __forceinline__ void place(const slat_problem &p, work_item &item, int tile) const
    {
        place_head(p, item);
        item.first = (first_item + tile) * 2 * slots * block;
        if (short_blocks) item.x = (first_item + tile) * 2 * slots;
    }

    /* Where key `row` of an item stands; false: its slot has none. */
    __device__ __forceinline__ bool key_place(const slat_problem &p, const work_item &item, int row,
                                              slat_point &at) const
    {
        const int n = row % SLOT;
        at = slat_at(0, 0, item.first + row / SLOT * block + n);
        return n < block && at.z < p.tk;
    }

    /* The i-th copy of a tile. */
    __device__ __forceinline__ void load(const note &told, int i, uint8_t *to, const CUtensorMap *map,
                                         uint64_t *barrier, int head, int b) const
    {
        load_box(to + i * run * row_bytes, map, barrier, i / copies * chunk, told.first + i % copies * run, head, b);
    }

    /* A chunk of a tile that is one run. */
    static __device__ __forceinline__ void load_only(const note &told, int c, uint8_t *to, const CUtensorMap *map,
                                                     uint64_t *barrier, int head, int b)
    {
        load_box(to, map, barrier, c * chunk, told.first, head, b);
    }

    template <int chunks>
    __device__ __forceinline__ void load_keys(const slat_problem &, uint8_t *to, const CUtensorMap *map,
                                              uint64_t *barrier, const work_item &item) const
    {
#pragma unroll
        for (int i = 0; i < 2 * slots * chunks; ++i)
            load_box(to + i * SLOT * row_bytes, map, barrier, i / (2 * slots) * chunk,
                     item.first + i % (2 * slots) * block, item.h, item.b);
    }

    template <int chunks>
    __device__ __forceinline__ void store_rows(const slat_problem &, const slat_view &, const CUtensorMap *map,
                                               const uint8_t *from, int width, int group, const work_item &item,
                                               int thread, int) const
    {
        if (thread) return;
        for (int c = 0; c < chunks && c * chunk < width; ++c)
#pragma unroll
            for (int n = 0; n < slots; ++n)
                store_box(map, from + (c * group_rows + n * SLOT) * row_bytes, c * chunk,
                          item.first + (group * slots + n) * block, item.h, item.b);
    }

    /* Of a group or, where blocks are short, of row `group` of the item: any that are there where its block's are not,
     * for then no query sees it. */
    __device__ __forceinline__ const float *numbers(const slat_problem &p, const note &told, const work_item &item,
                                                    int group) const
    {
        if constexpr (short_blocks)
            return sums.at(item.b * p.hq + told.head, told.first / tile_rows,
                           min(item.x + group / SLOT, told.made - 1)) +
                   told.first % tile_rows * 2;
        const int32_t own = item.first / block + group * (item.first + block < p.tk);
        return sums.at(item.b * p.hq + told.head, told.first / tile_rows, own) + told.first % tile_rows * 2;
    }

    __device__ __forceinline__ bool is_landmark(int row) const
    {
        return (short_blocks ? row % SLOT : row) == block - 1;
    }

    struct keys {
        const slat_problem &p;
        const landmark_columns &walk;
        const int32_t row, key; /* of a slot, for the thread's first key; the slot's first key */

        __device__ __forceinline__ keys(const slat_problem &p, const landmark_columns &walk, const work_item &item,
                                        int row, const shared_by_group &)
            : p(p), walk(walk), row(row % SLOT), key(item.first + row / SLOT * walk.block)
        {
        }

        __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
        {
            const int32_t first = told.first + (int32_t)(p.tk - p.tq);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int32_t own = SLOT == 8 ? key + r * walk.block : key; /* the slot's first one */
                const int32_t at = SLOT == 8 ? row : row + 8 * r;
                const int32_t from = own + at + walk.is_landmark(at); /* position that sees it */
                mask[r] = at < walk.block && own + at < p.tk ? ~first_columns(from - first, threadIdx.x % 4) : 0;
            }
        }
    };

    /* Zeroes the rows of Q and dO that stand before the first key: 128 threads. */
    template <int chunks, int queries>
    __device__ __forceinline__ void clear_queries(const slat_problem &p, const note &told, const work_item &,
                                                  uint32_t q, uint32_t grad_o, int thread) const
    {
        zero_rows<chunks, queries>(q, grad_o, 0, queries, thread,
                                   [&](int row) { return told.first + row + (int32_t)(p.tk - p.tq) < 0; });
    }

    /* Zeroes a group's rows of V that are a landmark or behind it. Where dV alone is made they may be K's: nothing
     * comes of them. */
    template <int chunks>
    __device__ __forceinline__ void clear_keys(const slat_problem &, const work_item &, uint32_t, uint32_t v, int group,
                                               int thread) const
    {
        for (int row = (short_blocks ? 0 : block - 1) + thread / 8; row < group_rows; row += group_threads / 8)
#pragma unroll
            for (int c = 0; c < chunks; ++c)
                if (!short_blocks || row % SLOT >= block - 1)
                    store_zeros(v + (c * tile_rows + group * group_rows + row) * row_bytes + thread % 8 * 16);
    }
};

} // namespace sm90
#endif
