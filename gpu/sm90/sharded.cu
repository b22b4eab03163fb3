/* Sharded (S2) attention, forward. */
#include "attention.cuh"
#include "shard_rows.cuh"
#include "sm90.h"

namespace sm90
{

template <class T, int D, int groups> void enqueue_shards(slat_session &session)
{
    const auto walk = shard_rows<groups>::of(session.problem, tile_shape<D>::keys, tile_shape<D>::keys);
    enqueue_forward<T, D>(session, walk, walk.run);
}

template <class T, int D> void enqueue_sharded(slat_session &session)
{
    if constexpr (constexpr int groups = most_groups<D>; groups > 2)
        if (has_many_items(session, groups)) return enqueue_shards<T, D, groups>(session);
    enqueue_shards<T, D, 2>(session);
}

} // namespace sm90

slat_status slat_sm90_sharded_check(const slat_problem &p)
{
    return sm90::check_forward(p);
}

void slat_sm90_sharded(slat_session &session)
{
    sm90::for_shape(session, [](auto type, auto channels) {
        return sm90::enqueue_sharded<decltype(type), decltype(channels)::value>;
    });
}
