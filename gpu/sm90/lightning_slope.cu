/* dslopes of lightning attention: the scan of forward, which carries lambda R = dZ/dslope beside Z. With weights
 * w(n) = -n lambda^(n-1), of which the nearest token's is -1: with -n lambda^n f16 would lose all at a steep slope,
 *     y'_i = scale (lambda^(i+1) q_i R + w(i+1) q_i Z + sum_{j<=i} w(i-j) (q_i.k_j) v_j)
 *     R <- lambda^r R + w(r) Z + sum_j w(r-1-j) k_j (x) v_j
 * and dslope = lambda (sum of y' do + sum of R dS_T). Every term is a weight times a product, as in the closed form, so
 * nothing cancels but what the data themselves cancel. That can be much: a head's answer is one number. So whatever is
 * rounded for a product comes in two parts of 16 bits, the second one being what the first one lost.
 * A block has 64 columns of v and at most 128 of q and k, of one head: every term is a sum over both.
 */
#include "any/lightning.cuh"
#include "lightning.cuh"

namespace sm90
{

/* A state in two parts, where the keeper puts it for the writer. */
template <int DEPTH> struct split_state {
    panel parts[2][DEPTH / chunk];
    float unscale[4];
};

/* y is do here. */
template <int DEPTH> struct slope_room : chunk_ring<DEPTH, 1, 4, 2, 1> {
    split_state<DEPTH> z, r;
    float sums[2 * group / 32];
};

template <class T> __device__ __forceinline__ float2 unpack(uint32_t x)
{
    return simt::widen_pair(x, scales<T> ? SLAT_F16 : SLAT_BF16);
}

/* Two numbers in two parts. */
template <class T> __device__ __forceinline__ void pack_parts(uint32_t &high, uint32_t &low, float a, float b)
{
    high = pack(T(), a, b);
    const float2 have = unpack<T>(high);
    low = pack(T(), a - have.x, b - have.y);
}

template <class T, int DEPTH>
__device__ __forceinline__ void publish_parts(split_state<DEPTH> &s, const float (&z)[1][DEPTH / 2], int warp, int lane)
{
    uint32_t high[DEPTH / 4], low[DEPTH / 4];
    const uint32_t exponent = scale_exponent(T(), z);
    const float factor = scales<T> ? power_of_2(exponent) : 1.0f;
#pragma unroll
    for (int i = 0; i < DEPTH / 4; ++i) pack_parts<T>(high[i], low[i], z[0][2 * i] * factor, z[0][2 * i + 1] * factor);
    store_panels<DEPTH>(s.parts[0], 1, high, warp, lane);
    store_panels<DEPTH>(s.parts[1], 1, low, warp, lane);
    if (scales<T> && lane == 0) s.unscale[warp] = power_of_2(254 - exponent);
}

__device__ __forceinline__ float slope_weight(const head_decay &decay, int distance)
{
    return -(float)max(distance, 0) * decay.over(distance - 1);
}

/* Adds b^T diag(weight(j)) c to a state; c is a transposed tile, `right` the operand of b. */
template <class T, int DEPTH, class Weight>
__device__ __forceinline__ void add_weighted(float (&z)[DEPTH / 2], const uint32_t (&c)[4][4], uint32_t right,
                                             Weight weight)
{
    uint32_t left[2][4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int j = 16 * i + e / 2 * 8 + 2 * (threadIdx.x % 4);
            const float2 x = unpack<T>(c[i][e]);
            pack_parts<T>(left[0][i][e], left[1][i][e], x.x * weight(j), x.y * weight(j + 1));
        }
    settle(z);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int part = 0; part < 2; ++part) wgmma<T, DEPTH>::template rs<1>(z, left[part][i], right + i * row_step, 1);
    wgmma_commit();
    wgmma_wait<0>();
}

