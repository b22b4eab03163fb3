/* Neighborhood attention on grids of one to three dimensions.
 *
 * With dilation a grid falls into groups that never see each other. A tile is a box of one group: queries of the box
 * see keys of a box of the same group, from the first window's beginning to the last one's end, and likewise back.
 */
#include "attention.cuh"

namespace simt
{

/* A point or a box, dimension by dimension: x, y, z. */
struct triple {
    int64_t v[3];
};

__device__ inline slat_point point(const triple &t)
{
    return slat_at(t.v[0], t.v[1], t.v[2]);
}

/* The n-th element of a box, the last dimension fastest. */
__device__ inline triple place_of(const triple &box, int64_t n)
{
    triple t;
    t.v[2] = n % box.v[2];
    t.v[1] = n / box.v[2] % box.v[1];
    t.v[0] = n / box.v[2] / box.v[1];
    return t;
}

__device__ inline int64_t volume(const triple &box)
{
    return box.v[0] * box.v[1] * box.v[2];
}

/* Steps of `dilation` from `from` to `to`, places of one group. */
__device__ inline int64_t steps(int64_t from, int64_t to, const slat_window &w)
{
    return (to - from) / w.dilation;
}

struct neighborhood {
    int32_t shape[3]; /* of a tile's box, at most 64 elements */

    /* Places counted inside the keys' box. A query sees `count` of them from `first`. */
    struct query {
        uint32_t first[3], count[3];
    };
    struct key {
        uint32_t at[3];
    };

    struct query_tile {
        const slat_problem &p;
        int64_t rows, keys;
        triple first, box;         /* of the queries, as places of the grid */
        triple first_key, key_box; /* of the keys */

        __device__ slat_point query(int row, neighborhood::query &q) const
        {
            const triple n = place_of(box, row);
            triple at;
#pragma unroll
            for (int d = 0; d < 3; ++d) {
                const slat_window &w = p.window[d];
                const int64_t place = first.v[d] + n.v[d] * w.dilation;
                const slat_range seen = slat_window_keys(&w, place);
                q.first[d] = (uint32_t)steps(first_key.v[d], seen.first, w);
                q.count[d] = (uint32_t)seen.count;
                at.v[d] = place - w.q_start;
            }
            return point(at);
        }

        __device__ bool key(int64_t n, slat_point &to, neighborhood::key &k) const
        {
            const triple t = place_of(key_box, n);
            triple at;
#pragma unroll
            for (int d = 0; d < 3; ++d) {
                k.at[d] = (uint32_t)t.v[d];
                at.v[d] = first_key.v[d] + t.v[d] * p.window[d].dilation;
            }
            to = point(at);
            return true;
        }
    };

    struct key_tile {
        const slat_problem &p;
        int64_t rows, queries;
        triple first, box;             /* of the keys */
        triple first_query, query_box; /* of the queries, counted from q's box */

        __device__ slat_point key(int row, neighborhood::key &k) const
        {
            const triple n = place_of(box, row);
            triple at;
#pragma unroll
            for (int d = 0; d < 3; ++d) {
                k.at[d] = (uint32_t)n.v[d];
                at.v[d] = first.v[d] + n.v[d] * p.window[d].dilation;
            }
            return point(at);
        }

        __device__ void begin(const slat_problem &, int64_t, int) {}

        __device__ bool query(int64_t n, slat_point &to, neighborhood::query &q) const
        {
            const triple t = place_of(query_box, n);
            triple at;
#pragma unroll
            for (int d = 0; d < 3; ++d) {
                const slat_window &w = p.window[d];
                at.v[d] = first_query.v[d] + t.v[d] * w.dilation;
                const slat_range seen = slat_window_keys(&w, at.v[d] + w.q_start);
                const int64_t begin = steps(first.v[d], seen.first, w);
                const int64_t from = slat_max(begin, 0), to_end = slat_min(begin + seen.count, box.v[d]);
                q.first[d] = (uint32_t)from;
                q.count[d] = (uint32_t)slat_max(to_end - from, 0);
            }
            to = point(at);
            return true;
        }
    };

    static __device__ bool visible(const slat_problem &, const query &q, const key &k)
    {
        return k.at[0] - q.first[0] < q.count[0] && k.at[1] - q.first[1] < q.count[1] &&
               k.at[2] - q.first[2] < q.count[2];
    }

    /* Tiles along dimension d of `length` places: for each group as many as its longest one needs. */
    __host__ __device__ int64_t tiles_along(const slat_window &w, int d, int64_t length) const
    {
        const int64_t longest = (length + w.dilation - 1) / w.dilation;
        return (longest + shape[d] - 1) / shape[d] * w.dilation;
    }

