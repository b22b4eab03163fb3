/* Landmark attention's walk where blocks are longer than a tile: from the item's last block down to the first one, each
 * in tiles of its own, which come twice. The last block comes once: nobody is past it.
 */
#ifndef SLAT_SM90_LANDMARK_LONG_CUH
#define SLAT_SM90_LANDMARK_LONG_CUH
#include "attention.cuh"
#include "sequence.cuh"
#include "softmax_long.cuh"

namespace sm90
{

/* KEYS: of a tile. */
template <int KEYS> struct long_landmark : sequence {
    typedef long_state state;
    static constexpr bool long_blocks = true;
    static constexpr int copies = 1; /* of a chunk of a tile */

    int32_t block; /* tokens, more than KEYS */

    struct note {
        int32_t first, block; /* key; the block that it is in */
        int32_t gathers;      /* step */
    };

    struct cursor {
        const slat_problem &p;
        const long_landmark &walk;
        int32_t position, last; /* of the item's first query, of its last one */
        int32_t block, key;     /* the next one */
        bool gathers;

        __device__ __forceinline__ cursor(const slat_problem &p, const long_landmark &walk, const work_item &item)
            : p(p), walk(walk), position(item.first + (int32_t)(p.tk - p.tq)),
              last(min(position + tile_rows, (int32_t)p.tk) - 1)
        {
            begin(last < 0 ? -1 : last / walk.block);
            gathers = false;
        }

        __device__ __forceinline__ void begin(int32_t next)
        {
            block = next;
            key = next * walk.block;
            gathers = true;
        }

        __device__ __forceinline__ bool more() const { return block >= 0; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int32_t own = block, first = key, past = (block + 1) * walk.block;
            const bool gathering = gathers, ends = first + KEYS > min(last, past - 1);
            key += KEYS;
            if (ends && gathering) {
                gathers = false;
                key = block * walk.block;
            } else if (ends)
                begin(block - 1);
            if (threadIdx.x % warp_lanes) return;
            told.first = first;
            told.block = own;
            told.gathers = !gathering ? step_weighs : ends ? step_gathers_last : step_gathers;
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const int32_t from = position + g * group_rows, to = min(from + group_rows, (int32_t)p.tk) - 1;
                const bool none = from >= p.tk || to < (gathering ? past : first);
                const bool all = first + KEYS < past && (gathering || from >= first + KEYS - 1);
                sight[g] = none ? sees_none : all ? sees_all : sees_part;
            }
        }
    };

    /* The i-th copy of a tile. */
    __device__ __forceinline__ void load(const note &told, int i, uint8_t *to, const CUtensorMap *map,
                                         uint64_t *barrier, int head, int b) const
    {
        load_box(to + i * KEYS * row_bytes, map, barrier, i * chunk, told.first, head, b);
    }

    __device__ __forceinline__ int ordinary(const note &told) const
    {
        return min((told.block + 1) * block - 1 - told.first, KEYS);
    }

    __device__ __forceinline__ bool earlier(const slat_problem &p, const work_item &item, int row, int32_t n) const
    {
        return item.first + row + (int32_t)(p.tk - p.tq) >= (n + 1) * block;
    }

    struct rows {
        const long_landmark &walk;
        const int32_t position; /* of the first row */

        __device__ __forceinline__ rows(const slat_problem &p, const long_landmark &walk, const work_item &item,
                                        int row)
            : walk(walk), position(item.first + row + (int32_t)(p.tk - p.tq))
        {
        }

        /* Of ordinary tokens. */
        __device__ __forceinline__ void mask(const note &told, uint32_t (&seen)[2]) const
        {
            const int most = walk.ordinary(told);
#pragma unroll
            for (int r = 0; r < 2; ++r)
                seen[r] = first_columns(min(position + 8 * r - told.first + 1, most), threadIdx.x % 4);
        }

        __device__ __forceinline__ bool clears(const note &told) const
        {
            return walk.ordinary(told) < KEYS;
        }

        /* Zeroes V's landmark. */
        template <int chunks, int keys> __device__ void clear(const note &told, uint32_t v, int thread, int) const
        {
            if (thread < chunks * 8)
                store_zeros(v + (thread / 8 * keys + walk.ordinary(told)) * row_bytes + thread % 8 * 16);
        }
    };
};

} // namespace sm90
#endif
