/* What landmark attention's walks by query share whose blocks are longer than a tile: tiles are slots of a block, which
 * come twice, from the item's last block down to the first one.
 */
#ifndef SLAT_SM90_LANDMARK_SLOTS_CUH
#define SLAT_SM90_LANDMARK_SLOTS_CUH
#include "sequence.cuh"
#include "softmax_long.cuh"

namespace sm90
{

/* KEYS: of a slot. Walk: has the tokens of a block as `block`. */
template <int KEYS, class Walk> struct landmark_slots : Walk {
    static constexpr bool long_blocks = true;

    struct note {
        int32_t first, block; /* key; the block that it is in */
        int32_t gathers;      /* step */
    };

    /* The place in an item: the next slot. */
    struct place_of_slot {
        int32_t position, last; /* of the item's first query, of its last one */
        int32_t block, key;
        bool gathers;

        __device__ __forceinline__ place_of_slot(const slat_problem &p, const work_item &item)
            : position(item.first + (int32_t)(p.tk - p.tq)), last(min(position + tile_rows, (int32_t)p.tk) - 1)
        {
        }

        __device__ __forceinline__ void begin(const landmark_slots &walk, int32_t next, bool gathering)
        {
            block = next;
            key = next * walk.block;
            gathers = gathering;
        }

        /* The slot from key `first` on is the block's last one for this item; where it is not `repeated` its block does
         * not come again. */
        __device__ __forceinline__ void leave(const landmark_slots &walk, bool ends, bool repeated)
        {
            key += KEYS;
            if (ends && gathers && repeated)
                begin(walk, block, false);
            else if (ends)
                begin(walk, block - 1, true);
        }

        /* Tells of the slot at `at`, before it was left. */
        __device__ __forceinline__ void tell(const slat_problem &p, const landmark_slots &walk, const place_of_slot &at,
                                             bool ends, int32_t (&sight)[2], note &told) const
        {
            if (threadIdx.x % warp_lanes) return;
            const int32_t past = (at.block + 1) * walk.block, end = at.key + KEYS;
            told.first = at.key;
            told.block = at.block;
            told.gathers = !at.gathers ? step_weighs : ends ? step_gathers_last : step_gathers;
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const int32_t from = position + g * group_rows, to = min(from + group_rows, (int32_t)p.tk) - 1;
                const bool none = from >= p.tk || to < (at.gathers ? past : at.key);
                const bool all = end < past && (at.gathers || from >= end - 1);
                sight[g] = none ? sees_none : all ? sees_all : sees_part;
            }
        }
    };

    __device__ __forceinline__ int ordinary(const note &told) const
    {
        return min((told.block + 1) * this->block - 1 - told.first, KEYS);
    }

    __device__ __forceinline__ bool earlier(const slat_problem &p, const work_item &item, int row, int32_t n) const
    {
        return item.first + row + (int32_t)(p.tk - p.tq) >= (n + 1) * this->block;
    }

    struct rows {
        const landmark_slots *walk;
        int32_t position; /* of the first row */

        __device__ __forceinline__ rows(const slat_problem &p, const landmark_slots &walk, const work_item &item,
                                        int row)
            : walk(&walk), position(item.first + row + (int32_t)(p.tk - p.tq))
        {
        }

        /* Of ordinary tokens. */
        __device__ __forceinline__ void mask(const note &told, uint32_t (&seen)[2]) const
        {
            const int most = walk->ordinary(told);
#pragma unroll
            for (int r = 0; r < 2; ++r)
                seen[r] = first_columns(min(position + 8 * r - told.first + 1, most), threadIdx.x % 4);
        }
    };
};

} // namespace sm90
#endif
