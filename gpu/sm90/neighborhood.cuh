/* The walk and the mask of neighborhood attention: boxes of queries and of keys, straight from the tensors.
 *
 * An item is a box of 128 queries, half of it for each group: the halves lie side by side in one dimension. The keys
 * that its queries see are a box too; it is cut into runs, small boxes of keys that come in one copy each, from its
 * beginning. First come the runs that both groups see, then those of the first group alone, then those of the
 * second; a tile holds a few of them. All sides are powers of 2, chosen on the host.
 *
 * A dilated dimension falls into groups of places that never see each other. An item belongs to one of them, sides
 * and keys are counted in its places, and the maps have what lies between as another dimension (slat_map_groups).
 */
#ifndef SLAT_SM90_NEIGHBORHOOD_CUH
#define SLAT_SM90_NEIGHBORHOOD_CUH
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

/* Moves a place in a box by `step`, a dimension d (x, y, z) a lane: what is past the box's `size` is carried to the
 * next dimension. */
template <bool LINE> __device__ __forceinline__ void advance_place(int32_t &at, int32_t step, int32_t size, int d)
{
    const int first = threadIdx.x % warp_lanes & ~3;
    int32_t over = 0;
    at += step;
    if (d == 2 && at >= size) at -= size, over = 1;
    if (LINE) return;
    over = __shfl_sync(~0u, over, first | 2);
    if (d == 1) {
        at += over;
        over = at >= size;
        if (over) at -= size;
    }
    over = __shfl_sync(~0u, over, first | 1);
    if (d == 0) at += over;
}

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
template <bool LINE, bool DILATED> struct neighborhood {
    typedef softmax_state state;
    typedef std::conditional_t<DILATED, group_maps<LINE>, CUtensorMap> operand;
    static constexpr bool gaps = false, grouped = false, long_blocks = false; /* as in sequence.cuh */
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

    /* Of each run its first key as a place of the item's group; the end of the item's keys. */
    struct alignas(16) note {
        int32_t first[most_boxes][4];
        int32_t end[4];
        int32_t group[3];
        int32_t clears;
    };

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

    /* ---- the walk ---- */

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

    /* Lane 4 n + d works for run n of a tile and dimension d (x, y, z). d = 3 stands for the dimension of the split
     * once more, as the second group sees it. */
    struct cursor {
        const neighborhood &walk;
        int32_t group;                       /* of the dimension */
        int32_t base, end;                   /* of the item's keys */
        int32_t all_first, all_end;          /* the keys that all queries of the lane's group see */
        int32_t both, first_end, second_end; /* runs along the split: both groups see [both, first_end) */
        int32_t size, from;                  /* runs along the dimension in this phase, and its first one */
        int32_t at, step;                    /* this lane's run; how far the next tile's is */
        int32_t left, phase;                 /* runs of the phase that are left; which groups see them, less 1 */

        __device__ __forceinline__ cursor(const slat_problem &p, const neighborhood &walk, const work_item &item)
            : walk(walk)
        {
            const int lane = threadIdx.x % warp_lanes, d = lane % 4 == 3 ? walk.split : lane % 4;
            const slat_window &w = p.window[d];
            const int32_t shift = walk.q_shift.v[d], k_shift = walk.k_shift.v[d];
            const int32_t dilation = dilation_of(w);
            int32_t first = d == 2 ? item.first : d == 1 ? item.y : item.x;
            if (lane % 4 == 3) first += dilation << shift;
            int32_t left_over = max((int32_t)w.q_length - first, 0);
            if (dilation > 1) left_over = (left_over + dilation - 1) / dilation;
            const int32_t count = min(1 << shift, left_over);
            int32_t place, n, begin, stop;
            group_of(w, (int32_t)w.q_start + first, group, place, n);
            window_of(w, place + (lane & 4 ? max(count - 1, 0) : 0), n, begin, stop);
            if (count == 0) begin = stop = 0; /* only the second group can be empty */
            const int32_t any_first = __shfl_sync(~0u, begin, lane & 3), any_end = __shfl_sync(~0u, stop, 4 | lane & 3);
            all_end = __shfl_sync(~0u, stop, lane & 3);
            all_first = __shfl_sync(~0u, begin, 4 | lane & 3);
            base = __shfl_sync(~0u, any_first, d);
            size = (any_end - base + (1 << k_shift) - 1) >> k_shift;
            from = 0;
            first_end = __shfl_sync(~0u, size, walk.split);
            both = __shfl_sync(~0u, count ? (any_first - base) >> k_shift : first_end, 3);
            second_end = __shfl_sync(~0u, count ? size : first_end, 3);
            const int32_t second = __shfl_sync(~0u, any_end, 3);
            end = d == walk.split ? max(any_end, second) : any_end;
            phase = 3;
            begin_phase();
        }

        /* Begins the next phase that has runs: 2: both groups, 0: the first one, 1: the second one; -1: none is
         * left. */
        __device__ __forceinline__ void begin_phase()
        {
            const int lane = threadIdx.x % warp_lanes, d = lane % 4;
            for (left = 0; left == 0 && phase >= 0;) {
                --phase;
                const int which = phase == 2 ? 2 : 1 - phase;
                const int32_t begin = which == 2 ? both : which == 1 ? max(first_end, both) : 0;
                const int32_t stop = which == 2 ? first_end : which == 1 ? second_end : min(first_end, both);
                if (d == walk.split) {
                    from = begin;
                    size = max(stop - begin, 0);
                }
                const int32_t nz = __shfl_sync(~0u, size, 2), ny = __shfl_sync(~0u, size, 1);
                left = phase < 0 ? 0 : nz * ny * __shfl_sync(~0u, size, 0);
                if (left == 0) continue;
                at = part_of(lane / 4, d, ny, nz);
                step = part_of(walk.copies, d, ny, nz);
            }
        }

        /* Run n along dimension d. */
        static __device__ __forceinline__ int32_t part_of(int32_t n, int d, int32_t ny, int32_t nz)
        {
            const int32_t y = n / nz, x = y / ny;
            return d == 2 ? n - y * nz : d == 1 ? y - x * ny : x;
        }

        __device__ __forceinline__ bool more() const { return left > 0; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int lane = threadIdx.x % warp_lanes, n = lane / 4, d = lane % 4, dim = d == 3 ? walk.split : d;
            const int32_t shift = walk.k_shift.v[dim];
            const int32_t run = __shfl_sync(~0u, at + from, lane & ~3 | dim), first = base + (run << shift);
            const bool there = n < left, mine = n < walk.copies;
            const bool whole = there && first >= all_first && first + (1 << shift) <= all_end;
            const bool clears = walk.beyond && there && d < 3 && first + (1 << shift) > end;
            const uint32_t all = __ballot_sync(~0u, whole || !mine), clear = __ballot_sync(~0u, mine && clears);
            if (mine) {
                told.first[n][d] = there ? first : far_away;
                if (n == 0) told.end[d] = end;
                if (DILATED && n == 0 && d < 3) told.group[d] = group;
            }
            if (lane == 0) {
                const int which = phase == 2 ? 2 : 1 - phase;
                told.clears = clear != 0;
                sight[0] = which == 1 ? sees_none : (all | 0x88888888u) == ~0u ? sees_all : sees_part;
                sight[1] = which == 0 ? sees_none : (all | 0x11111111u << walk.split) == ~0u ? sees_all : sees_part;
            }
            left -= walk.copies;
            if (left <= 0) {
                begin_phase();
                return;
            }
            advance_place<LINE>(at, step, size, d);
        }
    };

    /* The i-th copy of a tile. */
    __device__ __forceinline__ void load(const note &told, int i, uint8_t *to, const operand *map, uint64_t *barrier,
                                         int head, int b) const
    {
        const int n = i & (copies - 1), c = i >> copies_shift;
        find_run(map, told.first[n], told.group, head, b).load(to + i * run * row_bytes, barrier, c * chunk);
    }

    /* The i-th copy of half a tile, whose rows come together. */
    __device__ __forceinline__ void load_half(const note &told, int half, int i, uint8_t *to, const operand *map,
                                              uint64_t *barrier, int head, int b) const
    {
        const int n = i & ((copies >> 1) - 1), c = i >> (copies_shift - 1), from = half * (copies >> 1) + n;
        find_run(map, told.first[from], told.group, head, b).load(to + i * run * row_bytes, barrier, c * chunk);
    }

    /* Whether half a tile, the second one, is left empty. */
    __device__ __forceinline__ bool half_empty(const slat_problem &, const note &told) const
    {
        return told.first[copies >> 1][2] == far_away;
    }

    /* ---- the mask ---- */

    struct rows {
        const neighborhood &walk;
        /* What the rows see of each dimension, [row][begin or end], in bits of a mask: a line is two of a thread's
         * bits, lines of a plane follow one another, planes too. Both rows have the same line, which is counted from
         * the thread's first key; LINE: each its own, in keys. */
        uint32_t line[2][2], plane[2][2], box[2][2];

        __device__ __forceinline__ explicit rows(const neighborhood &walk) : walk(walk) {}

        __device__ __forceinline__ rows(const slat_problem &p, const neighborhood &walk, const work_item &item, int row)
            : walk(walk)
        {
            const int32_t line_bits = 2, plane_bits = line_bits << walk.k_shift.v[1];
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                slat_point at;
                walk.query(p, item, row + 8 * r, at);
                see(p.window[2], (int32_t)at.z, LINE ? 0 : 2 * (threadIdx.x % 4), 1, line[r]);
                if (LINE) continue;
                see(p.window[1], (int32_t)at.y, 0, line_bits, plane[r]);
                see(p.window[0], (int32_t)at.x, 0, plane_bits, box[r]);
            }
        }

        static __device__ __forceinline__ void see(const slat_window &w, int32_t at, int32_t from, uint32_t bits,
                                                   uint32_t (&seen)[2])
        {
            int32_t group, place, n, begin, end;
            group_of(w, (int32_t)w.q_start + at, group, place, n);
            window_of(w, min(place, n - 1), n, begin, end);
            seen[0] = (uint32_t)(begin - from) * bits;
            seen[1] = (uint32_t)(end - from) * bits;
        }

        template <class Note> __device__ __forceinline__ void mask(const Note &told, uint32_t (&mask)[2]) const
        {
            const int part = threadIdx.x % 4, width = walk.run / 4;
            const uint32_t plane_bits = 2u << walk.k_shift.v[1];
            mask[0] = mask[1] = 0;
#pragma unroll 1
            for (int n = 0; n < walk.copies; ++n) {
                const int32_t *const first = told.first[n];
                uint32_t bits[2];
                if (LINE) {
#pragma unroll
                    for (int r = 0; r < 2; ++r)
                        bits[r] = first_columns(min((int32_t)line[r][1] - first[2], walk.run), part) &
                                  ~first_columns((int32_t)line[r][0] - first[2], part);
                } else {
                    const uint32_t lines = bits_between(line[0], first[2], 2) * 0x55555555u;
#pragma unroll
                    for (int r = 0; r < 2; ++r) bits[r] = bits_between(plane[r], 2u * first[1], plane_bits) & lines;
                    if (walk.deep) {
#pragma unroll
                        for (int r = 0; r < 2; ++r)
                            bits[r] = bits[r] * walk.planes & bits_between(box[r], first[0] * plane_bits, width);
                    }
                }
#pragma unroll
                for (int r = 0; r < 2; ++r) mask[r] |= bits[r] << n * width;
            }
        }

        /* Of `count` bits those that are seen, the first one being `first`. */
        static __device__ __forceinline__ uint32_t bits_between(const uint32_t (&seen)[2], uint32_t first,
                                                                int32_t count)
        {
            return low_bits(max(min((int32_t)(seen[1] - first), count), 0)) &
                   ~low_bits(max((int32_t)(seen[0] - first), 0));
        }

        __device__ __forceinline__ bool clears(const note &told) const
        {
            return told.clears;
        }

        template <int chunks, int keys>
        __device__ void clear(const note &told, uint32_t v, int thread, int threads, int first_run = 0) const
        {
            for (int row = thread / 8; row < keys; row += threads / 8) {
                const int n = first_run + row / walk.run, r = row % walk.run;
                const int32_t z = r & ((1 << walk.k_shift.v[2]) - 1),
                              y = r >> walk.k_shift.v[2] & ((1 << walk.k_shift.v[1]) - 1),
                              x = r >> (walk.k_shift.v[2] + walk.k_shift.v[1]);
                if (told.first[n][2] + z < told.end[2] && told.first[n][1] + y < told.end[1] &&
                    told.first[n][0] + x < told.end[0])
                    continue;
#pragma unroll
                for (int c = 0; c < chunks; ++c) store_zeros(v + (c * keys + row) * row_bytes + thread % 8 * 16);
            }
        }
    };
};

} // namespace sm90
#endif
