/* Block-sparse and dense attention by query: the key tiles that 128 queries see.
 *
 * They may belong to several block rows, each with a list of its own. The producer's warp merges the lists, one
 * a lane, from their ends: every tile is filled with runs of keys (the largest power of 2 that divides block_k) that
 * some of the rows list. Bad entries are left out as the general kernel does: numbers out of range or not above the one
 * before, bitmaps that there are not; indptr is clamped. Blocks that have bitmaps are seen in part (block_bitmaps.cuh).
 */
#ifndef SLAT_SM90_BLOCK_ROWS_CUH
#define SLAT_SM90_BLOCK_ROWS_CUH
#include "block_bitmaps.cuh"

namespace sm90
{

/* GROUPS: of 64 queries in an item; other than two for dense attention alone. */
template <bool bitmaps, int GROUPS = 2> struct block_rows : runs_of_keys<GROUPS>, block_bitmaps<bitmaps> {
    using runs_of_keys<GROUPS>::rows_of_item;
    static constexpr int all_rows_shift = 8; /* where an item has one list: at least its rows */

    int32_t block_q, block_k;  /* dense: the whole sequence is one block row, of blocks of one tile of keys */
    int32_t lists, rows_shift; /* lists of an item; log2 of the queries that share one */
    int32_t runs;              /* of a block */

    /* In tiles of `keys`, of runs of `longest` at most. */
    static block_rows of(const slat_layout &l, int keys, int longest)
    {
        block_rows walk = {};
        walk.block_q = l.block_q;
        walk.block_k = l.indptr ? l.block_k : keys;
        walk.rows_shift = l.indptr ? twos(walk.block_q, rows_of_item) : all_rows_shift;
        walk.lists = l.indptr ? rows_of_item >> walk.rows_shift : 1;
        walk.cut(walk.block_k, keys, longest);
        walk.runs = walk.block_k / walk.run;
        if constexpr (bitmaps) walk.find_bitmaps(l, NULL, walk.run);
        return walk;
    }

    struct note : run_note, bitmap_note<bitmaps> {
        uint32_t lists[most_runs]; /* those that name the run, and above 16 bits those whose block has a bitmap */
    };

    struct cursor {
        const slat_problem &p;
        const block_rows &walk;
        int32_t begin, entry; /* of this lane's list: the entry in hand, down to `begin` */
        int32_t at[3];        /* what stands there, and at the two before it: fetched two steps ahead */
        int32_t of[3];        /* their bitmaps */
        int32_t block;        /* the key block in hand; -1: the list is through */
        int32_t front, part;  /* the greatest block of all lists, and which of its runs is next; -1: none is left */
        uint32_t named;       /* lists at `front` */
        uint32_t parted;      /* those of them that have a bitmap there */
        int32_t position;     /* of the item's first query */

        __device__ __forceinline__ cursor(const slat_problem &p, const block_rows &walk, const work_item &item)
            : p(p), walk(walk)
        {
            const slat_layout &l = p.layout;
            const int lane = threadIdx.x % warp_lanes;
            position = item.first + (int32_t)(p.tk - p.tq);
            block = -1;
            begin = entry = 0;
            const int32_t query = item.first + (lane << walk.rows_shift);
            if (lane < walk.lists && query < p.tq) {
                if (!l.indptr) {
                    entry = (int32_t)(l.causal ? slat_min(position + rows_of_item, p.tk) : p.tk) + walk.block_k - 1;
                    entry = max(entry, 0) / walk.block_k;
                } else {
                    const int32_t *row =
                        l.indptr + slat_layout_row(&l, l.rows, item.b, item.h, p.hq, query / walk.block_q);
                    begin = min(max(row[0], 0), (int32_t)l.entries);
                    entry = min(max(row[1], 0), (int32_t)l.entries);
                    fetch(1, entry - 1);
                    fetch(2, entry - 2);
                }
                step();
            }
            settle();
        }

        /* Fetches an entry of this lane's list; it is less than any before the first one. */
        __device__ __forceinline__ void fetch(int n, int32_t e)
        {
            at[n] = e >= begin ? p.layout.indices[e] : INT32_MIN;
            if constexpr (bitmaps) of[n] = e >= begin ? walk.at_entry(p.layout, e) : -1;
        }

        /* Takes the next good entry of this lane's list. */
        __device__ __forceinline__ void step()
        {
            block = -1;
            while (--entry >= begin) {
                if (!p.layout.indptr) {
                    block = entry;
                    return;
                }
                at[0] = at[1], at[1] = at[2];
                of[0] = of[1], of[1] = of[2];
                fetch(2, entry - 2);
                if (at[0] >= 0 && at[0] < p.layout.columns && at[0] > at[1] && !(bitmaps && of[0] < -1)) {
                    block = at[0];
                    return;
                }
            }
        }

        /* The last position that the lists in `named` see, all keys at most. */
        __device__ __forceinline__ int32_t last() const
        {
            if (!p.layout.causal) return (int32_t)p.tk - 1;
            const int32_t rows = min((32 - __clz(named)) << walk.rows_shift, rows_of_item);
            return min(position + rows, (int32_t)p.tk) - 1;
        }

        __device__ __forceinline__ int32_t run_at() const { return front * walk.block_k + part * walk.run; }

        /* Finds the greatest block, and its last run that is not past what its queries see. */
        __device__ __forceinline__ void settle()
        {
            for (;;) {
                front = (int32_t)__reduce_max_sync(~0u, (unsigned)(block + 1)) - 1;
                if (front < 0) return;
                named = __ballot_sync(~0u, block == front);
                parted = bitmaps ? __ballot_sync(~0u, block == front && of[0] >= 0) : 0;
                part = walk.runs - 1;
                while (part >= 0 && run_at() > last()) --part;
                if (part >= 0) return;
                if (block == front) step();
            }
        }

        __device__ __forceinline__ bool more() const { return front >= 0; }

        /* Leaves the run in hand. */
        __device__ __forceinline__ void advance()
        {
            if (--part >= 0) return;
            if (block == front) step();
            settle();
        }

        __device__ __forceinline__ uint32_t lists() const { return named | parted << 16; }

        /* Leaves a note of where the run in hand begins in each list's bitmap. */
        __device__ __forceinline__ void tell_bitmaps(note &told, int n) const
        {
            if constexpr (bitmaps) {
                const int lane = threadIdx.x % warp_lanes;
                if (lane < walk.lists)
                    told.bitmap[n][lane] =
                        parted >> lane & 1 ? walk.bitmap_place(of[0], 0, part * walk.run) : no_bitmap;
            }
        }

        /* What 64 queries see of a run: those of `group` have the lists `own`, and `first` is the first one's
         * position. */
        __device__ __forceinline__ bool some(int32_t run_first, uint32_t named, uint32_t own, int32_t first) const
        {
            return (named & own) && (!p.layout.causal || run_first < first + group_rows);
        }
        __device__ __forceinline__ bool all(int32_t run_first, int32_t end, uint32_t named, uint32_t own,
                                            int32_t first) const
        {
            return (named & own) == own && !(bitmaps && named >> 16 & own) && run_first + walk.run <= end &&
                   (!p.layout.causal || run_first + walk.run <= first + 1);
        }

        /* Whether bitmaps may hide a key from all queries: not where a group sees all keys. */
        __device__ __forceinline__ bool hides(bool parts, const int32_t (&sight)[GROUPS]) const
        {
            return bitmaps && parts && sight[0] != sees_all && sight[1] != sees_all; /* there are two groups then */
        }

        __device__ __forceinline__ void next(int32_t (&sight)[GROUPS], note &told)
        {
            const int lane = threadIdx.x % warp_lanes;
            uint32_t own[GROUPS];
#pragma unroll
            for (int g = 0; g < GROUPS; ++g) own[g] = walk.own_lists(g);
            if (walk.copies == 1) {
                const int32_t first = run_at(), end = min(first + walk.run, last() + 1);
                const uint32_t lists = this->lists();
                tell_bitmaps(told, 0);
                advance();
                if (lane) return;
                told.first[0] = first;
                told.end[0] = end;
                told.lists[0] = lists;
                told.clears = end < slat_min(first + walk.run, p.tk);
#pragma unroll
                for (int g = 0; g < GROUPS; ++g) {
                    const int32_t from = position + g * group_rows;
                    sight[g] = !some(first, lists, own[g], from)      ? sees_none
                               : all(first, end, lists, own[g], from) ? sees_all
                                                                      : sees_part;
                }
                if (hides(lists >> 16, sight)) told.clears = true;
                return;
            }
            int32_t first = (int32_t)p.tk, end = first; /* past the end: comes as 0 */
            uint32_t lists = 0;
            for (int n = 0; n < walk.copies && more(); ++n) {
                if (lane == n) {
                    first = run_at();
                    end = min(first + walk.run, last() + 1);
                    lists = this->lists();
                }
                tell_bitmaps(told, n);
                __syncwarp();
                advance();
            }
            const bool mine = lane < walk.copies;
            if (mine) {
                told.first[lane] = first;
                told.end[lane] = end;
                told.lists[lane] = lists;
            }
            const bool clears = __any_sync(~0u, mine && end < slat_min(first + walk.run, p.tk));
            if (lane == 0) told.clears = clears;
#pragma unroll
            for (int g = 0; g < GROUPS; ++g) {
                const int32_t from = position + g * group_rows;
                const bool any = __any_sync(~0u, mine && some(first, lists, own[g], from));
                const bool whole = __all_sync(~0u, !mine || all(first, end, lists, own[g], from));
                if (lane == 0) sight[g] = !any ? sees_none : whole ? sees_all : sees_part;
            }
            if constexpr (bitmaps) {
                const bool parts = __any_sync(~0u, lists >> 16);
                if (lane == 0 && hides(parts, sight)) told.clears = true;
            }
        }
    };

    /* The lists of a group's queries. */
    __device__ __forceinline__ uint32_t own_lists(int group) const
    {
        const int many = lists / GROUPS;
        return lists == 1 ? 1 : ((1u << many) - 1) << group * many;
    }

    struct rows_of_lists : rows_of_runs<block_rows> {
        int32_t position[2];
        int list[2];

        __device__ __forceinline__ rows_of_lists(const slat_problem &p, const block_rows &walk, const work_item &item,
                                                 int row)
            : rows_of_runs<block_rows>(walk)
        {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                position[r] = p.layout.causal ? item.first + row + 8 * r + (int32_t)(p.tk - p.tq) : INT32_MAX - 1;
                list[r] = (row + 8 * r) >> walk.rows_shift;
            }
        }

        __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
        {
            const block_rows &walk = *this->walk;
            mask[0] = mask[1] = 0;
#pragma unroll 1
            for (int n = 0; n < walk.copies; ++n) {
                const int32_t first = told.first[n], end = told.end[n];
                const uint32_t lists = told.lists[n];
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    const int32_t width = min(end, position[r] + 1) - first;
                    mask[r] |= walk.run_columns(n, lists >> list[r] & 1 ? width : 0);
                }
            }
        }
    };

    typedef std::conditional_t<bitmaps, rows_with_bitmaps<block_rows>, rows_of_lists> rows;
};

} // namespace sm90
#endif
