/* Sharded (S2) attention by key: the queries that see 128 keys.
 *
 * Keys are taken in slices, at most half of the 128, that no end of a block cuts. Those of the head's shard, which all
 * later queries see, come first; the others, which few do, after them: so both warp groups have keys of one kind, and
 * see nearly the same queries. Where windows are long, or blocks no multiples of 8 keys, keys come in their order. A
 * lane knows what sees one of the slices; the next run of queries is the nearest one of any lane.
 *
 * Where dq is added up, the shard's keys of a long sequence come once for each part of their queries, and with them the
 * other keys of that part: what runs side by side then adds to sums that the cache holds.
 */
#ifndef SLAT_SM90_SHARD_COLUMNS_CUH
#define SLAT_SM90_SHARD_COLUMNS_CUH
#include "query_parts.cuh"
#include "runs_of_queries.cuh"
#include "shards.cuh"

namespace sm90
{

/* Of an item, `x` is the number of the shard's slices, negative where keys come in their order, and `y` its first
 * block, negative where the head is dense. */
struct shard_columns : runs_of_queries {
    int32_t block, blocks;                             /* keys of a block; blocks of a head */
    int32_t slice, slice_shift;                        /* keys of a slice */
    int32_t slices, of_block;                          /* slices of a head, of a block */
    bool whole;                                        /* no end of a block cuts a slice */
    bool sorts;                                        /* the shard's slices come first */
    int32_t local, stride;                             /* in blocks */
    divisor by_slices, by_block, by_stride, by_others; /* others: blocks of a stride that are not in the shard */
    int32_t far_items;                                 /* of a head: those that have slices of the shard */
    static constexpr bool parts_queries = true;
    query_parts parts;

    /* In tiles of `queries`. */
    static shard_columns of(const slat_problem &p, int queries, bool in_parts)
    {
        shard_columns walk = {};
        walk.block = shard_block(p);
        walk.blocks = (int32_t)((p.tk + walk.block - 1) / walk.block);
        walk.whole = walk.block % 8 == 0;
        walk.slice_shift = walk.whole ? twos(walk.block, group_rows) : 3;
        walk.slice = 1 << walk.slice_shift;
        walk.slices = (int32_t)((p.tk + walk.slice - 1) / walk.slice);
        walk.of_block = walk.block >> walk.slice_shift;
        walk.local = slat_min(p.shards.local_blocks, walk.blocks);
        walk.stride = slat_min(p.shards.stride, walk.blocks + 1); /* a longer one makes no difference */
        walk.sorts = walk.whole && walk.stride > 1 && walk.local <= walk.blocks / 2;
        walk.by_slices = divisor::of(slat_max(walk.of_block, 1));
        walk.by_block = divisor::of(walk.block);
        walk.by_stride = divisor::of(walk.stride);
        walk.by_others = divisor::of(slat_max(walk.stride - 1, 1));
        /* runs that blocks end with, but for short ones */
        const int64_t ends = (p.tk - p.tq) | walk.block;
        walk.cut((int32_t)slat_min(slat_max(ends & -ends, 16), group_rows), queries, group_rows);
        const int64_t shard = (walk.blocks + walk.stride - 1) / walk.stride * (int64_t)walk.block;
        if (walk.sorts) walk.far_items = (int32_t)((slat_min(shard, p.tk) + tile_rows - 1) / tile_rows);
        if (in_parts && walk.sorts && p.tq == p.tk) walk.parts = query_parts::of(p, walk.block, walk.blocks);
        return walk;
    }

    __device__ __forceinline__ void place(const slat_problem &p, work_item &item, int n) const
    {
        place_keys(p, item, parts.count ? parts.take(item, n) : n);
    }

    __device__ __forceinline__ void place_keys(const slat_problem &p, work_item &item, int tile) const
    {
        item.first = tile * tile_rows;
        item.x = -1;
        item.y = shard_offset(p.shards, item.h);
        if (item.y > 0) item.y = p.shards.stride - item.y;
        if (!sorts || item.y < 0) return;
        const int32_t behind = blocks - 1 - item.y; /* blocks after the first one */
        item.x = 0;
        if (behind < 0) return;
        const int32_t more = by_stride.of_number(behind);
        item.x = (more + 1) * of_block;
        if (behind == more * stride) item.x -= blocks * of_block - slices; /* the last block may be short */
    }

