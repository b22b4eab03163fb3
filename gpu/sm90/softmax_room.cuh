/* What the warps of the softmax loop share: work items, notes of tiles, rings in shared memory. */
#ifndef SLAT_SM90_SOFTMAX_ROOM_CUH
#define SLAT_SM90_SOFTMAX_ROOM_CUH
#include "ring.cuh"
#include "walk.h"
#include "wgmma.cuh"

namespace sm90
{

constexpr int tile_rows = 128, group_rows = 64, softmax_threads = 384;
constexpr int warp_lanes = 32, group_threads = 128;

/* The largest power of 2 that divides n and is at most `limit`, as an exponent. */
inline int twos(int n, int limit)
{
    int shift = 0;
    while (n % (2 << shift) == 0 && 2 << shift <= limit) ++shift;
    return shift;
}

/* What a group's queries see of a tile. */
enum sight : int32_t { sees_none, sees_part, sees_all };

/* The queries of a tile, 128 or 192, of head h: on a sequence from `first`; on a grid a box from (x, y, first), counted
 * in q. Items end with one whose `work` is 0. */
struct work_item {
    int32_t work, x, y, first, h, b;
    int32_t tiles; /* 0: the queries see nothing */
    int32_t part;  /* by key: which part of its queries it is for, from 1; 0: it is for all of them */
};

/* Tiles for heads of up to D channels. */
template <int D> struct tile_shape {
    static constexpr int keys = D <= 128 ? 128 : 64;
    static constexpr int chunks = (D + chunk - 1) / chunk;
    static constexpr int part = D % 128 == 0 ? 128 : D == 96 ? 96 : 64, parts = D / part; /* of O: columns a product */
    static constexpr int key_bytes = chunks * keys * row_bytes;
};

/* The loop of a walk whose items have Walk::groups groups of 64 queries, and as many warp groups that consume: two, or
 * three where heads are narrow enough for three groups' accumulators. */
template <int D, class Walk> struct forward_shape : tile_shape<D> {
    static constexpr int groups = Walk::groups, rows = groups * group_rows, threads = (groups + 1) * group_threads;
    static constexpr int stages = D > 64 ? 2 : groups == 3 ? 5 : 4, queries = D <= 128 ? 2 : 1; /* buffers */
    static constexpr bool turns = D <= 64 && groups == 2; /* at the tensor cores, tile by tile */
    static constexpr int registers = groups == 3 ? 160 : 232, producer_registers = groups == 3 ? 32 : 40; /* a thread */
    static constexpr int query_bytes = tile_shape<D>::chunks * rows * row_bytes;
};

/* Groups of a walk that has any number of them. */
template <int D> constexpr int most_groups = D <= 64 ? 3 : 2;

/* What the copies of a tile of K, or of V, bring. */
template <int D, class Walk> __device__ __forceinline__ int copied_bytes(const Walk &walk, bool values)
{
    typedef tile_shape<D> shape;
    if constexpr (Walk::gaps) return shape::chunks * walk.copies * row_bytes * walk.rows_of_copy(values);
    return shape::key_bytes;
}

/* What the producers and the consumers are told of a tile. */
template <class Walk> struct tile_note {
    int32_t item;   /* its slot; -1: there are no more tiles */
    int32_t begins; /* it is its item's first tile */
    int32_t sights; /* two bits a group, and above them whether its item has another tile */
    typename Walk::note tile;
};

template <int D, class Walk> struct forward_room {
    typedef forward_shape<D, Walk> shape;
    static constexpr int notes = 8, items = 4;

    alignas(1024) uint8_t q[shape::queries][shape::query_bytes]; /* O goes out through the rows of its Q */
    alignas(1024) uint8_t k[shape::stages][shape::key_bytes];
    alignas(1024) uint8_t v[shape::stages][shape::key_bytes];
    uint64_t q_full[shape::queries], q_empty[shape::queries];
    uint64_t k_full[shape::stages], k_empty[shape::stages], v_full[shape::stages], v_empty[shape::stages];
    uint64_t item_full[items], item_done[items], item_empty[items];
    uint64_t note_full[notes], note_empty[notes];
    work_item item[items];
    tile_note<Walk> note[notes];
    float lse[items][shape::rows]; /* until it is written */
};

/* What a launch shares. */
struct forward_call {
    int32_t tiles, heads, group; /* work: tiles of queries, heads of all batch
                                    entries; heads that are taken together */
    int32_t small;               /* tiles, from the first one on, that are small work */
    float scale;                 /* of q.k, in powers of 2 */
    int32_t *next;               /* the next work item, 0 at first; NULL: a block has one */
    int32_t plain;               /* o is written by plain stores: it is f32, or its rows do not lie in boxes */
};

} // namespace sm90
#endif
