/* How the queries of a long sequence are parted that see a head's shard: its keys come once for each part, and with
 * them the other keys of that part, so that what runs side by side adds to sums of dq that the cache holds.
 *
 * Items are 128 keys, the shard's first. `parted` of them, whole ones of every head's shard, come in parts: at the
 * first part that may see some of them, which also has what lies before it, and at all later ones. The others come
 * once.
 */
#ifndef SLAT_SM90_QUERY_PARTS_CUH
#define SLAT_SM90_QUERY_PARTS_CUH
#include "softmax_room.cuh"

namespace sm90
{

struct query_parts {
    int32_t count;          /* 0: queries are not parted */
    int32_t queries, keys;  /* of a part; keys of the shard among as many tokens, about */
    int32_t parted, others; /* items of a head */

    /* Blocks of `block` keys, `blocks` of them. Where parts would be few there are none. */
    static query_parts of(const slat_problem &p, int32_t block, int32_t blocks)
    {
        constexpr int64_t shortest = 2048, few = 4, many = 64;
        const int64_t stride = p.shards.stride, step = slat_max(block, tile_rows);
        int64_t keys = step;
        while (keys * stride < slat_max(shortest, p.tq / many) || keys * stride % group_rows) keys += step;
        if (p.tq / few < keys * stride) return {};
        query_parts parts = {};
        parts.keys = (int32_t)keys;
        parts.queries = (int32_t)(keys * stride);
        parts.count = (int32_t)((p.tq + parts.queries - 1) / parts.queries);
        parts.parted = (int32_t)(blocks / stride * block / tile_rows);
        parts.others = (int32_t)((p.tk + tile_rows - 1) / tile_rows) - parts.parted;
        return parts;
    }

    /* Parted items that one of the first n parts is the first of; others that come with these parts. */
    __host__ __device__ __forceinline__ int32_t parted_before(int32_t n) const
    {
        return n < count ? (int32_t)slat_min((int64_t)n * keys / tile_rows, parted) : parted;
    }
    __host__ __device__ __forceinline__ int32_t others_before(int32_t n) const
    {
        return n < count ? (int32_t)slat_min((int64_t)n * (queries - keys) / tile_rows, others) : others;
    }

    /* Items of a head, a parted one once for each of its parts. */
    int64_t items() const
    {
        int64_t all = others;
        for (int32_t n = 1; n <= count; ++n) all += parted_before(n);
        return all;
    }

    /* Of the n-th of these: its part; returns its 128 keys. */
    __device__ __forceinline__ int take(work_item &item, int n) const
    {
        for (int32_t part = 1;; ++part) {
            const int32_t far = parted_before(part), before = others_before(part - 1);
            if (n < far) {
                item.part = part;
                return n;
            }
            n -= far;
            const int32_t more = others_before(part) - before;
            if (n < more) return parted + before + n;
            n -= more;
        }
    }

    /* Where a parted item's queries begin and end. */
    __device__ __forceinline__ int32_t first(const work_item &item) const
    {
        return item.first / tile_rows < parted_before(item.part - 1) ? (item.part - 1) * queries : 0;
    }
    __device__ __forceinline__ int32_t end(const work_item &item) const { return item.part * queries; }

    /* A parted item's place among those of all heads. */
    __device__ __forceinline__ int64_t place(const slat_problem &p, const work_item &item) const
    {
        return (int64_t)(item.b * p.hk + item.h) * parted + item.first / tile_rows;
    }
};

} // namespace sm90
#endif