    /* The first key of an item's slice; past the last key where it has none. */
    __device__ __forceinline__ int32_t key(const work_item &item, int n) const
    {
        int32_t at = (item.first >> slice_shift) + n;
        if (item.x < 0 || at >= slices) return at << slice_shift;
        const bool far = at < item.x;
        if (!far) at -= item.x;
        int32_t b = by_slices.of_number(at);
        const int32_t part = at - b * of_block;
        if (far)
            b = item.y + b * stride;
        else if (b >= item.y)
            b += 1 + by_others.of_number(b - item.y);
        return b * block + (part << slice_shift);
    }

    __device__ __forceinline__ bool key_place(const slat_problem &p, const work_item &item, int row,
                                              slat_point &at) const
    {
        at = slat_at(0, 0, key(item, row >> slice_shift) + (row & (slice - 1)));
        return at.z < p.tk;
    }

    /* The last position that sees a key, or one behind all queries. */
    __device__ __forceinline__ int32_t until(const slat_problem &p, const work_item &item, int32_t key) const
    {
        const int32_t behind = (int32_t)p.tk + tile_rows, b = by_block.of_number(key), after = b - item.y;
        if (item.y < 0 || b + local >= blocks) return behind;
        if (after >= 0 && after == by_stride.of_number(after) * stride) return behind;
        return (b + local) * block - 1;
    }

    __device__ __forceinline__ int slices_of_group() const { return group_rows >> slice_shift; }

    struct cursor {
        const slat_problem &p;
        const shard_columns &walk;
        int32_t first, last;         /* runs of queries that see some of this lane's slice */
        int32_t all_first, all_last; /* and all of it */
        int32_t at;                  /* the next run; INT32_MAX: none is left */
        int head, last_head;
        bool clears_keys;

        __device__ __forceinline__ cursor(const slat_problem &p, const shard_columns &walk, const work_item &item)
            : p(p), walk(walk)
        {
            const int lane = threadIdx.x % warp_lanes;
            const int32_t shift = (int32_t)(p.tk - p.tq);
            first = all_first = INT32_MAX;
            last = all_last = -1;
            bool clears = false;
            const int32_t key = lane < tile_rows >> walk.slice_shift ? walk.key(item, lane) : (int32_t)p.tk;
            if (key < p.tk) {
                const int32_t end = key + walk.slice;
                int32_t greatest = walk.until(p, item, key), least = greatest;
                if (!walk.whole)
#pragma unroll 1
                    for (int32_t k = key + 1; k < min(end, (int32_t)p.tk); ++k) {
                        const int32_t until = walk.until(p, item, k);
                        greatest = max(greatest, until);
                        least = min(least, until);
                    }
                clears = least < shift;
                first = max(key - shift, 0) >> walk.run_shift;
                last = min(greatest - shift, (int32_t)p.tq - 1) >> walk.run_shift;
                if (end <= p.tk) {
                    all_first = (end - 1 - shift + walk.run - 1) >> walk.run_shift;
                    all_last = ((least - shift + 1) >> walk.run_shift) - 1;
                }
            }
            if (item.part) {
                first = max(first, walk.parts.first(item) >> walk.run_shift);
                last = min(last, (walk.parts.end(item) >> walk.run_shift) - 1);
            }
            clears_keys = __any_sync(~0u, clears);
            const int heads = p.hq / p.hk;
            head = item.h * heads;
            last_head = head + heads - 1;
            at = -1;
            advance();
        }

        __device__ __forceinline__ bool more() const
        {
            return at != INT32_MAX;
        }

        /* Leaves the run in hand. */
        __device__ __forceinline__ void advance()
        {
            for (;;) {
                const int32_t own = max(at + 1, first);
                at = (int32_t)__reduce_min_sync(~0u, (unsigned)(own <= last ? own : INT32_MAX));
                if (more() || head == last_head) return;
                if (!__any_sync(~0u, first <= last)) return; /* no query sees any key */
                ++head;
                at = -1;
            }
        }

