/* The walk and the mask of neighborhood attention.
 *
 * The keys that an item's queries see are a box, as these are (neighborhood_grid.cuh); it is cut into runs, small boxes
 * of keys that come in one copy each, from its beginning. First come the runs that both groups see, then those of the
 * first group alone, then those of the second; a tile holds a few of them. All sides are powers of 2, chosen on the
 * host.
 */
#ifndef SLAT_SM90_NEIGHBORHOOD_CUH
#define SLAT_SM90_NEIGHBORHOOD_CUH
#include "neighborhood_grid.cuh"

namespace sm90
{

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

template <bool LINE, bool DILATED> struct neighborhood : neighborhood_grid<LINE, DILATED> {
    typedef neighborhood_grid<LINE, DILATED> grid;
    typedef typename grid::operand operand;

    /* Of each run its first key as a place of the item's group; the end of the item's keys. */
    struct alignas(16) note {
        int32_t first[most_boxes][4];
        int32_t end[4];
        int32_t group[3];
        int32_t clears;
    };

    /* ---- the walk ---- */

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
            const int32_t dilation = grid::dilation_of(w);
            int32_t first = d == 2 ? item.first : d == 1 ? item.y : item.x;
            if (lane % 4 == 3) first += dilation << shift;
            int32_t left_over = max((int32_t)w.q_length - first, 0);
            if (dilation > 1) left_over = (left_over + dilation - 1) / dilation;
            const int32_t count = min(1 << shift, left_over);
            int32_t place, n, begin, stop;
            grid::group_of(w, (int32_t)w.q_start + first, group, place, n);
            grid::window_of(w, place + (lane & 4 ? max(count - 1, 0) : 0), n, begin, stop);
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
        const int n = i & (this->copies - 1), c = i >> this->copies_shift;
        this->find_run(map, told.first[n], told.group, head, b)
            .load(to + i * this->run * row_bytes, barrier, c * chunk);
    }

    /* The i-th copy of half a tile, whose rows come together. */
    __device__ __forceinline__ void load_half(const note &told, int half, int i, uint8_t *to, const operand *map,
                                              uint64_t *barrier, int head, int b) const
    {
        const int n = i & ((this->copies >> 1) - 1), c = i >> (this->copies_shift - 1),
                  from = half * (this->copies >> 1) + n;
        this->find_run(map, told.first[from], told.group, head, b)
            .load(to + i * this->run * row_bytes, barrier, c * chunk);
    }

    /* Whether half a tile, the second one, is left empty. */
    __device__ __forceinline__ bool half_empty(const slat_problem &, const note &told) const
    {
        return told.first[this->copies >> 1][2] == far_away;
    }

    /* ---- the mask ---- */

    struct rows {
        const neighborhood *walk;
        /* What the rows see of each dimension, [row][begin or end], in bits of a mask: a line is two of a thread's
         * bits, lines of a plane follow one another, planes too. Both rows have the same line, which is counted from
         * the thread's first key; LINE: each its own, in keys. */
        uint32_t line[2][2], plane[2][2], box[2][2];

        __device__ __forceinline__ explicit rows(const neighborhood &walk) : walk(&walk) {}

        __device__ __forceinline__ rows(const slat_problem &p, const neighborhood &walk, const work_item &item, int row)
            : walk(&walk)
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
            grid::group_of(w, (int32_t)w.q_start + at, group, place, n);
            grid::window_of(w, min(place, n - 1), n, begin, end);
            seen[0] = (uint32_t)(begin - from) * bits;
            seen[1] = (uint32_t)(end - from) * bits;
        }

        template <class Note> __device__ __forceinline__ void mask(const Note &told, uint32_t (&mask)[2]) const
        {
            const int part = threadIdx.x % 4, width = walk->run / 4;
            const uint32_t plane_bits = 2u << walk->k_shift.v[1];
            mask[0] = mask[1] = 0;
#pragma unroll 1
            for (int n = 0; n < walk->copies; ++n) {
                const int32_t *const first = told.first[n];
                uint32_t bits[2];
                if (LINE) {
#pragma unroll
                    for (int r = 0; r < 2; ++r)
                        bits[r] = first_columns(min((int32_t)line[r][1] - first[2], walk->run), part) &
                                  ~first_columns((int32_t)line[r][0] - first[2], part);
                } else {
                    const uint32_t lines = bits_between(line[0], first[2], 2) * 0x55555555u;
#pragma unroll
                    for (int r = 0; r < 2; ++r) bits[r] = bits_between(plane[r], 2u * first[1], plane_bits) & lines;
                    if (walk->deep) {
#pragma unroll
                        for (int r = 0; r < 2; ++r)
                            bits[r] = bits[r] * walk->planes & bits_between(box[r], first[0] * plane_bits, width);
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
                const int n = first_run + row / walk->run, r = row % walk->run;
                const int32_t z = r & ((1 << walk->k_shift.v[2]) - 1),
                              y = r >> walk->k_shift.v[2] & ((1 << walk->k_shift.v[1]) - 1),
                              x = r >> (walk->k_shift.v[2] + walk->k_shift.v[1]);
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
