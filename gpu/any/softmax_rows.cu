/* delta - dlse of each query row, and the sums over rows that make dsink. */
#include "softmax.cuh"
#include "softmax_rows.h"

namespace simt
{

/* A thread owns a row and adds in the order of multiply_nt(): where o is one v, delta is that key's do.v to the last
 * bit, and a gradient that should vanish does. */
__global__ void __launch_bounds__(slat_block) softmax_shift(const __grid_constant__ slat_problem p, float *shift)
{
    const int64_t rows = p.b * p.hq * p.tq, step = (int64_t)gridDim.x * slat_block;
    const bool wide = is_wide(p);
    for (int64_t row = blockIdx.x * (int64_t)slat_block + threadIdx.x; row < rows; row += step) {
        const int64_t b = row / p.tq / p.hq;
        const int h = row / p.tq % p.hq;
        const slat_point at = point_of(slat_query_box(&p), row % p.tq);
        const source o = source_of(p.o, b, h, wide), grad_o = source_of(p.grad_o, b, h, wide);
        const int64_t o_at = token_at(p.o, at), grad_at = token_at(p.grad_o, at);
        float sum = 0;
#pragma unroll 4
        for (int c = 0; c < p.dv; c += 4) {
            const float4 x = widen(fetch(o, o_at, c, p.dv), o.type),
                         y = widen(fetch(grad_o, grad_at, c, p.dv), grad_o.type);
            sum = fmaf(x.x, y.x, sum);
            sum = fmaf(x.y, y.y, sum);
            sum = fmaf(x.z, y.z, sum);
            sum = fmaf(x.w, y.w, sum);
        }
        shift[row] = sum - (p.grad_lse.data ? row_number(p.grad_lse, b, at, h) : 0.0f);
    }
}

/* A block owns a head; its threads take rows in turn, then add up in a tree. */
__global__ void __launch_bounds__(slat_block)
    softmax_grad_sink(const __grid_constant__ slat_problem p, const float *shift)
{
    float *sums = &shared<float>();
    for (int h = blockIdx.x; h < p.hq; h += gridDim.x) {
        const float sink = ((const float *)p.sink.data)[h * p.sink.head];
        float sum = 0;
        for (int64_t row = threadIdx.x; row < p.b * p.tq; row += slat_block) {
            const int64_t b = row / p.tq, i = row % p.tq;
            const float lse = row_number(p.lse, b, point_of(slat_query_box(&p), i), h);
            if (lse != -CUDART_INF_F) sum -= expf(sink - lse) * shift[(b * p.hq + h) * p.tq + i];
        }
        sums[threadIdx.x] = sum;
        for (int n = slat_block / 2; n; n /= 2) {
            __syncthreads();
            if ((int)threadIdx.x < n) sums[threadIdx.x] += sums[threadIdx.x + n];
        }
        if (threadIdx.x == 0) ((float *)p.grad_sink.data)[h * p.grad_sink.head] = sums[0];
        __syncthreads();
    }
}

float *enqueue_shift(slat_session &session)
{
    const slat_problem &p = session.problem;
    const int64_t rows = p.b * p.hq * p.tq;
    float *shift = (float *)session.take(rows, sizeof(float));
    session.launch(softmax_shift, (rows + slat_block - 1) / slat_block, 0, p, shift);
    return shift;
}

void enqueue_grad_sink(slat_session &session, const float *shift)
{
    if (session.problem.grad_sink.data)
        session.launch(softmax_grad_sink, session.problem.hq, slat_block * sizeof(float), session.problem, shift);
}

} // namespace simt
