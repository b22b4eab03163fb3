/* Landmark attention's walk where blocks are longer than a tile: from the item's last block down to the first one, each
 * in tiles of its own, which come twice. The last block comes once: nobody is past it.
 */
#ifndef SLAT_SM90_LANDMARK_LONG_CUH
#define SLAT_SM90_LANDMARK_LONG_CUH
#include "attention.cuh"
#include "landmark_slots.cuh"

namespace sm90
{

struct sequence_of_blocks : sequence {
    int32_t block; /* tokens */
};

/* KEYS: of a tile. */
template <int KEYS> struct long_landmark : landmark_slots<KEYS, sequence_of_blocks> {
    typedef landmark_slots<KEYS, sequence_of_blocks> slots;
    typedef typename slots::note note;
    typedef long_state state;
    static constexpr int copies = 1; /* of a chunk of a tile */

    struct cursor : slots::place_of_slot {
        const slat_problem &p;
        const long_landmark &walk;

        __device__ __forceinline__ cursor(const slat_problem &p, const long_landmark &walk, const work_item &item)
            : slots::place_of_slot(p, item), p(p), walk(walk)
        {
            this->begin(walk, this->last < 0 ? -1 : this->last / walk.block, false);
        }

        __device__ __forceinline__ bool more() const { return this->block >= 0; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const typename slots::place_of_slot at = *this;
            const bool ends = at.key + KEYS > min(at.last, (at.block + 1) * walk.block - 1);
            this->leave(walk, ends, true);
            this->tell(p, walk, at, ends, sight, told);
        }
    };

    /* The i-th copy of a tile. */
    __device__ __forceinline__ void load(const note &told, int i, uint8_t *to, const CUtensorMap *map,
                                         uint64_t *barrier, int head, int b) const
    {
        load_box(to + i * KEYS * row_bytes, map, barrier, i * chunk, told.first, head, b);
    }

    struct rows : slots::rows {
        using slots::rows::rows;

        __device__ __forceinline__ bool clears(const note &told) const { return this->walk->ordinary(told) < KEYS; }

        /* Zeroes V's landmark. */
        template <int chunks, int keys> __device__ void clear(const note &told, uint32_t v, int thread, int) const
        {
            if (thread < chunks * 8)
                store_zeros(v + (thread / 8 * keys + this->walk->ordinary(told)) * row_bytes + thread % 8 * 16);
        }
    };
};

} // namespace sm90
#endif
