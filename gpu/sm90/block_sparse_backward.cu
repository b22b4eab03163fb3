/* Block-sparse and dense attention, backward. */
#include "any/transpose.h"
#include "backward.cuh"
#include "block_columns.cuh"
#include "block_rows.cuh"
#include "sm90.h"

namespace sm90
{

template <class T, int D> void backward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const slat_layout &l = p.layout;
    /* the layout by key block is made in workspace where the caller has none */
    const bool makes = l.indptr && !l.t_indptr && (p.grad_k.data || p.grad_v.data);
    const simt::transposed made = makes ? simt::take_transposed(session, false) : simt::transposed{};
    enqueue_backward<T, D>(
        session, sequence_tensors(), [&] { return block_rows::of(l, tile_rows, 64); },
        [&] {
            return block_columns::of(l, makes ? made.indptr : l.t_indptr, makes ? made.indices : l.t_indices,
                                     grad_shape<D>::queries);
        },
        made);
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
