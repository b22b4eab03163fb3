/* Where dq is added up: in f32, for a few sets of heads at a time, so that the sums stay in the cache.
 *
 * Sets take turns in `slots` places. A place is cleared before a set adds to it: for the first sets while their first
 * tiles are under way, by the consumers before they begin (the first set) and by a spare warp of each block (the
 * others). When all items of a set are done, the spare warps turn its sums into dq, a tile of 64 rows at a time, and
 * clear them for the set that comes next in the place; consumers that find no more items help. Items and tiles are
 * given away in order, and each waits for earlier ones alone, so that some block can always go on.
 */
#ifndef SLAT_SM90_GRAD_SUMS_CUH
#define SLAT_SM90_GRAD_SUMS_CUH
#include "grad_room.cuh"

namespace sm90
{

/* The consumers' first product; the spare warp waits for it. */
constexpr int first_product_barrier = 6, first_product_threads = 2 * group_threads + warp_lanes;

/* Waits, with the whole warp, until a counter has reached `count`, and with it whatever was written before. */
__device__ __forceinline__ void wait_for(const int32_t *counter, int32_t count)
{
    if (threadIdx.x % warp_lanes == 0)
        while (counter_read(counter) < count) __nanosleep(100);
    __syncwarp();
    proxy_fence_all();
}

/* Says so to the other blocks, once every lane is through. */
__device__ __forceinline__ void tell(int32_t *counter)
{
    proxy_fence_all();
    __syncwarp();
    if (threadIdx.x % warp_lanes == 0) counter_add(counter);
}

/* A whole warp takes a number. */
__device__ __forceinline__ int claim(int32_t *counter)
{
    int n = 0;
    if (threadIdx.x % warp_lanes == 0) n = atomicAdd(counter, 1);
    return __shfl_sync(~0u, n, 0);
}

/* Tiles of 64 rows. */
struct sum_tiles {
    int head;          /* of a head */
    int set;           /* of a set's heads: all but the last set have so many */
    int first, places; /* of the first set; of all places */
    int all;           /* of dq */

