/* Block-sparse and dense attention, backward. */
#include "any/transpose.h"
#include "backward.cuh"
#include "block_columns.cuh"
#include "block_rows.cuh"
#include "sm90.h"

namespace sm90
{

/* The layout by key block; made in workspace where the caller has none. */
static block_columns columns_of(slat_session &session, int queries)
{
    const slat_layout &l = session.problem.layout;
    if (!l.indptr || l.t_indptr) return block_columns::of(l, l.t_indptr, l.t_indices, queries);
    const int64_t heads = (int64_t)l.batches * l.heads;
    int32_t *const t_indptr = (int32_t *)session.take(heads * (l.columns + 1), sizeof(int32_t));
    int32_t *const t_indices = (int32_t *)session.take(l.entries, sizeof(int32_t));
    simt::enqueue_transpose(session, t_indptr, t_indices, NULL);
    return block_columns::of(l, t_indptr, t_indices, queries);
}

template <class T, int D> void backward(slat_session &session)
{
    enqueue_backward<T, D>(
        session, [&] { return block_rows::of(session.problem.layout, tile_rows, 64); },
        [&] { return columns_of(session, grad_shape<D>::queries); });
}

} // namespace sm90

slat_status slat_sm90_block_sparse_backward_check(const slat_problem &p)
{
    SLAT_TRY(sm90::check_backward(p));
    return slat_sm90_block_layout_check(p.layout);
}

void slat_sm90_block_sparse_backward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const bool narrow = p.d <= 64 && p.dv <= 64;
    if (p.type == SLAT_BF16)
        (narrow ? sm90::backward<__nv_bfloat16, 64> : sm90::backward<__nv_bfloat16, 128>)(session);
    else
        (narrow ? sm90::backward<__half, 64> : sm90::backward<__half, 128>)(session);
}
