/* Which keys a decode step reads, for each primitive.
 *
 * An item is a few queries of one batch entry whose query heads share a key head; its rows are those queries in those
 * heads, `decode_rows` at most. A walk is what a primitive is:
 *   walk.items(p)                the number of items of a call
 *   walk.expected(p)             keys of an item's list, as far as the host knows
 *   walk.place(p, n)             the n-th item
 *   walk.row(p, item, query)     what a query of the item sees
 *   Walk::list(p, walk, item)    the keys that any of the item's rows may see, in tiles of an order of their own
 *     .part(n, parts)            the tiles of the n-th part
 *     .fetch(tile, row)          reads what the place of a tile's key depends on
 *     .key(tile, row, fetched)   the key
 *     .weighs(tile)              whether its values are wanted
 *     .consume(rows, s, at, part)  a consumer's loop over a part; true: it has seen a tile, and `at` holds its slots
 *   Walk::list::scratch(row_groups)  bytes of shared memory that the consumers share for it
 *   Walk::list::producer_registers, consumer_registers  where two blocks share a multiprocessor
 */
#ifndef SLAT_SM90_DECODE_WALK_CUH
#define SLAT_SM90_DECODE_WALK_CUH
#include "walk.h"

namespace sm90
{

constexpr int decode_rows = 64, decode_tile = 64; /* queries in heads; keys */

struct decode_item {
    int32_t b, key_head;
    int32_t h, heads;       /* the first query head, and how many */
    int32_t x, y, z;        /* the first query, counted in q */
    int32_t queries, apart; /* how many, and how far from one another along z */
};

/* A query sees the keys whose position lies from low to high and whose `until` is not below `at`. */
struct decode_sight {
    int32_t low, high, at;
};

constexpr decode_sight sees_nothing = {0, -1, 0};

/* A key where it stands in k's grid (sequences have z alone), and what rows compare. No row sees a position of
 * INT32_MAX: such a key is not read; where `until` is -1 its value is not. */
struct decode_key {
    int32_t x, y, z, position, until;
};

constexpr decode_key no_key = {0, 0, 0, INT32_MAX, 0};

__device__ __forceinline__ decode_key key_at(int32_t position, int32_t until = INT32_MAX)
{
    return {0, 0, position, position, until};
}

struct decode_part {
    int64_t first, end;
};

/* The n-th of so many parts of `all`. */
__device__ __forceinline__ decode_part part_of(int64_t all, int n, int parts)
{
    return {all * n / parts, all * (n + 1) / parts};
}

/* A list of keys by number, for an ordinary softmax. */
struct decode_list {
    static constexpr int producer_registers = 72, consumer_registers = 184;
    uint32_t keys;

    static int scratch(int) { return 0; }

    __device__ __forceinline__ decode_part part(int n, int parts) const
    {
        return part_of(((int64_t)keys + decode_tile - 1) / decode_tile, n, parts);
    }

    static __device__ __forceinline__ bool weighs(int64_t) { return true; }

    template <class Rows, class Room, class Place>
    __device__ __forceinline__ bool consume(Rows &rows, Room &s, Place &at, decode_part part) const
    {
        return rows.run(s, at, part);
    }

    static __device__ __forceinline__ uint32_t number(int64_t tile, int row)
    {
        return (uint32_t)(tile * decode_tile + row);
    }
};

/* All queries of a call, a key head an item. */
__device__ __forceinline__ decode_item whole_item(const slat_problem &p, int32_t n)
{
    const int32_t heads = p.hq / p.hk;
    return {n / p.hk, n % p.hk, n % p.hk * heads, heads, 0, 0, 0, (int32_t)p.tq, 1};
}

/* What the causal query at `position` sees of a sequence. */
__device__ __forceinline__ decode_sight sees_up_to(int64_t position)
{
    return {0, (int32_t)position, (int32_t)position};
}

} // namespace sm90
#endif
