/* How the results of the softmax loop leave. The consumers hand o over in the rows of their Q, and lse beside it; one
 * warp writes them while they go on. Where the copy engine cannot write o the consumers do.
 */
#ifndef SLAT_SM90_SOFTMAX_WRITE_CUH
#define SLAT_SM90_SOFTMAX_WRITE_CUH
#include "softmax_room.cuh"

namespace sm90
{

/* Elements n and n + 1 of a row of o that has `width`. */
template <class T>
__device__ __forceinline__ void store_pair(const slat_view &o, int64_t at, int n, int width, float a, float b)
{
    if (o.type == SLAT_F32) {
        float *const to = (float *)o.data + at;
        if (n < width) to[n] = a;
        if (n + 1 < width) to[n + 1] = b;
    } else {
        const uint32_t both = pack(T(), a, b);
        uint16_t *const to = (uint16_t *)o.data + at;
        if (n < width) to[n] = (uint16_t)both;
        if (n + 1 < width) to[n + 1] = (uint16_t)(both >> 16);
    }
}

/* Writes a thread's two rows of o, the first one is `row`. */
template <class T, int D, class Walk>
__device__ __forceinline__ void store_rows(const float (&o)[tile_shape<D>::parts][tile_shape<D>::part / 2],
                                           const float (&factor)[2], const slat_problem &p, const Walk &walk,
                                           const work_item &item, int row)
{
    typedef tile_shape<D> shape;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        slat_point at;
        if (!walk.query(p, item, row + 8 * r, at)) continue;
        const int64_t to = slat_offset(&p.o, item.b, at, item.h);
#pragma unroll
        for (int n = 0; n < D; n += 8) {
            const float *x = &o[n / shape::part][n % shape::part / 2 + 2 * r];
            store_pair<T>(p.o, to, n + 2 * (threadIdx.x % 4), p.dv, x[0] * factor[r], x[1] * factor[r]);
        }
    }
}

/* Puts a group's rows of o into `room`, the item's Q. */
template <class T, int D, class Walk>
__device__ __forceinline__ void hand_over(const float (&o)[tile_shape<D>::parts][tile_shape<D>::part / 2],
                                          const float (&factor)[2], uint8_t *room, int group)
{
    typedef forward_shape<D, Walk> shape;
    const int warp = threadIdx.x % group_threads / warp_lanes, lane = threadIdx.x % warp_lanes;
    const uint32_t to = shared_address(room) + group * group_rows * row_bytes;
    const int row = warp * 16 + lane % 16;
#pragma unroll
    for (int c = 0; c < D; c += 16) {
        const float *x = &o[c / shape::part][c % shape::part / 2];
        store_matrices(to + c / chunk * shape::rows * row_bytes + swizzle_128(row, c % chunk / 8 + lane / 16),
                       pack(T(), x[0] * factor[0], x[1] * factor[0]), pack(T(), x[2] * factor[1], x[3] * factor[1]),
                       pack(T(), x[4] * factor[0], x[5] * factor[0]), pack(T(), x[6] * factor[1], x[7] * factor[1]));
    }
    proxy_fence();
}

/* o of queries that see nothing. */
template <class Walk>
__device__ void clear_rows(const slat_problem &p, const Walk &walk, const work_item &item, int group)
{
    for (int i = threadIdx.x % group_threads; i < group_rows * p.dv; i += group_threads) {
        slat_point at;
        if (!walk.query(p, item, group * group_rows + i / p.dv, at)) continue;
        const int64_t to = slat_offset(&p.o, item.b, at, item.h) + i % p.dv;
        if (p.o.type == SLAT_F32)
            ((float *)p.o.data)[to] = 0;
        else
            ((uint16_t *)p.o.data)[to] = 0;
    }
}

/* The warp that writes what has been handed over; then Q and the item's slot are free. */
template <int D, class Walk>
__device__ __forceinline__ void write_items(forward_room<D, Walk> &s, const slat_problem &p, const Walk &walk,
                                            const forward_call &call, const typename Walk::operand &map)
{
    typedef forward_shape<D, Walk> shape;
    const int lane = threadIdx.x % warp_lanes;
    ring<shape::queries> queries;
    for (ring<forward_room<D, Walk>::items> items;; items.advance()) {
        barrier_wait(&s.item_full[items.slot], items.parity);
        const work_item item = s.item[items.slot];
        if (!item.work) break;
        barrier_wait(&s.item_done[items.slot], items.parity);
        if (item.tiles && !call.plain && lane == 0) {
            for (int c = 0; c < shape::chunks && c * chunk < p.dv; ++c)
                for (int group = 0; group < shape::groups; ++group)
                    walk.store_queries(p, &map, s.q[queries.slot] + (c * shape::rows + group * group_rows) * row_bytes,
                                       c, group, item);
            store_commit();
        }
        for (int row = lane; p.lse.data && row < shape::rows; row += warp_lanes) {
            slat_point at;
            if (walk.query(p, item, row, at))
                ((float *)p.lse.data)[slat_offset(&p.lse, item.b, at, item.h)] = s.lse[items.slot][row];
        }
        barrier_arrive(&s.item_empty[items.slot]); /* each lane for what it read */
        if (item.tiles && lane == 0) {
            store_wait_read();
            barrier_arrive(&s.q_empty[queries.slot]);
        }
        if (item.tiles) queries.advance();
    }
    if (lane == 0) store_wait();
}

} // namespace sm90
#endif
