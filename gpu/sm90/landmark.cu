/* Landmark attention: tiles of whole blocks, from the item's last block down to the first one; longer blocks have tiles
 * of their own (landmark_long.cuh).
 *
 * Each block has a slot of its own in a tile: of 8 to 128 keys, the least that holds it. V's landmark is never copied:
 * its row and those behind a block that is shorter than its slot stay 0 from the beginning on. Every other row of V is
 * seen by some query of its head.
 */
#include "attention.cuh"
#include "landmark_long.cuh"
#include "sequence.cuh"
#include "sm90.h"
#include "softmax_groups.cuh"
#include "softmax_short.cuh"

namespace sm90
{

constexpr int narrow_slot = 64, wide_slot = 128;

template <int SLOT> struct landmark : sequence {
    typedef std::conditional_t<(SLOT < narrow_slot), short_state<SLOT>, grouped_state<SLOT>> state;
    static constexpr bool gaps = true;

    int32_t block;  /* tokens, at most SLOT */
    int32_t copies; /* blocks of a tile: a power of 2 */

    struct note {
        int32_t first; /* the block in slot 0; those before block 0 come as 0 */
    };

    struct cursor {
        const slat_problem &p;
        const landmark &walk;
        int32_t position; /* of the item's first query */
        int32_t left;     /* blocks */

        __device__ __forceinline__ cursor(const slat_problem &p, const landmark &walk, const work_item &item)
            : p(p), walk(walk)
        {
            position = item.first + (int32_t)(p.tk - p.tq);
            const int32_t last = min(position + tile_rows, (int32_t)p.tk) - 1;
            left = last < 0 ? 0 : last / walk.block + 1;
        }

        __device__ __forceinline__ bool more() const { return left > 0; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int32_t end = left;
            left -= walk.copies;
            if (threadIdx.x % warp_lanes) return;
            told.first = left;
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const int32_t from = position + g * group_rows, to = min(from + group_rows, (int32_t)p.tk) - 1;
                const bool all = walk.block == SLOT && left >= 0 && (int64_t)end * SLOT <= from;
                sight[g] = to < max(left, 0) * walk.block || from >= p.tk ? sees_none : all ? sees_all : sees_part;
            }
        }
    };

    __device__ __forceinline__ int rows_of_copy(bool values) const
    {
        return block - values;
    }

    /* The i-th copy of a tile. */
    __device__ __forceinline__ void load(const note &told, int i, uint8_t *to, const CUtensorMap *map,
                                         uint64_t *barrier, int head, int b) const
    {
        const int n = i & (copies - 1), c = i / copies;
        load_box(to + i * SLOT * row_bytes, map, barrier, c * chunk, (told.first + n) * block, head, b);
    }

    /* Zeroes the rows of V that no copy brings; thread is one of `threads`. */
    template <int chunks, int keys> __device__ void clear_gaps(uint32_t v, int thread, int threads) const
    {
        for (int row = thread / 8; row < chunks * keys; row += threads / 8)
            if (row % SLOT >= block - 1) store_zeros(v + row * row_bytes + thread % 8 * 16);
    }

    struct rows {
        const landmark *walk;
        int32_t position; /* of the first row */
        int32_t own[2];   /* the rows' blocks, -1: none */

        __device__ __forceinline__ rows(const slat_problem &p, const landmark &walk, const work_item &item, int row)
            : walk(&walk), position(item.first + row + (int32_t)(p.tk - p.tq))
        {
#pragma unroll
            for (int r = 0; r < 2; ++r) own[r] = position + 8 * r < 0 ? -1 : (position + 8 * r) / walk.block;
        }

        __device__ __forceinline__ void mask(const note &told, group_columns &seen) const
        {
            const int part = threadIdx.x % 4;
            seen.ordinary[0] = seen.ordinary[1] = seen.blocks = 0;
            seen.block = walk->block;
#pragma unroll 1
            for (int n = 0; n < walk->copies; ++n)
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    const int32_t block = told.first + n;
                    if (block < 0 || block > own[r]) continue;
                    const bool mine = block == own[r];
                    const int32_t seen_of_own = position + 8 * r - block * walk->block + 1;
                    const int32_t width = min(mine ? seen_of_own : walk->block, walk->block - 1);
                    seen.ordinary[r] |= first_columns(width, part) << n * (SLOT / 4);
                    seen.blocks |= 1 << (8 * r + n + (mine ? 0 : 4));
                }
        }

        __device__ __forceinline__ void mask(const note &told, short_columns &seen) const
        {
            see_slots<SLOT>(seen, position - told.first * walk->block, walk->block, walk->copies, max(-told.first, 0));
        }

        __device__ __forceinline__ bool clears(const note &) const
        {
            return false;
        }

        template <int chunks, int keys> __device__ void clear(const note &, uint32_t, int, int) const {}
    };
};

template <class T, int D, int SLOT> void enqueue_blocks(slat_session &session)
{
    landmark<SLOT> walk = {};
    walk.block = session.problem.landmark_block;
    walk.copies = tile_shape<D>::keys / SLOT;
    enqueue_forward<T, D>(session, walk, walk.block, walk.block - 1);
}

template <class T, int D> void enqueue_long_blocks(slat_session &session)
{
    constexpr int keys = tile_shape<D>::keys;
    long_landmark<keys> walk = {};
    walk.block = (int32_t)slat_min(session.problem.landmark_block, session.problem.tk + 1); /* more are not there */
    enqueue_forward<T, D>(session, walk, keys);
}

template <class T, int D> void enqueue_landmark(slat_session &session)
{
    const int32_t block = session.problem.landmark_block;
    if (block > tile_shape<D>::keys) return enqueue_long_blocks<T, D>(session);
    if constexpr (tile_shape<D>::keys >= wide_slot)
        if (block > narrow_slot) return enqueue_blocks<T, D, wide_slot>(session);
    if (block > 32) return enqueue_blocks<T, D, narrow_slot>(session);
    if (block > 16) return enqueue_blocks<T, D, 32>(session);
    if (block > 8) return enqueue_blocks<T, D, 16>(session);
    enqueue_blocks<T, D, 8>(session);
}

} // namespace sm90

slat_status slat_sm90_landmark_check(const slat_problem &p)
{
    SLAT_TRY(sm90::check_forward(p));
    return SLAT_OK;
}

void slat_sm90_landmark(slat_session &session)
{
    sm90::for_shape(session, [](auto type, auto channels) {
        return sm90::enqueue_landmark<decltype(type), decltype(channels)::value>;
    });
}
