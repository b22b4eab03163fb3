/* dK and dV of keys whose queries came in parts, from the sums that grad_keys added up. */
#ifndef SLAT_SM90_GRAD_PARTED_CUH
#define SLAT_SM90_GRAD_PARTED_CUH
#include "grad_room.cuh"
#include "launch.h"

namespace sm90
{

template <int D> int64_t parted_tiles(int64_t items)
{
    return items * (4 * (D / chunk));
}

/* tiles: of 64 keys and columns, of all heads and of both: a block takes one at a time. */
template <class T, int D, class Walk>
__global__ void __launch_bounds__(slat_block)
    round_parted(const __grid_constant__ slat_problem p, const __grid_constant__ Walk walk,
                 const __grid_constant__ grad_call call, int64_t tiles)
{
    constexpr int parts = D / chunk, threads_of_tile = group_rows / 2 * chunk / 2; /* each has two rows and columns */
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const int64_t n = tile / (4 * parts);
        const int head = (int)(n / walk.parts.parted), part = tile % parts, group = tile / parts % 2;
        const bool of_keys = tile / parts / 2 % 2;
        const slat_view &to = of_keys ? p.grad_k : p.grad_v;
        if (!to.data) continue;
        const float4 *const from = (const float4 *)(call.key_sums + parted_place<D>(n, of_keys, group, part));
        const float factor = of_keys ? call.scale : 1;
        work_item item = {1, 0, 0, 0, head % p.hk, head / p.hk, 0, 0};
        walk.place_keys(p, item, (int)(n % walk.parts.parted));
#pragma unroll
        for (int i = threadIdx.x; i < threads_of_tile; i += slat_block) {
            const int lane = i % warp_lanes, row = group * group_rows + i / (8 * warp_lanes) * 16 + lane / 4;
            const int column = part * chunk + i / warp_lanes % 8 * 8 + lane % 4 * 2;
            if (column >= (of_keys ? p.d : p.dv)) continue;
            const float4 x = from[i];
            slat_point at;
            if (walk.key_place(p, item, row, at))
                *(uint32_t *)((uint16_t *)to.data + slat_offset(&to, item.b, at, item.h) + column) =
                    pack(T(), x.x * factor, x.y * factor);
            if (walk.key_place(p, item, row + 8, at))
                *(uint32_t *)((uint16_t *)to.data + slat_offset(&to, item.b, at, item.h) + column) =
                    pack(T(), x.z * factor, x.w * factor);
        }
    }
}

} // namespace sm90
#endif
