/* Block-sparse and dense attention, forward. */
#include "attention.cuh"
#include "block_rows.cuh"
#include "sm90.h"

namespace sm90
{

template <class T, int D, bool bitmaps, int groups = 2> void enqueue_blocks(slat_session &session)
{
    constexpr int keys = tile_shape<D>::keys;
    const auto walk = block_rows<bitmaps, groups>::of(session.problem.layout, keys, keys);
    enqueue_forward<T, D>(session, walk, walk.run);
}

template <class T, int D> void enqueue(slat_session &session)
{
    const slat_layout &l = session.problem.layout;
    if constexpr (constexpr int groups = most_groups<D>; groups > 2)
        if (!l.indptr && has_many_items(session, groups)) return enqueue_blocks<T, D, false, groups>(session);
    if (l.bitmap_of)
        enqueue_blocks<T, D, true>(session);
    else
        enqueue_blocks<T, D, false>(session);
}

} // namespace sm90

slat_status slat_sm90_block_sparse_check(const slat_problem &p)
{
    SLAT_TRY(sm90::check_forward(p));
    return slat_sm90_block_layout_check(p.layout);
}

slat_status slat_sm90_block_layout_check(const slat_layout &l)
{
    if (l.entries > INT32_MAX) return sm90::unsupported("indices: more than 2^31 - 1 entries are not served");
    if (l.bitmap_of && l.bitmap_count > INT32_MAX / (l.block_q * (l.block_k / 8)))
        return sm90::unsupported("bitmaps: more than 2 GiB are not served");
    return SLAT_OK;
}

void slat_sm90_block_sparse(slat_session &session)
{
    sm90::for_shape(session,
                    [](auto type, auto channels) { return sm90::enqueue<decltype(type), decltype(channels)::value>; });
}
