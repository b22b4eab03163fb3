/* Neighborhood attention: the shapes of its boxes, its tensor maps, its launches. */
#include "attention.cuh"
#include "neighborhood.cuh"
#include "sm90.h"

namespace sm90
{

constexpr int most_dilation = 8, most_side = 256; /* of a box that is copied, in places that it steps over */

/* Places of a group, at most. */
inline int32_t group_length(const slat_window &w)
{
    return (int32_t)((w.length + w.dilation - 1) / w.dilation);
}

inline bool fits(const slat_window &w, int shift)
{
    return ((1 << shift) - 1) * w.dilation < most_side;
}

/* Runs of `side` keys along a dimension: those that both groups see, or that any query of a box of `queries` sees;
 * and those that one group alone sees. Averages over all items: windows at the borders do not move. */
struct run_count {
    double both, alone;
};

inline double runs_of(int keys, int side)
{
    return (keys + side - 1) / side;
}

inline run_count count_runs(const slat_window &w, int queries, int side, bool split)
{
    const int n = group_length(w), still = (int)runs_of(slat_min(w.window, n), side);
    const double moves = (double)(n - w.window) / n;
    const int first = (int)runs_of((int)slat_min(queries + w.window - 1, n), side);
    if (!split) return {moves * first + (1 - moves) * still, 0};
    const int begins = queries / side, last = (int)runs_of((int)slat_min(2 * queries + w.window - 1, n), side);
    const int both = begins < first ? first - begins : 0;
    return {moves * both + (1 - moves) * still, moves * (first - both + last - begins - both) / 2};
}

/* What a choice of boxes costs, in times of a tile: for each item the tiles that a group visits, half a tile for
 * each rest, the masks, which grow with the runs of a tile, and the end of the item. */
template <bool LINE> double cost_of(const slat_problem &p, const neighborhood<LINE> &walk)
{
    double both = 1, alone = 1, items = 1;
    for (int d = 0; d < 3; ++d) {
        const slat_window &w = p.window[d];
        const bool split = d == walk.split;
        const run_count runs = count_runs(w, 1 << walk.q_shift.v[d], 1 << walk.k_shift.v[d], split);
        both *= runs.both;
        alone *= split ? runs.alone : runs.both;
        items *= walk.tiles.v[d];
    }
    const double tiles = (both + alone) / walk.copies + (walk.copies > 1 ? .5 : 0) + (alone > 0 ? .5 : 0);
    return items * (tiles * (1 + .03 * walk.copies) + .7);
}

/* Fills in what follows from the shifts and the split. `keys`: of a tile. */
template <bool LINE> void complete(const slat_problem &p, int keys, neighborhood<LINE> &walk)
{
    const int run_shift = walk.k_shift.v[0] + walk.k_shift.v[1] + walk.k_shift.v[2];
    walk.run = 1 << run_shift;
    walk.copies = keys / walk.run;
    walk.copies_shift = twos(walk.copies, walk.copies);
    for (int d = 0; d < 3; ++d) {
        const slat_window &w = p.window[d];
        const int64_t side = 1 << (walk.q_shift.v[d] + (d == walk.split));
        const int64_t longest = (w.q_length + w.dilation - 1) / w.dilation;
        walk.tiles.v[d] = (int32_t)((longest + side - 1) / side * w.dilation);
    }
}

/* Lines: as long as the copy engine reaches. False: too far apart. */
inline bool choose_boxes(const slat_problem &p, int keys, neighborhood<true> &walk)
{
    walk.split = 2;
    walk.q_shift = {{0, 0, 6}};
    int shift = twos(keys, keys);
    while (!fits(p.window[2], shift)) --shift;
    walk.k_shift = {{0, 0, shift}};
    while ((1 << shift) > group_rows) --shift;
    walk.q_copy = 1 << shift;
    complete(p, keys, walk);
    return walk.copies <= most_boxes;
}

/* Boxes: the cheapest ones. */
inline bool choose_boxes(const slat_problem &p, int keys, neighborhood<false> &walk)
{
    const int all = twos(keys, keys), group = twos(group_rows, group_rows);
    const int deep = p.window[0].length > 1;
    double best = -1;
    neighborhood<false> tried = walk;
    tried.q_copy = group_rows;
    for (int z = 2; z <= 3; ++z)
        for (int x = 0; x <= (deep ? group - z : 0); ++x)
            for (int plane = all - 5; plane <= all - 3; ++plane) /* log2 of the lines of a run */
                for (int kx = 0; kx <= (deep ? plane : 0); ++kx)
                    for (int split = deep ? 0 : 1; split < 3; ++split) {
                        tried.q_shift = {{x, group - z - x, z}};
                        tried.k_shift = {{kx, plane - kx, 3}};
                        tried.split = split;
                        bool fit = true;
                        for (int d = 0; d < 3; ++d)
                            fit &= fits(p.window[d], tried.q_shift.v[d]) && fits(p.window[d], tried.k_shift.v[d]);
                        if (!fit) continue;
                        complete(p, keys, tried);
                        const double time = cost_of(p, tried);
                        if (tried.copies > most_boxes || (best >= 0 && time >= best)) continue;
                        best = time;
                        walk = tried;
                    }
    for (int x = 0; x < 1 << walk.k_shift.v[0]; ++x) walk.planes |= 1u << (x * (2 << walk.k_shift.v[1]));
    return best >= 0;
}

/* A part of a batch begins at entry b. */
inline slat_view from_batch(slat_view view, int64_t b)
{
    if (view.data) view.data = (char *)view.data + b * view.batch * (view.type == SLAT_F32 ? 4 : 2);
    return view;
}

template <class T, int D, bool LINE> void enqueue_boxes(slat_session &session)
{
    const slat_problem &whole = session.problem;
    const slat_window *const w = whole.window;
    neighborhood<LINE> walk = {};
    if (!choose_boxes(whole, tile_shape<D>::keys, walk)) {
        session.refuse("dilations that boxes do not reach are not served");
        return;
    }
    walk.deep = w[0].length > 1;
    int32_t step[3], q_box[3], k_box[3];
    int64_t q_extent[3], k_extent[3];
    bool plain = leaves_plainly(whole);
    for (int d = 0; d < 3; ++d) {
        step[d] = w[d].dilation;
        plain |= step[d] > 1;
        q_box[d] = LINE && d == 2 ? walk.q_copy : 1 << walk.q_shift.v[d];
        k_box[d] = 1 << walk.k_shift.v[d];
        q_extent[d] = w[d].q_length;
        k_extent[d] = w[d].length;
        walk.beyond |= w[d].q_length < w[d].length;
    }
    const int64_t entries = walk.deep ? 1 : whole.b,
                  tiles = (int64_t)walk.tiles.v[0] * walk.tiles.v[1] * walk.tiles.v[2];
    for (int64_t b = 0; b < whole.b; b += entries) {
        slat_problem p = whole;
        p.b = entries;
        for (slat_view *view : {&p.q, &p.k, &p.v, &p.o, &p.lse}) *view = from_batch(*view, b);
        const slat_view q = session.mapped(p.q), k = session.mapped(p.k), v = session.mapped(p.v),
                        o = session.mapped(p.o);
        /* Where q is one plane of a deep grid its map is still one of three dimensions. */
        forward_maps maps = {};
        if (!slat_map_grid(&maps.q, &q, p.b, walk.deep, q_extent, p.hq, p.d, q_box, step) ||
            !slat_map_grid(&maps.k, &k, p.b, walk.deep, k_extent, p.hk, p.d, k_box, step) ||
            !slat_map_grid(&maps.v, &v, p.b, walk.deep, k_extent, p.hk, p.dv, k_box, step) ||
            (!plain && !slat_map_grid(&maps.o, &o, p.b, walk.deep, q_extent, p.hq, p.dv, q_box, step))) {
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
