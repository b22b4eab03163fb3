/* Lightning attention, forward and backward: the scan, and the operands that each pass gives it. */
#include "lightning.cuh"

namespace simt
{

template <int GROUPS>
__global__ void __launch_bounds__(slat_block, GROUPS > 2 ? 1 : 2)
    lightning_scan(const __grid_constant__ scan p, int32_t slices)
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
        part z[GROUPS];
        __syncthreads();
        list_powers(p, s, h);
        load_state(z, p.begin, b, h, p.depth, column, p.width);
#pragma unroll 1
        for (int64_t first = 0; first < p.tokens; first += k.rows) {
            begin_chunk(k, p, s, first);
            if (p.snapshots.data && first % p.every == 0)
                store_state(z, p.snapshots, b, h, first / p.every, p.depth, column, p.width);
            if (p.y.data) {
                part y[1] = {};
                read_state(y[0], z, k, s, p.depth);
#pragma unroll
                for (int i = 0; i < 4; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) y[0][i][j] *= p.read * s.power[lane_y() + 16 * i + p.late];
                add_inside(y, k, s, p.depth, p.width, [&](int distance) { return p.scale * s.power[distance]; });
                const float ones[4] = {1, 1, 1, 1};
                write_tile(y, ones, target_of(p.y, b, h, p.wide), {s.y, k.ra.present}, column, p.width);
            }
            if (!p.end.data && first + k.rows >= p.tokens) break;
            scale_state(z, s.power[k.rows]);
            add_chunk(z, k, s, p.depth, p.width, [&](int j) { return p.add * s.power[k.rows - p.late - j]; });
        }
        store_state(z, p.end, b, h, 0, p.depth, column, p.width);
    }
}

state_view state_of(const slat_state_view &s, bool transposed)
{
    return {(float *)s.data, s.batch, s.head, s.snapshot, transposed ? 1 : s.row, transposed ? s.row : 1};
}

/* The same tensor, its last token first. */
slat_view reversed(slat_view v, int64_t tokens)
{
    if (!v.data || tokens == 0) return v;
    v.data = (char *)v.data + (tokens - 1) * v.token[2] * (v.type == SLAT_F32 ? 4 : 2);
    v.token[2] = -v.token[2];
    return v;
}

void enqueue_scan(slat_session &session, const scan &s)
{
    const int32_t slices = slices_of(s);
    const auto kernel = s.depth <= 2 * tile ? lightning_scan<2> : lightning_scan<4>;
    session.launch(kernel, s.batches * s.heads * slices, sizeof(scan_room), s, slices);
}

/* What all scans of a problem share. */
scan scan_of(const slat_problem &p)
{
    scan s = {};
    s.slopes = p.decay.slopes;
    s.tokens = p.tq;
    s.batches = p.b;
    s.heads = p.hq;
    s.scale = (float)p.scale;
    s.wide = p.aligned && p.strides16;
    return s;
}

/* The scan of forward. */
scan forward_of(const slat_problem &p)
{
    scan s = scan_of(p);
    s.a = p.q, s.b = p.k, s.c = p.v;
    s.begin = state_of(p.decay.s0, false);
    s.depth = p.d, s.width = p.dv;
    s.late = 1;
    s.read = s.scale, s.add = 1;
    return s;
}

void enqueue_lightning_backward(slat_session &session)
{
    const slat_problem &p = session.problem;
    const slat_decay &a = p.decay;
    if (p.grad_q.data) {
        scan s = forward_of(p);
        s.a = p.grad_o, s.b = p.v, s.c = p.k, s.y = p.grad_q;
        s.begin = state_of(a.s0, true);
        s.depth = p.dv, s.width = p.d;
        enqueue_scan(session, s);
    }
    scan back = scan_of(p);
    back.read = 1, back.add = back.scale;
    const slat_view q = reversed(p.q, p.tq), k = reversed(p.k, p.tq), v = reversed(p.v, p.tq);
    const slat_view grad_o = reversed(p.grad_o, p.tq);
    if (p.grad_v.data || a.grad_s0.data) {
        scan s = back;
        s.a = k, s.b = q, s.c = grad_o, s.y = reversed(p.grad_v, p.tq);
        s.begin = state_of(a.grad_st, false), s.end = state_of(a.grad_s0, false);
        s.depth = p.d, s.width = p.dv;
        enqueue_scan(session, s);
    }
    if (p.grad_k.data) {
        scan s = back;
        s.a = v, s.b = grad_o, s.c = q, s.y = reversed(p.grad_k, p.tq);
        s.begin = state_of(a.grad_st, true);
        s.depth = p.dv, s.width = p.d;
        enqueue_scan(session, s);
    }
    if (!a.grad_slopes.data) return;
    scan s = forward_of(p);
    s.grad_y = p.grad_o;
    s.grad_end = state_of(a.grad_st, false);
    enqueue_slopes(session, s);
}

} // namespace simt

void slat_cuda_lightning(slat_session &session)
{
    const slat_problem &p = session.problem;
    if (p.pass == SLAT_BACKWARD) {
        simt::enqueue_lightning_backward(session);
        return;
    }
    simt::scan s = simt::forward_of(p);
    s.y = p.o;
    s.end = simt::state_of(p.decay.st, false);
    s.snapshots = simt::state_of(p.decay.states, false);
    s.every = p.decay.states_every;
    simt::enqueue_scan(session, s);
}
