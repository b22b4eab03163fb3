/* Neighborhood attention by key: the tiles of queries that see a box of 128 keys.
 *
 * Items are boxes of keys, as those of queries are in neighborhood.cuh. The queries that see some of them are a box of
 * q too, in places of one group. It is cut into runs whose lines begin at multiples of 8 places, so that the numbers of
 * a line's queries, and the sums of their dq, lie together (query_rows). Query heads of a key head follow each other.
 */
#ifndef SLAT_SM90_NEIGHBORHOOD_COLUMNS_CUH
#define SLAT_SM90_NEIGHBORHOOD_COLUMNS_CUH
#include "grad_room.cuh"
#include "neighborhood.cuh"
#include "zero_rows.cuh"

namespace sm90
{

/* q_shift, tiles and the copies of items are those of keys here, k_shift and runs those of queries. */
template <bool LINE, bool DILATED> struct neighborhood_columns : neighborhood<LINE, DILATED> {
    typedef neighborhood<LINE, DILATED> grid;
    typedef typename grid::rows box_mask;
    typedef typename grid::operand operand;

    sides dilation;

    /* Of each run its first query as a place of its group, counted in q; z is far_away where there is none. */
    struct note {
        int32_t first[most_boxes][3];
        int32_t group[3];    /* place n of it stands at group + n * dilation in q */
        int32_t clears_keys; /* the item's first tile: some of its keys may be seen by no query */
        int32_t head;
    };

    __device__ __forceinline__ int head(const note &told) const { return told.head; }
    __device__ __forceinline__ bool clears_keys(const note &told) const { return told.clears_keys; }

    /* Every query sees a key: none has to be cleared. */
    static __device__ __forceinline__ bool clears_queries(const note &) { return false; }
    template <int chunks, int queries>
    static __device__ void clear_queries(const slat_problem &, const note &, const work_item &, uint32_t, uint32_t, int)
    {
    }

    /* Queries whose numbers lie together: a line of a box. */
    __host__ __device__ __forceinline__ int piece() const { return LINE ? this->run : grad_group; }
    __device__ __forceinline__ int pieces() const
    {
        return LINE ? this->copies : this->copies * this->run / grad_group;
    }

    /* Where the query `n` places behind the first one of run i stands along dimension d. */
    __device__ __forceinline__ int32_t place_of(const note &told, int i, int d, int n) const
    {
        const int32_t place = told.first[i][d] + n;
        return DILATED ? told.group[d] + place * dilation.v[d] : place;
    }

    __device__ __forceinline__ int32_t row(const query_rows &rows, const note &told, int i) const
    {
        const int lines_shift = LINE ? 0 : this->k_shift.v[1] + this->k_shift.v[0], n = i >> lines_shift;
        const int32_t first = told.first[n][2];
        if (first >= rows.part) return rows.count;
        const int32_t place = told.group[2] * rows.part + first;
        if (LINE) return place;
        const int line = i & ((1 << lines_shift) - 1);
        const int32_t y = place_of(told, n, 1, line & ((1 << this->k_shift.v[1]) - 1));
        const int32_t x = place_of(told, n, 0, line >> this->k_shift.v[1]);
        return y < rows.y && x < rows.x ? (x * rows.y + y) * rows.line + place : rows.count;
    }

    /* The i-th copy of a tile. */
    __device__ __forceinline__ void load(const note &told, int i, uint8_t *to, const operand *map, uint64_t *barrier,
                                         int head, int b) const
    {
        const int n = i & (this->copies - 1), c = i >> this->copies_shift;
        this->find_run(map, told.first[n], told.group, head, b)
            .load(to + i * this->run * row_bytes, barrier, c * chunk);
    }

    /* A chunk of a tile that is one run. */
    __device__ __forceinline__ void load_only(const note &told, int c, uint8_t *to, const operand *map,
                                              uint64_t *barrier, int head, int b) const
    {
        this->find_run(map, told.first[0], told.group, head, b).load(to, barrier, c * chunk);
    }

    __device__ __forceinline__ bool key_place(const slat_problem &p, const work_item &item, int row,
                                              slat_point &at) const
    {
        at = this->point(p, item, row);
        return at.z < p.window[2].length && at.y < p.window[1].length && at.x < p.window[0].length;
    }

    template <int chunks>
    __device__ __forceinline__ void load_keys(const slat_problem &p, uint8_t *to, const operand *map, uint64_t *barrier,
                                              const work_item &item) const
    {
        this->template load_queries<chunks>(p, to, map, barrier, item);
    }

    /* ---- who sees a key ---- */

    /* The queries that see the key at `place` of its group of n, as places of the group. */
    static __device__ __forceinline__ void queries_of(const slat_window &w, int32_t place, int32_t n, int32_t &begin,
                                                      int32_t &end)
    {
        if (w.causal) {
            begin = place;
            end = place + w.window;
            if (w.stride > 1) end = end / w.stride * w.stride;
            if (place + w.window >= n) end = n;
            return;
        }
        const int32_t half = w.stride / 2, lag = place - w.window + 1 + w.window / 2 - half;
        begin = lag;
        end = place + w.window / 2 - half;
        if (w.stride > 1) {
            begin = (lag + w.stride - 1) / w.stride * w.stride;
            end = end / w.stride * w.stride;
        }
        end += w.stride;
        if (place < w.window || lag <= 0) begin = 0;
        if (place >= n - w.window) end = n;
        end = min(end, n);
    }

    /* How q's box lies in a group: place 0 of the group in the box is `behind` of it on the grid. */
    struct box {
        int32_t group, behind, length;
    };

    static __device__ __forceinline__ box box_of(const slat_window &w, int32_t group)
    {
        const int32_t start = (int32_t)w.q_start, length = (int32_t)w.q_length;
        if (grid::dilation_of(w) == 1) return {0, start, length};
        box x;
        x.group = (group - start) % w.dilation;
        if (x.group < 0) x.group += w.dilation;
        x.behind = (start + x.group - group) / w.dilation;
        x.length = max(length - x.group + w.dilation - 1, 0) / w.dilation;
        return x;
    }

    /* Lane 4 n + d works for run n of a tile and dimension d (x, y, z). d = 3 stands for the dimension of the split
     * once more, as the second group's keys are seen. */
    struct cursor {
        const neighborhood_columns &walk;
        int32_t group, base;          /* of q along the dimension; its first run */
        int32_t any_first, any_end;   /* the queries that see some of the lane's group of keys */
        int32_t all_first, all_end;   /* those that see all of them */
        int32_t size, at, step, left; /* as in neighborhood::cursor; left: of this head */
        int32_t head, last_head;
        bool clears_keys;

        __device__ __forceinline__ cursor(const slat_problem &p, const neighborhood_columns &walk,
                                          const work_item &item)
            : walk(walk)
        {
            const int lane = threadIdx.x % warp_lanes, d = lane % 4 == 3 ? walk.split : lane % 4;
            const slat_window &w = p.window[d];
            const int32_t shift = walk.q_shift.v[d], side = 1 << walk.k_shift.v[d];
            int32_t first = d == 2 ? item.first : d == 1 ? item.y : item.x;
            const int32_t dilation = grid::dilation_of(w);
            if (lane % 4 == 3) first += dilation << shift;
            int32_t count = max((int32_t)w.length - first, 0);
            if (dilation > 1) count = (count + dilation - 1) / dilation;
            count = min(1 << shift, count);
            int32_t place, n, begin, end;
            grid::group_of(w, first, group, place, n);
            queries_of(w, place + (lane & 4 ? max(count - 1, 0) : 0), n, begin, end);
            const box own = box_of(w, group);
            group = own.group;
            begin = max(begin - own.behind, 0);
            end = min(end - own.behind, own.length);
            any_first = __shfl_sync(~0u, begin, lane & 3);
            any_end = __shfl_sync(~0u, end, 4 | lane & 3);
            all_first = __shfl_sync(~0u, begin, 4 | lane & 3);
            all_end = __shfl_sync(~0u, end, lane & 3);
            if (count == 0 || any_end <= any_first) any_first = any_end = 0;
            if (count < 1 << shift) all_end = INT32_MIN;
            if (all_end == own.length) all_end = INT32_MAX; /* past its end there is nothing to be hidden */
            const int32_t second_first = __shfl_sync(~0u, any_first, 3), second_end = __shfl_sync(~0u, any_end, 3);
            base = __shfl_sync(~0u, any_first, d);
            int32_t stop = __shfl_sync(~0u, any_end, d);
            if (d == walk.split && second_end) {
                base = stop ? min(base, second_first) : second_first;
                stop = max(stop, second_end);
            }
            if (d == 2) base &= -side;
            size = (stop - base + side - 1) >> walk.k_shift.v[d];
            head = item.h * (p.hq / p.hk) - 1;
            last_head = head + p.hq / p.hk;
            clears_keys = walk.beyond;
            begin_head();
        }

        /* Begins the next head, whose runs are those of the one before. */
        __device__ __forceinline__ void begin_head()
        {
            const int lane = threadIdx.x % warp_lanes, d = lane % 4;
            const int32_t nz = __shfl_sync(~0u, size, 2), ny = __shfl_sync(~0u, size, 1);
            left = nz * ny * __shfl_sync(~0u, size, 0);
            ++head;
            if (left == 0) return;
            at = part_of(lane / 4, d, ny, nz);
            step = part_of(walk.copies, d, ny, nz);
        }

        static __device__ __forceinline__ int32_t part_of(int32_t n, int d, int32_t ny, int32_t nz)
        {
            return grid::cursor::part_of(n, d, ny, nz);
        }

        __device__ __forceinline__ bool more() const { return left > 0; }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int lane = threadIdx.x % warp_lanes, n = lane / 4, d = lane % 4, dim = d == 3 ? walk.split : d;
            const int32_t run = __shfl_sync(~0u, at, lane & ~3 | dim), side = 1 << walk.k_shift.v[dim];
            const int32_t first = base + run * side;
            const bool there = n < left && n < walk.copies;
            const uint32_t some = __ballot_sync(~0u, there && first < any_end && first + side > any_first),
                           part = __ballot_sync(~0u, there && (first < all_first || first + side > all_end));
            if (n < walk.copies && d < 3) {
                told.first[n][d] = there ? first : d == 2 ? far_away : 0;
                if (n == 0) told.group[d] = group;
            }
            if (lane == 0) {
                const uint32_t split = 0x11111111u << walk.split;
                told.head = head;
                told.clears_keys = clears_keys;
                sight[0] = !(some & split) ? sees_none : part & 0x77777777u ? sees_part : sees_all;
                sight[1] = !(some & 0x88888888u) ? sees_none : part & ~split ? sees_part : sees_all;
            }
            clears_keys = false;
            left -= walk.copies;
            if (left <= 0) {
                if (head < last_head) begin_head();
                return;
            }
            advance_place<LINE>(at, step, size, d);
        }
    };

