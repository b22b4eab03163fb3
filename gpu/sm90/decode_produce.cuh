/* The producers of a decode step: two warps for K and two for V, each lane with one key of a tile. */
#ifndef SLAT_SM90_DECODE_PRODUCE_CUH
#define SLAT_SM90_DECODE_PRODUCE_CUH
#include "decode_room.cuh"

namespace sm90
{

constexpr uint32_t not_read = UINT32_MAX;
constexpr int piece_bytes = 16, piece_elements = 8;

/* Where a key's row begins, in pieces from its head's first. */
template <bool is_key> __device__ __forceinline__ uint32_t pieces_to(const slat_view &view, const decode_key &key)
{
    if (key.position == INT32_MAX || (!is_key && key.until < 0)) return not_read;
    return (uint32_t)((key.x * view.token[0] + key.y * view.token[1] + key.z * view.token[2]) / piece_elements);
}

/* Copies the lanes' rows, `width` bytes each; rows that are not read, and what is past the width, become 0. */
template <int D> __device__ __forceinline__ void copy_rows(uint32_t to, const char *from, uint32_t begin, int width)
{
    typedef decode_shape<D> shape;
    constexpr int at_once = lanes % shape::pieces == 0 ? shape::pieces : 4; /* where a lane's piece changes */
    const int lane = threadIdx.x % lanes;
#pragma unroll at_once
    for (int i = 0; i < shape::pieces; ++i) {
        const int row = (i * lanes + lane) / shape::pieces, piece = (i * lanes + lane) % shape::pieces;
        const uint32_t at = __shfl_sync(~0u, begin, row);
        const int left = min(max(width - piece_bytes * piece, 0), piece_bytes);
        const bool read = at != not_read && left > 0;
        copy_piece(to + row * shape::row_bytes + piece * piece_bytes,
                   from + (uint64_t)(read ? at + piece : 0) * piece_bytes, read ? left : 0);
    }
}

/* One operand of a part of a list, rows 32 `half` ... of every tile. K's producers also write the notes. */
template <int D, bool is_key, class List>
__device__ __forceinline__ void produce(decode_room<D> &s, const slat_view &view, int width, const decode_item &item,
                                        const List &list, decode_part part, int half,
                                        ring<decode_shape<D>::stages> &stage)
{
    typedef decode_shape<D> shape;
    const int row = half * lanes + threadIdx.x % lanes;
    const char *const from = (const char *)view.data + (item.b * view.batch + item.key_head * view.head) * 2;
    typename List::fetched ahead = list.fetch(part.first, row);
    for (int64_t t = part.first; t < part.end; ++t) {
        const decode_key key = list.key(t, row, ahead);
        if (t + 1 < part.end) ahead = list.fetch(t + 1, row);
        if (!is_key && !list.weighs(t)) continue;
        const uint32_t begin = pieces_to<is_key>(view, key);
        barrier_wait(is_key ? &s.k_empty[stage.slot] : &s.v_empty[stage.slot], stage.parity ^ 1);
        uint64_t *const full = is_key ? &s.k_full[stage.slot] : &s.v_full[stage.slot];
        uint8_t *const tile = is_key ? s.k[stage.slot] : s.v[stage.slot];
        copy_rows<D>(shared_address(tile) + half * lanes * shape::row_bytes, from, begin, width);
        if (is_key) {
            s.note[stage.slot].position[row] = key.position;
            s.note[stage.slot].until[row] = key.until;
            barrier_arrive(full);
        }
        copies_arrive(full);
        stage.advance();
    }
}

/* The first producer takes units while there are any. */
template <int D, class Walk>
__device__ __forceinline__ void produce_units(decode_room<D> &s, const slat_problem &p, const Walk &walk,
                                              const decode_call &call, int warp)
{
    const int32_t units = call.items * call.parts;
    decode_turn turn;
    ring<decode_shape<D>::stages> stage;
    for (int32_t n = blockIdx.x; n < units;) {
        int32_t next = units;
        if (warp == 0 && call.next && threadIdx.x == 0) next = gridDim.x + atomicAdd(call.next, 1);
        const decode_item item = walk.place(p, n % call.items);
        const typename Walk::list list(p, walk, item);
        const decode_part part = list.part(n / call.items, call.parts);
        if (warp < decode_producers / 2)
            produce<D, true>(s, p.k, 2 * p.d, item, list, part, warp, stage);
        else
            produce<D, false>(s, p.v, 2 * p.dv, item, list, part, warp - decode_producers / 2, stage);
        if (warp == 0) {
            n = __shfl_sync(~0u, next, 0);
            turn.tell(s.queue, n);
        } else
            n = turn.hear(s.queue);
    }
}

} // namespace sm90
#endif
