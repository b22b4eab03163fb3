/* Neighborhood attention, forward: its tensor maps, its launches. */
#include "attention.cuh"
#include "neighborhood_boxes.cuh"
#include "sm90.h"

namespace sm90
{

template <class T, int D, bool LINE, bool DILATED> void enqueue_neighborhood(slat_session &session)
{
    typedef grid_tensors<LINE, DILATED> tensors;
    const slat_problem &whole = session.problem;
    neighborhood<LINE, DILATED> walk = {};
    choose_boxes(whole, tile_shape<D>::keys, tile_shape<D>::keys, walk);
    const bool plain = leaves_plainly(whole);
    const int64_t entries = tensors::entries(whole), tiles = tensors::items(whole, walk, false);
    for (int64_t b = 0; b < whole.b; b += entries) {
        const slat_problem p = tensors::part(whole, b);
        const slat_view views[] = {session.mapped(p.q), session.mapped(p.k), session.mapped(p.v), session.mapped(p.o)};
        forward_maps<neighborhood<LINE, DILATED>> maps = {};
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

} // namespace sm90

slat_status slat_sm90_neighborhood_check(const slat_problem &p)
{
    return sm90::check_forward(p);
}

void slat_sm90_neighborhood(slat_session &session)
{
    sm90::for_shape(session, [](auto type, auto channels) {
        return [](slat_session &session) {
            sm90::for_grid(session, [](auto line, auto dilated) {
                return sm90::enqueue_neighborhood<decltype(type), decltype(channels)::value, decltype(line)::value,
                                                  decltype(dilated)::value>;
            });
        };
    });
}
