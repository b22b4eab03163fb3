/* What walks over sequences share: where their queries stand, and their copies. */
#ifndef SLAT_SM90_SEQUENCE_CUH
#define SLAT_SM90_SEQUENCE_CUH
#include "softmax_loop.cuh"

namespace sm90
{

/* GROUPS: of 64 queries in an item. */
template <int GROUPS> struct sequence_of {
    static constexpr int groups = GROUPS, rows_of_item = groups * group_rows;
    typedef softmax_state state;
    typedef CUtensorMap operand; /* where the copy engine finds a tensor */
    static constexpr bool gaps = false, grouped = false, long_blocks = false, short_blocks = false;
    static constexpr bool parts_queries = false;
    static constexpr bool writes = true; /* dq is wanted */

    /* Nothing is prepared for the masks of a group. */
    struct shared_by_group {
    };
    static constexpr bool prepares = false;
    static __device__ void prepare(const slat_problem &, const work_item &, int, int, shared_by_group &) {}

    static __device__ __forceinline__ void place(const slat_problem &, work_item &item, int tile)
    {
        item.first = tile * rows_of_item;
    }

    /* Where query `row` of an item stands; false past the last one. */
    static __device__ __forceinline__ bool query(const slat_problem &p, const work_item &item, int row, slat_point &at)
    {
        at = slat_at(0, 0, item.first + row);
        return at.z < p.tq;
    }

    /* Where key `row` of an item stands; false past the last one. */
    static __device__ __forceinline__ bool key_place(const slat_problem &p, const work_item &item, int row,
                                                     slat_point &at)
    {
        at = slat_at(0, 0, item.first + row);
        return at.z < p.tk;
    }

    template <int chunks>
    static __device__ __forceinline__ void load_queries(const slat_problem &, uint8_t *to, const CUtensorMap *map,
                                                        uint64_t *barrier, const work_item &item)
    {
#pragma unroll
        for (int c = 0; c < chunks; ++c)
            load_box(to + c * rows_of_item * row_bytes, map, barrier, c * chunk, item.first, item.h, item.b);
    }

    template <int chunks>
    static __device__ __forceinline__ void load_keys(const slat_problem &, uint8_t *to, const CUtensorMap *map,
                                                     uint64_t *barrier, const work_item &item)
    {
#pragma unroll
        for (int c = 0; c < chunks; ++c)
            load_box(to + c * tile_rows * row_bytes, map, barrier, c * chunk, item.first, item.h, item.b);
    }

    /* Writes a group's 64 rows of an item, `width` channels of them: the first of some threads. */
    template <int chunks>
    static __device__ __forceinline__ void store_rows(const slat_problem &, const slat_view &, const CUtensorMap *map,
                                                      const uint8_t *from, int width, int group, const work_item &item,
                                                      int thread, int)
    {
        if (thread) return;
        for (int c = 0; c < chunks && c * chunk < width; ++c)
            store_box(map, from + c * group_rows * row_bytes, c * chunk, item.first + group * group_rows, item.h,
                      item.b);
    }

    static __device__ __forceinline__ void store_queries(const slat_problem &, const CUtensorMap *map,
                                                         const uint8_t *from, int c, int group, const work_item &item)
    {
        store_box(map, from, c * chunk, item.first + group * group_rows, item.h, item.b);
    }
};

typedef sequence_of<2> sequence;

} // namespace sm90
#endif