    int64_t query_tiles(const slat_problem &p) const
    {
        int64_t n = 1;
        for (int d = 0; d < 3; ++d) n *= tiles_along(p.window[d], d, p.window[d].q_length);
        return n;
    }

    int64_t key_tiles(const slat_problem &p) const
    {
        int64_t n = 1;
        for (int d = 0; d < 3; ++d) n *= tiles_along(p.window[d], d, p.window[d].length);
        return n;
    }

    /* Cuts the n-th tile along dimension d out of places from ... from + length - 1; a group takes every dilation-th.
     */
    __device__ void cut(const slat_window &w, int d, int64_t n, int64_t from, int64_t length, int64_t &first,
                        int64_t &count) const
    {
        const int64_t group = n % w.dilation, begin = n / w.dilation * shape[d];
        first = from + group + begin * w.dilation;
        const int64_t left = from + length - first;
        count = left <= 0 ? 0 : slat_min((left + w.dilation - 1) / w.dilation, shape[d]);
    }

    __device__ triple tile_place(const slat_problem &p, int64_t n, bool of_keys) const
    {
        triple tiles;
#pragma unroll
        for (int d = 0; d < 3; ++d)
            tiles.v[d] = tiles_along(p.window[d], d, of_keys ? p.window[d].length : p.window[d].q_length);
        return place_of(tiles, n);
    }

    __device__ query_tile queries(const slat_problem &p, int64_t, int, int64_t n) const
    {
        query_tile t = {p, 0, 0, {}, {}, {}, {}};
        const triple at = tile_place(p, n, false);
#pragma unroll
        for (int d = 0; d < 3; ++d) {
            const slat_window &w = p.window[d];
            cut(w, d, at.v[d], w.q_start, w.q_length, t.first.v[d], t.box.v[d]);
            if (!t.box.v[d]) return t;
            const slat_range begin = slat_window_keys(&w, t.first.v[d]);
            const slat_range end = slat_window_keys(&w, t.first.v[d] + (t.box.v[d] - 1) * w.dilation);
            t.first_key.v[d] = begin.first;
            t.key_box.v[d] = steps(begin.first, end.first, w) + end.count;
        }
        t.rows = volume(t.box);
        t.keys = volume(t.key_box);
        return t;
    }

    __device__ key_tile keys(const slat_problem &p, int64_t, int, int64_t n) const
    {
        key_tile t = {p, 0, 0, {}, {}, {}, {}};
        const triple at = tile_place(p, n, true);
#pragma unroll
        for (int d = 0; d < 3; ++d) {
            const slat_window &w = p.window[d];
            cut(w, d, at.v[d], 0, w.length, t.first.v[d], t.box.v[d]);
            if (!t.box.v[d]) return t;
            const slat_range begin = slat_window_queries(&w, t.first.v[d]);
            const slat_range end = slat_window_queries(&w, t.first.v[d] + (t.box.v[d] - 1) * w.dilation);
            const int64_t count = steps(begin.first, end.first, w) + end.count;
            const slat_range box = slat_window_box(&w, slat_steps(begin.first, count, w.dilation));
            t.first_query.v[d] = box.first;
            t.query_box.v[d] = box.count;
        }
        t.rows = volume(t.box);
        t.queries = volume(t.query_box);
        return t;
    }
};

/* Doubles the box along the dimension that adds the fewest keys, while it fits the grid and 64 elements. */
neighborhood tiles_for(const slat_problem &p)
{
    neighborhood n = {{1, 1, 1}};
    for (int elements = 1; elements < tile; elements *= 2) {
        int best = -1;
        double fewest = 0;
        for (int d = 0; d < 3; ++d) {
            const slat_window &w = p.window[d];
            if (n.shape[d] >= (w.length + w.dilation - 1) / w.dilation) continue;
            double keys = 1;
            for (int e = 0; e < 3; ++e) keys *= n.shape[e] * (e == d ? 2 : 1) + p.window[e].window - 1.0;
            if (best >= 0 && keys >= fewest) continue;
            best = d;
            fewest = keys;
        }
        if (best < 0) break;
        n.shape[best] *= 2;
    }
    return n;
}

} // namespace simt

void slat_cuda_neighborhood(slat_session &session)
{
    const simt::neighborhood walk = simt::tiles_for(session.problem);
    if (session.problem.pass == SLAT_FORWARD)
        simt::enqueue_forward(session, walk);
    else
        simt::enqueue_backward(session, walk, simt::enqueue_shift(session));
}
