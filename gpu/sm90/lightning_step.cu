/* One token of lightning attention at the memory's speed: S <- lambda S + k (x) v, o = scale q S.
 *
 * A block owns COLUMNS columns of one row's state, four of them a thread. All that it will read of 128 state rows is on
 * its way before anything is waited for; q and k meanwhile come through shared memory. The threads of a column add up
 * in one order.
 */
#include "any/tensor.cuh"
#include "sm90.h"

namespace sm90
{

using simt::source;
using simt::source_of;

constexpr int together = 128; /* state rows on their way at once */

template <int COLUMNS> struct step_shape {
    static constexpr int lanes = COLUMNS / 4, rows = slat_block / lanes, batch = together / rows;
    float q[256], k[256];
    float4 sums[rows][lanes];
};

/* The rows of a batch that this thread has: first + i rows. */
template <int COLUMNS> struct step_rows {
    typedef step_shape<COLUMNS> shape;
    float4 z[shape::batch];

    __device__ __forceinline__ void load(const float *state, int64_t stride, int first, int depth)
    {
#pragma unroll
        for (int i = 0; i < shape::batch; ++i)
            if (first + i * shape::rows < depth) z[i] = *(const float4 *)(state + (first + i * shape::rows) * stride);
    }

    /* Adds q Z to `sum`, after the update. */
    __device__ __forceinline__ void update(float *state, int64_t stride, int first, int depth, float lambda,
                                           const shape &s, float4 v, float4 &sum)
    {
#pragma unroll
        for (int i = 0; i < shape::batch; ++i) {
            const int d = first + i * shape::rows;
            if (d >= depth) break;
            const float k = s.k[d], q = s.q[d];
            const float4 x = make_float4(fmaf(lambda, z[i].x, k * v.x), fmaf(lambda, z[i].y, k * v.y),
                                         fmaf(lambda, z[i].z, k * v.z), fmaf(lambda, z[i].w, k * v.w));
            *(float4 *)(state + d * stride) = x;
            sum = make_float4(fmaf(q, x.x, sum.x), fmaf(q, x.y, sum.y), fmaf(q, x.z, sum.z), fmaf(q, x.w, sum.w));
        }
    }
};

template <int COLUMNS>
__device__ __forceinline__ void step_columns(step_shape<COLUMNS> &s, const slat_problem &p, int64_t b, int h,
                                             int64_t slot, int column)
{
    typedef step_shape<COLUMNS> shape;
    const slat_state_view &st = p.decay.st;
    const int row = threadIdx.x / shape::lanes, lane = threadIdx.x % shape::lanes, c = column + 4 * lane;
    const int depth = c < p.dv ? p.d : 0; /* past the width: nothing to do */
    float *state = (float *)st.data + slot * st.batch + h * st.head + c;
    step_rows<COLUMNS> rows;
    rows.load(state, st.row, row, depth);
    const float lambda = expf(-((const float *)p.decay.slopes.data)[h * p.decay.slopes.head]);
    const source q = source_of(p.q, b, h, false), k = source_of(p.k, b, h, false), v = source_of(p.v, b, h, true);
    const float4 value = simt::widen(simt::fetch(v, 0, c, p.dv), v.type);
    if ((int)threadIdx.x < p.d) {
        s.q[threadIdx.x] = simt::load(q, threadIdx.x);
        s.k[threadIdx.x] = simt::load(k, threadIdx.x);
    }
    __syncthreads();
    float4 sum = make_float4(0, 0, 0, 0);
    rows.update(state, st.row, row, depth, lambda, s, value, sum);
    if (p.d > together) {
        rows.load(state, st.row, row + together, depth);
        rows.update(state, st.row, row + together, depth, lambda, s, value, sum);
    }
    s.sums[row][lane] = sum;
    __syncthreads();
    const int own = column + threadIdx.x;
    if (threadIdx.x >= COLUMNS || own >= p.dv) return;
    float o = 0;
#pragma unroll
    for (int n = 0; n < shape::rows; ++n) o += ((const float *)s.sums[n])[threadIdx.x];
    simt::store(simt::target_of(p.o, b, h, false), own, o * (float)p.scale);
}

template <int COLUMNS>
__global__ void __launch_bounds__(slat_block, 2) lightning_step(const __grid_constant__ slat_problem p, int32_t slices)
{
    __shared__ step_shape<COLUMNS> s;
    const int64_t work = p.b * p.hq * slices;
    for (int64_t n = blockIdx.x; n < work; n += gridDim.x) {
        const int column = n % slices * COLUMNS, h = n / slices % p.hq;
        const int64_t b = n / slices / p.hq, slot = p.decay.slot ? p.decay.slot[b] : b;
        if (slot >= 0 && slot < p.decay.slots)
            step_columns(s, p, b, h, slot, column);
        else if (threadIdx.x < COLUMNS && column + (int)threadIdx.x < p.dv)
            simt::store(simt::target_of(p.o, b, h, false), column + threadIdx.x, 0.0f);
        __syncthreads();
    }
}

template <int COLUMNS> void enqueue_step(slat_session &session)
{
    const slat_problem &p = session.problem;
    const int32_t slices = (p.dv + COLUMNS - 1) / COLUMNS;
    session.launch(lightning_step<COLUMNS>, p.b * p.hq * slices, 0, p, slices);
}

} // namespace sm90

slat_status slat_sm90_lightning_step_check(const slat_problem &p)
{
    const slat_state_view &st = p.decay.st;
    if (p.type == SLAT_F64)
        return slat_cuda_host->fail(SLAT_UNSUPPORTED, "backend 'cuda-sm90': f64 tensors, expected f32, f16 or bf16");
    if (p.aligned && p.strides16 && p.dv % 4 == 0 && st.batch % 4 == 0 && st.head % 4 == 0 && st.row % 4 == 0)
        return SLAT_OK;
    return slat_cuda_host->fail(SLAT_UNSUPPORTED,
                                "backend 'cuda-sm90': a state, or strides, that are no multiples of 16 bytes");
}

void slat_sm90_lightning_step(slat_session &session)
{
    const slat_problem &p = session.problem;
    /* Narrow blocks where wide ones would leave multiprocessors idle. */
    if (p.dv > 64 && p.b * p.hq * ((p.dv + 127) / 128) >= session.processors())
        sm90::enqueue_step<128>(session);
    else
        sm90::enqueue_step<64>(session);
}