    __device__ __forceinline__ sum_tiles(const slat_problem &p, const grad_call &call)
        : head(call.rows.count / 64), set(call.set_heads * head)
    {
        all = (int)(p.b * p.hq) * head;
        first = min(set, all);
        places = min(call.slots * set, all);
    }
};

/* From a head's number, b Hq + h, to its number in `sums`. */
__device__ __forceinline__ int sums_shift(const grad_call &call, int set)
{
    return (set % call.slots - set) * call.set_heads;
}

/* Until the place of a set is clear. */
__device__ __forceinline__ void wait_for_place(const slat_problem &p, const grad_call &call, int set)
{
    const sum_tiles tiles(p, call);
    wait_for(call.emptied + set, set < call.slots ? min(tiles.set, tiles.all - set * tiles.set) : tiles.set);
}

/* Until all items of a set are done. */
__device__ __forceinline__ void wait_for_items(const grad_call &call, int set)
{
    wait_for(call.done + set, call.tiles * min(call.group, call.heads - set * call.group));
}

/* Clears a tile of a place that nothing has been added to: one warp. */
template <int D> __device__ __forceinline__ void clear_sums(const grad_call &call, const sum_tiles &tiles, int tile)
{
    float4 *const to = (float4 *)(call.sums + (int64_t)tile * (64 * D));
#pragma unroll 4
    for (int i = threadIdx.x % warp_lanes; i < 64 * D / 4; i += warp_lanes) to[i] = make_float4(0, 0, 0, 0);
    tell(call.emptied + tile / tiles.set);
}

/* The first set's place: any warps. */
template <int D> __device__ __forceinline__ void clear_first_sums(const slat_problem &p, const grad_call &call)
{
    const sum_tiles tiles(p, call);
    for (int n; (n = claim(call.begun)) < tiles.first;) clear_sums<D>(call, tiles, n);
}

/* Clears the other places, then turns sums into dq until none are left: one warp. Sums come through shared memory, 32
 * rows of 64 columns at a time. It begins after the block's first product, whose operands the zeros would hold up. */
template <class T, int D, class Walk>
__device__ __forceinline__ void convert_sums(key_room<D, true, Walk> &s, const slat_problem &p, const grad_call &call,
                                             bool fine)
{
    typedef grad_shape<D> shape;
    constexpr int floats = 32 * chunk, pieces = D / 32; /* of a tile */
    const int lane = threadIdx.x % warp_lanes;
    const sum_tiles tiles(p, call);
    const int others = tiles.places - tiles.first;
    const float scale = call.scale;
    uint32_t taken = 0; /* pieces */
    named_sync(first_product_barrier, first_product_threads);
    for (;;) {
        const int n = claim(call.claimed), unit = n - others;
        if (unit < 0) {
            clear_sums<D>(call, tiles, tiles.first + n);
            continue;
        }
        if (unit >= tiles.all) break;
        const int head = unit / tiles.head, set = head / call.set_heads, first = (unit - head * tiles.head) * 64;
        const int b = head / p.hq;
        uint16_t *const rows_to =
            (uint16_t *)p.grad_q.data + lane % 4 * 2 + slat_offset(&p.grad_q, b, slat_at(0, 0, 0), head - b * p.hq);
        wait_for_items(call, set);
        float *const from = call.sums + ((int64_t)(head + sums_shift(call, set)) * tiles.head * 64 + first) * D;
        auto fetch = [&](int piece) {
            if (lane) return;
            uint64_t *const full = &s.back_full[piece & 1];
            barrier_expect(full, floats * sizeof(float));
            load_bytes(s.back[piece & 1], from + piece * floats, floats * sizeof(float), full);
        };
        fetch(0);
        fetch(1);
        const bool again = set + call.slots < call.sets;
#pragma unroll 1
        for (int piece = 0; piece < pieces; ++piece, ++taken) {
            barrier_wait(&s.back_full[piece & 1], taken >> 1 & 1);
            const uint8_t *const x = s.back[piece & 1];
#pragma unroll 1
            for (int rows = 0; rows < 4; ++rows) { /* 8 of them */
                const int row = first + piece % 2 * 32 + rows * grad_group + lane / 4;
                slat_point at;
                if (!call.rows.query(row, at)) continue;
                uint16_t *const to = rows_to + slat_offset(&p.grad_q, 0, at, 0) + piece / 2 * shape::part;
                const int width = p.d - piece / 2 * shape::part;
                const float2 *const y = (const float2 *)x + (fine ? rows * (shape::part * 4) + lane
                                                                  : rows / 2 * (shape::part * 8) + lane * 2 + rows % 2);
#pragma unroll
                for (int j = 0; j < shape::part / 8; ++j) {
                    const float2 z = y[j * (fine ? 32 : 64)];
                    if (j * 8 < width) *(uint32_t *)(to + j * 8) = pack(T(), z.x * scale, z.y * scale);
                }
            }
            if (again)
#pragma unroll 1
                for (int i = lane; i < floats / 4; i += warp_lanes)
                    ((float4 *)(from + piece * floats))[i] = make_float4(0, 0, 0, 0);
            __syncwarp();
            if (piece + 2 < pieces) fetch(piece + 2);
        }
        if (again) tell(call.emptied + set + call.slots);
    }
}

/* The same by a group of 128 threads that has many registers: a warp takes 16 of a tile's rows. */
template <class T, int D, class Walk>
__device__ __forceinline__ void convert_sums_together(key_room<D, true, Walk> &s, const slat_problem &p,
                                                      const grad_call &call, int group, bool fine)
{
    const int thread = threadIdx.x % group_threads, lane = thread % warp_lanes, warp = thread / warp_lanes;
    const sum_tiles tiles(p, call);
    const int others = tiles.places - tiles.first;
    for (int turn = 0;; turn ^= 1) {
        if (warp == 0) {
            const int n = claim(call.claimed);
            if (n < others)
                clear_sums<D>(call, tiles, tiles.first + n);
            else if (n - others < tiles.all)
                wait_for_items(call, (n - others) / tiles.head / call.set_heads);
            if (lane == 0) s.unit[group][turn] = n - others;
        }
        named_sync(4 + group, group_threads);
        const int unit = s.unit[group][turn];
        if (unit < 0) continue;
        if (unit >= tiles.all) break;
        const int head = unit / tiles.head, set = head / call.set_heads;
        const int first = (unit - head * tiles.head) * 64 + warp * 16, row = first + lane / 4;
        float *const from =
            call.sums + (int64_t)(head + sums_shift(call, set)) * tiles.head * (64 * D) + grad_place<D>(first, 0);
        uint16_t *to[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            slat_point at;
            to[r] = NULL;
            if (call.rows.query(row + 8 * r, at))
                to[r] = (uint16_t *)p.grad_q.data + lane % 4 * 2 + slat_offset(&p.grad_q, head / p.hq, at, head % p.hq);
        }
#pragma unroll
        for (int part = 0; part < D / chunk; ++part) {
            float2 x[2][chunk / 8]; /* of rows 8 apart */
#pragma unroll
            for (int j = 0; j < chunk / 8; ++j) {
                const float2 *const y = (const float2 *)(from + part * (64 * chunk));
                x[0][j] = __ldcg(y + (fine ? j * 32 + lane : j * 64 + lane * 2));
                x[1][j] = __ldcg(y + (fine ? (chunk / 8 + j) * 32 + lane : j * 64 + lane * 2 + 1));
            }
#pragma unroll
            for (int r = 0; r < 2; ++r)
#pragma unroll
                for (int j = 0; j < chunk / 8; ++j)
                    if (to[r] && part * chunk + j * 8 < p.d)
                        *(uint32_t *)(to[r] + part * chunk + j * 8) =
                            pack(T(), x[r][j].x * call.scale, x[r][j].y * call.scale);
        }
        if (set + call.slots < call.sets) {
            __syncwarp();
#pragma unroll 1
            for (int part = 0; part < D / chunk; ++part)
#pragma unroll 1
                for (int i = lane; i < 16 * chunk / 4; i += warp_lanes)
                    ((float4 *)(from + part * (64 * chunk)))[i] = make_float4(0, 0, 0, 0);
            proxy_fence_all();
            named_sync(4 + group, group_threads);
            if (thread == 0) counter_add(call.emptied + set + call.slots);
        }
    }
}

} // namespace sm90
#endif
