/* dslopes of lightning attention, as a forward derivative: a scan that carries R = dZ/dslope beside Z. Every term is a
 * weight times a product, as in the closed form, so nothing cancels but what the data themselves cancel.
 */
#include "lightning.cuh"

namespace simt
{

/* Sums a number over the block, in one order; thread 0 has it. */
__device__ inline float block_sum(float x, scan_room &s)
{
#pragma unroll
    for (int n = 16; n; n /= 2) x += __shfl_xor_sync(~0u, x, n);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) s.sums[threadIdx.x >> 5] = x;
    __syncthreads();
    float sum = 0;
    for (int n = 0; n < slat_block / 32; ++n) sum += s.sums[n];
    return sum;
}

/* d sum(y * grad_y) + d sum(Z_end * grad_end), by the slope. */
template <int GROUPS>
__global__ void __launch_bounds__(slat_block, 1) lightning_slope(const __grid_constant__ scan p, int32_t slices)
{
    scan_room &s = shared<scan_room>();
    const int64_t work = p.batches * p.heads * slices;
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int column = n % slices * tile, h = n / slices % p.heads;
        const int64_t b = n / slices / p.heads;
        chunk k = {source_of(p.a, b, h, p.wide),
                   source_of(p.b, b, h, p.wide),
                   source_of(p.c, b, h, p.wide),
                   {},
                   {},
                   {},
                   0,
                   0,
                   column};
        const source grad_y = source_of(p.grad_y, b, h, p.wide);
        part z[GROUPS], r[GROUPS] = {};
        float sum = 0;
        __syncthreads();
        list_powers(p, s, h);
        load_state(z, p.begin, b, h, p.depth, column, p.width);
#pragma unroll 1
        for (int64_t first = 0; first < p.tokens; first += k.rows) {
            begin_chunk(k, p, s, first);
            part of_z = {}, y[1] = {};
            read_state(of_z, z, k, s, p.depth);
            read_state(y[0], r, k, s, p.depth);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int distance = lane_y() + 16 * i + p.late;
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    y[0][i][j] = p.read * s.power[distance] * (y[0][i][j] - (float)distance * of_z[i][j]);
            }
            add_inside(y, k, s, p.depth, p.width,
                       [&](int distance) { return p.scale * s.power[distance] * -(float)distance; });
            uint4 bits[4];
            fetch_wide(bits, grad_y, {s.y, k.ra.present}, 0, column, p.width);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float4 g = widen(bits[i], grad_y.type);
                sum += y[0][i][0] * g.x + y[0][i][1] * g.y + y[0][i][2] * g.z + y[0][i][3] * g.w;
            }
            const float power = s.power[k.rows], rows = (float)k.rows;
#pragma unroll
            for (int g = 0; g < GROUPS; ++g)
#pragma unroll
                for (int i = 0; i < 4; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        r[g][i][j] = power * (r[g][i][j] - rows * z[g][i][j]);
                        z[g][i][j] *= power;
                    }
            const int behind = k.rows - p.late;
            add_chunk(z, k, s, p.depth, p.width, [&](int j) { return p.add * s.power[behind - j]; });
            add_chunk(r, k, s, p.depth, p.width,
                      [&](int j) { return p.add * s.power[behind - j] * -(float)(behind - j); });
        }
        if (p.grad_end.data) {
            load_state(z, p.grad_end, b, h, p.depth, column, p.width);
#pragma unroll
            for (int g = 0; g < GROUPS; ++g)
#pragma unroll
                for (int i = 0; i < 4; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) sum = fmaf(z[g][i][j], r[g][i][j], sum);
        }
        sum = block_sum(sum, s);
        if (threadIdx.x == 0) p.grad_slopes[n] = sum;
    }
}

/* Adds up batches and slices, each head in one order. */
__global__ void __launch_bounds__(slat_block)
    lightning_slope_sum(const float *parts, int64_t batches, int32_t heads, int32_t slices, float *to, int64_t stride)
{
    for (int64_t h = blockIdx.x * (int64_t)slat_block + threadIdx.x; h < heads; h += (int64_t)gridDim.x * slat_block) {
        float sum = 0;
        for (int64_t b = 0; b < batches; ++b)
            for (int n = 0; n < slices; ++n) sum += parts[(b * heads + h) * slices + n];
        to[h * stride] = sum;
    }
}

void enqueue_slopes(slat_session &session, scan s)
{
    const slat_view &to = session.problem.decay.grad_slopes;
    const int32_t slices = slices_of(s);
    const auto kernel = s.depth <= 2 * tile ? lightning_slope<2> : lightning_slope<4>;
    s.grad_slopes = (float *)session.take(s.batches * s.heads * slices, sizeof(float));
    session.launch(kernel, s.batches * s.heads * slices, sizeof(scan_room), s, slices);
    session.launch(lightning_slope_sum, (s.heads + slat_block - 1) / slat_block, 0, (const float *)s.grad_slopes,
                   s.batches, s.heads, slices, (float *)to.data, to.head);
}

} // namespace simt
