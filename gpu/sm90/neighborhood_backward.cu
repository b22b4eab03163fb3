/* Neighborhood attention, backward. */
#include "backward.cuh"
#include "neighborhood_boxes.cuh"
#include "sm90.h"

namespace sm90
{

/* Tensors of both walks, which are chosen before anything is enqueued. */
template <bool LINE, bool DILATED> struct backward_grid : grid_tensors<LINE, DILATED> {
    neighborhood<LINE, DILATED> by_query = {};
    neighborhood_columns<LINE, DILATED> by_key = {};

    /* In runs of up to `keys` by query, in tiles of `queries` by key. */
    backward_grid(const slat_problem &p, int keys, int queries)
    {
        choose_boxes(p, tile_rows, keys, by_query);
        choose_boxes(p, queries, queries, by_key);
        for (int d = 0; d < 3; ++d) by_key.dilation.v[d] = p.window[d].dilation;
    }

    /* A line's queries of one dilation group fill whole runs. */
    query_rows rows(const slat_problem &p) const
    {
        const slat_window *const w = p.window;
        query_rows r = {};
        const int64_t unit = by_key.piece(), longest = (w[2].q_length + w[2].dilation - 1) / w[2].dilation;
        r.part = (int32_t)((longest + unit - 1) / unit * unit);
        r.dilation = w[2].dilation;
        r.line = r.part * r.dilation;
        r.x = (int32_t)w[0].q_length, r.y = (int32_t)w[1].q_length, r.z = (int32_t)w[2].q_length;
        r.count = (int32_t)(((int64_t)r.x * r.y * r.line + 63) / 64 * 64);
        return r;
    }

    template <class Walk>
    static bool map(typename Walk::operand *map, const slat_view &view, const slat_problem &p, const Walk &walk,
                    bool of_keys, int32_t columns, boxes kind)
    {
        return grid_tensors<LINE, DILATED>::map(map, view, p, walk, of_keys, columns, kind == boxes::of_runs);
    }
};

template <class T, int D, bool LINE, bool DILATED> void neighborhood_backward(slat_session &session)
{
    const backward_grid<LINE, DILATED> grid(session.problem, grad_shape<D>::keys_at_once, grad_shape<D>::queries);
    enqueue_backward<T, D>(
        session, grid, [&] { return grid.by_query; }, [&](bool) { return grid.by_key; });
}

} // namespace sm90

slat_status slat_sm90_neighborhood_backward_check(const slat_problem &p)
{
    return sm90::check_backward(p);
}

void slat_sm90_neighborhood_backward(slat_session &session)
{
    sm90::for_grad_shape(session, [](auto type, auto channels) {
        return [](slat_session &session) {
            sm90::for_grid(session, [](auto line, auto dilated) {
                return sm90::neighborhood_backward<decltype(type), decltype(channels)::value, decltype(line)::value,
                                                   decltype(dilated)::value>;
            });
        };
    });
}
