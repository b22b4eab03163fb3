/* Where the queries and keys of neighborhood attention stand, and the boxes of them that are copied straight from and
 * to the tensors.
 *
 * An item is a box of 128 queries, half of it for each group: the halves lie side by side in one dimension. A dilated
 * dimension falls into groups of places that never see each other. An item belongs to one of them, sides and keys are
 * counted in its places, and the maps have what lies between as another dimension (slat_map_groups).
 */
#ifndef SLAT_SM90_NEIGHBORHOOD_GRID_CUH
#define SLAT_SM90_NEIGHBORHOOD_GRID_CUH
#include "softmax_loop.cuh"
#include "tensor_map.h"
#include <type_traits>

namespace sm90
{

constexpr int most_boxes = 4; /* runs of a tile */
constexpr int32_t far_away = 1 << 30;

/* x, y, z of a box or a place. */
struct sides {
    int32_t v[3];
};

/* The maps of a tensor on a dilated grid. */
template <bool LINE> struct group_maps {
    CUtensorMap of[LINE ? 2 : 8];
    slat_group_steps steps;
};

template <bool LINE> __device__ __forceinline__ void prefetch_map(const group_maps<LINE> *maps)
{
    prefetch_map(maps->of);
}

/* Where the copy engine finds a box. */
struct corner {
    const CUtensorMap *map;
    int32_t at[4]; /* coordinates behind the column */

    __device__ __forceinline__ void load(void *to, uint64_t *barrier, int column) const
    {
        load_box(to, map, barrier, column, at[0], at[1], at[2], at[3]);
    }