    /* ---- the mask ---- */

    /* The queries that see the key at a grid place along dimension d, as places of their group, counted in q. */
    static __device__ __forceinline__ int2 seen_by(const slat_window &w, int32_t at)
    {
        int32_t group, place, n, begin, end;
        grid::group_of(w, at, group, place, n);
        queries_of(w, place, n, begin, end);
        const int32_t behind = box_of(w, group).behind;
        return at < (int32_t)w.length ? make_int2(begin - behind, end - behind) : make_int2(0, 0);
    }

    /* The same for the sides of a group's box of keys: z, then y from `lines` on, then x. */
    static constexpr int lines = 8;
    struct shared_by_group {
        int2 seen[LINE ? 1 : lines + 18];
    };

    static constexpr bool prepares = !LINE;

    __device__ __forceinline__ void prepare(const slat_problem &p, const work_item &item, int group, int thread,
                                            shared_by_group &to) const
    {
        const int y = thread - lines, x = y - (1 << this->q_shift.v[1]);
        const int d = y < 0 ? 2 : x < 0 ? 1 : 0, n = d == 2 ? thread : d == 1 ? y : x;
        if (n >= 1 << this->q_shift.v[d]) return;
        const sides first = this->group_first(p, item, group);
        const int32_t from = d == 2 ? first.v[2] : d == 1 ? first.v[1] : first.v[0];
        to.seen[thread] = seen_by(p.window[d], from + n * grid::dilation_of(p.window[d]));
    }

