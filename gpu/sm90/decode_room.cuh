/* What the warps of a decode step share: rings of keys and values in shared memory, and what their rows are. */
#ifndef SLAT_SM90_DECODE_ROOM_CUH
#define SLAT_SM90_DECODE_ROOM_CUH
#include "any/softmax.cuh"
#include "decode_walk.cuh"
#include "ptx.cuh"
#include "ring.cuh"

namespace sm90
{

constexpr int lanes = 32;
constexpr int decode_producers = 4, decode_consumers = 4; /* warps: two for K, two for V; a warp group each */
constexpr int merge_threads = decode_consumers * lanes;
constexpr int decode_threads = (decode_producers + decode_consumers) * lanes;

/* For heads of up to D channels. A row is followed by 16 unused bytes, so that eight rows of it meet no bank twice. */
template <int D> struct decode_shape {
    static constexpr int blocks = D <= 128 ? 2 : 1; /* a multiprocessor */
    static constexpr int row_bytes = 2 * D + 16, tile_bytes = decode_tile * row_bytes;
    static constexpr int stages = D <= 64 ? 5 : D <= 96 ? 4 : D <= 192 ? 3 : 2;
    static constexpr int pieces = D / 8;                                   /* of a row, 16 bytes each */
    static constexpr int depth = D / 16, query_bytes = 16 * depth * lanes; /* of 16 rows */
};

/* What rows compare of a tile's keys. */
struct decode_note {
    int32_t position[decode_tile], until[decode_tile];
};

/* Where a block's warps learn what comes next: the first producer takes units of work, the others are told. */
struct decode_queue {
    static constexpr int slots = 2;
    int32_t unit[slots];
    uint64_t full[slots], empty[slots];
};

/* A warp's place in the queue. */
struct decode_turn {
    ring<decode_queue::slots> place;

    __device__ __forceinline__ void tell(decode_queue &queue, int32_t unit)
    {
        barrier_wait(&queue.empty[place.slot], place.parity ^ 1);
        if (threadIdx.x % lanes == 0) {
            queue.unit[place.slot] = unit;
            barrier_arrive(&queue.full[place.slot]);
        }
        place.advance();
    }

    __device__ __forceinline__ int32_t hear(decode_queue &queue)
    {
        barrier_wait(&queue.full[place.slot], place.parity);
        const int32_t unit = __shfl_sync(~0u, queue.unit[place.slot], 0); /* waits for the load, which an arrival may
                                                                             overtake */
        barrier_arrive(&queue.empty[place.slot]);
        place.advance();
        return unit;
    }
};

/* Followed by the queries, decode_shape::query_bytes for each 16 rows, and by what a walk needs. */
template <int D> struct decode_room {
    typedef decode_shape<D> shape;
    static constexpr int sum_width = D + 8; /* floats of a row of sums; eight rows meet no bank twice */
    typedef float sum_rows[16][sum_width];
    static_assert(2 * sizeof(sum_rows) == shape::tile_bytes, "the sums of two consumers take the place of a tile");

    alignas(16) uint8_t k[shape::stages][shape::tile_bytes];
    alignas(16) uint8_t v[shape::stages][shape::tile_bytes];
    decode_note note[shape::stages];
    uint64_t k_full[shape::stages], k_empty[shape::stages], v_full[shape::stages], v_empty[shape::stages];
    decode_queue queue;
    float top[decode_consumers][16], sum[decode_consumers][16];
    int32_t last; /* this block has added the last part of an item */

    /* What a consumer has added up of o, when the keys are through: in the place of the last tile. */
    __device__ __forceinline__ sum_rows &sums(int consumer, int k_slot, int v_slot)
    {
        uint8_t *const tile = consumer < 2 ? k[k_slot] : v[v_slot];
        return ((sum_rows *)tile)[consumer % 2];
    }
};

/* What a launch shares. Unit n is part n / items of item n % items. Partial results of row r: number n * rows + r. */
struct decode_call {
    int32_t items, parts; /* every item's keys are cut into so many parts */
    int32_t rows;         /* of an item, at most */
    int32_t row_groups;   /* of 16 rows: 1, 2 or 4 */
    float scale;          /* of q.k, in powers of 2 */
    int32_t width;        /* of a partial row of o: dv, rounded up to 4 */
    int32_t *next;        /* units that were taken, beyond the first one of every block; NULL: there are no others */
    int32_t *done;        /* [items]: parts that are through; parts of 1: NULL, like the partial results */
    float2 *states;       /* top and sum */
    float *o;
};

/* Row r of an item: its query and its head. */
__device__ __forceinline__ bool decode_row_at(const decode_item &item, int r, int &query, int &h)
{
    query = r / item.heads;
    h = item.h + r - query * item.heads;
    return query < item.queries;
}

__device__ __forceinline__ slat_point decode_point(const decode_item &item, int query)
{
    return slat_at(item.x, item.y, item.z + query * item.apart);
}

} // namespace sm90
#endif
