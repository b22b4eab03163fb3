/* Block-sparse and dense attention by key: the query tiles that see 128 keys.
 *
 * The keys may belong to several block columns, each with a list of query blocks. As in block_rows.cuh a warp merges
 * the lists, one a lane, and fills tiles with runs of queries; query heads of one key head follow each other. Tiles
 * ascend: so the items of a causal head, which run side by side, begin at different queries, and seldom add to one dq
 * at the same time. Bad entries of the transposed layout are left out. Blocks that have bitmaps are seen in part
 * (block_bitmaps.cuh).
 */
#ifndef SLAT_SM90_BLOCK_COLUMNS_CUH
#define SLAT_SM90_BLOCK_COLUMNS_CUH
#include "block_bitmaps.cuh"
#include "block_lists.cuh"

namespace sm90
{

template <bool bitmaps> struct block_columns : block_lists, block_bitmaps<bitmaps> {
    /* As block_lists::find. */
    static block_columns of(const slat_layout &l, const simt::transposed &by_key, int queries)
    {
        block_columns walk = {};
        walk.find(l, by_key, queries);
        if constexpr (bitmaps) walk.find_bitmaps(l, by_key.entry, walk.run);
        return walk;
    }

    struct note : runs_of_queries::note, bitmap_note<bitmaps> {
        uint16_t lists[most_runs]; /* those that name the run */
    };

    /* The bitmap at entry e of a list. */
    __device__ __forceinline__ int32_t bitmap_at(const slat_problem &p, int32_t e) const
    {
        if constexpr (bitmaps) return this->at_entry(p.layout, this->by_key[e]);
        return -1;
    }

    struct cursor {
        const slat_problem &p;
        const block_columns &walk;
        const int32_t first, b; /* of the item */
        int32_t sees;  /* the first query that sees its first key; long before the first one where all see it */
        list own;      /* this lane's list, from the entry in hand on */
        int32_t at[3]; /* what stands there, and at the two after it: fetched two steps ahead */
        int32_t bitmap, next_bitmap;
        int32_t block;       /* the query block in hand; INT32_MAX: the list is through */
        int32_t front, part; /* the least block of all lists, and which of its runs is next; INT32_MAX: none is left */
        uint32_t named;      /* lists at `front` */
        uint32_t parted;     /* those of them that have a bitmap there */
        int head, last_head;
        bool clears_keys;

        __device__ __forceinline__ cursor(const slat_problem &p, const block_columns &walk, const work_item &item)
            : p(p), walk(walk), first(item.first), b(item.b)
        {
            sees = p.layout.causal ? first - (int32_t)(p.tk - p.tq) : INT32_MIN / 2;
            const int lane = threadIdx.x % warp_lanes, heads = p.hq / p.hk;
            bool clears = false;
            if (!bitmaps && lane < walk.lists) {
                const int64_t end = item.first + ((int64_t)(lane + 1) << walk.lists_shift);
                clears = walk.seen_end(p, item, lane) < slat_min(end, p.tk);
            }
            clears_keys = bitmaps || __any_sync(~0u, clears);
            head = item.h * heads;
            last_head = head + heads - 1;
            begin();
            settle();
        }

        /* Turns to the lists of `head`. */
        __device__ __forceinline__ void begin()
        {
            own = walk.list_of(p, first, b, head, threadIdx.x % warp_lanes);
            if (p.layout.indptr) {
                at[0] = INT32_MIN;
                at[1] = walk.fetch(own, own.begin);
                at[2] = walk.fetch(own, own.begin + 1);
                if (bitmaps) next_bitmap = own.begin < own.end ? walk.bitmap_at(p, own.begin) : -1;
            }
            --own.begin;
            step();
        }

        /* Takes the next good entry of this lane's list. */
        __device__ __forceinline__ void step()
        {
            block = INT32_MAX;
            while (++own.begin < own.end) {
                if (!p.layout.indptr) {
                    block = own.begin;
                    return;
                }
                const int32_t before = at[0];
                at[0] = at[1], at[1] = at[2], at[2] = walk.fetch(own, own.begin + 2);
                bitmap = next_bitmap;
                if (bitmaps) next_bitmap = own.begin + 1 < own.end ? walk.bitmap_at(p, own.begin + 1) : -1;
                if (good(p, at[0], before) && !(bitmaps && bitmap < -1)) {
                    block = at[0];
                    return;
                }
            }
        }

        __device__ __forceinline__ int32_t run_at() const { return front * walk.block_q + part * walk.run; }

        /* The first query that sees a key of the lists in `named`. */
        __device__ __forceinline__ int32_t sees_from(uint32_t named) const
        {
            return sees + ((__ffs(named) - 1) << walk.lists_shift);
        }

        /* Whether the run in hand is one of the block's, and has queries. */
        __device__ __forceinline__ bool has_run() const { return part < walk.runs && run_at() < (int32_t)p.tq; }

        /* Finds the least block and its first run whose queries see something. */
        __device__ __forceinline__ void settle()
        {
            for (;;) {
                front = (int32_t)__reduce_min_sync(~0u, (unsigned)block);
                if (front == INT32_MAX) {
                    if (head == last_head) return;
                    ++head;
                    begin();
                    continue;
                }
                named = __ballot_sync(~0u, block == front);
                parted = bitmaps ? __ballot_sync(~0u, block == front && bitmap >= 0) : 0;
                part = 0;
                while (has_run() && run_at() + walk.run <= sees_from(named)) ++part;
                if (has_run()) return;
                if (block == front) step();
            }
        }

        __device__ __forceinline__ bool more() const { return front != INT32_MAX; }

        /* Leaves the run in hand. */
        __device__ __forceinline__ void advance()
        {
            ++part;
            if (has_run()) return;
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
                        parted >> lane & 1 ? walk.bitmap_place(bitmap, part * walk.run, 0) : no_bitmap;
            }
        }

        /* What 64 keys are seen of, by a run. */
        __device__ __forceinline__ bool some(int32_t first, uint32_t named, uint32_t own) const
        {
            return (named & own) && first + walk.run > sees_from(named & own);
        }
        __device__ __forceinline__ bool all(int32_t first, uint32_t named, uint32_t own, int group) const
        {
            const int32_t keys = (group + 1) * group_rows;
            return (named & own) == own && !(bitmaps && named >> 16 & own) && this->first + keys <= (int32_t)p.tk &&
                   first >= sees + keys - 1;
        }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int lane = threadIdx.x % warp_lanes, from = head;
            if (walk.copies == 1) {
                const int32_t first = run_at();
                const uint32_t lists = this->lists();
                tell_bitmaps(told, 0);
                const bool clears = clears_keys;
                clears_keys = false;
                advance();
                if (lane) return;
                told.first[0] = first;
                told.lists[0] = (uint16_t)lists;
                told.head = from;
                told.clears_queries = first < sees_from(lists);
                told.clears_keys = clears;
#pragma unroll
                for (int g = 0; g < 2; ++g) {
                    const uint32_t own = walk.own_lists(g);
                    sight[g] = !some(first, lists, own) ? sees_none : all(first, lists, own, g) ? sees_all : sees_part;
                }
                return;
            }
            int32_t first = (int32_t)((p.tq + 63) / 64 * 64);
            uint32_t lists = 0;
            int n = 0;
            for (; n < walk.copies && more() && head == from; ++n) {
                if (lane == n) {
                    first = run_at();
                    lists = this->lists();
                }
                tell_bitmaps(told, n);
                __syncwarp();
                advance();
            }
            const bool mine = lane < n;
            if (lane < walk.copies) {
                told.first[lane] = first;
                told.lists[lane] = (uint16_t)lists;
            }
            const bool clears = __any_sync(~0u, mine && first < sees_from(lists));
            if (lane == 0) {
                told.head = from;
                told.clears_queries = clears;
                told.clears_keys = clears_keys;
            }
            clears_keys = false;
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const uint32_t own = walk.own_lists(g);
                const bool any = __any_sync(~0u, mine && some(first, lists, own));
                const bool whole = __all_sync(~0u, !mine || all(first, lists, own, g));
                if (lane == 0) sight[g] = !any ? sees_none : whole ? sees_all : sees_part;
            }
        }
    };

    /* The lists of a group's keys. */
    __device__ __forceinline__ uint32_t own_lists(int group) const
    {
        const int half = lists / 2;
        return lists == 1 ? 1 : ((1u << half) - 1) << group * half;
    }

    struct keys_of_lists {
        const slat_problem &p;
        const block_columns &walk;
        const int32_t first; /* of the thread's two keys, 8 apart */
        const int row;

        __device__ __forceinline__ keys_of_lists(const slat_problem &p, const block_columns &walk,
                                                 const work_item &item, int row, const shared_by_group &)
            : p(p), walk(walk), first(item.first + row), row(row)
        {
        }

        __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
        {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int32_t key = first + 8 * r,
                              from = p.layout.causal ? key - (int32_t)(p.tk - p.tq) : -1; /* the first query */
                const int list = (row + 8 * r) >> walk.lists_shift;
                mask[r] = 0;
                if (key >= p.tk) continue;
#pragma unroll 1
                for (int n = 0; n < walk.copies; ++n)
                    if (told.lists[n] >> list & 1)
                        mask[r] |= walk.run_columns(n, walk.run) & ~walk.run_columns(n, from - told.first[n]);
            }
        }
    };

    typedef std::conditional_t<bitmaps, keys_with_bitmaps<block_columns>, keys_of_lists> keys;

    /* Zeroes the rows of Q and dO that see none of the item's keys: 128 threads. */
    template <int chunks, int queries>
    __device__ __forceinline__ void clear_queries(const slat_problem &p, const note &told, const work_item &item,
                                                  uint32_t q, uint32_t grad_o, int thread) const
    {
        zero_rows<chunks, queries>(q, grad_o, 0, queries, thread, [&](int row) {
            const uint32_t lists = told.lists[row >> run_shift];
            return position(p, told, row) < (lists ? item.first + ((__ffs(lists) - 1) << lists_shift) : 0);
        });
    }

    /* Zeroes a group's rows of K and V that no query sees. */
    template <int chunks>
    __device__ __forceinline__ void clear_keys(const slat_problem &p, const work_item &item, uint32_t k, uint32_t v,
                                               int group, int thread) const
    {
        if constexpr (bitmaps)
            clear_hidden_keys<chunks>(p, *this, item, k, v, group, thread);
        else
            zero_rows<chunks, tile_rows>(k, v, group * group_rows, group_rows, thread, [&](int row) {
                return item.first + row >= seen_end(p, item, row >> lists_shift);
            });
    }
};

} // namespace sm90
#endif
