/* One token of lightning attention: S <- lambda S + k (x) v, o = scale q S, with the state read and written once.
 *
 * A block owns 64 columns of one row's state. Thread (ty, tx) takes four columns and every 16th row; the 16 partial
 * sums of a column are added in order.
 */
#include "session.h"
#include "softmax.cuh"

namespace simt
{

struct step_room {
    float q[256], k[256];
    float4 sums[16][16]; /* [ty][tx] */
};

/* Four states from column c on, as far as they are within the width. */
__device__ inline float4 load_four(const float *x, int left, bool wide)
{
    if (wide && left >= 4) return *(const float4 *)x;
    return make_float4(x[0], left > 1 ? x[1] : 0.0f, left > 2 ? x[2] : 0.0f, left > 3 ? x[3] : 0.0f);
}

__device__ inline void store_four(float *to, int left, bool wide, float4 x)
{
    if (wide && left >= 4) {
        *(float4 *)to = x;
        return;
    }
    to[0] = x.x;
    if (left > 1) to[1] = x.y;
    if (left > 2) to[2] = x.z;
    if (left > 3) to[3] = x.w;
}

/* o of a row that is left out. */
__device__ inline void clear_row(const slat_problem &p, int64_t b, int h, int column)
{
    const target o = target_of(p.o, b, h, false);
    const int c = column + threadIdx.x;
    if (threadIdx.x < tile && c < p.dv) store(o, c, 0.0f);
}

__device__ inline void step_columns(const slat_problem &p, int64_t b, int h, int64_t slot, int column, bool wide)
{
    step_room &s = shared<step_room>();
    const float lambda = expf(-((const float *)p.decay.slopes.data)[h * p.decay.slopes.head]);
    const source q = source_of(p.q, b, h, false), k = source_of(p.k, b, h, false), v = source_of(p.v, b, h, is_wide(p));
    if ((int)threadIdx.x < p.d) {
        s.q[threadIdx.x] = load(q, threadIdx.x);
        s.k[threadIdx.x] = load(k, threadIdx.x);
    }
    __syncthreads();
    const int c = column + lane_x() * 4, left = p.dv - c;
    float4 sum = make_float4(0, 0, 0, 0);
    if (left > 0) {
        const float4 x = widen(fetch(v, 0, c, p.dv), v.type);
        float *state = (float *)p.decay.st.data + slot * p.decay.st.batch + h * p.decay.st.head + c;
#pragma unroll 4
        for (int d = lane_y(); d < p.d; d += 16) {
            float4 z = load_four(state + d * p.decay.st.row, left, wide);
            const float key = s.k[d], query = s.q[d];
            z = make_float4(fmaf(lambda, z.x, key * x.x), fmaf(lambda, z.y, key * x.y), fmaf(lambda, z.z, key * x.z),
                            fmaf(lambda, z.w, key * x.w));
            store_four(state + d * p.decay.st.row, left, wide, z);
            sum = make_float4(fmaf(query, z.x, sum.x), fmaf(query, z.y, sum.y), fmaf(query, z.z, sum.z),
                              fmaf(query, z.w, sum.w));
        }
    }
    s.sums[lane_y()][lane_x()] = sum;
    __syncthreads();
    const int own = column + threadIdx.x;
    if (threadIdx.x < tile && own < p.dv) {
        float o = 0;
        for (int n = 0; n < 16; ++n) o += ((const float *)s.sums[n])[threadIdx.x];
        store(target_of(p.o, b, h, false), own, o * (float)p.scale);
    }
    __syncthreads();
}

__global__ void __launch_bounds__(slat_block)
    lightning_step(const __grid_constant__ slat_problem p, int32_t slices, bool wide)
{
    const int64_t work = p.b * p.hq * slices;
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int column = n % slices * tile, h = n / slices % p.hq;
        const int64_t b = n / slices / p.hq, slot = p.decay.slot ? p.decay.slot[b] : b;
        if (slot < 0 || slot >= p.decay.slots)
            clear_row(p, b, h, column);
        else
            step_columns(p, b, h, slot, column, wide);
    }
}

} // namespace simt

void slat_cuda_lightning_step(slat_session &session)
{
    const slat_problem &p = session.problem;
    const slat_state_view &st = p.decay.st;
    const int32_t slices = (p.dv + simt::tile - 1) / simt::tile;
    const bool wide = p.aligned && st.batch % 4 == 0 && st.head % 4 == 0 && st.row % 4 == 0;
    session.launch(simt::lightning_step, p.b * p.hq * slices, sizeof(simt::step_room), p, slices, wide);
}
