/* Merging partial softmax results, forward and backward.
 *
 * A warp owns a row. Parts travel as kernel parameters, at most `most_parts` a launch. Where all fit into one launch,
 * forward reads lse twice and each o once and needs no memory. Otherwise the row's running maximum and sum, then its
 * weighted sum, stand in workspace, f32, from one launch to the next.
 * Tensors may be written in place (the result into part 0): a thread reads its elements of every part before it writes.
 */
#include "session.h"
#include "softmax.cuh"

namespace simt
{

constexpr int most_parts = 16;

/* A tensor over the folded row dimensions. */
struct merge_view {
    char *data; /* NULL: absent */
    slat_type type;
    int64_t stride[SLAT_MERGE_DIMS];
};

struct merge_part {
    merge_view o, lse;
};

struct merge_parts {
    merge_part part[most_parts];
    int32_t count, dims, dv;
    int64_t rows, shape[SLAT_MERGE_DIMS];
};

struct merge_outputs {
    merge_view o, lse;
    float *state;        /* [rows][2]: running maximum and sum, base e; NULL: this launch has every part */
    float *sum;          /* [rows][dv] */
    int32_t first, last; /* whether this launch has the first, the last parts */
};

__device__ inline int64_t row_at(const merge_view &v, const merge_parts &m, int64_t row)
{
    int64_t at = 0;
    for (int d = m.dims - 1; d >= 0; --d) {
        at += row % m.shape[d] * v.stride[d];
        row /= m.shape[d];
    }
    return at;
}

__device__ inline float lse_at(const merge_view &v, const merge_parts &m, int64_t row)
{
    return ((const float *)v.data)[row_at(v, m, row)];
}

__device__ inline source source_of(const merge_view &v)
{
    return {v.data, v.type, false};
}
__device__ inline target target_of(const merge_view &v)
{
    return {v.data, v.type, false};
}

/* Adds the parts' lse to a running maximum and sum. */
__device__ inline void add_lse(const merge_parts &m, int64_t row, float &top, float &sum)
{
    float highest = top;
    for (int a = 0; a < m.count; ++a) highest = fmaxf(highest, lse_at(m.part[a].lse, m, row));
    const float base = highest == -CUDART_INF_F ? 0.0f : highest;
    sum *= expf(top - base);
    for (int a = 0; a < m.count; ++a) sum += expf(lse_at(m.part[a].lse, m, row) - base);
    top = highest;
}

__device__ inline float log_sum(float top, float sum)
{
    return sum == 0 ? -CUDART_INF_F : top + logf(sum);
}

/* sum of exp(lse_a - lse) o_a at column c; parts without keys are not read. */
__device__ inline float weighted(const merge_parts &m, int64_t row, int c, float lse)
{
    float sum = 0;
    for (int a = 0; a < m.count; ++a) {
        const float own = lse_at(m.part[a].lse, m, row);
        if (own == -CUDART_INF_F) continue;
        sum = fmaf(expf(own - lse), load(source_of(m.part[a].o), row_at(m.part[a].o, m, row) + c), sum);
    }
    return sum;
}

__device__ inline int64_t first_row()
{
    return blockIdx.x * (int64_t)(slat_block / 32) + threadIdx.x / 32;
}
__device__ inline int64_t row_step()
{
    return (int64_t)gridDim.x * (slat_block / 32);
}

constexpr int columns_each = 256 / 32; /* of a row, a thread */

/* All parts in one launch. */
__global__ void __launch_bounds__(slat_block)
    merge_whole(const __grid_constant__ merge_parts m, const __grid_constant__ merge_outputs out)
{
    const int lane = threadIdx.x & 31;
    for (int64_t row = first_row(); row < m.rows; row += row_step()) {
        float top = -CUDART_INF_F, sum = 0, o[columns_each];
        add_lse(m, row, top, sum);
        const float lse = log_sum(top, sum);
#pragma unroll
        for (int n = 0; n < columns_each; ++n) {
            const int c = lane + 32 * n;
            o[n] = c < m.dv ? weighted(m, row, c, lse) : 0.0f;
        }
        __syncwarp(); /* every lane has read the row's lse and o */
        const int64_t at = row_at(out.o, m, row);
#pragma unroll
        for (int n = 0; n < columns_each; ++n)
            if (lane + 32 * n < m.dv) store(target_of(out.o), at + lane + 32 * n, o[n]);
        if (out.lse.data && lane == 0) ((float *)out.lse.data)[row_at(out.lse, m, row)] = lse;
    }
}

/* Of many launches, the first round: one thread a row adds its parts' lse. */
__global__ void __launch_bounds__(slat_block)
    merge_lse(const __grid_constant__ merge_parts m, const __grid_constant__ merge_outputs out)
{
    for (int64_t row = blockIdx.x * (int64_t)slat_block + threadIdx.x; row < m.rows;
         row += (int64_t)gridDim.x * slat_block) {
        float top = out.first ? -CUDART_INF_F : out.state[2 * row], sum = out.first ? 0.0f : out.state[2 * row + 1];
        add_lse(m, row, top, sum);
        out.state[2 * row] = top;
        out.state[2 * row + 1] = sum;
    }
}

/* The second round adds the parts' o; the last launch writes the result. */
__global__ void __launch_bounds__(slat_block)
    merge_add(const __grid_constant__ merge_parts m, const __grid_constant__ merge_outputs out)
{
    const int lane = threadIdx.x & 31;
    for (int64_t row = first_row(); row < m.rows; row += row_step()) {
        const float lse = log_sum(out.state[2 * row], out.state[2 * row + 1]);
        float *sum = out.sum + row * m.dv;
        for (int c = lane; c < m.dv; c += 32) {
            const float o = (out.first ? 0.0f : sum[c]) + weighted(m, row, c, lse);
            if (out.last)
                store(target_of(out.o), row_at(out.o, m, row) + c, o);
            else
                sum[c] = o;
        }
        __syncwarp();
        if (out.last && out.lse.data && lane == 0) ((float *)out.lse.data)[row_at(out.lse, m, row)] = lse;
    }
}

struct merge_gradients {
    merge_view out, lse, grad_out, grad_lse;
    merge_part part[most_parts]; /* do_a and dlse_a */
};

/* do_a = w_a do, dlse_a = w_a (do.(o_a - o) + dlse). */
__global__ void __launch_bounds__(slat_block)
    merge_backward(const __grid_constant__ merge_parts m, const __grid_constant__ merge_gradients g)
{
    const int lane = threadIdx.x & 31;
    for (int64_t row = first_row(); row < m.rows; row += row_step()) {
        const float lse = lse_at(g.lse, m, row), grad_lse = g.grad_lse.data ? lse_at(g.grad_lse, m, row) : 0.0f;
        const int64_t out_at = row_at(g.out, m, row), grad_at = row_at(g.grad_out, m, row);
        for (int a = 0; a < m.count; ++a) {
            const merge_part &part = m.part[a], &to = g.part[a];
            const float own = lse_at(part.lse, m, row);
            const bool read = own != -CUDART_INF_F;
            const float weight = read ? expf(own - lse) : 0.0f;
            float dot = 0;
            for (int c = lane; c < m.dv; c += 32) {
                const float grad = read ? load(source_of(g.grad_out), grad_at + c) : 0.0f;
                if (read && to.lse.data)
                    dot = fmaf(grad,
                               load(source_of(part.o), row_at(part.o, m, row) + c) - load(source_of(g.out), out_at + c),
                               dot);
                if (to.o.data) store(target_of(to.o), row_at(to.o, m, row) + c, weight * grad);
            }
            if (!to.lse.data) continue;
#pragma unroll
            for (int n = 16; n; n /= 2) dot += __shfl_xor_sync(~0u, dot, n);
            if (lane == 0) ((float *)to.lse.data)[row_at(to.lse, m, row)] = read ? weight * (dot + grad_lse) : 0.0f;
        }
    }
}

merge_view view_of(const slat_parts &parts, const DLTensor *t)
{
    merge_view v = {};
    if (!t) return v;
    /* While a call only plans, data may be NULL: the address says present and is not read. */
    v.data = t->data ? (char *)t->data + t->byte_offset : (char *)t;
    v.type = t->dtype.bits == 32 ? SLAT_F32 : t->dtype.code == kDLBfloat ? SLAT_BF16 : SLAT_F16;
    slat_merge_strides(&parts, t, v.stride);
    return v;
}

/* Parts first ... first + 15. */
merge_parts parts_of(const slat_problem &p, int32_t first)
{
    const slat_parts &from = p.parts;
    merge_parts m = {};
    m.count = from.parts - first < most_parts ? from.parts - first : most_parts;
    m.dims = from.ndim;
    m.dv = p.dv;
    m.rows = 1;
    for (int32_t d = 0; d < from.ndim; ++d) m.rows *= m.shape[d] = from.shape[d];
    for (int32_t a = 0; a < m.count; ++a)
        m.part[a] = {view_of(from, from.o[first + a]), view_of(from, from.lse[first + a])};
    return m;
}

void enqueue_merge_backward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const slat_parts &from = p.parts;
    merge_gradients g = {view_of(from, from.out),
                         view_of(from, from.out_lse),
                         view_of(from, from.grad_out),
                         view_of(from, from.grad_out_lse),
                         {}};
    for (int32_t first = 0; first < from.parts; first += most_parts) {
        const merge_parts m = parts_of(p, first);
        for (int32_t a = 0; a < m.count; ++a)
            g.part[a] = {view_of(from, from.grad_o ? from.grad_o[first + a] : NULL),
                         view_of(from, from.grad_lse ? from.grad_lse[first + a] : NULL)};
        session.launch(merge_backward, (m.rows + 7) / 8, 0, m, g);
    }
}