/* Keeps Z and R; answers this thread's part of the sum of R dS_T. */
template <class T, int DEPTH>
__device__ __forceinline__ float keep_slopes(slope_room<DEPTH> &s, const scan &p, const work &w)
{
    typedef slope_room<DEPTH> room;
    constexpr int count = DEPTH / 2; /* accumulators of a state */
    const int warp = threadIdx.x % group / 32, lane = threadIdx.x % 32;
    float z[1][1][count], r[1][1][count];
    load_state(z, p.begin, 0, 1, p, w);
#pragma unroll
    for (int i = 0; i < count; ++i) r[0][0][i] = 0;
    ring<room::stages> at;
    uint32_t turn = 1;
#pragma unroll 1
    for (int n = 0; n < w.last; ++n, at.advance(), turn ^= 1) {
        const int rows = w.rows(n);
        barrier_wait(&s.taken, turn);
        publish_parts<T>(s.z, z[0], warp, lane);
        publish_parts<T>(s.r, r[0], warp, lane);
        publish(&s.published);
        const float keep = w.decay.over(rows), turned = slope_weight(w.decay, rows);
#pragma unroll
        for (int i = 0; i < count; ++i) {
            r[0][0][i] = keep * r[0][0][i] + turned * z[0][0][i];
            z[0][0][i] *= keep;
        }
        uint32_t c[4][4];
        barrier_wait(&s.filled[at.slot], at.parity);
        load_transposed(c, &s.c[at.slot][0], warp, lane);
        const uint32_t right = operand(shared_address(&s.b[at.slot][0]), panel_bytes);
        add_weighted<T, DEPTH>(z[0][0], c, right, [&](int j) { return w.decay.over(rows - 1 - j); });
        add_weighted<T, DEPTH>(r[0][0], c, right, [&](int j) { return slope_weight(w.decay, rows - 1 - j); });
        warp_arrive(&s.freed[at.slot]);
    }
    float sum = 0;
    if (!p.end.data) return sum;
    load_state(z, p.end, 0, 1, p, w);
#pragma unroll
    for (int i = 0; i < count; ++i) sum = fmaf(z[0][0][i], r[0][0][i], sum);
    return sum;
}

/* Sums y' do over this thread's elements of one chunk. */
template <class T, int DEPTH> struct slope_writer {
    typedef slope_room<DEPTH> room;
    static constexpr int steps = DEPTH / 16;
    float inside[32]; /* w(i - j), 0 where i does not see j */

    __device__ __forceinline__ void list_inside(const head_decay &decay)
    {
        const int thread = threadIdx.x % group, row = thread / 32 * 16 + thread % 32 / 4, column = 2 * (thread % 4);
#pragma unroll
        for (int n = 0; n < 32; ++n) {
            const int distance = row + n % 4 / 2 * 8 - (n / 4 * 8 + column + n % 2);
            inside[n] = slope_weight(decay, distance);
        }
    }

    /* y = a Z. */
    static __device__ __forceinline__ void read_state(float (&y)[32], uint32_t a, const split_state<DEPTH> &from)
    {
#pragma unroll
        for (int part = 0; part < 2; ++part)
#pragma unroll
            for (int i = 0; i < steps; ++i)
                wgmma<T, chunk>::ss(y, a + column_step(i, 1),
                                    operand(shared_address(from.parts[part])) + column_step(i, 1), part + i > 0);
    }

    __device__ __forceinline__ float compute(room &s, int a_at, int at, const scan &p, const work &w, int n)
    {
        const head_decay &decay = w.decay;
        const int thread = threadIdx.x % group, row = thread / 32 * 16 + thread % 32 / 4;
        float scores[32], y[32], of_z[32];
        uint32_t weights[2][16];
        const uint32_t a = operand(shared_address(&s.a[a_at][0])), b = operand(shared_address(&s.b[at][0]));
        const uint32_t c = operand(shared_address(&s.c[at][0]), panel_bytes);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < steps; ++i)
            wgmma<T, chunk>::ss(scores, a + column_step(i, 1), b + column_step(i, 1), i > 0);
        wgmma_commit();
        barrier_wait(&s.published, n & 1);
        wgmma_fence();
        read_state(y, a, s.r);
        read_state(of_z, a, s.z);
        wgmma_commit();
        wgmma_wait<1>();
#pragma unroll
        for (int i = 0; i < 16; ++i)
            pack_parts<T>(weights[0][i], weights[1][i], inside[2 * i] != 0 ? scores[2 * i] * inside[2 * i] : 0.0f,
                          inside[2 * i + 1] != 0 ? scores[2 * i + 1] * inside[2 * i + 1] : 0.0f);
        wgmma_wait<0>();
        float unscale_r[4], unscale_z[4];
        read_unscale<T>(unscale_r, s.r.unscale);
        read_unscale<T>(unscale_z, s.z.unscale);
#pragma unroll
        for (int i = 0; i < 32; ++i) {
            const int distance = row + i % 4 / 2 * 8 + 1;
            y[i] = decay.over(distance) * (y[i] * unscale_r[i / 8]) +
                   slope_weight(decay, distance) * (of_z[i] * unscale_z[i / 8]);
        }
        warp_arrive(&s.taken);
        settle(y);
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int part = 0; part < 2; ++part)
                wgmma<T, chunk>::template rs<1>(y, weights[part] + 4 * i, c + i * row_step, 1);
        wgmma_commit();
        wgmma_wait<0>();
        warp_arrive(&s.freed[at]);
        return p.rows.data ? dot(y, p, w, n, row, thread % 4) : dot(y, &s.a[a_at][room::panels], row, thread % 4);
    }

    /* do in f32, from where the caller has it. */
    static __device__ __forceinline__ float dot(const float (&y)[32], const scan &p, const work &w, int n, int row,
                                                int part)
    {
        float sum = 0;
        const int first = w.slice * chunk + 2 * part;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int r = row + half * 8, width = r < w.rows(n) ? p.width - first : 0;
            const float *grad =
                (const float *)p.rows.data + first + slat_offset(&p.rows, w.b, slat_at(0, 0, w.token(n) + r), w.h);
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                const int c = i / 2 * 8 + i % 2;
                if (c < width) sum = fmaf(y[i / 2 * 4 + half * 2 + i % 2], grad[c], sum);
            }
        }
        return sum;
    }

    static __device__ __forceinline__ float dot(const float (&y)[32], const panel *grad, int row, int part)
    {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 32; i += 2) {
            const uint32_t at = swizzle_128(row + i % 4 / 2 * 8, i / 4) + 4 * part;
            const float2 g = unpack<T>(*(const uint32_t *)((const char *)grad + at));
            sum = fmaf(y[i], g.x, fmaf(y[i + 1], g.y, sum));
        }
        return sum;
    }
};

