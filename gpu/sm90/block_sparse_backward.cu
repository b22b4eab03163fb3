/* Block-sparse and dense attention, backward. */
#include "any/transpose.h"
#include "backward.cuh"
#include "block_columns.cuh"
#include "block_rows.cuh"
#include "sm90.h"

namespace sm90
{

template <class T, int D, bool bitmaps> void backward_blocks(slat_session &session)
{
    const slat_problem &p = session.problem;
    const slat_layout &l = p.layout;
    /* the layout by key block is made in workspace where the caller has none */
    const bool makes = l.indptr && !l.t_indptr && (p.grad_k.data || p.grad_v.data);
    const simt::transposed made = makes ? simt::take_transposed(session, bitmaps) : simt::transposed{};
    enqueue_backward<T, D>(
        session, sequence_tensors(), [&] { return block_rows<bitmaps>::of(l, tile_rows, grad_shape<D>::keys_at_once); },
        [&](bool) { return block_columns<bitmaps>::of(l, makes ? made : simt::by_key(l), grad_shape<D>::queries); },
        made);
}

template <class T, int D> void backward(slat_session &session)
{
    if (session.problem.layout.bitmap_of)
        backward_blocks<T, D, true>(session);
    else
        backward_blocks<T, D, false>(session);
}

} // namespace sm90

slat_status slat_sm90_block_sparse_backward_check(const slat_problem &p)
{
    SLAT_TRY(sm90::check_backward(p));
    return slat_sm90_block_layout_check(p.layout);
}

void slat_sm90_block_sparse_backward(slat_session &session)
{
    sm90::for_grad_shape(
        session, [](auto type, auto channels) { return sm90::backward<decltype(type), decltype(channels)::value>; });
}