    __device__ __forceinline__ void store(const void *from, int column) const
    {
        store_box(map, from, column, at[0], at[1], at[2], at[3]);
    }
};

/* LINE: one dimension; runs are lines. Else runs are boxes whose lines have 8 keys, and query boxes have lines of 8
 * at most, so that a thread's two rows have the same z. DILATED: some dimension is. */
template <bool LINE, bool DILATED> struct neighborhood_grid {
    static constexpr int groups = 2; /* of 64 queries in an item */
    typedef softmax_state state;
    typedef std::conditional_t<DILATED, group_maps<LINE>, CUtensorMap> operand;
    static constexpr bool gaps = false, grouped = false, long_blocks = false; /* as in sequence.cuh */
    static constexpr bool short_blocks = false;
    static constexpr bool parts_queries = false, writes = true;

    sides q_shift, k_shift; /* log2 of a group's query box, of a run */
    int32_t split;          /* the dimension along which the groups lie side by side */
    sides tiles;            /* items along each dimension */
    int32_t deep;           /* three dimensions */
    int32_t beyond;         /* q is a part of the grid: keys may be seen by no query */
    int32_t run, copies;    /* keys of a run; runs of a tile */
    int32_t copies_shift;
    uint32_t planes;   /* spreads a mask over the planes of a run */
    sides item_length; /* of the grid that items are boxes of */
    sides longer;      /* groups of the grid of runs that are a place longer: the first ones */

    static __device__ __forceinline__ int32_t dilation_of(const slat_window &w) { return DILATED ? w.dilation : 1; }

    /* ---- where the queries stand ---- */

    static __device__ __forceinline__ int32_t start(const slat_window &w, int32_t tile, int32_t shift)
    {
        if (dilation_of(w) == 1) return tile << shift;
        return tile % w.dilation + (tile / w.dilation << shift) * w.dilation;
    }

    __device__ __forceinline__ void place(const slat_problem &p, work_item &item, int tile) const
    {
        const int32_t row = tile / tiles.v[2], plane = LINE ? 0 : row / tiles.v[1];
        item.first = start(p.window[2], tile - row * tiles.v[2], q_shift.v[2] + (split == 2));
        item.y = LINE ? 0 : start(p.window[1], row - plane * tiles.v[1], q_shift.v[1] + (split == 1));
        item.x = LINE ? 0 : start(p.window[0], plane, q_shift.v[0] + (split == 0));
    }

    /* The first query of a group, counted in q. */
    __device__ __forceinline__ sides group_first(const slat_problem &p, const work_item &item, int group) const
    {
        if (LINE) return {{0, 0, item.first + (group << q_shift.v[2]) * dilation_of(p.window[2])}};
        const int32_t step = (group << q_shift.v[split]) * dilation_of(p.window[split]);
        return {{item.x + (split == 0) * step, item.y + (split == 1) * step, item.first + (split == 2) * step}};
    }

    /* Where row `row` of an item stands. */
    __device__ __forceinline__ slat_point point(const slat_problem &p, const work_item &item, int row) const
    {
        const sides from = group_first(p, item, row / group_rows);
        const int r = row % group_rows;
        slat_point at;
        at.z = from.v[2] + (r & ((1 << q_shift.v[2]) - 1)) * dilation_of(p.window[2]);
        at.x = at.y = 0;
        if (LINE) return at;
        at.y = from.v[1] + (r >> q_shift.v[2] & ((1 << q_shift.v[1]) - 1)) * dilation_of(p.window[1]);
        at.x = from.v[0] + (r >> (q_shift.v[2] + q_shift.v[1])) * dilation_of(p.window[0]);
        return at;
    }

    __device__ __forceinline__ bool query(const slat_problem &p, const work_item &item, int row, slat_point &at) const
    {
        at = point(p, item, row);
        if (LINE) return at.z < p.window[2].q_length;
        return at.z < p.window[2].q_length && at.y < p.window[1].q_length && at.x < p.window[0].q_length;
    }

    /* ---- boxes ---- */

    /* The box that begins at a place of a group; far_away: nowhere. */
    __device__ __forceinline__ corner find(const CUtensorMap *map, const sides &place, const sides &, const sides &,
                                           int head, int b) const
    {
        return {map, {place.v[2], place.v[1], deep ? place.v[0] : head, deep ? head : b}};
    }

    static __device__ __forceinline__ corner find(const group_maps<LINE> *maps, const sides &place, const sides &group,
                                                  const sides &longer, int head, int b)
    {
        int shorter = 0;
        int32_t lies = head * maps->steps.head + b * maps->steps.batch;
#pragma unroll
        for (int d = LINE ? 2 : 0; d < 3; ++d) {
            shorter |= (group.v[d] >= longer.v[d]) << (2 - d);
            lies += group.v[d] * maps->steps.group[d];
        }
        return {maps->of + shorter, {place.v[2], place.v[1], place.v[0], lies}};
    }

    /* The same of a run: group[d] is found only where it is needed. */
    __device__ __forceinline__ corner find_run(const operand *map, const int32_t *first, const int32_t (&group)[3],
                                               int head, int b) const
    {
        return find(map, {{first[0], first[1], first[2]}}, {{group[0], group[1], group[2]}}, longer, head, b);
    }

    /* The box of a group of an item. */
    __device__ __forceinline__ corner find_group(const slat_problem &p, const operand *map, const work_item &item,
                                                 int group) const
    {
        sides place = group_first(p, item, group), of = {}, many = {};
        if (DILATED) {
#pragma unroll
            for (int d = LINE ? 2 : 0; d < 3; ++d) {
                const int32_t at = place.v[d], dilation = p.window[d].dilation;
                place.v[d] = at < item_length.v[d] ? at / dilation : far_away;
                of.v[d] = at % dilation;
                many.v[d] = item_length.v[d] % dilation;
            }
        }
        return find(map, place, of, many, item.h, item.b);
    }

    template <int chunks>
    __device__ __forceinline__ void load_queries(const slat_problem &p, uint8_t *to, const operand *map,
                                                 uint64_t *barrier, const work_item &item) const
    {
#pragma unroll
        for (int group = 0; group < 2; ++group) {
            const corner box = find_group(p, map, item, group);
            for (int c = 0; c < chunks; ++c)
                box.load(to + (c * tile_rows + group * group_rows) * row_bytes, barrier, c * chunk);
        }
    }

    __device__ __forceinline__ void store_queries(const slat_problem &p, const operand *map, const uint8_t *from, int c,
                                                  int group, const work_item &item) const
    {
        find_group(p, map, item, group).store(from, c * chunk);
    }

    /* Writes a group's 64 rows of an item, `width` channels of them: the first of some threads. */
    template <int chunks>
    __device__ __forceinline__ void store_rows(const slat_problem &p, const slat_view &, const operand *map,
                                               const uint8_t *from, int width, int group, const work_item &item,
                                               int thread, int) const
    {
        if (thread) return;
        const corner box = find_group(p, map, item, group);
        for (int c = 0; c < chunks && c * chunk < width; ++c) box.store(from + c * group_rows * row_bytes, c * chunk);
    }

    /* ---- what a query sees ---- */

    /* The keys that the query at `place` of its group of n sees, as places. */
    static __device__ __forceinline__ void window_of(const slat_window &w, int32_t place, int32_t n, int32_t &begin,
                                                     int32_t &end)
    {
        const int32_t first = w.stride == 1 ? place : place / w.stride * w.stride;
        if (w.causal) {
            begin = max(min(first + w.stride - 1, n - 1) - w.window + 1, 0);
            end = place + 1;
        } else {
            begin = max(min(min(first + w.stride / 2, n - 1) - w.window / 2, n - w.window), 0);
            end = begin + w.window;
        }
    }

    /* A grid place's group, its place in it, and the group's length. */
    static __device__ __forceinline__ void group_of(const slat_window &w, int32_t at, int32_t &group, int32_t &place,
                                                    int32_t &n)
    {
        const int32_t length = (int32_t)w.length;
        group = 0, place = at, n = length;
        if (dilation_of(w) == 1) return;
        place = at / w.dilation;
        group = at - place * w.dilation;
        n = length / w.dilation;
        n += group < length - n * w.dilation;
    }
};

} // namespace sm90
#endif
