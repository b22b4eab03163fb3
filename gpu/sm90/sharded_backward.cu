/* Sharded (S2) attention, backward. */
#include "backward.cuh"
#include "shard_columns.cuh"
#include "shard_rows.cuh"
#include "sm90.h"

namespace sm90
{

/* The shard's keys come first, and all later queries see them; the others are seen by a window. */
static key_work work_of(const slat_problem &p)
{
    const shard_columns walk = shard_columns::of(p, group_rows, true);
    if (!walk.sorts) return {};
    const int64_t heads = p.hq / p.hk, items = (p.tk + tile_rows - 1) / tile_rows;
    const int64_t longest = (p.tq + group_rows - 1) / group_rows * heads;
    const int64_t window = ((int64_t)p.shards.local_blocks * walk.block + tile_rows) / group_rows * heads;
    const int64_t all = walk.far_items * longest / 2 + (items - walk.far_items) * slat_min(window, longest);
    return {walk.far_items, longest, all, !walk.parts.count, walk.parts.parted * p.b * p.hk};
}

/* Keys of a walk by key come in slices. */
struct shard_tensors : sequence_tensors {
    using sequence_tensors::map;

    static int64_t items(const slat_problem &p, const shard_columns &walk, bool of_keys)
    {
        return walk.parts.count ? walk.parts.items() : sequence_tensors::items(p, walk, of_keys);
    }
    static int64_t items(const slat_problem &p, const shard_rows<> &walk, bool of_keys)
    {
        return sequence_tensors::items(p, walk, of_keys);
    }

    static bool map(CUtensorMap *map, const slat_view &view, const slat_problem &p, const shard_columns &walk,
                    bool of_keys, int32_t columns, boxes kind)
    {
        if (!of_keys) return sequence_tensors::map(map, view, p, walk, of_keys, columns, kind);
        return slat_map_sequence(map, &view, p.b, p.tk, p.hk, columns, walk.slice);
    }
};

template <class T, int D> void backward_sharded(slat_session &session)
{
    const slat_problem &p = session.problem;
    enqueue_backward<T, D>(
        session, shard_tensors(), [&] { return shard_rows<>::of(p, tile_rows, grad_shape<D>::keys_at_once); },
        [&](bool adds) { return shard_columns::of(p, grad_shape<D>::queries, adds); }, {}, work_of(p));
}

} // namespace sm90

slat_status slat_sm90_sharded_backward_check(const slat_problem &p)
{
    return sm90::check_backward(p);
}

void slat_sm90_sharded_backward(slat_session &session)
{
    sm90::for_grad_shape(session, [](auto type, auto channels) {
        return sm90::backward_sharded<decltype(type), decltype(channels)::value>;
    });
}
