/* Landmark attention's walks in backward where blocks are longer than 64 tokens. A block is cut into slots of 64 keys,
 * of which the last one may be shorter and has the landmark.
 */
#ifndef SLAT_SM90_LANDMARK_LONG_BACKWARD_CUH
#define SLAT_SM90_LANDMARK_LONG_BACKWARD_CUH
#include "landmark_columns.cuh"
#include "landmark_slots.cuh"

namespace sm90
{

/* By query. */
struct long_landmark_rows : landmark_slots<group_rows, landmark_rows<group_rows>> {
    typedef landmark_slots<group_rows, landmark_rows<group_rows>> slots;
    static constexpr bool grouped = false;

    struct cursor : slots::place_of_slot {
        const slat_problem &p;
        const long_landmark_rows &walk;

        __device__ __forceinline__ cursor(const slat_problem &p, const long_landmark_rows &walk, const work_item &item)
            : slots::place_of_slot(p, item), p(p), walk(walk)
        {
            begin(walk, last < 0 ? -1 : min(last / walk.block, walk.end - 1), true);
        }

        __device__ __forceinline__ bool more() const { return block >= walk.first; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const slots::place_of_slot at = *this;
            const int32_t past = (at.block + 1) * walk.block;
            const bool once = last < past; /* nobody needs numbers of it but lse and delta */
            const bool ends = at.gathers ? once || at.key + run >= past : at.key + run > min(last, past - 1);
            leave(walk, ends, walk.writes);
            tell(p, walk, at, ends, sight, told);
        }
    };

    __device__ __forceinline__ void load_half(const note &told, int, int i, uint8_t *to, const CUtensorMap *map,
                                              uint64_t *barrier, int head, int b) const
    {
        load_box(to + i * run * row_bytes, map, barrier, i * chunk, told.first, head, b);
    }

    static __device__ __forceinline__ bool half_empty(const slat_problem &, const note &)
    {
        return true;
    }

    __device__ __forceinline__ uint32_t landmark(const note &told) const
    {
        const int before = ordinary(told), part = threadIdx.x % 4;
        return first_columns(before + 1, part) & ~first_columns(before, part);
    }

    struct rows : slots::rows {
        using slots::rows::rows;

        __device__ __forceinline__ bool clears(const note &) const
        {
            return false;
        }

        template <int chunks, int keys> __device__ void clear(const note &, uint32_t, int, int, int) const {}
    };
};

/* By key: two slots that follow one another, a warp group each. An item's `first` and `x` are the slots' first keys,
 * `y` their landmarks' rows, 8 bits each: 64 where there is none. */
struct long_landmark_columns : landmark_columns<group_rows> {
    static constexpr bool long_blocks = true;

    int32_t slots; /* of a block */

    static int32_t slots_of(int32_t tokens) { return (tokens + run - 1) / run; }

    /* The slots that keys of a head have in the blocks before `end`. */
    int64_t slots_before(const slat_problem &p, int32_t end) const
    {
        const int64_t whole = p.tk / block;
        return end <= whole ? (int64_t)end * slots : whole * slots + slots_of((int32_t)(p.tk % block));
    }

    static __device__ __forceinline__ int32_t key(const work_item &item, int group)
    {
        return group ? item.x : item.first;
    }

    static __device__ __forceinline__ int landmark(const work_item &item, int group)
    {
        return item.y >> 8 * group & 255;
    }

    struct cursor : landmark_columns<group_rows>::cursor {
        const int32_t other, marks; /* as the item's x and y */

