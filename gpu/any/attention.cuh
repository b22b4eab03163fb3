/* Enqueues softmax attention over a walk: the host's side of the two loops. */
#ifndef SLAT_ANY_ATTENTION_CUH
#define SLAT_ANY_ATTENTION_CUH
#include "softmax_backward.cuh"
#include "softmax_rows.h"

namespace simt
{

template <class Walk> void enqueue_forward(slat_session &session, const Walk &walk)
{
    const slat_problem &p = session.problem;
    const int64_t tiles = walk.query_tiles(p), blocks = tiles * p.hq * p.b;
    const auto kernel = p.dv <= 2 * tile ? softmax_forward<Walk, 2> : softmax_forward<Walk, 4>;
    session.launch(kernel, blocks, sizeof(forward_room<Walk>), p, walk, tiles);
}

/* shift: of enqueue_shift(). */
template <class Walk> void enqueue_backward(slat_session &session, const Walk &walk, const float *shift)
{
    const slat_problem &p = session.problem;
    const size_t room = sizeof(backward_room<Walk>);
    if (p.grad_q.data) {
        const int64_t tiles = walk.query_tiles(p);
        const auto kernel = p.d <= 2 * tile ? softmax_grad_query<Walk, 2> : softmax_grad_query<Walk, 4>;
        session.launch(kernel, tiles * p.hq * p.b, room, p, walk, shift, tiles);
    }
    if (p.grad_k.data || p.grad_v.data) {
        const int64_t tiles = walk.key_tiles(p);
        const bool small = p.d <= 2 * tile && p.dv <= 2 * tile;
        const auto kernel = small ? softmax_grad_key<Walk, 2> : softmax_grad_key<Walk, 4>;
        session.launch(kernel, tiles * p.hk * p.b, room, p, walk, shift, tiles);
    }
    enqueue_grad_sink(session, shift);
}

} // namespace simt
#endif
