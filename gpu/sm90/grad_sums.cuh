/* Where dq is added up: in f32, for a few sets of heads at a time, so that the sums stay in the cache.
 *
 * Sets take turns in `slots` places. When all items of a set are done, warps of any block turn its sums into dq and
 * clear them, a tile of 64 rows at a time; an item of a set waits until the set before it in its place is cleared.
 * Items and tiles are given away in order, and each waits for earlier ones alone, so that some block can always go on.
 */
#ifndef SLAT_SM90_GRAD_SUMS_CUH
#define SLAT_SM90_GRAD_SUMS_CUH
#include "grad_room.cuh"

namespace sm90
{

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

/* From a head's number, b Hq + h, to its number in `sums`. */
__device__ __forceinline__ int sums_shift(const grad_call &call, int set)
{
    return (set % call.slots - set) * call.set_heads;
}

/* Until the place of a set is empty. */
__device__ __forceinline__ void wait_for_place(const slat_problem &p, const grad_call &call, int set)
{
    if (set >= call.slots) wait_for(call.emptied + set - call.slots, call.set_heads * (int32_t)(grad_rows(p.tq) / 64));
}

/* Turns sums into dq until none are left: one warp. They come through shared memory, 32 rows of 64 columns at a time.
 */
template <class T, int D, class Walk>
__device__ __forceinline__ void convert_sums(key_room<D, true, Walk> &s, const slat_problem &p, const grad_call &call,
                                             bool fine)
{
    typedef grad_shape<D> shape;
    constexpr int floats = 32 * chunk, pieces = D / 32; /* of a tile */
    const int lane = threadIdx.x % warp_lanes;
    const int tiles = (int)(grad_rows(p.tq) / 64), work = (int)(p.b * p.hq) * tiles;
    const float scale = call.scale;
    uint32_t taken = 0; /* pieces */
    for (;;) {
        int unit = 0;
        if (lane == 0) unit = atomicAdd(call.claimed, 1);
        unit = __shfl_sync(~0u, unit, 0);
        if (unit >= work) break;
        const int head = unit / tiles, set = head / call.set_heads, first = (unit - head * tiles) * 64;
        wait_for(call.done + set, call.tiles * min(call.group, call.heads - set * call.group));
        float *const from = call.sums + ((int64_t)(head + sums_shift(call, set)) * tiles * 64 + first) * D;
        auto fetch = [&](int piece) {
            if (lane) return;
            uint64_t *const full = &s.back_full[piece & 1];
            barrier_expect(full, floats * sizeof(float));
            load_bytes(s.back[piece & 1], from + piece * floats, floats * sizeof(float), full);
        };
        fetch(0);
        fetch(1);
#pragma unroll 1
        for (int piece = 0; piece < pieces; ++piece, ++taken) {
            barrier_wait(&s.back_full[piece & 1], taken >> 1 & 1);
            const uint8_t *const x = s.back[piece & 1];
#pragma unroll 1
            for (int rows = 0; rows < 4; ++rows) { /* 8 of them */
                const int row = first + piece % 2 * 32 + rows * grad_group + lane / 4;
                if (row >= p.tq) continue;
                const slat_point at = slat_at(0, 0, row);
                uint16_t *const to = (uint16_t *)p.grad_q.data + slat_offset(&p.grad_q, head / p.hq, at, head % p.hq) +
                                     piece / 2 * shape::part + lane % 4 * 2;
                const int width = p.d - piece / 2 * shape::part;
                const float2 *const y = (const float2 *)x + (fine ? rows * (shape::part * 4) + lane
                                                                  : rows / 2 * (shape::part * 8) + lane * 2 + rows % 2);
#pragma unroll
                for (int j = 0; j < shape::part / 8; ++j) {
                    const float2 z = y[j * (fine ? 32 : 64)];
                    if (j * 8 < width) *(uint32_t *)(to + j * 8) = pack(T(), z.x * scale, z.y * scale);
                }
            }
            if (set + call.slots < call.sets)
#pragma unroll 1
                for (int i = lane; i < floats / 4; i += warp_lanes)
                    ((float4 *)(from + piece * floats))[i] = make_float4(0, 0, 0, 0);
            __syncwarp();
            if (piece + 2 < pieces) fetch(piece + 2);
        }
        tell(call.emptied + set);
    }
}

} // namespace sm90
#endif