template <class T, int DEPTH>
__device__ __forceinline__ float write_slopes(slope_room<DEPTH> &s, const scan &p, const work &w)
{
    typedef slope_room<DEPTH> room;
    slope_writer<T, DEPTH> writer;
    writer.list_inside(w.decay);
    ring<room::stages> at;
    ring<room::a_stages> a_at;
    float sum = 0;
#pragma unroll 1
    for (int n = 0; n < w.last; ++n, at.advance(), a_at.advance()) {
        barrier_wait(&s.a_filled[a_at.slot], a_at.parity);
        barrier_wait(&s.filled[at.slot], at.parity);
        sum += writer.compute(s, a_at.slot, at.slot, p, w, n);
        warp_arrive(&s.a_freed[a_at.slot]);
    }
    return sum * p.scale.all;
}

/* by.slices: of v's columns, times those of q's and k's. sums [batches, heads, slices] */
template <class T, int DEPTH>
__global__ void __launch_bounds__(3 * group, 1)
    lightning_slopes(const __grid_constant__ scan p, const split by, float *sums)
{
    typedef slope_room<DEPTH> room;
    extern __shared__ uint8_t raw[];
    room &s = room_in<room>(raw);
    s.init();
    work w = work_of(p, by, blockIdx.x);
    const int32_t slices = (p.width + chunk - 1) / chunk;
    w.deep = w.slice / slices * DEPTH;
    w.slice %= slices;
    const int role = __shfl_sync(~0u, threadIdx.x / group, 0);
    if (role == 0) {
        registers_give<40>();
        places<room> now;
        if (threadIdx.x == 0) produce(s, p, w, now);
        return;
    }
    float sum;
    if (role == 1) {
        registers_take<232>();
        sum = keep_slopes<T>(s, p, w);
    } else {
        registers_take<232>();
        sum = write_slopes<T>(s, p, w);
    }
#pragma unroll
    for (int n = 16; n; n /= 2) sum += __shfl_xor_sync(~0u, sum, n);
    if (threadIdx.x % 32 == 0) s.sums[threadIdx.x / 32 - group / 32] = sum;
    named_sync(2, 2 * group);
    if (threadIdx.x != group) return;
    sum = 0;
    for (int n = 0; n < 2 * group / 32; ++n) sum += s.sums[n];
    sums[blockIdx.x] = sum * w.decay.over(1);
}

template <class T> void enqueue_slopes(slat_session &session, const scan &p, const split &by, float *sums)
{
    const int64_t blocks = session.problem.b * by.heads * by.slices;
    if (p.depth <= 64)
        session.launch_wide(lightning_slopes<T, 64>, blocks, 3 * group, room_bytes<slope_room<64>>, p, by, sums);
    else
        session.launch_wide(lightning_slopes<T, 128>, blocks, 3 * group, room_bytes<slope_room<128>>, p, by, sums);
}

void enqueue_slopes(slat_session &session, const scan &p)
{
    const slat_problem &problem = session.problem;
    const slat_view &to = problem.decay.grad_slopes;
    constexpr int deepest = 128;
    const int32_t slices = (p.width + chunk - 1) / chunk * ((p.depth + deepest - 1) / deepest);
    const split by = {1, problem.hq, slices, 1, 1, (int32_t)((p.tokens + chunk_tokens - 1) / chunk_tokens), 0, 0, 0};
    float *sums = (float *)session.take(problem.b * by.heads * by.slices, sizeof(float));
    (problem.type == SLAT_F16 ? enqueue_slopes<__half> : enqueue_slopes<__nv_bfloat16>)(session, p, by, sums);
    session.launch(simt::lightning_slope_sum, (by.heads + slat_block - 1) / slat_block, 0, (const float *)sums,
                   problem.b, by.heads, by.slices, (float *)to.data, to.head);
}

} // namespace sm90
