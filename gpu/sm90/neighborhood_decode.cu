/* Neighborhood attention of few queries: an item is a line of queries of one dilation group, which share their windows
 * in x and y.
 */
#include "decode.cuh"
#include "sm90.h"

namespace sm90
{

struct decode_window {
    int32_t lines; /* of a key head */

    explicit decode_window(const slat_problem &p)
    {
        lines = (int32_t)(p.window[0].q_length * p.window[1].q_length * groups(p.window[2]));
    }

    static __host__ __device__ int64_t groups(const slat_window &w) { return slat_min(w.q_length, w.dilation); }

    int64_t items(const slat_problem &p) const { return p.b * p.hk * lines; }

    static int64_t expected(const slat_problem &p)
    {
        return (int64_t)p.window[0].window * p.window[1].window * p.window[2].window;
    }

    __device__ __forceinline__ decode_item place(const slat_problem &p, int32_t n) const
    {
        const slat_window *w = p.window;
        decode_item item = whole_item(p, n / lines);
        const int32_t line = n % lines, split = (int32_t)groups(w[2]), rest = line / split;
        item.z = line - rest * split;
        item.y = rest % (int32_t)w[1].q_length;
        item.x = rest / (int32_t)w[1].q_length;
        item.apart = w[2].dilation;
        item.queries = (int32_t)(w[2].q_length - item.z + item.apart - 1) / item.apart;
        return item;
    }

    /* What a query sees along one dimension. */
    static __device__ __forceinline__ slat_range window_of(const slat_window &w, int32_t query)
    {
        return w.length == 1 ? slat_steps(0, 1, 1) : slat_window_keys(&w, w.q_start + query);
    }

    __device__ __forceinline__ decode_sight row(const slat_problem &p, const decode_item &item, int query) const
    {
        const slat_range seen = window_of(p.window[2], item.z + query * item.apart);
        const int32_t first = (int32_t)seen.first;
        return {first, first + (int32_t)(seen.count - 1) * (int32_t)seen.step, 0};
    }

    struct list : decode_list {
        struct fetched {
        };

        int32_t first[3], step[3], height, depth;

        __device__ __forceinline__ list(const slat_problem &p, const decode_window &, const decode_item &item)
        {
            const slat_window *w = p.window;
            const slat_range x = window_of(w[0], item.x), y = window_of(w[1], item.y), z = window_of(w[2], item.z);
            const slat_range end = item.queries == 1 ? z : window_of(w[2], item.z + (item.queries - 1) * item.apart);
            const slat_range *const sides[] = {&x, &y, &z};
            for (int d = 0; d < 3; ++d) first[d] = (int32_t)sides[d]->first, step[d] = (int32_t)sides[d]->step;
            height = (int32_t)y.count;
            depth = (int32_t)((end.first - z.first) / z.step + end.count);
            keys = (uint32_t)(x.count * height * depth);
        }

        __device__ __forceinline__ fetched fetch(int64_t, int) const { return {}; }

        __device__ __forceinline__ decode_key key(int64_t tile, int row, const fetched &) const
        {
            const uint32_t n = number(tile, row);
            if (n >= keys) return no_key;
            const int32_t line = n / depth, plane = line / height;
            const int32_t z = first[2] + (int32_t)(n - line * depth) * step[2];
            return {first[0] + plane * step[0], first[1] + (line - plane * height) * step[1], z, z, INT32_MAX};
        }
    };
};

} // namespace sm90

void slat_sm90_neighborhood_decode(slat_session &session)
{
    sm90::serve_decode<sm90::decode_window>(session);
}
