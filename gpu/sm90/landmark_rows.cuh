/* Landmark attention's walk by query in backward. Each block has a slot of 8 to 64 keys, where it comes with those that
 * follow it; blocks are taken in sets, of as many as 128 keys have slots for.
 */
#ifndef SLAT_SM90_LANDMARK_ROWS_CUH
#define SLAT_SM90_LANDMARK_ROWS_CUH
#include "grad_short.cuh"
#include "sequence.cuh"

namespace sm90
{

/* By query: from the item's last set of blocks down to the first one. */
template <int SLOT> struct landmark_rows : sequence {
    static constexpr bool grouped = true, short_blocks = SLOT < group_rows;
    static constexpr int run = SLOT, copies = 2 * group_rows / SLOT; /* of a tile */
    static constexpr int set = copies;                               /* blocks, also where they are long: a pair */
    template <bool all>
    using block_rows = std::conditional_t<short_blocks, short_rows<short_blocks ? SLOT : 8, all>, grouped_rows<all>>;

    int32_t block;      /* tokens, at most SLOT */
    int32_t first, end; /* blocks that are walked: whole sets of them */
    int32_t writes;     /* dq is wanted, not only numbers */
    block_numbers sums;

    struct note {
        int32_t first; /* block */
    };

    /* The blocks that 128 queries from `first` on see something of, in whole sets. */
    static __host__ __device__ __forceinline__ int32_t blocks_of(const slat_problem &p, int64_t first)
    {
        const int64_t last = slat_min(first + tile_rows + p.tk - p.tq, p.tk) - 1;
        return last < 0 ? 0 : (int32_t)(last / p.landmark_block / copies + 1) * copies;
    }

    /* Those of them that come, and so have numbers: not half a set that is past the last key. */
    static __device__ __forceinline__ int32_t numbered(const slat_problem &p, int64_t first)
    {
        const int32_t all = blocks_of(p, first), half = all - copies / 2;
        return half * p.landmark_block >= p.tk ? half : all;
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

    /* The i-th copy of half a tile: a slot. */
    __device__ __forceinline__ void load_half(const note &told, int half, int i, uint8_t *to, const CUtensorMap *map,
                                              uint64_t *barrier, int head, int b) const
    {
        constexpr int slots = copies / 2;
        load_box(to + i * run * row_bytes, map, barrier, i / slots * chunk,
                 (told.first + half * slots + i % slots) * block, head, b);
    }

    __device__ __forceinline__ bool half_empty(const slat_problem &p, const note &told) const
    {
        return (told.first + copies / 2) * block >= p.tk;
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

        __device__ __forceinline__ void mask(int32_t block, short_columns &seen) const
        {
            see_slots<short_blocks ? SLOT : 8>(seen, position - block * walk.block, walk.block, copies / 2, 0);
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

} // namespace sm90
#endif
