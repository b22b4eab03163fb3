/* The shapes of neighborhood attention's boxes, chosen on the host, and its tensors. */
#ifndef SLAT_SM90_NEIGHBORHOOD_BOXES_CUH
#define SLAT_SM90_NEIGHBORHOOD_BOXES_CUH
#include "attention.cuh"
#include "neighborhood_columns.cuh"

namespace sm90
{

/* Places of a group, at most. */
inline int32_t group_length(const slat_window &w)
{
    return (int32_t)((w.length + w.dilation - 1) / w.dilation);
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

/* Runs of `side` keys along a dimension that every query of a box of `queries` sees wholly. */
inline double count_whole(const slat_window &w, int queries, int side)
{
    return slat_max(w.window / side - (int)runs_of(queries - 1, side), 0);
}

/* What a choice of boxes costs, in times of a tile, as measured: for each item its tiles, of which those that one group
 * alone sees take longer than their share, for there is nothing to overlap with; half a tile for each rest; the masks
 * of tiles that are not seen wholly, which grow with the runs of a tile; and the end of the item. */
template <bool LINE, bool DILATED> double cost_of(const slat_problem &p, const neighborhood<LINE, DILATED> &walk)
{
    double both = 1, alone = 1, whole = 1, items = 1;
    for (int d = 0; d < 3; ++d) {
        const slat_window &w = p.window[d];
        const bool split = d == walk.split;
        const int queries = 1 << walk.q_shift.v[d], side = 1 << walk.k_shift.v[d];
        const run_count runs = count_runs(w, queries, side, split);
        both *= runs.both;
        alone *= split ? runs.alone : runs.both;
        whole *= count_whole(w, queries, side) / (runs.both + runs.alone);
        items *= walk.tiles.v[d];
    }
    const double rests = (walk.copies > 1 ? .5 : 0) + (alone > 0 ? .5 : 0);
    const double masked = (both + alone) * (whole < 1 ? 1 - whole : 0) * (.12 + .03 * walk.copies);
    return items * ((both + 1.5 * alone + masked) / walk.copies + rests + 2);
}

/* The same of a walk by key: runs begin at multiples of 8 places, and no tile is one group's alone. Counted for keys
 * about the middle of q. */
inline double runs_seen(const slat_window &w, int keys, int side, bool aligned)
{
    const int64_t middle = (w.q_start + w.q_length / 2) / w.dilation / keys * keys;
    const int64_t last = slat_max(slat_min(middle + keys, w.length / w.dilation) - 1, middle);
    const slat_range from = slat_window_queries(&w, middle * w.dilation),
                     to = slat_window_queries(&w, last * w.dilation);
    const int64_t begin = slat_max(from.first - w.q_start, 0) / w.dilation;
    const int64_t end = slat_min(to.first + (to.count - 1) * w.dilation - w.q_start, w.q_length - 1) / w.dilation + 1;
    return runs_of((int)slat_max(end - (aligned ? begin / side * side : begin), 1), side);
}

template <bool LINE, bool DILATED>
double cost_of(const slat_problem &p, const neighborhood_columns<LINE, DILATED> &walk)
{
    double runs = 1, items = 1;
    for (int d = 0; d < 3; ++d) {
        runs *= runs_seen(p.window[d], 1 << (walk.q_shift.v[d] + (d == walk.split)), 1 << walk.k_shift.v[d], d == 2);
        items *= walk.tiles.v[d];
    }
    return items * ((runs / walk.copies + (walk.copies > 1 ? .5 : 0)) * (1 + .02 * walk.copies) + 1);
}

/* Items are boxes of queries, or of keys. */
template <bool LINE, bool DILATED> constexpr bool items_of_keys(const neighborhood<LINE, DILATED> &)
{
    return false;
}
template <bool LINE, bool DILATED> constexpr bool items_of_keys(const neighborhood_columns<LINE, DILATED> &)
{
    return true;
}

/* Fills in what follows from the shifts and the split. `tile`: rows of one. */
template <class Walk> void complete(const slat_problem &p, int tile, Walk &walk)
{
    const int run_shift = walk.k_shift.v[0] + walk.k_shift.v[1] + walk.k_shift.v[2];
    walk.run = 1 << run_shift;
    walk.copies = tile / walk.run;
    walk.copies_shift = twos(walk.copies, walk.copies);
    walk.deep = p.window[0].length > 1;
    walk.beyond = 0;
    for (int d = 0; d < 3; ++d) {
        const slat_window &w = p.window[d];
        walk.beyond |= w.q_length < w.length;
        const int64_t side = 1 << (walk.q_shift.v[d] + (d == walk.split));
        const bool keys = items_of_keys(walk);
        const int64_t length = keys ? w.length : w.q_length, longest = (length + w.dilation - 1) / w.dilation;
        walk.tiles.v[d] = (int32_t)((longest + side - 1) / side * w.dilation);
        walk.item_length.v[d] = (int32_t)length;
        walk.longer.v[d] = (int32_t)((keys ? w.q_length : w.length) % w.dilation);
    }
}

/* Lines, in tiles and runs of so many rows. */
template <class Walk> void choose_lines(const slat_problem &p, int tile, int run, Walk &walk)
{
    walk.split = 2;
    walk.q_shift = {{0, 0, twos(group_rows, group_rows)}};
    walk.k_shift = {{0, 0, twos(run, run)}};
    complete(p, tile, walk);
}

template <bool DILATED> void choose_boxes(const slat_problem &p, int tile, int run, neighborhood<true, DILATED> &walk)
{
    choose_lines(p, tile, run, walk);
}

/* By key: half of a tile's queries are whole runs. */
template <bool DILATED>
void choose_boxes(const slat_problem &p, int tile, int run, neighborhood_columns<true, DILATED> &walk)
{
    choose_lines(p, tile, (int)slat_min(run, group_rows), walk);
}

/* Boxes, in tiles and runs of at most so many rows: the cheapest ones. */
template <class Walk> void choose_boxes(const slat_problem &p, int tile, int run, Walk &walk)
{
    const int all = twos(tile, tile), group = twos(group_rows, group_rows);
    const int deep = p.window[0].length > 1;
    double best = -1;
    Walk tried = walk;
    for (int z = 2; z <= 3; ++z)
        for (int x = 0; x <= (deep ? group - z : 0); ++x)
            for (int plane = all - 5; plane <= twos(run, run) - 3; ++plane) /* log2 of the lines of a run */
                for (int kx = 0; kx <= (deep ? plane : 0); ++kx)
                    for (int split = deep ? 0 : 1; split < 3; ++split) {
                        tried.q_shift = {{x, group - z - x, z}};
                        tried.k_shift = {{kx, plane - kx, 3}};
                        tried.split = split;
                        complete(p, tile, tried);
                        const double time = cost_of(p, tried);
                        if (tried.copies > most_boxes || (best >= 0 && time >= best)) continue;
                        best = time;
                        walk = tried;
                    }
    for (int x = 0; x < 1 << walk.k_shift.v[0]; ++x) walk.planes |= 1u << (x * (2 << walk.k_shift.v[1]));
}

/* A part of a batch begins at entry b. */
inline slat_view from_batch(slat_view view, int64_t b)
{
    if (view.data) view.data = (char *)view.data + b * view.batch * (view.type == SLAT_F32 ? 4 : 2);
    return view;
}

/* Calls choose(line, dilated), which gives a function, for the call's grid. */
template <class Choose> void for_grid(slat_session &session, const Choose &choose)
{
    const slat_window *const w = session.problem.window;
    const auto of_line = [&](auto line) {
        if (w[0].dilation > 1 || w[1].dilation > 1 || w[2].dilation > 1)
            choose(line, std::true_type())(session);
        else
            choose(line, std::false_type())(session);
    };
    if (w[0].length == 1 && w[1].length == 1)
        of_line(std::true_type());
    else
        of_line(std::false_type());
}

/* Tensors on a grid; a launch has one batch entry where the grid is deep and its maps are without groups. */
template <bool LINE, bool DILATED> struct grid_tensors {
    static bool deep(const slat_problem &p) { return p.window[0].length > 1; }

    static int64_t entries(const slat_problem &p) { return deep(p) && !DILATED ? 1 : p.b; }

    static slat_problem part(const slat_problem &whole, int64_t b)
    {
        slat_problem p = whole;
        p.b = entries(whole);
        for (slat_view *view : {&p.q, &p.k, &p.v, &p.o, &p.lse, &p.grad_o, &p.grad_q, &p.grad_k, &p.grad_v})
            *view = from_batch(*view, b);
        return p;
    }

    template <class Walk> static int64_t items(const slat_problem &, const Walk &walk, bool)
    {
        return (int64_t)walk.tiles.v[0] * walk.tiles.v[1] * walk.tiles.v[2];
    }

    /* Of keys: of k's extents, else of q's. A box of an item is a group's. Where q is one plane of a
     * deep grid its map is still one of three dimensions. */
    template <class Walk>
    static bool map(typename Walk::operand *map, const slat_view &view, const slat_problem &p, const Walk &walk,
                    bool of_keys, int32_t columns, bool of_runs)
    {
        int32_t dilation[3], box[3];
        int64_t extents[3];
        for (int d = 0; d < 3; ++d) {
            const slat_window &w = p.window[d];
            extents[d] = of_keys ? w.length : w.q_length;
            dilation[d] = w.dilation;
            box[d] = 1 << (of_runs ? walk.k_shift : walk.q_shift).v[d];
        }
        const int32_t heads = of_keys ? p.hk : p.hq;
        if constexpr (DILATED)
            return slat_map_groups(map->of, sizeof map->of / sizeof *map->of, &map->steps, &view, p.b, extents,
                                   dilation, heads, columns, box);
        else
            return slat_map_grid(map, &view, p.b, deep(p), extents, heads, columns, box);
    }
};

} // namespace sm90
#endif
