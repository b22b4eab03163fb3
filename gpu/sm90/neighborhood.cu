/* Neighborhood attention, forward: its tensor maps, its launches. */
#include "attention.cuh"
#include "neighborhood_boxes.cuh"
#include "sm90.h"

namespace sm90
{

template <class T, int D, bool LINE> void enqueue_boxes(slat_session &session)
{
    typedef grid_tensors<LINE> tensors;
    const slat_problem &whole = session.problem;
    neighborhood<LINE> walk = {};
    if (!choose_boxes(whole, tile_shape<D>::keys, tile_shape<D>::keys, walk)) {
        session.refuse(no_boxes);
        return;
    }
    const bool plain = leaves_plainly(whole) || walk.apart;
    const int64_t entries = tensors::entries(whole), tiles = tensors::items(whole, walk, false);
    for (int64_t b = 0; b < whole.b; b += entries) {
        const slat_problem p = tensors::part(whole, b);
        const slat_view views[] = {session.mapped(p.q), session.mapped(p.k), session.mapped(p.v), session.mapped(p.o)};
        forward_maps maps = {};
        if (!tensors::map(&maps.q, views[0], p, walk, false, p.d, false) ||
            !tensors::map(&maps.k, views[1], p, walk, true, p.d, true) ||
            !tensors::map(&maps.v, views[2], p, walk, true, p.dv, true) ||
            (!plain && !tensors::map(&maps.o, views[3], p, walk, false, p.dv, false))) {
            session.refuse(no_map);
            return;
        }
        launch_forward<T, D>(session, p, walk, tiles, plain, maps);
    }
}

template <class T, int D> void enqueue_neighborhood(slat_session &session)
{
    const slat_window *const w = session.problem.window;
    if (w[0].length == 1 && w[1].length == 1)
        enqueue_boxes<T, D, true>(session);
    else
        enqueue_boxes<T, D, false>(session);
}

} // namespace sm90

slat_status slat_sm90_neighborhood_check(const slat_problem &p)
{
    SLAT_TRY(sm90::check_forward(p));
    return slat_sm90_dilation_check(p);
}

slat_status slat_sm90_dilation_check(const slat_problem &p)
{
    for (const slat_window &w : p.window)
        if (w.dilation > sm90::most_dilation) return sm90::unsupported("dilation: more than 8 is not served");
    return SLAT_OK;
}

void slat_sm90_neighborhood(slat_session &session)
{
    sm90::for_shape(session, [](auto type, auto channels) {
        return sm90::enqueue_neighborhood<decltype(type), decltype(channels)::value>;
    });
}