    /* The queries that see a thread's two keys. */
    struct keys : box_mask {
        __device__ __forceinline__ keys(const slat_problem &p, const neighborhood_columns &walk, const work_item &item,
                                        int row, const shared_by_group &own)
            : box_mask(walk)
        {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                if (LINE) {
                    set(r, 2, seen_by(p.window[2], (int32_t)walk.point(p, item, row + 8 * r).z));
                    continue;
                }
                const int at = (row + 8 * r) % group_rows, line = at >> walk.q_shift.v[2];
                set(r, 2, own.seen[at & ((1 << walk.q_shift.v[2]) - 1)]);
                set(r, 1, own.seen[lines + (line & ((1 << walk.q_shift.v[1]) - 1))]);
                set(r, 0, own.seen[lines + (1 << walk.q_shift.v[1]) + (line >> walk.q_shift.v[1])]);
            }
        }

        __device__ __forceinline__ void set(int r, int d, const int2 &seen)
        {
            const int32_t from = LINE || d < 2 ? 0 : 2 * (threadIdx.x % 4);
            const uint32_t bits = d == 2 ? 1 : d == 1 ? 2 : 2u << this->walk->k_shift.v[1];
            uint32_t(&to)[2] = d == 2 ? this->line[r] : d == 1 ? this->plane[r] : this->box[r];
            to[0] = (uint32_t)(seen.x - from) * bits;
            to[1] = (uint32_t)(seen.y - from) * bits;
        }
    };

    /* Whether any query of q sees the key at a place. */
    static __device__ __forceinline__ bool seen(const slat_problem &p, const slat_point &at)
    {
        const int32_t places[3] = {(int32_t)at.x, (int32_t)at.y, (int32_t)at.z};
        bool any = true;
#pragma unroll
        for (int d = LINE ? 2 : 0; d < 3; ++d) {
            int32_t group, place, n, begin, end;
            grid::group_of(p.window[d], places[d], group, place, n);
            queries_of(p.window[d], place, n, begin, end);
            const box own = box_of(p.window[d], group);
            any &= max(begin - own.behind, 0) < min(end - own.behind, own.length);
        }
        return any;
    }

    /* Zeroes a group's rows of K and V that no query sees. */
    template <int chunks>
    __device__ __forceinline__ void clear_keys(const slat_problem &p, const work_item &item, uint32_t k, uint32_t v,
                                               int group, int thread) const
    {
        zero_rows<chunks, tile_rows>(k, v, group * group_rows, group_rows, thread,
                                     [&](int row) { return !seen(p, this->point(p, item, row)); });
    }
};

} // namespace sm90
#endif