void enqueue_merge_forward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const int32_t parts = p.parts.parts;
    merge_outputs out = {view_of(p.parts, p.parts.out), view_of(p.parts, p.parts.out_lse), NULL, NULL, 1, 1};
    const merge_parts whole = parts_of(p, 0);
    if (parts <= most_parts) {
        session.launch(merge_whole, (whole.rows + 7) / 8, 0, whole, out);
        return;
    }
    out.state = (float *)session.take(whole.rows, 2 * sizeof(float));
    out.sum = (float *)session.take(whole.rows, (size_t)p.dv * sizeof(float));
    for (int32_t first = 0; first < parts; first += most_parts) {
        out.first = first == 0;
        session.launch(merge_lse, (whole.rows + slat_block - 1) / slat_block, 0, parts_of(p, first), out);
    }
    for (int32_t first = 0; first < parts; first += most_parts) {
        out.first = first == 0;
        out.last = first + most_parts >= parts;
        session.launch(merge_add, (whole.rows + 7) / 8, 0, parts_of(p, first), out);
    }
}

} // namespace simt

void slat_cuda_merge(slat_session &session)
{
    if (session.problem.pass == SLAT_FORWARD)
        simt::enqueue_merge_forward(session);
    else
        simt::enqueue_merge_backward(session);
}
