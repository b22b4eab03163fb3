/* The definition of neighborhood attention: a key is visible when it is in the query's window in every dimension. */
#include "scalar.h"
#include "softmax_scalar.h"

static int64_t visible(const slat_problem *p, int64_t b, int32_t h, slat_point query, slat_point *keys)
{
    const slat_window *w = p->window;
    const slat_range xs = slat_window_keys(&w[0], w[0].q_start + query.x);
    const slat_range ys = slat_window_keys(&w[1], w[1].q_start + query.y);
    const slat_range zs = slat_window_keys(&w[2], w[2].q_start + query.z);
    int64_t count = 0;
    (void)b, (void)h;
    for (int64_t x = 0; x < xs.count; ++x)
        for (int64_t y = 0; y < ys.count; ++y)
            for (int64_t z = 0; z < zs.count; ++z)
                keys[count++] = slat_at(xs.first + x * xs.step, ys.first + y * ys.step, zs.first + z * zs.step);
    return count;
}

static const slat_softmax rule = {visible, slat_weigh, slat_unweigh};

slat_status slat_neighborhood_scalar_forward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_forward(p, run, &rule);
}

slat_status slat_neighborhood_scalar_backward(const slat_problem *p, const slat_run *run)
{
    return slat_softmax_scalar_backward(p, run, &rule);
}