        __device__ __forceinline__ cursor(const slat_problem &p, const long_landmark_columns &walk,
                                          const work_item &item)
            : landmark_columns<group_rows>::cursor(p, walk, item), other(item.x), marks(item.y)
        {
        }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            landmark_columns<group_rows>::cursor::next(sight, told);
            if (threadIdx.x % warp_lanes) return;
            const int32_t position = told.first + (int32_t)(p.tk - p.tq);
            const int32_t last = min(position + walk.copies * run, (int32_t)p.tk) - 1;
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const int32_t own = g ? other : key;
                const bool all = (marks >> 8 * g & 255) == run && position >= own + run - 1;
                sight[g] = last < own ? sees_none : all ? sees_all : sees_part;
            }
        }
    };

    __device__ __forceinline__ void place(const slat_problem &p, work_item &item, int tile) const
    {
        place_head(p, item);
        int32_t first[2];
        item.y = 0;
#pragma unroll
        for (int g = 0; g < 2; ++g) {
            const int32_t slot = (first_item + tile) * 2 + g, own = slot / slots, before = (slot - own * slots) * run;
            first[g] = own * block + before;
            item.y |= min(block - 1 - before, run) << 8 * g;
        }
        item.first = first[0];
        item.x = first[1];
    }

    static __device__ __forceinline__ bool key_place(const slat_problem &p, const work_item &item, int row,
                                                     slat_point &at)
    {
        const int group = row / group_rows, n = row % group_rows;
        at = slat_at(0, 0, key(item, group) + n);
        return n <= landmark(item, group) && at.z < p.tk;
    }

    template <int chunks>
    static __device__ __forceinline__ void load_keys(const slat_problem &, uint8_t *to, const CUtensorMap *map,
                                                     uint64_t *barrier, const work_item &item)
    {
#pragma unroll
        for (int i = 0; i < 2 * chunks; ++i)
            load_box(to + i * group_rows * row_bytes, map, barrier, i / 2 * chunk, key(item, i % 2), item.h, item.b);
    }

    /* A shorter slot is written row by row, for the keys behind it are another one's. */
    template <int chunks>
    static __device__ __forceinline__ void store_rows(const slat_problem &p, const slat_view &view,
                                                      const CUtensorMap *map, const uint8_t *from, int width, int group,
                                                      const work_item &item, int thread, int threads)
    {
        if (landmark(item, group) >= run - 1) {
            if (thread) return;
            for (int c = 0; c < chunks && c * chunk < width; ++c)
                store_box(map, from + c * group_rows * row_bytes, c * chunk, key(item, group), item.h, item.b);
            return;
        }
#pragma unroll 1
        for (int i = thread; i < chunks * group_rows * 8; i += threads) {
            const int row = i / 8 % group_rows, part = i / (8 * group_rows), column = part * chunk + i % 8 * 8;
            slat_point at;
            if (column >= width || !key_place(p, item, group * group_rows + row, at)) continue;
            *(uint4 *)((uint16_t *)view.data + slat_offset(&view, item.b, at, item.h) + column) =
                *(const uint4 *)(from + part * group_rows * row_bytes + swizzle_128(row, i % 8));
        }
    }

    /* Of queries that see nothing of a group's keys, and may have no numbers of their block: those of the first one. */
    __device__ __forceinline__ const float *numbers(const slat_problem &p, const note &told, const work_item &item,
                                                    int group) const
    {
        const int32_t last = min(told.first + copies * run, (int32_t)p.tq) - 1 + (int32_t)(p.tk - p.tq);
        const int32_t own = key(item, group && last >= item.x) / block;
        return sums.at(item.b * p.hq + told.head, told.first / tile_rows, own) + told.first % tile_rows * 2;
    }

    struct keys {
        const slat_problem &p;
        const int32_t row, key, last; /* of a slot, for the thread's first key; the slot's first key, its landmark */

        __device__ __forceinline__ keys(const slat_problem &p, const long_landmark_columns &, const work_item &item,
                                        int row, const shared_by_group &)
            : p(p), row(row % group_rows), key(long_landmark_columns::key(item, row / group_rows)),
              last(landmark(item, row / group_rows))
        {
        }

        __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
        {
            const int32_t first = told.first + (int32_t)(p.tk - p.tq);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int32_t at = row + 8 * r, from = key + at + (at == last); /* position that sees it */
                mask[r] = at <= last && key + at < p.tk ? ~first_columns(from - first, threadIdx.x % 4) : 0;
            }
        }
    };

    /* Zeroes a group's rows of V from the landmark on, as landmark_columns does. */
    template <int chunks>
    static __device__ __forceinline__ void clear_keys(const slat_problem &, const work_item &item, uint32_t, uint32_t v,
                                                      int group, int thread)
    {
        for (int row = landmark(item, group) + thread / 8; row < group_rows; row += group_threads / 8)
#pragma unroll
            for (int c = 0; c < chunks; ++c)
                store_zeros(v + (c * tile_rows + group * group_rows + row) * row_bytes + thread % 8 * 16);
    }
};

} // namespace sm90
#endif
