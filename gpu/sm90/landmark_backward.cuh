/* Landmark attention's walks in backward. Each block has a slot of 64 keys, where it comes with those that follow it;
 * blocks are taken in pairs, the first one of which is even.
 */
#ifndef SLAT_SM90_LANDMARK_BACKWARD_CUH
#define SLAT_SM90_LANDMARK_BACKWARD_CUH
#include "grad_groups.cuh"
#include "sequence.cuh"
#include "zero_rows.cuh"

namespace sm90
{

/* By query: from the item's last pair of blocks down to the first one. */
struct landmark_rows : sequence {
    static constexpr bool grouped = true;
    static constexpr int run = group_rows, copies = 2; /* of a tile */

    int32_t block;      /* tokens, at most 64 */
    int32_t first, end; /* blocks that are walked: an even number of them */
    int32_t writes;     /* dq is wanted, not only numbers */
    block_numbers sums;

    struct note {
        int32_t first; /* block */
    };

    /* The blocks that 128 queries from `first` on see something of, in whole pairs. */
    static __host__ __device__ __forceinline__ int32_t blocks_of(const slat_problem &p, int64_t first)
    {
        const int64_t last = slat_min(first + tile_rows + p.tk - p.tq, p.tk) - 1;
        return last < 0 ? 0 : (int32_t)(last / p.landmark_block / 2 + 1) * 2;
    }

    struct cursor {
        const slat_problem &p;
        const landmark_rows &walk;
        int32_t position; /* of the item's first query */
        int32_t left;     /* blocks */

        __device__ __forceinline__ cursor(const slat_problem &p, const landmark_rows &walk, const work_item &item)
            : p(p), walk(walk), position(item.first + (int32_t)(p.tk - p.tq)),
              left(min(blocks_of(p, item.first), walk.end))
        {
        }

        __device__ __forceinline__ bool more() const { return left > walk.first; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int32_t end = left;
            left -= copies;
            if (threadIdx.x % warp_lanes) return;
            told.first = left;
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const int32_t from = position + g * group_rows, to = min(from + group_rows, (int32_t)p.tk) - 1;
                const bool all = walk.block == run && (int64_t)end * run <= from;
                sight[g] = to < left * walk.block || from >= p.tk ? sees_none : all ? sees_all : sees_part;
            }
        }
    };

    __device__ __forceinline__ void place(const slat_problem &p, work_item &item, int tile) const
    {
        const int head = item.b * p.hq + item.h + sums.first_head;
        item.h = head % p.hq;
        item.b = head / p.hq;
        item.first = tile * tile_rows;
    }

    /* The i-th copy of half a tile: a block. */
    __device__ __forceinline__ void load_half(const note &told, int half, int i, uint8_t *to, const CUtensorMap *map,
                                              uint64_t *barrier, int head, int b) const
    {
        load_box(to + i * run * row_bytes, map, barrier, i * chunk, (told.first + half) * block, head, b);
    }

    __device__ __forceinline__ bool half_empty(const slat_problem &p, const note &told) const
    {
        return (told.first + 1) * block >= p.tk;
    }

    /* Where the numbers of a block and an item's queries belong; NULL: nowhere. */
    __device__ __forceinline__ float *numbers(const slat_problem &p, const work_item &item, int32_t block) const
    {
        return sums.has(block) ? sums.at(item.b * p.hq + item.h, item.first / tile_rows, block) : NULL;
    }

    struct rows {
        const landmark_rows &walk;
        const int32_t position; /* of the first row */

        __device__ __forceinline__ rows(const slat_problem &p, const landmark_rows &walk, const work_item &item,
                                        int row)
            : walk(walk), position(item.first + row + (int32_t)(p.tk - p.tq))
        {
        }

        __device__ __forceinline__ void mask(int32_t block, group_columns &seen) const
        {
            seen.ordinary[0] = seen.ordinary[1] = seen.blocks = 0;
            seen.block = walk.block;
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int32_t past = position + 8 * r - block * walk.block; /* the block's first token */
                if (past < 0) continue;
                const bool mine = past < walk.block;
                seen.ordinary[r] = first_columns(min(mine ? past + 1 : walk.block, walk.block - 1), threadIdx.x % 4);
                seen.blocks |= 1 << (8 * r + (mine ? 0 : 4));
            }
        }

        __device__ __forceinline__ bool clears(const note &) const
        {
            return false;
        }

        template <int chunks, int keys> __device__ void clear(const note &, uint32_t, int, int, int) const {}
    };
};

/* By key: a pair of blocks, a warp group each. Heads follow each other, queries ascend. */
struct landmark_columns : sequence {
    static constexpr bool grouped = true;
    static constexpr int run = group_rows;

    int32_t block;
    int32_t copies;     /* runs of a tile of queries */
    int32_t first_head; /* of keys: items begin with it, */
    int32_t first_item; /* and with this one of a head */
    block_numbers sums;

    struct note {
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
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const int32_t own = key + g * walk.block;
                const bool all = walk.block == group_rows && position >= own + group_rows;
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
        item.first = (first_item + tile) * 2 * block;
    }

    /* Where key `row` of an item stands; false: its slot has none. */
    __device__ __forceinline__ bool key_place(const slat_problem &p, const work_item &item, int row,
                                              slat_point &at) const
    {
        const int n = row % group_rows;
        at = slat_at(0, 0, item.first + row / group_rows * block + n);
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
        for (int i = 0; i < 2 * chunks; ++i)
            load_box(to + i * group_rows * row_bytes, map, barrier, i / 2 * chunk, item.first + i % 2 * block, item.h,
                     item.b);
    }

    template <int chunks>
    __device__ __forceinline__ void store_rows(const slat_problem &, const slat_view &, const CUtensorMap *map,
                                               const uint8_t *from, int width, int group, const work_item &item,
                                               int thread, int) const
    {
        if (thread) return;
        for (int c = 0; c < chunks && c * chunk < width; ++c)
            store_box(map, from + c * group_rows * row_bytes, c * chunk, item.first + group * block, item.h, item.b);
    }

    __device__ __forceinline__ const float *numbers(const slat_problem &p, const note &told, const work_item &item,
                                                    int group) const
    {
        const int32_t own = item.first / block + group * (item.first + block < p.tk);
        return sums.at(item.b * p.hq + told.head, told.first / tile_rows, own) + told.first % tile_rows * 2;
    }

    __device__ __forceinline__ bool is_landmark(int row) const
    {
        return row == block - 1;
    }

    struct keys {
        const slat_problem &p;
        const landmark_columns &walk;
        const int32_t row, key; /* of a slot, for the thread's first key; the slot's first key */

        __device__ __forceinline__ keys(const slat_problem &p, const landmark_columns &walk, const work_item &item,
                                        int row, const shared_by_group &)
            : p(p), walk(walk), row(row % group_rows), key(item.first + row / group_rows * walk.block)
        {
        }

        __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
        {
            const int32_t first = told.first + (int32_t)(p.tk - p.tq);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int32_t at = row + 8 * r, from = key + at + walk.is_landmark(at); /* position that sees it */
                mask[r] = at < walk.block && key + at < p.tk ? ~first_columns(from - first, threadIdx.x % 4) : 0;
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
        for (int row = block - 1 + thread / 8; row < group_rows; row += group_threads / 8)
#pragma unroll
            for (int c = 0; c < chunks; ++c)
                store_zeros(v + (c * tile_rows + group * group_rows + row) * row_bytes + thread % 8 * 16);
    }
};

} // namespace sm90
#endif