        __device__ __forceinline__ void next(int32_t (&sight)[2], note &told)
        {
            const int lane = threadIdx.x % warp_lanes, from = head;
            const int32_t shift = (int32_t)(p.tk - p.tq);
            int32_t run = (int32_t)((p.tq + 63) / 64 * 64);
            bool some = false, all = true;
            int n = 0;
            for (; n < walk.copies && more() && head == from; ++n) {
                if (lane == n) run = at << walk.run_shift;
                some |= at >= first && at <= last;
                all &= at >= all_first && at <= all_last;
                __syncwarp();
                advance();
            }
            if (lane < walk.copies) told.first[lane] = run;
            const bool clears = __any_sync(~0u, run + shift < 0);
            if (lane == 0) {
                told.head = from;
                told.clears_queries = clears;
                told.clears_keys = clears_keys;
            }
            clears_keys = false;
#pragma unroll
            for (int g = 0; g < 2; ++g) {
                const bool own = lane >> (6 - walk.slice_shift) == g;
                const bool any = __any_sync(~0u, own && some);
                const bool whole = __all_sync(~0u, !own || all);
                if (lane == 0) sight[g] = !any ? sees_none : whole ? sees_all : sees_part;
            }
        }
    };

    struct keys {
        const slat_problem &p;
        const shard_columns &walk;
        const work_item &item;
        const int row;

        __device__ __forceinline__ keys(const slat_problem &p, const shard_columns &walk, const work_item &item,
                                        int row, const shared_by_group &)
            : p(p), walk(walk), item(item), row(row)
        {
        }

        __device__ __forceinline__ void mask(const note &told, uint32_t (&mask)[2]) const
        {
#pragma unroll 1
            for (int r = 0; r < 2; ++r) { /* one after the other, to take few registers */
                const int at = row + 8 * r;
                const int32_t first = walk.key(item, at >> walk.slice_shift) + (at & (walk.slice - 1));
                const int32_t until = first < p.tk ? walk.until(p, item, first) : first - 1;
                uint32_t own = 0;
#pragma unroll 1
                for (int n = 0; n < walk.copies; ++n) {
                    const int32_t position = told.first[n] + (int32_t)(p.tk - p.tq);
                    own |= walk.run_columns(n, until + 1 - position) & ~walk.run_columns(n, first - position);
                }
                if (r == 0)
                    mask[0] = own;
                else
                    mask[1] = own;
            }
        }
    };

    /* Zeroes the rows of Q and dO that see nothing: 128 threads. */
    template <int chunks, int queries>
    __device__ __forceinline__ void clear_queries(const slat_problem &p, const note &told, const work_item &,
                                                  uint32_t q, uint32_t grad_o, int thread) const
    {
        zero_rows<chunks, queries>(q, grad_o, 0, queries, thread, [&](int row) { return position(p, told, row) < 0; });
    }

    /* Zeroes a group's rows of K and V that no query sees. */
    template <int chunks>
    __device__ __forceinline__ void clear_keys(const slat_problem &p, const work_item &item, uint32_t k, uint32_t v,
                                               int group, int thread) const
    {
        zero_rows<chunks, tile_rows>(k, v, group * group_rows, group_rows, thread, [&](int row) {
            const int32_t own = key(item, row >> slice_shift) + (row & (slice - 1));
            return own < p.tk && until(p, item, own) < p.tk - p.tq;
        });
    }

    template <int chunks>
    __device__ __forceinline__ void load_keys(const slat_problem &p, uint8_t *to, const CUtensorMap *map,
                                              uint64_t *barrier, const work_item &item) const
    {
#pragma unroll 1
        for (int n = 0; n < 2 * slices_of_group(); ++n) {
            const int32_t first = key(item, n);
#pragma unroll
            for (int c = 0; c < chunks; ++c)
                load_box(to + (c * tile_rows + (n << slice_shift)) * row_bytes, map, barrier, c * chunk, first, item.h,
                         item.b);
        }
    }

    template <int chunks>
    __device__ __forceinline__ void store_rows(const slat_problem &p, const slat_view &, const CUtensorMap *map,
                                               const uint8_t *from, int width, int group, const work_item &item,
                                               int thread, int threads) const
    {
        for (int i = thread; i < chunks * slices_of_group(); i += threads) {
            const int n = i / chunks, c = i - n * chunks;
            const int32_t first = key(item, group * slices_of_group() + n);
            if (first < p.tk && c * chunk < width)
                store_box(map, from + (c * group_rows + (n << slice_shift)) * row_bytes, c * chunk, first, item.h,
                          item.b);
        }
    }
};

} // namespace sm90
#endif
